//! Small Proxy-Wasm modules, made from a list of steps for each callback.
//!
//! A guest logs every callback that it has with its arguments, and every hostcall with its status and what it read:
//! its log is the whole conversation with its host, so two hosts can be compared line by line. The modules import
//! only what their steps use, have no state but a few globals, and need no toolchain: they are WebAssembly text.

use std::fmt::Write as _;

use super::wat::Text;

/// A map of header fields (`proxy_*_header_map_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
    CalloutHeaders = 6,
    CalloutTrailers = 7,
}

/// A buffer (`proxy_*_buffer_bytes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffer {
    RequestBody = 0,
    ResponseBody = 1,
    CalloutBody = 4,
    VmConfig = 6,
    PluginConfig = 7,
}

/// A direction of the stream (`proxy_continue_stream`, `proxy_close_stream`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Request = 0,
    Response = 1,
}

/// What a guest may be called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum On {
    Create,
    VmStart,
    Configure,
    Tick,
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    CalloutResponse,
    Log,
    Done,
    Delete,
}

use On::{
    CalloutResponse, Configure, Create, Delete, Done, Log, RequestBody, RequestHeaders, RequestTrailers,
    ResponseBody, ResponseHeaders, ResponseTrailers, Tick, VmStart,
};

impl On {
    pub(crate) const ALL: [On; 14] = [
        Create,
        VmStart,
        Configure,
        Tick,
        RequestHeaders,
        RequestBody,
        RequestTrailers,
        ResponseHeaders,
        ResponseBody,
        ResponseTrailers,
        CalloutResponse,
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
            // How many fields there are is not shown: each proxy adds its own.
            RequestHeaders => ("request_headers", &["", "eos"], Some(0)),
            ResponseHeaders => ("response_headers", &["", "eos"], Some(0)),
            RequestBody => ("request_body", &["size", "eos"], Some(0)),
            ResponseBody => ("response_body", &["size", "eos"], Some(0)),
            RequestTrailers => ("request_trailers", &["count"], Some(0)),
            ResponseTrailers => ("response_trailers", &["count"], Some(0)),
            CalloutResponse => ("http_call_response", &["", "", "size", "trailers"], None),
            Log => ("log", &[], None),
            Done => ("done", &[], Some(1)),
            Delete => ("delete", &[], None),
        }
    }
}

/// When steps are done.
#[derive(Debug, Clone)]
pub(crate) enum When {
    /// The callback's `end_of_stream` is set.
    EndOfStream,
    /// It is not.
    MoreToCome,
    /// This is the n-th call of this callback in this instance, counted from 1.
    Call(u32),
    /// The context is a root one (`context_create`'s parent is 0).
    Root,
    /// A header's value is this.
    Header(Map, &'static str, &'static str),
    /// A callback of a body has content.
    Content,
}

/// One thing that a guest does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Logs a text, at a level from 0 (trace) to 5 (critical).
    Say(u32, String),
    Get(Map, String),
    Add(Map, String, String),
    Replace(Map, String, String),
    Remove(Map, String),
    /// Logs every pair of a map.
    Pairs(Map),
    SetPairs(Map, Vec<u8>),
    /// Whether a map's size can be had, not what it is.
    MapSize(Map),
    GetBuffer(Buffer, u32, u32),
    BufferStatus(Buffer),
    SetBuffer(Buffer, u32, u32, String),
    Property(Vec<String>),
    /// Logs whether a property is there and how long its value is, for those that differ from run to run.
    PropertySize(Vec<String>),
    SetProperty(Vec<String>, String),
    Reply {
        status: u32,
        details: String,
        body: String,
        fields: Vec<(String, String)>,
        grpc: i32,
    },
    Resume(Flow),
    Close(Flow),
    Callout {
        cluster: String,
        fields: Vec<(String, String)>,
        body: String,
        timeout_ms: u32,
    },
    CalloutStatus,
    TickPeriod(u32),
    SharedGet(String),
    /// Sets with the `cas` that the last `SharedGet` returned plus this, or with 0 where it is `None`.
    SharedSet(String, String, Option<i32>),
    /// Defines a metric (0 counter, 1 gauge, 2 histogram) and keeps its id in a slot.
    DefineMetric(u32, String, usize),
    IncrementMetric(usize, i64),
    RecordMetric(usize, i64),
    GetMetric(usize),
    /// Makes the last stream that had a headers callback the effective context.
    EffectiveStream,
    EffectiveContext(u32),
    Foreign(String, String),
    ProxyDone,
    LogLevel,
    If(When, Vec<Step>),
    /// Ends the callback with this result.
    Return(i32),
    /// Executes `unreachable`.
    Trap,
    /// Never returns.
    Loop,
    /// Does this many rounds of an empty loop.
    Spin(u32),
    /// Grows memory by 64 KiB until it cannot, then traps.
    EatMemory,
    /// Calls itself until the stack ends.
    Recurse,
}

