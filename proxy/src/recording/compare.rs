//! Where a build does otherwise than the recorded one did.
//!
//! Two steps are identical if everything in them is but the time that they took: what the guest asked, in which order,
//! what it was answered, what it did, what it logged, what it cost, instruction by instruction. What differs is told in the
//! words of who operates the filter: decisions, headers, bodies, logs, and what it did to the rest of the world.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde::Serialize;

use super::replay::Played;
use crate::wasm::witness::{
    Blob, Change, End, Fields, GuestCall, Hostcall, Op, Piece, Request, Response, Step, Value,
};

/// How much of a text is shown, in bytes.
const SHOWN: usize = 200;

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
        self.count(recorded, replayed.as_ref());
        let differences = match replayed {
            None => {
                self.report.not_played += 1;
                Vec::new()
            }
            Some(replayed) if are_identical(recorded, replayed) => {
                self.report.identical += 1;
                Vec::new()
            }
            Some(replayed) => self.differences(*instance, recorded, replayed),
        };
        match replayed {
            Some(replayed) if differences.is_empty() && !are_identical(recorded, replayed) => {
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

/// What a hostcall answered, as people read it.
fn answered(call: &Hostcall) -> String {
    let values: Vec<String> = call.answer.iter().map(value).collect();
    if values.is_empty() { String::new() } else { format!(" = {}", values.join(", ")) }
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
        lines.map(|line| format!("{:?}: {}", line.level, shown(&line.text)).to_lowercase_first()).collect()
    };
    unmatched("log", lines(recorded), lines(replayed), found);
}

trait LowercaseFirst {
    fn to_lowercase_first(self) -> String;
}

impl LowercaseFirst for String {
    fn to_lowercase_first(mut self) -> String {
        if let Some(first) = self.get_mut(0..1) {
            first.make_ascii_lowercase();
        }
        self
    }
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

/// A hostcall as people read it.
fn written(call: &Hostcall) -> String {
    let mut text = format!("{}(", call.call.strip_prefix("proxy_").unwrap_or(&call.call));
    for (at, value) in call.args.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{}", self::value(value));
    }
    text.push(')');
    match call.status {
        Some(0) => {}
        Some(status) => text.push_str(&format!(" = status {status}")),
        None => text.push_str(" = stopped"),
    }
    text
}

fn value(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bytes(blob) => format!("{:?}", shown(blob)),
        Value::Fields(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}: {}", shown(name), shown(value))).collect();
            format!("[{}]", fields.join(", "))
        }
    }
}

/// What a step left of an exchange.
fn after(step: &Step, context: u32) -> Change {
    let stream = step.streams.iter().find(|stream| stream.context == context);
    stream.map(|stream| stream.after.clone()).unwrap_or_default()
}

/// Where two steps left an exchange otherwise that both found as `base`.
fn changes(base: &Change, recorded: &Change, replayed: &Change, found: &mut Vec<Found>) {
    let request = |change: &Change| change.request.clone().or(base.request.clone());
    let response = |change: &Change| change.response.clone().or(base.response.clone());
    requests(request(recorded), request(replayed), found);
    responses(response(recorded), response(replayed), found);
    let maps = [
        (
            "response header, staged",
            &base.staged_response_headers,
            &recorded.staged_response_headers,
            &replayed.staged_response_headers,
        ),
        ("request trailer", &base.request_trailers, &recorded.request_trailers, &replayed.request_trailers),
        (
            "response trailer",
            &base.response_trailers,
            &recorded.response_trailers,
            &replayed.response_trailers,
        ),
    ];
    for (what, base, recorded, replayed) in maps {
        let of = |fields: &Option<Fields>| fields.clone().or(base.clone()).unwrap_or_default();
        fields(what, &of(recorded), &of(replayed), found);
    }
    bodies("request body", &base.request_body, &recorded.request_body, &replayed.request_body, found);
    bodies("response body", &base.response_body, &recorded.response_body, &replayed.response_body, found);
    fields("property", &recorded.properties, &replayed.properties, found);
    let rest = |change: &Change| (change.route_stale, change.preferred_endpoint, change.timeout_extension);
    let (one, other) = (rest(recorded), rest(replayed));
    if one != other {
        found.push(Found::new(
            "route, endpoint, more time",
            Some(format!("{one:?}")),
            Some(format!("{other:?}")),
        ));
    }
}

fn requests(recorded: Option<Request>, replayed: Option<Request>, found: &mut Vec<Found>) {
    let (Some(one), Some(other)) = (recorded, replayed) else { return };
    text(":method", &one.method, &other.method, found);
    text(":path", &one.path.text(), &other.path.text(), found);
    text(":scheme", &one.scheme, &other.scheme, found);
    fields("request header", &one.headers, &other.headers, found);
}

fn responses(recorded: Option<Response>, replayed: Option<Response>, found: &mut Vec<Found>) {
    let (Some(one), Some(other)) = (recorded, replayed) else { return };
    text(":status", &one.status.to_string(), &other.status.to_string(), found);
    fields("response header", &one.headers, &other.headers, found);
}

fn text(what: &str, one: &str, other: &str, found: &mut Vec<Found>) {
    if one != other {
        found.push(Found::new(what, Some(one.to_owned()), Some(other.to_owned())));
    }
}

