//! One step as people see it: what the filter answered, what else it did, and what that took.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::blame::{Blame, Frame};
use crate::recording::compare::{name, shown};
use crate::wasm::witness::{End, GuestCall, Hostcall, Step, Value};

/// What happened at one time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Scene {
    pub(super) step: &'static str,
    pub(super) answer: String,
    pub(super) instructions: u64,
    pub(super) nanoseconds: u64,
    pub(super) did: Vec<Deed>,
}

impl Scene {
    /// Whether the filter lets the exchange wait.
    pub(super) fn waits(&self) -> bool {
        self.answer.starts_with("stop") && !self.did.iter().any(|deed| matches!(deed, Deed::Reply { .. }))
    }

    /// Whether there is nothing to say of it.
    pub(super) fn is_quiet(&self) -> bool {
        self.did.is_empty() && !self.waits()
    }

    /// Finds where its faults come from.
    pub(super) fn blame(&mut self, blame: &Blame) {
        for deed in &mut self.did {
            if let Deed::Fault { message, at, .. } = deed {
                *at = blame.frames(message);
            }
        }
    }
}

/// One thing that the filter did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Deed {
    /// It changed something of the exchange.
    Change { name: String, from: Option<String>, to: Option<String> },
    /// It answered the request.
    Reply { status: u64, details: String, body: String },
    /// It did something else.
    Act { text: String },
    /// It logged a line.
    Log { level: String, text: String },
    /// It failed. `at`: where in its author's own sources, innermost first.
    Fault { kind: String, callback: String, message: String, at: Vec<Frame> },
}

/// Reads steps, with what has to be known for that.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Clusters that there are.
    clusters: HashSet<String>,
    /// Names of the metrics that an instance has defined, by the numbers that it calls them by.
    metrics: HashMap<(u64, u64), String>,
}

impl Reader {
    /// An instance that is not called again is forgotten.
    pub(super) fn forget(&mut self, instance: u64) {
        self.metrics.retain(|(of, _), _| *of != instance);
    }

    /// These are the clusters that filters may ask.
    pub(super) fn know(&mut self, clusters: impl Iterator<Item = String>) {
        self.clusters = clusters.collect();
    }

    /// What a step was.
    pub(super) fn read(&mut self, instance: u64, step: &Step) -> Scene {
        self.note_metrics(instance, step);
        let mut did = Vec::new();
        for call in &step.calls {
            did.extend(call.hostcalls.iter().filter_map(|hostcall| self.deed(instance, hostcall)));
            did.extend(
                call.logs
                    .iter()
                    .map(|line| Deed::Log { level: line.level.word().to_owned(), text: shown(&line.text) }),
            );
        }
        let answer = match &step.end {
            End::Answer(answer) => answer.clone().into_owned(),
            End::Fault { kind, callback, message } => {
                did.push(Deed::Fault {
                    kind: kind.clone().into_owned(),
                    callback: callback.clone().into_owned(),
                    message: message.clone(),
                    at: Vec::new(),
                });
                "fault".to_owned()
            }
        };
        let sum = |cost: fn(&GuestCall) -> u64| step.calls.iter().map(cost).sum();
        Scene {
            step: name(&step.op),
            answer,
            instructions: sum(|call| call.instructions),
            nanoseconds: sum(|call| call.nanoseconds),
            did,
        }
    }

    /// What a hostcall did, unless it only asked, or did what is seen of the exchange anyway.
    fn deed(&self, instance: u64, call: &Hostcall) -> Option<Deed> {
        let text = |value: Option<&Value>| match value {
            Some(Value::Bytes(blob)) => shown(blob),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Fields(_)) | None => String::new(),
        };
        let arg = |at: usize| call.args.get(at);
        let act = |said: String| {
            let refused = match call.status {
                Some(0) => String::new(),
                Some(status) => format!(": refused, status {status}"),
                None => ": the filter was stopped".to_owned(),
            };
            Some(Deed::Act { text: said + &refused })
        };
        match &*call.call {
            "proxy_send_local_response" => {
                let status = match arg(0) {
                    Some(Value::Number(status)) => *status,
                    _ => 0,
                };
                Some(Deed::Reply { status, details: text(arg(1)), body: text(arg(2)) })
            }
            "proxy_continue_stream" | "proxy_continue_request" | "proxy_continue_response" => {
                act("lets it go on".to_owned())
            }
            "proxy_close_stream" => act("closes the stream".to_owned()),
            "proxy_http_call" => {
                let cluster = text(arg(0));
                let asks = format!("asks cluster {cluster}{}", request_line(arg(1)));
                self.call(call, &cluster, act(asks))
            }
            "proxy_grpc_call" | "proxy_grpc_stream" => {
                let cluster = text(arg(0));
                let asks = format!("asks cluster {cluster}: gRPC {}/{}", text(arg(1)), text(arg(2)));
                self.call(call, &cluster, act(asks))
            }
            "proxy_set_shared_data" => act(format!("shared data {} = {}", text(arg(0)), text(arg(1)))),
            "proxy_set_tick_period_milliseconds" => act(format!("ticks every {} ms", text(arg(0)))),
            "proxy_increment_metric" | "proxy_record_metric" => {
                let (Some(Value::Number(id)), Some(Value::Number(value))) = (arg(0), arg(1)) else {
                    return None;
                };
                let name = self.metrics.get(&(instance, *id)).cloned().unwrap_or_else(|| id.to_string());
                act(match &*call.call {
                    "proxy_increment_metric" => format!("metric {name} {:+}", value.cast_signed()),
                    _ => format!("metric {name} = {value}"),
                })
            }
            "proxy_call_foreign_function" => act(format!("calls {}", text(arg(0)))),
            "proxy_enqueue_shared_queue" => act(format!("puts {} into a queue", text(arg(1)))),
            _ => None,
        }
    }

    /// A callout that was refused, with what to do where the reason is that nobody said where the cluster is.
    fn call(&self, call: &Hostcall, cluster: &str, asks: Option<Deed>) -> Option<Deed> {
        let is_refused = call.status.is_some_and(|status| status != 0);
        match asks {
            Some(Deed::Act { text }) if is_refused && !self.clusters.contains(cluster) => {
                Some(Deed::Act { text: format!("{text}: {NO_CLUSTER}") })
            }
            asks => asks,
        }
    }

    fn note_metrics(&mut self, instance: u64, step: &Step) {
        for call in step.calls.iter().flat_map(|call| &call.hostcalls) {
            if let ("proxy_define_metric", [_, Value::Bytes(name)], [Value::Number(id)]) =
                (&*call.call, &call.args[..], &call.answer[..])
            {
                self.metrics.insert((instance, *id), shown(name));
            }
        }
    }
}

/// What has to be said where a cluster is asked that is not there.
const NO_CLUSTER: &str =
    "there is none of this name; `--cluster NAME=HOST:PORT` or `clusters` in dev.yaml says where it is";

/// The method and the path of a callout.
fn request_line(head: Option<&Value>) -> String {
    let Some(Value::Fields(fields)) = head else { return String::new() };
    let value = |wanted: &str| {
        let field = fields.iter().find(|(name, _)| &*name.0 == wanted.as_bytes());
        field.map(|(_, value)| shown(value)).unwrap_or_default()
    };
    format!(": {} {}", value(":method"), value(":path"))
}
