//! One exchange as its filter saw it: what happened in which order, what the filter did, and what that took.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::blame::{Blame, Frame};
use crate::recording::compare::{done, name, shown};
use crate::wasm::witness::{Change, End, GuestCall, Hostcall, Op, Step, Value};

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It passed the filter.
    Passed,
    /// The filter answered it.
    Replied,
    /// The filter broke it off.
    Closed,
    /// It passed, and the filter wanted to see nothing more of it.
    Left,
    /// The filter failed.
    Failed,
}

/// An exchange.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Story {
    /// Which, from 1.
    pub(super) exchange: u64,
    pub(super) method: String,
    pub(super) path: String,
    /// The response's status, where the filter got to know it.
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    /// WebAssembly instructions of the filter, all its callbacks together.
    pub(super) instructions: u64,
    /// How long they took.
    pub(super) nanoseconds: u64,
    pub(super) steps: Vec<Scene>,
    /// How many steps more there were.
    pub(super) more_steps: u64,
    /// `x-request-id`, as the filter found it.
    #[serde(skip)]
    pub(super) request_id: Option<String>,
    #[serde(skip)]
    found: Change,
    #[serde(skip)]
    began: Instant,
    #[serde(skip)]
    announced: bool,
}

/// Steps that are kept of an exchange, and of them such in which nothing was done: a stream may have any number.
const MAX_STEPS: usize = 500;
const MAX_QUIET_STEPS: usize = 50;

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

/// Stories that go on.
#[derive(Debug, Default)]
pub(super) struct Stories {
    exchanges: u64,
    open: HashMap<(u64, u32), Story>,
    /// Clusters that there are.
    clusters: HashSet<String>,
    /// Names of the metrics that an instance has defined, by the numbers that it calls them by.
    metrics: HashMap<(u64, u64), String>,
}

/// What a step adds up to.
#[derive(Debug)]
pub(super) enum Told {
    /// An exchange has ended for the filter.
    Exchange(Box<Story>),
    /// Something happened that belongs to no exchange.
    Aside(Scene),
}

impl Stories {
    /// An instance that is not called again is forgotten.
    pub(super) fn forget(&mut self, instance: u64) {
        self.metrics.retain(|(of, _), _| *of != instance);
        self.open.retain(|(of, _), _| *of != instance);
    }

    /// These are the clusters that filters may ask.
    pub(super) fn know(&mut self, clusters: impl Iterator<Item = String>) {
        self.clusters = clusters.collect();
    }

    /// Whether an exchange with this id is not over for the filter.
    pub(super) fn has_open(&self, request_id: &str) -> bool {
        self.open.values().any(|story| story.request_id.as_deref() == Some(request_id))
    }

    /// Those that have been open for so long, each once.
    pub(super) fn slow(&mut self, patience: Duration) -> Vec<&Story> {
        let mut slow: Vec<_> = self
            .open
            .values_mut()
            .filter(|story| !story.announced && story.began.elapsed() > patience)
            .collect();
        slow.sort_by_key(|story| story.exchange);
        slow.into_iter()
            .map(|story| {
                story.announced = true;
                &*story
            })
            .collect()
    }

