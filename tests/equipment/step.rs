//! What a guest can be told to do.

use super::hostcall::pairs;

/// A map of header fields (`proxy_*_header_map_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
    GrpcInitial = 4,
    GrpcTrailing = 5,
    CalloutHeaders = 6,
    CalloutTrailers = 7,
}

/// A buffer (`proxy_*_buffer_bytes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffer {
    RequestBody = 0,
    ResponseBody = 1,
    DownstreamData = 2,
    UpstreamData = 3,
    CalloutBody = 4,
    GrpcMessage = 5,
    VmConfig = 6,
    PluginConfig = 7,
}

/// A direction of the stream (`proxy_continue_stream`, `proxy_close_stream`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Request = 0,
    Response = 1,
    Downstream = 2,
    Upstream = 3,
}

/// What a callback or a slot knows of a gRPC callout, for `proxy_grpc_send` and its like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token {
    /// The token in this slot.
    Slot(u32),
    /// The token that the callback at hand is about.
    Own,
    /// This number.
    Number(u32),
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
    /// A header's value is this.
    Header(Map, &'static str, &'static str),
    /// A callback of a body, or of a connection's data, has content.
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
    /// A map's size.
    MapBytes(Map),
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
    /// Higress: puts bytes into the response, which end it if so said.
    Inject(String, bool),
    /// Higress: logs the endpoints that the request may go to.
    UpstreamHosts,
    /// Higress: has the request go to this endpoint.
    PreferHost(String),
    Callout {
        cluster: String,
        fields: Vec<(String, String)>,
        body: String,
        timeout_ms: u32,
    },
    /// Keeps the token in a slot.
    GrpcCall {
        call: GrpcRequest,
        message: String,
        timeout_ms: u32,
        slot: u32,
    },
    /// Keeps the token in a slot.
    GrpcStream(GrpcRequest, u32),
    GrpcSend(Token, String, bool),
    GrpcClose(Token),
    GrpcCancel(Token),
    CalloutStatus,
    TickPeriod(u32),
    SharedGet(String),
    /// Sets with the `cas` that the last `SharedGet` returned plus this, or with 0 where it is `None`.
    SharedSet(String, String, Option<i32>),
    /// Defines a metric (0 counter, 1 gauge, 2 histogram) and keeps its id in a slot.
    DefineMetric(u32, String, u32),
    IncrementMetric(u32, i64),
    RecordMetric(u32, i64),
    GetMetric(u32),
    /// Registers a queue and keeps its id in a slot; metrics use the same ones.
    RegisterQueue(String, u32),
    /// Looks for a queue of a `vm_id`, by its name, and keeps its id in a slot.
    ResolveQueue(String, String, u32),
    Enqueue(u32, String),
    Dequeue(u32),
    /// Makes the last stream that had a headers callback, or the last new connection, the effective context.
    EffectiveStream,
    EffectiveContext(u32),
    Foreign(String, String),
    /// The same, of which only the status is shown.
    ForeignStatus(String, String),
    /// Calls a foreign function with what the last hostcall answered, and shows what it makes of it.
    ForeignOnAnswer(String),
    ProxyDone,
    LogLevel,
    /// The configuration as 0.1.0 reads it.
    Configuration,
    /// Resumes a direction as 0.1.0 does.
    Continue(Flow),
    If(When, Vec<Step>),
    /// Ends the callback with this result.
    Return(i32),
    /// Executes `unreachable`.
    Trap,
    /// Never returns.
    Loop,
    /// Does this many rounds of an empty loop.
    Spin(u32),
    /// Grows memory by so many pages of 64 KiB.
    Grow(u32),
    /// The same, or traps.
    Need(u32),
    /// Grows memory by 64 KiB until it cannot, then traps.
    EatMemory,
    /// Calls itself until the stack ends.
    Recurse,
}

/// Whom a gRPC callout is for.
#[derive(Debug, Clone)]
pub(crate) struct GrpcRequest {
    /// A cluster's name, or a serialised `GrpcService` (each character is a byte).
    pub(crate) upstream: String,
    pub(crate) service: String,
    pub(crate) method: String,
    pub(crate) metadata: Vec<(String, String)>,
}

impl GrpcRequest {
    /// For a method of the service `test.Service`, without metadata.
    pub(crate) fn new(upstream: &str, method: &str) -> GrpcRequest {
        let (upstream, method) = (upstream.to_owned(), method.to_owned());
        GrpcRequest { upstream, service: "test.Service".to_owned(), method, metadata: Vec::new() }
    }

    pub(crate) fn with(mut self, metadata: &[(&str, &str)]) -> GrpcRequest {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.metadata.extend(metadata.iter().map(owned));
        self
    }
}

/// Steps in fewer words.
impl Step {
    /// A gRPC call of a method of `test.Service`; its token is kept in slot 0.
    pub(crate) fn grpc_call(upstream: &str, method: &str, message: &str, timeout_ms: u32) -> Step {
        let call = GrpcRequest::new(upstream, method);
        Step::GrpcCall { call, message: message.to_owned(), timeout_ms, slot: 0 }
    }

    /// A gRPC stream of a method of `test.Service`; its token is kept in slot 0.
    pub(crate) fn grpc_stream(upstream: &str, method: &str) -> Step {
        Step::GrpcStream(GrpcRequest::new(upstream, method), 0)
    }

    pub(crate) fn grpc_send(token: Token, message: &str, end: bool) -> Step {
        Step::GrpcSend(token, message.to_owned(), end)
    }

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

    pub(crate) fn inject(data: &str, end: bool) -> Step {
        Step::Inject(data.to_owned(), end)
    }

    /// A foreign function whose arguments are bytes.
    pub(crate) fn foreign(name: &str, arguments: &[u8]) -> Step {
        Step::ForeignStatus(name.to_owned(), arguments.iter().map(|byte| char::from(*byte)).collect())
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
