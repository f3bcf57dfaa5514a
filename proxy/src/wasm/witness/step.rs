//! What a recording is made of: one step for each call of the pipeline into an instance, with everything that went into
//! the guest and came out of it.
//!
//! These types are the form of a recording's lines. What is added later has a default, so that older recordings are
//! read; what changes its meaning gets a new [`FORMAT`](crate::recording::FORMAT).

use std::borrow::Cow;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blob::{Blob, Fields, Value};
use crate::wasm::abi::LogLevel;
use crate::wasm::stream::Direction;

/// What an instance is given when it begins, in so far as its guest can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Beginning {
    /// The filter's name in the configuration.
    pub filter: String,
    /// SHA-256 of the module, hexadecimal.
    pub module: String,
    /// The ABI that the module declares.
    pub abi: String,
    /// The worker that it runs on, from 0.
    pub worker: usize,
    /// What the wall clock says, in nanoseconds since 1970.
    pub wall: u64,
    /// The plugin configuration.
    pub config: Blob,
    /// The VM configuration.
    pub vm_config: Blob,
    /// The name of the VM, by which data is shared.
    pub vm_id: String,
    /// Which root context of the module this is.
    pub root_id: String,
    /// The environment that WASI shows the guest.
    pub env: Vec<(String, Blob)>,
    /// What the filter may do, in the form of the configuration; everything, where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<serde_json::Value>,
    /// Whether a pause at the headers lets body callbacks go on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_on_headers_stop_iteration: bool,
    /// Instructions that a callback may take.
    pub instructions: u64,
    /// Bytes of memory that the instance may have.
    pub memory: usize,
    /// Whether the filter has cells (`limits.cells` is not 0).
    pub cells: bool,
    /// The lowest level at which the guest's lines are kept.
    pub log_level: Level,
    /// The clusters that the filter may call, by name, with their endpoints.
    pub clusters: Vec<(String, Vec<SocketAddr>)>,
}

/// One call of the pipeline into an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When it began, in nanoseconds after the instance did.
    pub at: u64,
    /// What the pipeline called for.
    pub op: Op,
    /// The exchanges that the guest could reach, as it found and as it left them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamChange>,
    /// The callbacks of the guest that were called, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<GuestCall>,
    /// How it ended.
    pub end: End,
}

/// What the pipeline called for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The instance starts and is configured.
    Start,
    /// An exchange or a connection begins.
    Open {
        /// The number that it has for the guest from now on.
        context: u32,
        /// What does not change as long as it lasts.
        facts: Facts,
    },
    /// A message's head is there.
    Headers {
        /// Whose.
        context: u32,
        /// Of the request or the response.
        direction: Side,
        /// Neither a body nor trailers follow.
        end_of_stream: bool,
    },
    /// A piece of a body is there.
    Body {
        /// Whose.
        context: u32,
        /// Of the request or the response.
        direction: Side,
        /// It is the last.
        end_of_stream: bool,
    },
    /// A message's trailers are there.
    Trailers {
        /// Whose.
        context: u32,
        /// Of the request or the response.
        direction: Side,
    },
    /// A TCP connection was accepted.
    NewConnection {
        /// Which.
        context: u32,
    },
    /// Data of a TCP connection is there.
    Data {
        /// Of which.
        context: u32,
        /// From the client (`request`) or the upstream (`response`).
        direction: Side,
        /// Its sender has ended it.
        end_of_stream: bool,
    },
    /// A TCP connection's upstream has ended its side.
    UpstreamClose {
        /// Of which.
        context: u32,
        /// Who closed it: 0 not known, 1 this proxy, 2 the other end.
        peer: u32,
    },
    /// A TCP connection has ended.
    CloseConnection {
        /// Which.
        context: u32,
        /// Who closed it: 0 not known, 1 this proxy, 2 the other end.
        peer: u32,
    },
    /// The exchange has ended and is to be logged.
    Log {
        /// Which.
        context: u32,
    },
    /// The exchange is to be forgotten.
    Release {
        /// Which.
        context: u32,
    },
    /// Exchanges have waited too long for the guest to say that it is done with them.
    GiveUp {
        /// Which.
        contexts: Vec<u32>,
    },
    /// The time between two ticks has passed.
    Tick,
    /// An item is in a queue.
    QueueReady {
        /// The queue's number.
        queue: u32,
    },
    /// An HTTP callout has ended.
    HttpCallResponse {
        /// Which.
        token: u32,
        /// How.
        result: Callout,
    },
    /// Something came of a gRPC callout.
    Grpc {
        /// Of which.
        token: u32,
        /// What.
        event: Grpc,
    },
    /// The embedder calls the guest by a number.
    ForeignFunction {
        /// The context that is called.
        context: u32,
        /// The number.
        function: u32,
        /// What it is given.
        arguments: Blob,
    },
    /// From now on these are the clusters that the filter may call, by name, with their endpoints.
    Clusters {
        /// All of them.
        clusters: Vec<(String, Vec<SocketAddr>)>,
    },
    /// The filter goes.
    Shutdown,
}