    /// Adds a step.
    pub(super) fn add(&mut self, instance: u64, step: &Step) -> Vec<Told> {
        self.note_metrics(instance, step);
        if let Op::Open { context, .. } = &step.op {
            self.exchanges += 1;
            self.open.insert((instance, *context), Story::new(self.exchanges));
        }
        let scene = self.scene(instance, step);
        for stream in &step.streams {
            if let Some(story) = self.open.get_mut(&(instance, stream.context)) {
                story.found.update(&stream.before);
                let deeds = done(&story.found, &stream.after).into_iter();
                let deeds = deeds.map(|(name, from, to)| Deed::Change { name, from, to });
                story.found.update(&stream.after);
                // A change from a tick or an answer belongs to the exchange that it was made to.
                let mut own = Scene { did: deeds.collect(), ..scene.clone() };
                if Some(stream.context) != step.op.context() {
                    (own.instructions, own.nanoseconds) = (0, 0);
                    if !own.did.is_empty() {
                        story.steps.push(own);
                    }
                } else {
                    own.did.extend(scene.did.iter().cloned());
                    story.add(own);
                }
            }
        }
        let had_stream = step.streams.iter().any(|stream| Some(stream.context) == step.op.context());
        let mut told = Vec::new();
        match step.op.context() {
            Some(context) if !had_stream => {
                if let Some(story) = self.open.get_mut(&(instance, context)) {
                    story.add(scene);
                }
            }
            Some(_) => {}
            None if !scene.did.is_empty() => told.push(Told::Aside(scene)),
            None => {}
        }
        self.end(instance, step, &mut told);
        told
    }

    fn end(&mut self, instance: u64, step: &Step, told: &mut Vec<Told>) {
        let failed = matches!(step.end, End::Fault { .. });
        let has_left = matches!(&step.end, End::Answer(answer) if answer == "leave");
        let over = match &step.op {
            Op::Release { context } | Op::CloseConnection { context, .. } => Some(*context),
            Op::Headers { context, .. } if has_left => Some(*context),
            _ => None,
        };
        let mut ended: Vec<Story> =
            over.and_then(|context| self.open.remove(&(instance, context))).into_iter().collect();
        if failed {
            let of_instance = |(of, _): &(u64, u32), _: &mut Story| *of == instance;
            ended.extend(self.open.extract_if(of_instance).map(|(_, story)| story));
            ended.sort_by_key(|story| story.exchange);
        }
        for mut story in ended {
            story.conclude(failed, has_left);
            told.push(Told::Exchange(Box::new(story)));
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

    fn scene(&self, instance: u64, step: &Step) -> Scene {
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

impl Story {
    fn new(exchange: u64) -> Story {
        Story {
            exchange,
            method: String::new(),
            path: String::new(),
            status: None,
            outcome: Outcome::Passed,
            instructions: 0,
            nanoseconds: 0,
            steps: Vec::new(),
            more_steps: 0,
            request_id: None,
            found: Change::default(),
            began: Instant::now(),
            announced: false,
        }
    }

    fn add(&mut self, scene: Scene) {
        self.instructions += scene.instructions;
        self.nanoseconds += scene.nanoseconds;
        if self.method.is_empty()
            && let Some(request) = &self.found.request
        {
            self.method = request.method.clone();
            self.path = shown(&request.path);
            let id = request.headers.iter().find(|(name, _)| &*name.0 == b"x-request-id");
            self.request_id = id.map(|(_, value)| value.text().into_owned());
        }
        for deed in &scene.did {
            match deed {
                Deed::Reply { status, .. } if self.outcome == Outcome::Passed => {
                    self.outcome = Outcome::Replied;
                    self.status = u16::try_from(*status).ok();
                }
                Deed::Act { text } if text == "closes the stream" => self.outcome = Outcome::Closed,
                _ => {}
            }
        }
        let most = if scene.is_quiet() { MAX_QUIET_STEPS } else { MAX_STEPS };
        match self.steps.len() < most {
            true => self.steps.push(scene),
            false => self.more_steps += 1,
        }
    }

    /// Where the filter holds it, if it does.
    pub(super) fn held_at(&self) -> Option<&'static str> {
        self.steps.last().filter(|scene| scene.waits()).map(|scene| scene.step)
    }

    fn conclude(&mut self, failed: bool, has_left: bool) {
        match self.outcome {
            Outcome::Passed if failed => self.outcome = Outcome::Failed,
            Outcome::Passed if has_left => self.outcome = Outcome::Left,
            _ => {}
        }
        if let Some(response) = &self.found.response {
            self.status = Some(response.status);
        }
    }
}
