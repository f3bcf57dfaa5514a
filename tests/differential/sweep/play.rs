//! One side of the sweep: brings a proxy to each callback, has the probe make the call there, and reads what came of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::equipment::{
    Answer, Client, End, GrpcAct, Head, Received, Response, eventually, guest_line, message,
};

use super::super::Case;
use super::super::observe::{is_envoys, steady};
use super::super::stage::{Side, Stage};
use super::calls::{self, Call, PREPARATION};
use super::columns::{COLUMNS, Column, Of, PLAIN_COLUMNS, Reach};
use super::wire::Wire;

/// What came of a call: what the guest was told, and what it did to the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) answer: String,
    pub(super) effect: String,
}

impl Outcome {
    /// One without an effect to look at.
    fn of(answer: &str) -> Outcome {
        Outcome { answer: answer.to_owned(), effect: String::new() }
    }
}

/// By column (an index of [`COLUMNS`]) and call.
pub(super) type Results = BTreeMap<(usize, String), Outcome>;

/// What there is instead of an answer where the guest does not survive the call.
pub(super) const VM_FAILS: &str = "the VM fails";
/// The same where the process does not.
pub(super) const PROCESS_ENDS: &str = "the process ends";

/// The effect of nothing.
const INTACT: &str = "200 \"hello\" x-down=1 | /sweep \"body\" x-up=1";

/// The same on a connection.
const INTACT_CONNECTION: &str = "hello | line";

/// What came back to the client.
enum First {
    Response(Response),
    Read { text: String, mark: String },
}

/// One side.
pub(super) struct Player {
    case: Case,
    envoy: bool,
    stage: Stage,
    /// What is behind a TCP listener, where it is one.
    wire: Option<Wire>,
    /// How many lines of the log, and how many of the upstream's requests, belong to cells before.
    log: usize,
    requests: usize,
    /// The number of the cell. Its request carries it: that of a cell before may reach the upstream late.
    cell: usize,
    /// tidegate's own numbers when it was started, and its filter's memory after the first column.
    begun: Contexts,
    memory: Option<f64>,
}

/// How many contexts a filter was told of, and how many it was told the end of.
#[derive(Debug, Clone, Copy, Default)]
struct Contexts {
    created: f64,
    deleted: f64,
}

impl Player {
    /// Starts a proxy with a probe, which tries these calls at its start and its end where its listener is not for TCP.
    pub(super) fn start(module: &str, calls: &[&Call], envoy: bool, is_tcp: bool) -> Player {
        let wire = is_tcp.then(Wire::start);
        let script = if is_tcp { PREPARATION.to_owned() } else { script(calls) };
        let case = Case::new("sweep").upstream(upstream).grpc("service", service).sdk(module, &script);
        let case = wire.iter().fold(case, |case, wire| case.over_tcp(wire.address()));
        let stage = Stage::set(&case, envoy);
        let begun = Contexts::default();
        let mut player =
            Player { case, envoy, stage, wire, log: 0, requests: 0, cell: 0, begun, memory: None };
        player.begun = player.contexts();
        player
    }

    /// Tries every call in every column but those of the end.
    pub(super) fn play(&mut self, calls: &[&Call]) -> Results {
        let lines = self.lines();
        let mut results = Results::new();
        self.collect(&mut results, calls, &lines, Reach::Start);
        let is_tcp = self.wire.is_some();
        for (at, column) in COLUMNS.iter().enumerate() {
            if is_tcp != (column.of == Of::Connection) {
                continue;
            }
            let Reach::Exchange { before, after, requests } = column.reach else { continue };
            let mut last: Option<(usize, String)> = None;
            for call in calls.iter().filter(|call| is_tried(call, column)) {
                let mut outcome = self.cell(column, call, [before, after], requests);
                if let (PROCESS_ENDS, Some(last)) = (outcome.answer.as_str(), last.take()) {
                    // It may be the cell before that it ended of.
                    outcome = self.cell(column, call, [before, after], requests);
                    if outcome.answer != PROCESS_ENDS {
                        results.insert(last, Outcome::of(PROCESS_ENDS));
                    }
                }
                let cell = (at, call.text.clone());
                last = (!self.is_fresh()).then(|| cell.clone());
                results.insert(cell, outcome);
            }
            self.memory = self.memory.or(self.filter_metric("tidegate_filter_memory_bytes", &[]));
        }
        results
    }