/// Half of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// What does not change about an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Whether it is a TCP connection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tcp: bool,
    /// The filter's place in the chain, from 0.
    pub stage: usize,
    /// How much of a body is held for it, in bytes.
    pub buffer_limit: usize,
    /// Whether guests may store what lives as long as its connection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub connection: bool,
}

/// An exchange as the guest found it in a step, and as it left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamChange {
    /// Which.
    pub context: u32,
    /// What is new about it since this instance had it last.
    #[serde(default, skip_serializing_if = "Change::is_empty")]
    pub before: Change,
    /// What the guest did to it.
    #[serde(default, skip_serializing_if = "Change::is_empty")]
    pub after: Change,
}

/// What is new about an exchange; what is absent is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Change {
    /// The request's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// The response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// Headers that were set for a response that is not there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged_response_headers: Option<Fields>,
    /// The request's trailers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_trailers: Option<Fields>,
    /// The response's trailers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_trailers: Option<Fields>,
    /// What is at hand of the request's body, or of a connection's data from the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<Piece>,
    /// What is at hand of the response's body, or of a connection's data from the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<Piece>,
    /// How far the request and the response have gone: 0 nothing was sent, 1 the head was, 2 everything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<(u8, u8)>,
    /// Values that were stored under names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<(Blob, Blob)>,
    /// Facts that properties show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<Info>>,
    /// The route is to be found anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_stale: Option<bool>,
    /// The endpoint that the guest wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_endpoint: Option<SocketAddr>,
    /// How much longer the exchange may take, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_extension: Option<u64>,
}

impl Change {
    /// Whether nothing is new.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

/// A request's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// `:method`.
    pub method: String,
    /// `:path`.
    pub path: Blob,
    /// `:scheme`.
    pub scheme: String,
    /// The headers, `host` among them.
    pub headers: Fields,
}

/// A response's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// `:status`.
    pub status: u16,
    /// The headers.
    pub headers: Fields,
}

/// How what is at hand of a body has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// This is behind what was there.
    Added(Blob),
    /// This is all of it.
    Whole(Blob),
}

/// Facts about an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// The client.
    pub source: SocketAddr,
    /// The listener's side of the connection.
    pub destination: SocketAddr,
    /// `connection.id`.
    pub connection_id: u64,
    /// `request.protocol`.
    pub protocol: Cow<'static, str>,
    /// `xds.listener_direction`.
    pub listener_direction: u8,
    /// `xds.route_name`.
    pub route_name: Option<String>,
    /// `xds.cluster_name`.
    pub cluster_name: Option<String>,
    /// `upstream.address`.
    pub upstream: Option<SocketAddr>,
    /// `upstream.local_address`.
    pub upstream_local: Option<SocketAddr>,
    /// `response.code_details`.
    pub code_details: Option<String>,
    /// Bytes of the request's body that were received.
    pub request_bytes: u64,
    /// Bytes of the response's body that were received.
    pub response_bytes: u64,
    /// How long it took, in nanoseconds, once it has ended.
    pub duration: Option<u64>,
}

