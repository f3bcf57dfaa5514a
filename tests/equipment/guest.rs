//! Small Proxy-Wasm modules, made from a list of steps for each callback.
//!
//! A guest logs every callback that it has with its arguments, and every hostcall with its status and what it read:
//! its log is the whole conversation with its host, so two hosts can be compared line by line. The modules import
//! only what their steps use, have no state but a few globals, and need no toolchain: they are WebAssembly text.

use std::fmt::Write as _;

use super::hostcall;
use super::step::{Step, When};
use super::wat::Text;

/// What a guest may be called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum On {
    Create,
    VmStart,
    Configure,
    Tick,
    NewConnection,
    DownstreamData,
    UpstreamData,
    DownstreamClose,
    UpstreamClose,
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    CalloutResponse,
    GrpcInitial,
    GrpcReceive,
    GrpcTrailing,
    GrpcClose,
    QueueReady,
    Log,
    Done,
    Delete,
}

use On::{
    CalloutResponse, Configure, Create, Delete, Done, DownstreamClose, DownstreamData, GrpcClose,
    GrpcInitial, GrpcReceive, GrpcTrailing, Log, NewConnection, QueueReady, RequestBody, RequestHeaders,
    RequestTrailers, ResponseBody, ResponseHeaders, ResponseTrailers, Tick, UpstreamClose, UpstreamData,
    VmStart,
};

impl On {
    pub(crate) const ALL: [On; 24] = [
        Create,
        VmStart,
        Configure,
        Tick,
        NewConnection,
        DownstreamData,
        UpstreamData,
        DownstreamClose,
        UpstreamClose,
        RequestHeaders,
        RequestBody,
        RequestTrailers,
        ResponseHeaders,
        ResponseBody,
        ResponseTrailers,
        CalloutResponse,
        GrpcInitial,
        GrpcReceive,
        GrpcTrailing,
        GrpcClose,
        QueueReady,
        Log,
        Done,
        Delete,
    ];

    /// The export, the names of its parameters after the context (as the log shows them), its default result.
    fn shape(self) -> (&'static str, &'static [&'static str], Option<i32>) {
        match self {
            Create => ("context_create", &["parent"], None),
            VmStart => ("vm_start", &["size"], Some(1)),
            Configure => ("configure", &["size"], Some(1)),
            Tick => ("tick", &[], None),
            NewConnection => ("new_connection", &[], Some(0)),
            DownstreamData => ("downstream_data", &["size", "eos"], Some(0)),
            UpstreamData => ("upstream_data", &["size", "eos"], Some(0)),
            DownstreamClose => ("downstream_connection_close", &["peer"], None),
            UpstreamClose => ("upstream_connection_close", &["peer"], None),
            RequestHeaders => ("request_headers", &["fields", "eos"], Some(0)),
            ResponseHeaders => ("response_headers", &["fields", "eos"], Some(0)),
            RequestBody => ("request_body", &["size", "eos"], Some(0)),
            ResponseBody => ("response_body", &["size", "eos"], Some(0)),
            RequestTrailers => ("request_trailers", &["count"], Some(0)),
            ResponseTrailers => ("response_trailers", &["count"], Some(0)),
            CalloutResponse => ("http_call_response", &["token", "fields", "size", "trailers"], None),
            GrpcInitial => ("grpc_receive_initial_metadata", &["token", "fields"], None),
            GrpcReceive => ("grpc_receive", &["token", "size"], None),
            GrpcTrailing => ("grpc_receive_trailing_metadata", &["token", "fields"], None),
            GrpcClose => ("grpc_close", &["token", "status"], None),
            QueueReady => ("queue_ready", &["queue"], None),
            Log => ("log", &[], None),
            Done => ("done", &[], Some(1)),
            Delete => ("delete", &[], None),
        }
    }
}

/// A module in the making.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    abi: &'static str,
    name: String,
    callbacks: Vec<(On, Vec<Step>)>,
    quiet: bool,
}

impl Guest {
    /// A guest of ABI 0.2.1 without any callback but the creation of contexts.
    pub(crate) fn new() -> Guest {
        Guest { abi: "0_2_1", name: String::new(), callbacks: Vec::new(), quiet: false }
    }

    /// A guest that has every callback and only logs them.
    pub(crate) fn logger() -> Guest {
        On::ALL.into_iter().fold(Guest::new(), |guest, callback| guest.on(callback, []))
    }

    /// Begins each of its lines with `[NAME] `, whatever its host puts before them.
    pub(crate) fn named(mut self, name: &str) -> Guest {
        self.name = format!("[{name}] ");
        self
    }

    /// Takes a line of a named guest apart: its name and what it said.
    pub(crate) fn speaker(line: &str) -> Option<(String, String)> {
        let (name, text) = line.strip_prefix('[')?.split_once("] ")?;
        Some((name.to_owned(), text.to_owned()))
    }

    /// Says nothing but what it is told to: for measuring.
    pub(crate) fn quiet(mut self) -> Guest {
        self.quiet = true;
        self
    }

    /// Declares another version of the ABI, as the marker export spells it: `0_1_0`.
    pub(crate) fn abi(mut self, version: &'static str) -> Guest {
        self.abi = version;
        self
    }

    /// Does these steps in a callback, after those that it already has there.
    pub(crate) fn on(mut self, callback: On, steps: impl IntoIterator<Item = Step>) -> Guest {
        match self.callbacks.iter_mut().find(|(on, _)| *on == callback) {
            Some((_, had)) => had.extend(steps),
            None => self.callbacks.push((callback, steps.into_iter().collect())),
        }
        self
    }