    /// Ends the proxy, and reads what was tried at its end.
    pub(super) fn finish(mut self, calls: &[&Call]) -> Results {
        self.log = self.length();
        match &mut self.stage.proxy {
            Side::Tidegate(proxy) => {
                proxy.terminate();
                let exit = proxy.wait();
                assert_eq!(exit.code, Some(0), "tidegate ends as it should after all of this");
            }
            Side::Envoy(envoy) => envoy.end(),
        }
        self.pardon_envoy();
        let mut results = Results::new();
        self.collect(&mut results, calls, &self.lines(), Reach::End);
        results
    }

    /// Fails the test unless tidegate serves as before, with one instance that never failed, whose memory does not grow
    /// with what it does and whose contexts are all gone.
    pub(super) fn check_leaks(&self) {
        let Side::Tidegate(proxy) = &self.stage.proxy else { return };
        assert_eq!(self.exchange("").map(|first| self.effect(first)).as_deref(), Some(self.intact()));
        proxy.settle();
        let now = |name| self.filter_metric(name, &[]);
        assert_eq!(
            now("tidegate_filter_faults_total"),
            Some(0.0),
            "no call is a fault but those that end a guest"
        );
        assert_eq!(now("tidegate_filter_instances"), Some(1.0));
        assert_eq!(now("tidegate_filter_memory_bytes"), self.memory, "the filter's memory after all columns");
        let contexts = self.contexts();
        assert_eq!(
            contexts.created - self.begun.created,
            contexts.deleted - self.begun.deleted,
            "every context that the filter was told of has ended: {contexts:?}"
        );
    }

    /// What was tried at the start or at the end.
    fn collect(&self, results: &mut Results, calls: &[&Call], lines: &[String], reach: Reach) {
        if self.wire.is_none() {
            collect(results, calls, lines, reach);
        }
    }