/// Names whose values differ, all values of a name together.
fn fields(what: &str, one: &Fields, other: &Fields, found: &mut Vec<Found>) {
    if one == other {
        return;
    }
    let grouped = |fields: &Fields| {
        let mut map: BTreeMap<Vec<u8>, Vec<Blob>> = BTreeMap::new();
        fields.iter().for_each(|(name, value)| map.entry(name.0.to_vec()).or_default().push(value.clone()));
        map
    };
    let (one, other) = (grouped(one), grouped(other));
    let names: std::collections::BTreeSet<&Vec<u8>> = one.keys().chain(other.keys()).collect();
    for name in names {
        let (one, other) = (one.get(name), other.get(name));
        if one != other {
            let show = |values: Option<&Vec<Blob>>| {
                values.map(|values| values.iter().map(shown).collect::<Vec<_>>().join(", "))
            };
            let what = format!("{what} {}", String::from_utf8_lossy(name).replace('\0', "."));
            found.push(Found::new(what, show(one), show(other)));
        }
    }
}

fn bodies(
    what: &str,
    base: &Option<Piece>,
    recorded: &Option<Piece>,
    replayed: &Option<Piece>,
    found: &mut Vec<Found>,
) {
    if recorded == replayed {
        return;
    }
    let base = whole(&[], base.as_ref());
    let (one, other) = (whole(&base, recorded.as_ref()), whole(&base, replayed.as_ref()));
    if one == other {
        return;
    }
    let at = one.iter().zip(&other).position(|(one, other)| one != other);
    let at = at.unwrap_or(one.len().min(other.len()));
    let show = |body: &[u8]| {
        let from = at.saturating_sub(SHOWN / 4);
        let piece = &body[from.min(body.len())..body.len().min(from + SHOWN)];
        format!("{} bytes, around byte {at}: {:?}", body.len(), String::from_utf8_lossy(piece))
    };
    found.push(Found::new(what, Some(show(&one)), Some(show(&other))));
}

/// A body after a change.
fn whole(base: &[u8], change: Option<&Piece>) -> Vec<u8> {
    match change {
        None => base.to_vec(),
        Some(Piece::Whole(bytes)) => bytes.0.to_vec(),
        Some(Piece::Added(bytes)) => [base, &bytes.0].concat(),
    }
}

impl Change {
    /// Has this happen after what happened before.
    pub(crate) fn update(&mut self, later: &Change) {
        if let Some(request) = &later.request {
            self.request = Some(request.clone());
        }
        if let Some(response) = &later.response {
            self.response = Some(response.clone());
        }
        for (mine, new) in [
            (&mut self.staged_response_headers, &later.staged_response_headers),
            (&mut self.request_trailers, &later.request_trailers),
            (&mut self.response_trailers, &later.response_trailers),
        ] {
            if new.is_some() {
                mine.clone_from(new);
            }
        }
        for (mine, new) in
            [(&mut self.request_body, &later.request_body), (&mut self.response_body, &later.response_body)]
        {
            if new.is_some() {
                let base = whole(&[], mine.as_ref());
                *mine = Some(Piece::Whole(Blob(whole(&base, new.as_ref()).into())));
            }
        }
    }
}

/// As much of a text as is shown.
pub(crate) fn shown(blob: &Blob) -> String {
    let text = blob.text();
    if text.len() <= SHOWN {
        return text.into_owned();
    }
    format!("{}… ({} bytes)", &text[..text.floor_char_boundary(SHOWN)], blob.0.len())
}

/// What was done to an exchange that was found as `base`: what, what it was, what it is.
pub(crate) fn done(base: &Change, after: &Change) -> Vec<(String, Option<String>, Option<String>)> {
    let mut found = Vec::new();
    changes(base, &Change::default(), after, &mut found);
    found.into_iter().map(|Found { what, recorded, replayed }| (what, recorded, replayed)).collect()
}

/// What a step is called.
pub(crate) fn name(op: &Op) -> &'static str {
    use crate::wasm::witness::Side::{Request, Response};
    match op {
        Op::Start => "start",
        Op::Open { .. } => "begin",
        Op::Headers { direction: Request, .. } => "request headers",
        Op::Headers { direction: Response, .. } => "response headers",
        Op::Body { direction: Request, .. } => "request body",
        Op::Body { direction: Response, .. } => "response body",
        Op::Trailers { direction: Request, .. } => "request trailers",
        Op::Trailers { direction: Response, .. } => "response trailers",
        Op::NewConnection { .. } => "new connection",
        Op::Data { direction: Request, .. } => "downstream data",
        Op::Data { direction: Response, .. } => "upstream data",
        Op::UpstreamClose { .. } => "upstream close",
        Op::CloseConnection { .. } => "downstream close",
        Op::Log { .. } => "log",
        Op::Release { .. } => "end",
        Op::GiveUp { .. } => "end, too late",
        Op::Tick => "tick",
        Op::QueueReady { .. } => "queue",
        Op::HttpCallResponse { .. } => "answer of a callout",
        Op::Grpc { .. } => "answer of a gRPC callout",
        Op::ForeignFunction { .. } => "foreign function",
        Op::Clusters { .. } => "clusters",
        Op::Shutdown => "shutdown",
    }
}
