//! Where a build does otherwise than the recorded one did.
//!
//! Two steps are identical if everything in them is but the time that they took: what the guest asked, in which order,
//! what it was answered, what it did, what it logged, what it cost, instruction by instruction. What differs is told in the
//! words of who operates the filter: decisions, headers, bodies, logs, and what it did to the rest of the world.

mod changes;
mod words;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::replay::{NotPlayed, Played};
use changes::changes;
pub(crate) use changes::done;
use words::{answered, written};
pub(crate) use words::{name, plain, shown};

use crate::wasm::witness::{Change, End, GuestCall, Hostcall, Op, Step, Value};

/// What came of a replay.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Exchanges in the recording.
    pub exchanges: u64,
    /// Steps in it.
    pub steps: u64,
    /// Callbacks of the build that were called.
    pub callbacks: u64,
    /// Steps that were the same, bit for bit.
    pub identical: u64,
    /// Steps that could not be played: the instance had failed, or never began.
    pub not_played: u64,
    /// Answers of callouts that the build did not make.
    pub not_asked: u64,
    /// Steps in which the same was done, asking otherwise or at another cost.
    pub same_effect: u64,
    /// Steps in which something else was done.
    pub different: u64,
    /// Exchanges of which any step was.
    pub different_exchanges: u64,
    /// Instructions by callback.
    pub instructions: BTreeMap<Cow<'static, str>, Cost>,
    /// What was different, up to as many as were asked for.
    pub differences: Vec<Difference>,
    /// How many more there were.
    pub omitted: u64,
    /// Why the recording ended before its time, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

/// What a callback cost, all its calls together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Calls in the recording.
    pub recorded_calls: u64,
    /// Calls of the build.
    pub replayed_calls: u64,
    /// Instructions in the recording.
    pub recorded: u64,
    /// Instructions of the build.
    pub replayed: u64,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The exchange, counted from 1 in the order in which they began; none where it is none's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<u64>,
    /// Its method and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The instance, as the recording calls it.
    pub instance: u64,
    /// What the filter was called for.
    pub step: String,
    /// What is different.
    pub what: String,
    /// What the recording has; none for nothing.
    pub recorded: Option<String>,
    /// What the build did; none for nothing.
    pub replayed: Option<String>,
}

/// Compares steps as they are played.
#[derive(Debug, Default)]
pub struct Comparison {
    report: Report,
    most: usize,
    /// Whether it is listed, too, what is asked otherwise and costs otherwise.
    exact: bool,
    exchanges: HashMap<(u64, u32), Exchange>,
}

/// What is known of an exchange of the recording.
#[derive(Debug, Default)]
struct Exchange {
    number: u64,
    differs: bool,
    found: Change,
}

impl Comparison {
    /// One that lists so many differences at most, and counts the rest. `exact`: also what a build does the same, but asks
    /// otherwise or at another cost.
    pub fn new(most: usize, exact: bool) -> Comparison {
        Comparison { most, exact, ..Comparison::default() }
    }

    /// The recording ends here, before its time.
    pub fn note_cut(&mut self, reason: &str) {
        self.report.cut = Some(reason.to_owned());
    }

    /// What came of it.
    pub fn finish(self) -> Report {
        self.report
    }

    /// Adds a step.
    pub fn add(&mut self, played: &Played) {
        let Played { instance, recorded, replayed } = played;
        self.report.steps += 1;
        if let Op::Open { context, .. } = &recorded.op {
            self.report.exchanges += 1;
            let exchange = Exchange { number: self.report.exchanges, ..Exchange::default() };
            self.exchanges.insert((*instance, *context), exchange);
        }
        for stream in &recorded.streams {
            if let Some(exchange) = self.exchanges.get_mut(&(*instance, stream.context)) {
                exchange.found.update(&stream.before);
            }
        }
        self.count(recorded, replayed.as_ref().ok());
        let differences = match replayed {
            Err(NotPlayed::Failed) => {
                self.report.not_played += 1;
                Vec::new()
            }
            Err(NotPlayed::NotAsked) => {
                self.report.not_asked += 1;
                Vec::new()
            }
            Ok(replayed) if are_identical(recorded, replayed) => {
                self.report.identical += 1;
                Vec::new()
            }
            Ok(replayed) => self.differences(*instance, recorded, replayed),
        };
        match replayed {
            Ok(replayed) if differences.is_empty() && !are_identical(recorded, replayed) => {
                self.report.same_effect += 1;
                if self.exact {
                    let found = inexactly(recorded, replayed);
                    let place = |found| self.place_of(*instance, recorded.op.context(), &recorded.op, found);
                    let found = found.into_iter().map(place).collect();
                    self.list(found);
                }
            }
            _ => self.report.different += u64::from(!differences.is_empty()),
        }
        self.list(differences);
        for stream in &recorded.streams {
            if let Some(exchange) = self.exchanges.get_mut(&(*instance, stream.context)) {
                exchange.found.update(&stream.after);
            }
        }
        if let Some(context) = recorded.ended() {
            self.exchanges.remove(&(*instance, context));
        }
    }