    /// One of tidegate's metrics of its filter.
    fn filter_metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match &self.stage.proxy {
            Side::Tidegate(proxy) => Some(proxy.metrics().sum(name, labels)),
            Side::Envoy(_) => None,
        }
    }

    fn contexts(&self) -> Contexts {
        let calls = |callback| {
            let calls = self.filter_metric("tidegate_filter_calls_total", &[("callback", callback)]);
            calls.unwrap_or_default()
        };
        Contexts { created: calls("proxy_on_context_create"), deleted: calls("proxy_on_delete") }
    }

    fn cell(&mut self, column: &Column, call: &Call, around: [&str; 2], requests: usize) -> Outcome {
        let [first, last] = calls::around(call);
        let line = |text: &str| match text {
            "" => String::new(),
            text => format!("on {} if #1: {text}", column.callback),
        };
        // What a call or its column sets going is awaited, so that the next cell is not disturbed.
        let awaited = awaited(call, column);
        let answered: Vec<String> =
            awaited.iter().map(|(callback, _)| format!("on {callback}: say answered")).collect();
        let lines =
            [around[0], &line(first), &line(&call.text), &line(last), around[1], &answered.join("; ")];
        let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        let mut script = lines.join("; ");
        if call.is_old {
            script = script.replace("proxy_continue_stream 0", "proxy_continue_request");
        }
        self.log = self.length();
        self.cell += 1;
        self.requests += self.stage.upstream("up").requests_from(self.requests).len();
        let mut first = self.exchange(&script);
        if requests > 1 {
            let second = self.exchange("");
            // Of connections it is the second that the call is made on.
            first = if self.wire.is_some() { second } else { first };
        }
        let prefix = format!("{}: {} -> ", column.callback, call.text);
        let answer = eventually(&format!("{prefix:?} in the log"), || self.answer(&prefix));
        if answer == VM_FAILS || answer == PROCESS_ENDS {
            self.restart();
            return Outcome::of(&answer);
        }
        for (callback, times) in awaited {
            let times = times[usize::from(!answer.starts_with('0'))];
            let line = format!("{callback}: answered");
            eventually("what a call has set going", || {
                (self.lines().iter().filter(|logged| **logged == line).count() >= times).then_some(())
            });
        }
        // A process may end of what it has done a moment later.
        // A connection that is closed before it is passed on has no end in Envoy.
        let is_closed = call.text == "proxy_close_stream 2" || call.text == "proxy_close_stream 3";
        let is_endless = self.envoy && self.wire.is_some() && is_closed;
        let gone = eventually("the end of an exchange", || {
            if is_endless {
                return Some(true);
            }
            match self.lines().iter().filter(|line| *line == "delete: gone").count() >= requests {
                true => Some(true),
                false => (!self.runs()).then_some(false),
            }
        });
        if !gone {
            self.restart();
            return Outcome::of(PROCESS_ENDS);
        }
        let mut effect = first.map_or_else(|| "broken off".to_owned(), |first| self.effect(first));
        if call.hostcall.starts_with("proxy_continue") {
            // What becomes in Envoy of an exchange that was not paused differs from run to run.
            assert!(self.envoy || effect == self.intact(), "{prefix:?} has an effect: {effect}");
            effect.clear();
        }
        Outcome { answer: steadied(&answer), effect }
    }

    /// What a call was answered, once it was, or what happened instead.
    fn answer(&self, prefix: &str) -> Option<String> {
        let runs = self.runs();
        if let Some(answer) = self.lines().iter().find_map(|line| line.strip_prefix(prefix)) {
            return Some(answer.to_owned());
        }
        let failed = match &self.stage.proxy {
            Side::Tidegate(proxy) => proxy
                .log_from(self.log)
                .iter()
                .any(|event| event["fields"]["fault"].is_string() || event["fault"].is_string()),
            Side::Envoy(envoy) => {
                envoy.log_from(self.log).iter().any(|line| line.contains("wasm Function: "))
            }
        };
        match (runs, failed) {
            (false, _) => Some(PROCESS_ENDS.to_owned()),
            (true, true) => Some(VM_FAILS.to_owned()),
            (true, false) => None,
        }
    }

    /// Some calls make Envoy send what is no request.
    fn pardon_envoy(&self) {
        if self.envoy {
            self.stage.upstream("up").pardon();
        }
    }

    /// Whether nothing was tried since it was started.
    fn is_fresh(&self) -> bool {
        self.log == 0
    }

    fn runs(&self) -> bool {
        match &self.stage.proxy {
            Side::Tidegate(proxy) => proxy.is_running(),
            Side::Envoy(envoy) => envoy.is_running(),
        }
    }

    fn restart(&mut self) {
        self.pardon_envoy();
        self.stage = Stage::set(&self.case, self.envoy);
        (self.log, self.requests, self.memory) = (0, 0, None);
        self.begun = self.contexts();
    }

    /// One exchange, or one connection's conversation.
    fn exchange(&self, script: &str) -> Option<First> {
        match &self.wire {
            Some(wire) => {
                let (line, which) = match script {
                    "" => ("x-probe\n".to_owned(), "second"),
                    script => (format!("x-probe-script: {script}\n"), "first"),
                };
                let mark = format!("|{}-{which}", self.cell);
                let text = wire.converse(self.stage.address(), &line, &mark)?;
                Some(First::Read { text, mark })
            }
            None => self.request(script).map(First::Response),
        }
    }

    /// The effect of nothing.
    fn intact(&self) -> &'static str {
        if self.wire.is_some() { INTACT_CONNECTION } else { INTACT }
    }

    /// What the client saw and, where that was the upstream's, what the upstream saw.
    fn effect(&self, first: First) -> String {
        match (first, &self.wire) {
            (First::Response(response), _) if response.body.end == End::Complete => self.responded(&response),
            // An answer is as long, whatever a filter made of it.
            (First::Read { text, mark }, Some(wire)) if text.len() == "hello".len() => {
                let heard = wire.heard(&mark);
                let heard = if heard.starts_with("x-probe") { "line" } else { &heard };
                format!("{text} | {heard}")
            }
            (First::Read { text, .. }, _) => format!("{text:?} and the end"),
            _ => "broken off".to_owned(),
        }
    }

    /// One exchange with bodies and trailers both ways, on a connection of its own.
    fn request(&self, script: &str) -> Option<Response> {
        let address = self.stage.address();
        let mut client = Client::try_connect_from(Ipv4Addr::new(127, 0, 0, 2), address).ok()?;
        let script = if script.is_empty() { String::new() } else { format!("x-probe-script: {script}\r\n") };
        let text = format!(
            "POST /sweep HTTP/1.1\r\nhost: tide.test\r\nte: trailers\r\ntrailer: x-up, x-sweep\r\n{script}\
             x-cell: {}\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-up: 1\r\n\r\n",
            self.cell
        );
        client.try_send(text.as_bytes()).ok()?;
        client.try_response_to("POST").ok()?
    }

    /// What the client saw and, where that was the upstream's answer, what the upstream saw of this cell's doing.
    fn responded(&self, response: &Response) -> String {
        let mut seen = vec![response.status().to_string()];
        seen.extend(swept(&response.head.fields));
        seen.push(format!("{:?}", response.text()));
        seen.extend(swept(&response.body.trailers));
        if response.status() == 200 {
            let requests = self.stage.upstream("up").requests_from(self.requests);
            let cell = self.cell.to_string();
            let is_own = |request: &&Received| {
                let fields = &request.head.fields;
                let marked = fields.iter().find(|(name, _)| name == "x-cell");
                request.head.target() != "/callout" && marked.is_none_or(|(_, value)| *value == cell)
            };
            let request = requests.iter().find(is_own);
            seen.push(request.map_or_else(|| "nothing upstream".to_owned(), upstream_saw));
        }
        seen.join(" ")
    }

    /// How many lines the log has.
    fn length(&self) -> usize {
        self.log
            + match &self.stage.proxy {
                Side::Tidegate(proxy) => proxy.log_from(self.log).len(),
                Side::Envoy(envoy) => envoy.log_from(self.log).len(),
            }
    }

    /// What the probe has logged since the cell began.
    fn lines(&self) -> Vec<String> {
        match &self.stage.proxy {
            Side::Tidegate(proxy) => {
                let events = proxy.log_from(self.log);
                let own = events.iter().filter(|event| event["target"] == "tidegate::guest");
                own.map(|event| message(event).to_owned()).collect()
            }
            Side::Envoy(envoy) => {
                envoy.log_from(self.log).iter().filter_map(|line| Some(guest_line(line)?.1)).collect()
            }
        }
    }
}