    /// Whether its log shows the creation and the end of every context.
    pub(crate) fn sees_ends(&self) -> bool {
        let has = |callback| self.callbacks.iter().any(|(on, _)| *on == callback);
        !self.quiet && has(Create) && has(Delete)
    }

    /// The binary module.
    pub(crate) fn build(&self) -> Vec<u8> {
        let text = self.text();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("the guest's text is wrong: {error}\n{text}"))
    }

    /// Version 0.1.0 tells nobody at the headers whether the stream ends.
    fn parameters(&self, callback: On) -> &'static [&'static str] {
        let (_, all, _) = callback.shape();
        match callback {
            RequestHeaders | ResponseHeaders if self.abi == "0_1_0" => &all[..1],
            _ => all,
        }
    }

    fn text(&self) -> String {
        let mut text = Text::new(&self.name, self.quiet);
        let mut functions = String::new();
        for (index, (callback, steps)) in self.callbacks.iter().enumerate() {
            functions += &function(&mut text, index, *callback, self.parameters(*callback), steps);
        }
        let marker = format!("(func (export \"proxy_abi_version_{}\"))\n", self.abi);
        text.module(&(marker + &functions))
    }
}

fn function(
    text: &mut Text,
    index: usize,
    callback: On,
    arguments: &[&'static str],
    steps: &[Step],
) -> String {
    let (name, _, result) = callback.shape();
    let mut body = String::new();
    let _ = writeln!(body, "(global.set $heap (i32.const {}))", Text::HEAP);
    let _ = writeln!(body, "(global.set $calls{index} (i32.add (global.get $calls{index}) (i32.const 1)))");
    let numbered: Vec<(usize, &str)> = arguments.iter().copied().enumerate().collect();
    let shown = numbered.iter().filter(|(_, name)| !name.is_empty());
    text.begin(&mut body, name);
    text.number(&mut body, "ctx", "(local.get $ctx)");
    shown.for_each(|(at, name)| text.number(&mut body, name, &format!("(local.get $a{at})")));
    text.end(&mut body, 2);
    if matches!(callback, RequestHeaders | ResponseHeaders | NewConnection) {
        body += "(global.set $stream (local.get $ctx))\n";
    }
    let place = Place { callback, index };
    steps.iter().for_each(|step| emit(text, &mut body, place, step));
    let parameters: String = (0..arguments.len()).map(|at| format!(" (param $a{at} i32)")).collect();
    let (declared, default) = match result {
        Some(value) => ("(result i32)", format!("(i32.const {value})")),
        None => ("", String::new()),
    };
    format!(
        "(global $calls{index} (mut i32) (i32.const 0))\n\
         (func (export \"proxy_on_{name}\") (param $ctx i32){parameters} {declared}\n{body}{default})\n"
    )
}

/// In which callback a step stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    callback: On,
    index: usize,
}

fn emit(text: &mut Text, body: &mut String, place: Place, step: &Step) {
    match step {
        Step::Say(level, what) => {
            text.aloud(|text| {
                text.begin(body, what);
                text.end(body, *level);
            });
        }
        Step::If(when, steps) => {
            let condition = condition(text, body, place, when);
            let _ = writeln!(body, "(if {condition} (then");
            steps.iter().for_each(|step| emit(text, body, place, step));
            body.push_str("))\n");
        }
        Step::Return(value) => {
            assert!(place.callback.shape().2.is_some(), "{:?} has no result", place.callback);
            let _ = writeln!(body, "(return (i32.const {value}))");
        }
        Step::Trap => body.push_str("(unreachable)\n"),
        Step::Loop => body.push_str("(loop $forever (br $forever))\n"),
        Step::Spin(rounds) => {
            let _ = writeln!(body, "(call $spin (i32.const {rounds}))");
        }
        Step::Grow(pages) => {
            let _ = writeln!(body, "(drop (memory.grow (i32.const {pages})))");
        }
        Step::Need(pages) => {
            let _ = writeln!(
                body,
                "(if (i32.eq (i32.const -1) (memory.grow (i32.const {pages}))) (then (unreachable)))"
            );
        }
        Step::EatMemory => body.push_str("(call $eat_memory)\n"),
        Step::Recurse => body.push_str("(drop (call $recurse (i32.const 1)))\n"),
        step => hostcall::emit(text, body, step),
    }
}

fn condition(text: &mut Text, body: &mut String, place: Place, when: &When) -> String {
    let end_of_stream = || match place.callback {
        RequestHeaders | ResponseHeaders | RequestBody | ResponseBody | DownstreamData | UpstreamData => {
            "(local.get $a1)"
        }
        other => panic!("{other:?} is not told whether it is the end of the stream"),
    };
    match when {
        When::EndOfStream => end_of_stream().to_owned(),
        When::MoreToCome => format!("(i32.eqz {})", end_of_stream()),
        When::Call(number) => format!("(i32.eq (global.get $calls{}) (i32.const {number}))", place.index),
        When::Content => {
            let shown = matches!(place.callback, RequestBody | ResponseBody | DownstreamData | UpstreamData);
            assert!(shown, "only bodies and data have content");
            "(local.get $a0)".to_owned()
        }
        When::Header(map, name, value) => {
            let name = text.constant(name);
            let wanted = text.constant(value);
            let import = text.import("proxy_get_header_map_value", "i32 i32 i32 i32 i32");
            let _ = writeln!(
                body,
                "(global.set $status (call {import} (i32.const {}) {name} (i32.const {}) (i32.const {})))",
                *map as u32,
                Text::OUT_POINTER,
                Text::OUT_SIZE
            );
            format!("(call $found_is {wanted})")
        }
    }
}