    fn count(&mut self, recorded: &Step, replayed: Option<&Step>) {
        for call in &recorded.calls {
            let cost = self.report.instructions.entry(call.callback.clone()).or_default();
            cost.recorded_calls += 1;
            cost.recorded += call.instructions;
        }
        for call in replayed.iter().flat_map(|step| &step.calls) {
            self.report.callbacks += 1;
            let cost = self.report.instructions.entry(call.callback.clone()).or_default();
            cost.replayed_calls += 1;
            cost.replayed += call.instructions;
        }
    }

    fn list(&mut self, differences: Vec<Difference>) {
        let room = self.most.saturating_sub(self.report.differences.len());
        self.report.omitted += differences.len().saturating_sub(room) as u64;
        self.report.differences.extend(differences.into_iter().take(room));
    }

    fn differences(&mut self, instance: u64, recorded: &Step, replayed: &Step) -> Vec<Difference> {
        let mut found = Vec::new();
        decision(&recorded.end, &replayed.end, &mut found);
        effects(recorded, replayed, &mut found);
        logs(recorded, replayed, &mut found);
        let own = recorded.op.context();
        let mut all: Vec<_> =
            found.into_iter().map(|difference| self.place(instance, own, &recorded.op, difference)).collect();
        let mut contexts: Vec<u32> = recorded.streams.iter().map(|stream| stream.context).collect();
        contexts.extend(replayed.streams.iter().map(|stream| stream.context));
        contexts.sort_unstable();
        contexts.dedup();
        for context in contexts {
            let (one, other) = (after(recorded, context), after(replayed, context));
            let mut found = Vec::new();
            let base = self.exchanges.get(&(instance, context)).map(|exchange| &exchange.found);
            changes(base.unwrap_or(&Change::default()), &one, &other, &mut found);
            all.extend(
                found
                    .into_iter()
                    .map(|difference| self.place(instance, Some(context), &recorded.op, difference)),
            );
        }
        all
    }

    /// Says where a difference is, and counts its exchange.
    fn place(&mut self, instance: u64, context: Option<u32>, op: &Op, found: Found) -> Difference {
        let exchange = context.and_then(|context| self.exchanges.get_mut(&(instance, context)));
        if exchange.is_some_and(|exchange| !std::mem::replace(&mut exchange.differs, true)) {
            self.report.different_exchanges += 1;
        }
        self.place_of(instance, context, op, found)
    }

    fn place_of(&self, instance: u64, context: Option<u32>, op: &Op, found: Found) -> Difference {
        let exchange = context.and_then(|context| self.exchanges.get(&(instance, context)));
        let (mut number, mut request) = (None, None);
        if let Some(exchange) = exchange {
            number = Some(exchange.number);
            let head = exchange.found.request.as_ref();
            request = head.map(|head| format!("{} {}", head.method, shown(&head.path)));
        }
        let Found { what, recorded, replayed } = found;
        Difference {
            exchange: number,
            request,
            instance,
            step: name(op).to_owned(),
            what,
            recorded,
            replayed,
        }
    }
}

/// A difference before it is known where.
struct Found {
    what: String,
    recorded: Option<String>,
    replayed: Option<String>,
}

impl Found {
    fn new(what: impl Into<String>, recorded: Option<String>, replayed: Option<String>) -> Found {
        Found { what: what.into(), recorded, replayed }
    }
}

/// Whether two steps are the same, but for the time that they took.
fn are_identical(one: &Step, other: &Step) -> bool {
    let calls = |step: &'_ Step| step.calls.len();
    one.op == other.op
        && one.end == other.end
        && one.streams == other.streams
        && calls(one) == calls(other)
        && one.calls.iter().zip(&other.calls).all(|(one, other)| is_same_call(one, other))
}

fn is_same_call(one: &GuestCall, other: &GuestCall) -> bool {
    one.callback == other.callback
        && one.result == other.result
        && one.instructions == other.instructions
        && one.hostcalls == other.hostcalls
        && one.logs == other.logs
}