/// Whether a call is tried in a column.
pub(super) fn is_tried(call: &Call, column: &Column) -> bool {
    !call.is_plain || PLAIN_COLUMNS.contains(&column.name)
}

/// What has to come before a cell is over: callbacks, and how often they come, where the call succeeds and where not.
fn awaited(call: &Call, column: &Column) -> Vec<(&'static str, [usize; 2])> {
    let set_going = match call.hostcall {
        "proxy_http_call" => Some("http_call_response"),
        "proxy_enqueue_shared_queue" => Some("queue_ready"),
        _ => None,
    };
    // What the column did to be reached is the first of it.
    let reached = usize::from(set_going == Some(column.callback));
    // A stream's end comes after all that shows it.
    let ends = column.callback.starts_with("grpc_").then_some(("grpc_close", [1, 1]));
    set_going.map(|callback| (callback, [1 + reached, reached])).into_iter().chain(ends).collect()
}

/// What is tried at the start and at the end, where one callback tries all.
fn script(calls: &[&Call]) -> String {
    let mut script = PREPARATION.to_owned();
    for column in COLUMNS.iter().filter(|column| matches!(column.reach, Reach::Start | Reach::End)) {
        for call in calls.iter().filter(|call| is_tried(call, column) && call.hostcall != "proc_exit") {
            let [first, last] = calls::around(call);
            for text in [first, &call.text, last].into_iter().filter(|text| !text.is_empty()) {
                script += &format!("on {} if root: {text}\n", column.callback);
            }
        }
    }
    script
}