/// Steps in fewer words.
impl Step {
    pub(crate) fn say(text: &str) -> Step {
        Step::Say(2, text.to_owned())
    }

    pub(crate) fn get(map: Map, key: &str) -> Step {
        Step::Get(map, key.to_owned())
    }

    pub(crate) fn add(map: Map, key: &str, value: &str) -> Step {
        Step::Add(map, key.to_owned(), value.to_owned())
    }

    pub(crate) fn replace(map: Map, key: &str, value: &str) -> Step {
        Step::Replace(map, key.to_owned(), value.to_owned())
    }

    pub(crate) fn remove(map: Map, key: &str) -> Step {
        Step::Remove(map, key.to_owned())
    }

    pub(crate) fn set_pairs(map: Map, fields: &[(&str, &str)]) -> Step {
        Step::SetPairs(map, pairs(fields))
    }

    /// Shows all of a buffer.
    pub(crate) fn buffer(buffer: Buffer) -> Step {
        Step::GetBuffer(buffer, 0, u32::MAX)
    }

    pub(crate) fn set_buffer(buffer: Buffer, start: u32, length: u32, data: &str) -> Step {
        Step::SetBuffer(buffer, start, length, data.to_owned())
    }

    /// A property by its path with dots.
    pub(crate) fn property(path: &str) -> Step {
        Step::Property(path.split('.').map(str::to_owned).collect())
    }

    /// Only a property's status and length, by its path with dots.
    pub(crate) fn property_size(path: &str) -> Step {
        Step::PropertySize(path.split('.').map(str::to_owned).collect())
    }

    /// A local reply with this body and field, without details.
    pub(crate) fn reply(status: u32, body: &str, fields: &[(&str, &str)]) -> Step {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let fields = fields.iter().map(owned).collect();
        Step::Reply { status, details: String::new(), body: body.to_owned(), fields, grpc: -1 }
    }

    /// A GET callout.
    pub(crate) fn callout(cluster: &str, path: &str, timeout_ms: u32) -> Step {
        Step::callout_with(
            cluster,
            &[(":method", "GET"), (":path", path), (":authority", "callout.test")],
            "",
            timeout_ms,
        )
    }

    /// A callout with these fields and body.
    pub(crate) fn callout_with(cluster: &str, fields: &[(&str, &str)], body: &str, timeout_ms: u32) -> Step {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let fields = fields.iter().map(owned).collect();
        Step::Callout { cluster: cluster.to_owned(), fields, body: body.to_owned(), timeout_ms }
    }
}

/// A module in the making.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    abi: &'static str,
    name: String,
    callbacks: Vec<(On, Vec<Step>)>,
    quiet: bool,
    extra: String,
}