/// What is otherwise where the same was done: what was asked and answered, what it cost, how it was done.
fn inexactly(recorded: &Step, replayed: &Step) -> Vec<Found> {
    let mut found = Vec::new();
    let calls = |step: &Step| -> Vec<String> {
        let calls = step.calls.iter().flat_map(|call| &call.hostcalls);
        calls.map(|call| format!("{}{}", written(call), answered(call))).collect()
    };
    unmatched("hostcall", calls(recorded), calls(replayed), &mut found);
    let costs = |step: &Step| -> Vec<String> {
        let cost = |call: &GuestCall| match call.result {
            Some(result) => {
                format!("{} returns {result} after {} instructions", call.callback, call.instructions)
            }
            None => format!("{} takes {} instructions", call.callback, call.instructions),
        };
        step.calls.iter().map(cost).collect()
    };
    unmatched("callback", costs(recorded), costs(replayed), &mut found);
    if found.is_empty() {
        let [one, other] = [recorded, replayed].map(|step| format!("{:?} {:?}", step.end, step.streams));
        found.push(Found::new("order, or the state of an exchange", Some(one), Some(other)));
    }
    found
}

fn decision(recorded: &End, replayed: &End, found: &mut Vec<Found>) {
    let same = match (recorded, replayed) {
        (End::Answer(one), End::Answer(other)) => one == other,
        (End::Fault { kind: one, callback: at, .. }, End::Fault { kind: other, callback: there, .. }) => {
            one == other && at == there
        }
        _ => false,
    };
    if !same {
        found.push(Found::new("decision", Some(end(recorded)), Some(end(replayed))));
    }
}

fn end(end: &End) -> String {
    match end {
        End::Answer(answer) => answer.clone().into_owned(),
        End::Fault { kind, callback, message } => format!("{kind} fault in {callback}: {message}"),
    }
}

/// What a step did to the world beside the exchange, in order.
fn effects(recorded: &Step, replayed: &Step, found: &mut Vec<Found>) {
    let effects = |step: &Step| -> Vec<String> {
        step.calls
            .iter()
            .flat_map(|call| &call.hostcalls)
            .filter(|call| is_effect(call))
            .map(written)
            .collect()
    };
    unmatched("effect", effects(recorded), effects(replayed), found);
}

fn logs(recorded: &Step, replayed: &Step, found: &mut Vec<Found>) {
    let lines = |step: &Step| -> Vec<String> {
        let lines = step.calls.iter().flat_map(|call| &call.logs);
        lines.map(|line| format!("{}: {}", line.level.word(), shown(&line.text))).collect()
    };
    unmatched("log", lines(recorded), lines(replayed), found);
}

/// What only one of two lists has, each beside what the other has in its place.
fn unmatched(what: &str, mut recorded: Vec<String>, mut replayed: Vec<String>, found: &mut Vec<Found>) {
    recorded.retain(|item| match replayed.iter().position(|other| other == item) {
        Some(at) => {
            replayed.remove(at);
            false
        }
        None => true,
    });
    let count = recorded.len().max(replayed.len());
    let (mut recorded, mut replayed) = (recorded.into_iter(), replayed.into_iter());
    found.extend((0..count).map(|_| Found::new(what, recorded.next(), replayed.next())));
}

/// Whether a hostcall does something to the world beside the exchange's headers and bodies, which are looked at by
/// themselves.
fn is_effect(call: &Hostcall) -> bool {
    match &*call.call {
        "proxy_call_foreign_function" => {
            !matches!(call.args.first(), Some(Value::Bytes(name)) if name.0.ends_with(b".get"))
        }
        "proxy_send_local_response"
        | "proxy_continue_stream"
        | "proxy_continue_request"
        | "proxy_continue_response"
        | "proxy_close_stream"
        | "proxy_clear_route_cache"
        | "proxy_set_shared_data"
        | "proxy_define_metric"
        | "proxy_increment_metric"
        | "proxy_record_metric"
        | "proxy_http_call"
        | "proxy_grpc_call"
        | "proxy_grpc_stream"
        | "proxy_grpc_send"
        | "proxy_grpc_close"
        | "proxy_grpc_cancel"
        | "proxy_set_tick_period_milliseconds"
        | "proxy_done"
        | "proxy_register_shared_queue"
        | "proxy_enqueue_shared_queue"
        | "proxy_dequeue_shared_queue"
        | "proxy_inject_encoded_data_to_filter_chain"
        | "proxy_set_upstream_override_host" => true,
        _ => false,
    }
}

/// What a step left of an exchange.
fn after(step: &Step, context: u32) -> Change {
    let stream = step.streams.iter().find(|stream| stream.context == context);
    stream.map(|stream| stream.after.clone()).unwrap_or_default()
}