/// What was tried at the start or at the end: the last time, since a throw-away VM may come before.
fn collect(results: &mut Results, calls: &[&Call], lines: &[String], reach: Reach) {
    for (at, column) in COLUMNS.iter().enumerate().filter(|(_, column)| column.reach == reach) {
        for call in calls.iter().filter(|call| is_tried(call, column) && call.hostcall != "proc_exit") {
            let prefix = format!("{}: {} -> ", column.callback, call.text);
            let answer = lines.iter().rev().find_map(|line| line.strip_prefix(&prefix));
            results.insert(
                (at, call.text.clone()),
                Outcome::of(&answer.map_or("never tried".to_owned(), steadied)),
            );
        }
    }
}

fn upstream(head: &Head) -> Answer {
    match head.target() {
        "/callout" => Answer::chunked(200, &[("trailer", "x-t")], &["answer"], &[("x-t", "1")]),
        _ => Answer::chunked(200, &[("trailer", "x-down, x-sweep")], &["hello"], &[("x-down", "1")]),
    }
}

fn service(_: &str) -> Vec<GrpcAct> {
    let initial = GrpcAct::Head(vec![("x-initial", "1")]);
    let trailing = GrpcAct::Trailers(vec![("grpc-status", "0"), ("x-trailing", "1")]);
    vec![GrpcAct::ReadToEnd, initial, GrpcAct::Message("answer".to_owned()), trailing]
}

fn upstream_saw(request: &Received) -> String {
    let mut seen = vec![format!("| {}", request.head.target())];
    seen.extend(swept(&request.head.fields));
    match &request.body {
        Some(body) => {
            seen.push(format!("{:?}", body.text()));
            seen.extend(swept(&body.trailers));
        }
        None => seen.push("cut".to_owned()),
    }
    seen.join(" ")
}

/// Fields that the sweep sets or sends.
fn swept(fields: &[(String, String)]) -> Vec<String> {
    let own = ["x-sweep", "x-up", "x-down"];
    let shown = fields.iter().filter(|(name, _)| own.contains(&name.as_str()));
    shown.map(|(name, value)| format!("{name}={value}")).collect()
}

/// Pairs without what Envoy adds about itself and what differs from run to run, in order.
fn steadied(answer: &str) -> String {
    let Some((status, pairs)) = answer.split_once(" {").filter(|(_, pairs)| pairs.len() > 1) else {
        return answer.to_owned();
    };
    let pairs = pairs.trim_end_matches('}').trim_matches('"').split("\", \"");
    let pairs = pairs.filter_map(|pair| pair.split_once("\": \""));
    let mut shown: Vec<String> = pairs
        .filter(|(name, value)| !is_envoys(name, value) && !["x-probe-script", "x-cell"].contains(name))
        .map(|(name, value)| format!("{name}: {}", steady(name, value)))
        .collect();
    shown.sort();
    format!("{status} {{{}}}", shown.join(", "))
}