/// One callback of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestCall {
    /// The export.
    pub callback: Cow<'static, str>,
    /// What it returned, if it returned anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<u32>,
    /// WebAssembly instructions that it took.
    pub instructions: u64,
    /// How long it took, in nanoseconds, on the machine where it ran.
    pub nanoseconds: u64,
    /// What it asked of the host, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostcalls: Vec<Hostcall>,
    /// The lines that it logged or printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Line>,
}

/// One call of the guest into the host, logs excepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hostcall {
    /// The import.
    pub call: Cow<'static, str>,
    /// What it was given: numbers, texts and maps in the ABI's order; where an answer goes is left out.
    pub args: Vec<Value>,
    /// The status or the errno that it returned; none if it stopped the guest.
    pub status: Option<u32>,
    /// What it answered. Of a piece of a body or another buffer that is the length: its bytes are in the step, or in what
    /// the instance was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer: Vec<Value>,
}

/// A line of a guest's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// At which level.
    pub level: Level,
    /// What it says.
    pub text: Blob,
}

/// A level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "these are the ABI's own names")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With the answer that the pipeline goes by.
    Answer(Cow<'static, str>),
    /// The guest failed, and the instance with it.
    Fault {
        /// Its kind.
        kind: Cow<'static, str>,
        /// The callback in which it did.
        callback: Cow<'static, str>,
        /// What it was doing.
        message: String,
    },
}

/// How an HTTP callout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Callout {
    /// With a response.
    Response {
        /// `:status`.
        status: u16,
        /// Its headers.
        headers: Fields,
        /// Its body.
        body: Blob,
        /// Its trailers, if it had any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trailers: Option<Fields>,
    },
    /// No endpoint took it, for this reason.
    Unavailable(String),
    /// Its time was up.
    TimedOut,
    /// Its response broke off, or was too large.
    Reset(String),
}

/// What came of a gRPC callout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grpc {
    /// The response's head.
    InitialMetadata {
        /// The HTTP status, if there is one.
        status: Option<u16>,
        /// The headers.
        metadata: Fields,
    },
    /// A message.
    Message(Blob),
    /// The response's trailers.
    TrailingMetadata {
        /// The HTTP status of a response that has nothing but trailers.
        status: Option<u16>,
        /// The trailers.
        metadata: Fields,
    },
    /// The end.
    Close {
        /// The gRPC status.
        status: u32,
        /// What is said of it.
        message: String,
    },
}

impl From<Direction> for Side {
    fn from(direction: Direction) -> Side {
        match direction {
            Direction::Request => Side::Request,
            Direction::Response => Side::Response,
        }
    }
}

impl From<Side> for Direction {
    fn from(side: Side) -> Direction {
        match side {
            Side::Request => Direction::Request,
            Side::Response => Direction::Response,
        }
    }
}

impl Level {
    /// Its name, as a recording has it.
    pub fn word(self) -> &'static str {
        LogLevel::from(self).word()
    }
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Level {
        match level {
            LogLevel::Trace => Level::Trace,
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
            LogLevel::Critical => Level::Critical,
        }
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> LogLevel {
        match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        }
    }
}

impl Step {
    /// The exchange that has ended for the guest with this step, if one has.
    pub fn ended(&self) -> Option<u32> {
        match (&self.op, &self.end) {
            (Op::Release { context } | Op::CloseConnection { context, .. }, _) => Some(*context),
            (Op::Headers { context, .. }, End::Answer(answer)) if answer == "leave" => Some(*context),
            _ => None,
        }
    }
}

impl Op {
    /// The exchange that it is about, if it is about one.
    pub fn context(&self) -> Option<u32> {
        match self {
            Op::Open { context, .. }
            | Op::Headers { context, .. }
            | Op::Body { context, .. }
            | Op::Trailers { context, .. }
            | Op::NewConnection { context }
            | Op::Data { context, .. }
            | Op::UpstreamClose { context, .. }
            | Op::CloseConnection { context, .. }
            | Op::Log { context }
            | Op::Release { context } => Some(*context),
            Op::Start
            | Op::GiveUp { .. }
            | Op::Tick
            | Op::QueueReady { .. }
            | Op::HttpCallResponse { .. }
            | Op::Grpc { .. }
            | Op::ForeignFunction { .. }
            | Op::Clusters { .. }
            | Op::Shutdown => None,
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