impl Guest {
    /// A guest of ABI 0.2.1 without any callback but the creation of contexts.
    pub(crate) fn new() -> Guest {
        Guest { abi: "0_2_1", name: String::new(), callbacks: Vec::new(), quiet: false, extra: String::new() }
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

    /// Says nothing of its own accord: for measuring.
    pub(crate) fn quiet(mut self) -> Guest {
        self.quiet = true;
        self
    }

    /// Declares another version of the ABI, as the marker export spells it: `0_1_0`.
    pub(crate) fn abi(mut self, version: &'static str) -> Guest {
        self.abi = version;
        self
    }

    /// Puts these module fields into the text as they are.
    pub(crate) fn raw(mut self, fields: &str) -> Guest {
        self.extra += fields;
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

    fn text(&self) -> String {
        let mut text = Text::new(&self.name, self.quiet);
        let mut functions = String::new();
        for (index, (callback, steps)) in self.callbacks.iter().enumerate() {
            functions += &function(&mut text, index, *callback, steps);
        }
        let marker = format!("(func (export \"proxy_abi_version_{}\"))\n", self.abi);
        text.module(&(marker + &functions + &self.extra))
    }
}

fn function(text: &mut Text, index: usize, callback: On, steps: &[Step]) -> String {
    let (name, arguments, result) = callback.shape();
    let mut body = String::new();
    let _ = writeln!(body, "(global.set $heap (i32.const {}))", Text::HEAP);
    let _ = writeln!(body, "(global.set $calls{index} (i32.add (global.get $calls{index}) (i32.const 1)))");
    let numbered: Vec<(usize, &str)> = arguments.iter().copied().enumerate().collect();
    let shown = numbered.iter().filter(|(_, name)| !name.is_empty());
    text.begin(&mut body, name);
    text.number(&mut body, "ctx", "(local.get $ctx)");
    shown.for_each(|(at, name)| text.number(&mut body, name, &format!("(local.get $a{at})")));
    text.end(&mut body, 2);
    if matches!(callback, RequestHeaders | ResponseHeaders) {
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

fn map_name(map: Map) -> &'static str {
    match map {
        Map::RequestHeaders => "request-headers",
        Map::RequestTrailers => "request-trailers",
        Map::ResponseHeaders => "response-headers",
        Map::ResponseTrailers => "response-trailers",
        Map::CalloutHeaders => "callout-headers",
        Map::CalloutTrailers => "callout-trailers",
    }
}

fn emit(text: &mut Text, body: &mut String, place: Place, step: &Step) {
    match step {
        Step::Say(level, what) => {
            text.begin(body, what);
            text.end(body, *level);
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
        Step::EatMemory => body.push_str("(call $eat_memory)\n"),
        Step::Recurse => body.push_str("(drop (call $recurse (i32.const 1)))\n"),
        step => hostcall(text, body, step),
    }
}

fn condition(text: &mut Text, body: &mut String, place: Place, when: &When) -> String {
    let end_of_stream = || match place.callback {
        RequestHeaders | ResponseHeaders | RequestBody | ResponseBody => "(local.get $a1)",
        other => panic!("{other:?} is not told whether it is the end of the stream"),
    };
    match when {
        When::EndOfStream => end_of_stream().to_owned(),
        When::MoreToCome => format!("(i32.eqz {})", end_of_stream()),
        When::Call(number) => format!("(i32.eq (global.get $calls{}) (i32.const {number}))", place.index),
        When::Content => {
            assert!(matches!(place.callback, RequestBody | ResponseBody), "only bodies have content");
            "(local.get $a0)".to_owned()
        }
        When::Root => {
            assert_eq!(place.callback, Create, "only the creation of a context is told its parent");
            "(i32.eqz (local.get $a0))".to_owned()
        }
        When::Header(map, name, value) => {
            let name = text.constant(name);
            let wanted = text.constant(value);
            let import = text.import("proxy_get_header_map_value", 5);
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

/// Calls the host and logs what it said.
fn hostcall(text: &mut Text, body: &mut String, step: &Step) {
    let (pointer, size) =
        (format!("(i32.const {})", Text::OUT_POINTER), format!("(i32.const {})", Text::OUT_SIZE));
    let int = |value: u32| format!("(i32.const {})", value.cast_signed());
    let mut call = |text: &mut Text, name: &str, arguments: &[String]| {
        let count = arguments.iter().map(|argument| argument.matches("(i32.const").count().max(1)).sum();
        let import = text.import(name, count);
        let _ = writeln!(body, "(global.set $status (call {import} {}))", arguments.join(" "));
    };
    // What the log calls it, and what of the answer it shows.
    let (label, shown) = match step {
        Step::Get(map, key) => {
            let key_text = text.constant(key);
            call(text, "proxy_get_header_map_value", &[int(*map as u32), key_text, pointer, size]);
            (format!("get {} {key}", map_name(*map)), Shown::Text)
        }
        Step::Add(map, key, value) => {
            let (k, v) = (text.constant(key), text.constant(value));
            call(text, "proxy_add_header_map_value", &[int(*map as u32), k, v]);
            (format!("add {} {key}", map_name(*map)), Shown::Status)
        }
        Step::Replace(map, key, value) => {
            let (k, v) = (text.constant(key), text.constant(value));
            call(text, "proxy_replace_header_map_value", &[int(*map as u32), k, v]);
            (format!("replace {} {key}", map_name(*map)), Shown::Status)
        }
        Step::Remove(map, key) => {
            let k = text.constant(key);
            call(text, "proxy_remove_header_map_value", &[int(*map as u32), k]);
            (format!("remove {} {key}", map_name(*map)), Shown::Status)
        }
        Step::Pairs(map) => {
            call(text, "proxy_get_header_map_pairs", &[int(*map as u32), pointer, size]);
            (format!("pairs {}", map_name(*map)), Shown::Pairs)
        }
        Step::SetPairs(map, blob) => {
            let blob = text.constant_bytes(blob);
            call(text, "proxy_set_header_map_pairs", &[int(*map as u32), blob]);
            (format!("set-pairs {}", map_name(*map)), Shown::Status)
        }
        Step::MapSize(map) => {
            call(text, "proxy_get_header_map_size", &[int(*map as u32), pointer]);
            (format!("size {}", map_name(*map)), Shown::Status)
        }
        Step::GetBuffer(buffer, start, most) => {
            call(
                text,
                "proxy_get_buffer_bytes",
                &[int(*buffer as u32), int(*start), int(*most), pointer, size],
            );
            (format!("buffer {buffer:?} {start} {most}"), Shown::Text)
        }
        Step::BufferStatus(buffer) => {
            call(text, "proxy_get_buffer_status", &[int(*buffer as u32), size, pointer]);
            (format!("buffer-status {buffer:?}"), Shown::Size)
        }
        Step::SetBuffer(buffer, start, length, data) => {
            let data = text.constant(data);
            call(text, "proxy_set_buffer_bytes", &[int(*buffer as u32), int(*start), int(*length), data]);
            (format!("set-buffer {buffer:?} {start} {length}"), Shown::Status)
        }
        Step::Property(path) => {
            let joined = text.constant(&path.join("\0"));
            call(text, "proxy_get_property", &[joined, pointer, size]);
            (format!("property {}", path.join(".")), Shown::Text)
        }
        Step::PropertySize(path) => {
            let joined = text.constant(&path.join("\0"));
            call(text, "proxy_get_property", &[joined, pointer, size]);
            (format!("property-size {}", path.join(".")), Shown::Size)
        }
        Step::SetProperty(path, value) => {
            let (joined, value) = (text.constant(&path.join("\0")), text.constant(value));
            call(text, "proxy_set_property", &[joined, value]);
            (format!("set-property {}", path.join(".")), Shown::Status)
        }
        Step::Reply { status, details, body, fields, grpc } => {
            let (details, body) = (text.constant(details), text.constant(body));
            let fields = text.constant_bytes(&pairs(fields));
            let grpc = int(grpc.cast_unsigned());
            call(text, "proxy_send_local_response", &[int(*status), details, body, fields, grpc]);
            (format!("reply {status}"), Shown::Status)
        }
        Step::Resume(flow) => {
            call(text, "proxy_continue_stream", &[int(*flow as u32)]);
            (format!("resume {flow:?}"), Shown::Status)
        }
        Step::Close(flow) => {
            call(text, "proxy_close_stream", &[int(*flow as u32)]);
            (format!("close {flow:?}"), Shown::Status)
        }
        Step::Callout { cluster, fields, body, timeout_ms } => {
            let (name, body) = (text.constant(cluster), text.constant(body));
            let (fields, trailers) =
                (text.constant_bytes(&pairs(fields)), text.constant_bytes(&pairs::<&str, &str>(&[])));
            call(text, "proxy_http_call", &[name, fields, body, trailers, int(*timeout_ms), pointer]);
            (format!("callout {cluster}"), Shown::Status)
        }
        Step::CalloutStatus => {
            let code = format!("(i32.const {})", Text::OUT_CODE);
            call(text, "proxy_get_status", &[code, pointer, size]);
            ("callout-status".to_owned(), Shown::Text)
        }
        Step::TickPeriod(ms) => {
            call(text, "proxy_set_tick_period_milliseconds", &[int(*ms)]);
            (format!("tick-period {ms}"), Shown::Status)
        }
        Step::SharedGet(key) => {
            let k = text.constant(key);
            let cas = format!("(i32.const {})", Text::OUT_CAS);
            call(text, "proxy_get_shared_data", &[k, pointer, size, cas]);
            (format!("shared-get {key}"), Shown::Text)
        }
        Step::SharedSet(key, value, offset) => {
            let (k, v) = (text.constant(key), text.constant(value));
            let import = text.import("proxy_set_shared_data", 5);
            let cas = match offset {
                Some(offset) => {
                    format!("(i32.add (i32.load (i32.const {})) (i32.const {offset}))", Text::OUT_CAS)
                }
                None => "(i32.const 0)".to_owned(),
            };
            let _ = writeln!(body, "(global.set $status (call {import} {k} {v} {cas}))");
            (format!("shared-set {key}"), Shown::Status)
        }
        Step::DefineMetric(kind, name, slot) => {
            let n = text.constant(name);
            let id = format!("(i32.const {})", Text::slot(*slot));
            call(text, "proxy_define_metric", &[int(*kind), n, id]);
            (format!("define-metric {kind} {name}"), Shown::Status)
        }
        Step::IncrementMetric(slot, offset) => {
            let import = text.import_with("proxy_increment_metric", "i32 i64");
            let id = format!("(i32.load (i32.const {}))", Text::slot(*slot));
            let _ = writeln!(body, "(global.set $status (call {import} {id} (i64.const {offset})))");
            (format!("increment-metric {slot} {offset}"), Shown::Status)
        }
        Step::RecordMetric(slot, value) => {
            let import = text.import_with("proxy_record_metric", "i32 i64");
            let id = format!("(i32.load (i32.const {}))", Text::slot(*slot));
            let _ = writeln!(body, "(global.set $status (call {import} {id} (i64.const {value})))");
            (format!("record-metric {slot} {value}"), Shown::Status)
        }
        Step::GetMetric(slot) => {
            let import = text.import("proxy_get_metric", 2);
            let (id, out) = (Text::slot(*slot), Text::OUT_NUMBER);
            let _ = writeln!(
                body,
                "(global.set $status (call {import} (i32.load (i32.const {id})) (i32.const {out})))"
            );
            (format!("get-metric {slot}"), Shown::Number)
        }
        Step::EffectiveStream => {
            let import = text.import("proxy_set_effective_context", 1);
            let _ = writeln!(body, "(global.set $status (call {import} (global.get $stream)))");
            ("effective-stream".to_owned(), Shown::Status)
        }
        Step::EffectiveContext(id) => {
            call(text, "proxy_set_effective_context", &[int(*id)]);
            (format!("effective-context {id}"), Shown::Status)
        }
        Step::Foreign(name, arguments) => {
            let (n, a) = (text.constant(name), text.constant(arguments));
            call(text, "proxy_call_foreign_function", &[n, a, pointer, size]);
            (format!("foreign {name}"), Shown::Size)
        }
        Step::ProxyDone => {
            call(text, "proxy_done", &[]);
            ("proxy-done".to_owned(), Shown::Status)
        }
        Step::LogLevel => {
            call(text, "proxy_get_log_level", &[pointer]);
            ("log-level".to_owned(), Shown::Status)
        }
        other => unreachable!("{other:?} is no hostcall"),
    };
    text.begin(body, &format!("  {label} ->"));
    text.status(body, shown);
    text.end(body, 2);
    if shown == Shown::Pairs {
        text.pairs(body);
    }
}

/// What of a hostcall's answer the log shows, beside its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Status,
    Text,
    Size,
    Number,
    Pairs,
}

/// The serialisation of pairs (`proxy_set_header_map_pairs` and friends).
pub(crate) fn pairs<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> Vec<u8> {
    let bytes = |text: &str| super::http1::from_latin1(text);
    let count = |length: usize| u32::try_from(length).expect("a small number").to_le_bytes();
    let mut blob = count(pairs.len()).to_vec();
    for (key, value) in pairs {
        blob.extend(count(bytes(key.as_ref()).len()));
        blob.extend(count(bytes(value.as_ref()).len()));
    }
    for (key, value) in pairs {
        blob.extend([bytes(key.as_ref()), vec![0], bytes(value.as_ref()), vec![0]].concat());
    }
    blob
}
