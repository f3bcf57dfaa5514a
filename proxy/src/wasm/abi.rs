//! The numbers and names of the Proxy-Wasm ABI: versions, statuses, callbacks, and the enumerations of its calls.
//!
//! Only values live here; nothing calls a guest.

use super::stream::{Direction, Subject};

/// The ABI that a module declares by the name of an exported function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AbiVersion {
    /// `proxy_abi_version_0_1_0`.
    V0_1_0,
    /// `proxy_abi_version_0_2_0`.
    V0_2_0,
    /// `proxy_abi_version_0_2_1`.
    V0_2_1,
    /// `proxy_abi_version_0_2_100`: Higress.
    V0_2_100,
}

impl AbiVersion {
    /// The version that an export's name declares, if it is a marker.
    pub(crate) fn from_marker(export: &str) -> Option<AbiVersion> {
        Some(match export {
            "proxy_abi_version_0_1_0" => AbiVersion::V0_1_0,
            "proxy_abi_version_0_2_0" => AbiVersion::V0_2_0,
            "proxy_abi_version_0_2_1" => AbiVersion::V0_2_1,
            "proxy_abi_version_0_2_100" => AbiVersion::V0_2_100,
            _ => return None,
        })
    }

    /// The version as people write it.
    pub fn number(self) -> &'static str {
        match self {
            AbiVersion::V0_1_0 => "0.1.0",
            AbiVersion::V0_2_0 => "0.2.0",
            AbiVersion::V0_2_1 => "0.2.1",
            AbiVersion::V0_2_100 => "0.2.100",
        }
    }
}

/// What a hostcall answers. The Rust SDK panics on any that it does not expect from the call at hand; it cannot name
/// `InvalidMemoryAccess` at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// What was asked for is not there.
    NotFound = 1,
    /// An argument is wrong, or what it asks for can have no effect any more.
    BadArgument = 2,
    /// A value cannot be shown to the guest.
    SerializationFailure = 3,
    /// A guest's value cannot be read.
    ParseFailure = 4,
    /// A pointer does not point into the guest's memory.
    InvalidMemoryAccess = 6,
    /// A queue is empty.
    Empty = 7,
    /// Shared data was changed in the meantime.
    CasMismatch = 8,
    /// The host could not do it: a quota is used up, or it is not offered.
    InternalFailure = 10,
}

/// A number that names a member of one of the ABI's enumerations, or none: then the call is a `BadArgument`.
macro_rules! abi_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant = $number,)* }

        impl TryFrom<u32> for $name {
            type Error = Status;

            fn try_from(number: u32) -> Result<$name, Status> {
                match number { $($number => Ok($name::$variant),)* _ => Err(Status::BadArgument) }
            }
        }
    };
}

abi_enum! {
    /// Which header map a call is about.
    MapType {
        /// The request's headers.
        RequestHeaders = 0,
        /// The request's trailers.
        RequestTrailers = 1,
        /// The response's headers.
        ResponseHeaders = 2,
        /// The response's trailers.
        ResponseTrailers = 3,
        /// A gRPC callout's first metadata.
        GrpcInitialMetadata = 4,
        /// A gRPC callout's last metadata.
        GrpcTrailingMetadata = 5,
        /// The headers of a callout's response.
        CalloutHeaders = 6,
        /// The trailers of a callout's response.
        CalloutTrailers = 7,
    }
}

abi_enum! {
    /// Which buffer a call is about.
    BufferType {
        /// The request's body.
        RequestBody = 0,
        /// The response's body.
        ResponseBody = 1,
        /// What came from the client of a TCP connection.
        DownstreamData = 2,
        /// What came from the upstream of a TCP connection.
        UpstreamData = 3,
        /// The body of a callout's response.
        CalloutBody = 4,
        /// A message of a gRPC callout.
        GrpcMessage = 5,
        /// The VM configuration.
        VmConfiguration = 6,
        /// The plugin configuration.
        PluginConfiguration = 7,
        /// The arguments of a foreign call.
        CallData = 8,
    }
}

abi_enum! {
    /// Which stream a call is about.
    StreamType {
        /// The request.
        Request = 0,
        /// The response.
        Response = 1,
        /// The client's side of a TCP connection.
        Downstream = 2,
        /// The upstream's side of a TCP connection.
        Upstream = 3,
    }
}

abi_enum! {
    /// What a metric is.
    MetricType {
        /// Only grows.
        Counter = 0,
        /// Goes up and down.
        Gauge = 1,
        /// A distribution.
        Histogram = 2,
    }
}

abi_enum! {
    /// How grave a guest finds a line of its log.
    LogLevel {
        /// `trace`
        Trace = 0,
        /// `debug`
        Debug = 1,
        /// `info`
        Info = 2,
        /// `warn`
        Warn = 3,
        /// `error`
        Error = 4,
        /// `critical`; Rust's panics come as this.
        Critical = 5,
    }
}

impl LogLevel {
    /// Every level, the lowest first.
    pub const ALL: [LogLevel; 6] = [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warn,
        LogLevel::Error,
        LogLevel::Critical,
    ];

    /// Its fixed word.
    pub fn word(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
            LogLevel::Critical => "critical",
        }
    }
}

/// Names each callback that a guest may export, in the order of the ABI's table.
macro_rules! callbacks {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// A function that a guest exports for the host to call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Callback { $($(#[$meta])* $variant,)* }

        impl Callback {
            /// Every callback.
            pub const ALL: &[Callback] = &[$(Callback::$variant,)*];

            /// The export's name.
            pub const fn name(self) -> &'static str {
                match self { $(Callback::$variant => $name,)* }
            }
        }
    };
}

callbacks! {
    /// Before any context: `_initialize`, `main` or `_start`.
    Start = "start",
    /// `proxy_on_context_create`
    ContextCreate = "proxy_on_context_create",
    /// `proxy_on_vm_start`
    VmStart = "proxy_on_vm_start",
    /// `proxy_on_configure`
    Configure = "proxy_on_configure",
    /// `proxy_on_tick`
    Tick = "proxy_on_tick",
    /// `proxy_on_new_connection`
    NewConnection = "proxy_on_new_connection",
    /// `proxy_on_downstream_data`
    DownstreamData = "proxy_on_downstream_data",
    /// `proxy_on_upstream_data`
    UpstreamData = "proxy_on_upstream_data",
    /// `proxy_on_downstream_connection_close`
    DownstreamConnectionClose = "proxy_on_downstream_connection_close",
    /// `proxy_on_upstream_connection_close`
    UpstreamConnectionClose = "proxy_on_upstream_connection_close",
    /// `proxy_on_request_headers`
    RequestHeaders = "proxy_on_request_headers",
    /// `proxy_on_request_body`
    RequestBody = "proxy_on_request_body",
    /// `proxy_on_request_trailers`
    RequestTrailers = "proxy_on_request_trailers",
    /// `proxy_on_response_headers`
    ResponseHeaders = "proxy_on_response_headers",
    /// `proxy_on_response_body`
    ResponseBody = "proxy_on_response_body",
    /// `proxy_on_response_trailers`
    ResponseTrailers = "proxy_on_response_trailers",
    /// `proxy_on_http_call_response`
    HttpCallResponse = "proxy_on_http_call_response",
    /// `proxy_on_grpc_receive_initial_metadata`
    GrpcReceiveInitialMetadata = "proxy_on_grpc_receive_initial_metadata",
    /// `proxy_on_grpc_receive`
    GrpcReceive = "proxy_on_grpc_receive",
    /// `proxy_on_grpc_receive_trailing_metadata`
    GrpcReceiveTrailingMetadata = "proxy_on_grpc_receive_trailing_metadata",
    /// `proxy_on_grpc_close`
    GrpcClose = "proxy_on_grpc_close",
    /// `proxy_on_queue_ready`
    QueueReady = "proxy_on_queue_ready",
    /// `proxy_on_foreign_function`
    ForeignFunction = "proxy_on_foreign_function",
    /// `proxy_on_log`
    Log = "proxy_on_log",
    /// `proxy_on_done`
    Done = "proxy_on_done",
    /// `proxy_on_delete`
    Delete = "proxy_on_delete",
}

impl Callback {
    /// How many there are.
    pub const COUNT: usize = Callback::ALL.len();

    /// The headers callback of a direction.
    pub(crate) fn headers(direction: Direction) -> Callback {
        match direction {
            Direction::Request => Callback::RequestHeaders,
            Direction::Response => Callback::ResponseHeaders,
        }
    }

    /// The body callback of a direction.
    pub(crate) fn body(direction: Direction) -> Callback {
        match direction {
            Direction::Request => Callback::RequestBody,
            Direction::Response => Callback::ResponseBody,
        }
    }

    /// The data callback of a connection's direction.
    pub(crate) fn data(direction: Direction) -> Callback {
        match direction {
            Direction::Request => Callback::DownstreamData,
            Direction::Response => Callback::UpstreamData,
        }
    }

    /// The callback that is shown what moves in a direction.
    pub(crate) fn content(subject: Subject, direction: Direction) -> Callback {
        match subject {
            Subject::Exchange => Callback::body(direction),
            Subject::Connection => Callback::data(direction),
        }
    }

    /// The callbacks of TCP connections: a module without any of them has nothing to do with one.
    pub const OF_CONNECTIONS: &[Callback] = &[
        Callback::NewConnection,
        Callback::DownstreamData,
        Callback::UpstreamData,
        Callback::DownstreamConnectionClose,
        Callback::UpstreamConnectionClose,
    ];

    /// The trailers callback of a direction.
    pub(crate) fn trailers(direction: Direction) -> Callback {
        match direction {
            Direction::Request => Callback::RequestTrailers,
            Direction::Response => Callback::ResponseTrailers,
        }
    }
}

/// What a guest answers to headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadersStatus {
    /// They go on. (2, `ContinueAndEndStream`, is this too, as in Envoy.)
    Continue,
    /// They are held while body callbacks go on.
    StopIteration,
    /// They and all that follows are held, up to the buffer limit; beyond it the exchange fails.
    StopAllIterationAndBuffer,
    /// They and all that follows are held; beyond the buffer limit nothing more is read.
    StopAllIterationAndWatermark,
    /// They go on, and the guest has ended its context: tidegate's own, of the callbacks that do the work of several.
    Leave,
}

impl HeadersStatus {
    /// The bit that says so.
    const LEFT: u32 = 0x100;

    /// Reads a guest's answer to one of tidegate's own callbacks.
    pub(crate) fn from_merged(answer: u32, lone_stop: bool) -> HeadersStatus {
        if answer & HeadersStatus::LEFT != 0 {
            HeadersStatus::Leave
        } else {
            HeadersStatus::from_guest(answer, lone_stop)
        }
    }

    /// Reads a guest's answer. `lone_stop`: whether 1, the SDKs' `Pause`, stops the headers alone
    /// (`allow_on_headers_stop_iteration`) or everything, which is what the SDKs mean by it. An unknown number stops
    /// everything.
    pub(crate) fn from_guest(answer: u32, lone_stop: bool) -> HeadersStatus {
        match answer {
            0 | 2 => HeadersStatus::Continue,
            1 if lone_stop => HeadersStatus::StopIteration,
            3 => HeadersStatus::StopAllIterationAndBuffer,
            _ => HeadersStatus::StopAllIterationAndWatermark,
        }
    }
}

/// What a guest answers to a piece of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataStatus {
    /// All that is held and this piece go on.
    Continue,
    /// It is held; the next callback sees all that is held. The SDKs' `Pause`.
    StopIterationAndBuffer,
    /// It is held out of the guest's sight; beyond the buffer limit nothing more is read.
    StopIterationAndWatermark,
    /// It is dropped; unless the guest answered the piece before that it holds, and so all that comes is held.
    StopIterationNoBuffer,
}

impl DataStatus {
    /// Reads a guest's answer; an unknown number drops the piece, as in Envoy.
    pub(crate) fn from_guest(answer: u32) -> DataStatus {
        match answer {
            0 => DataStatus::Continue,
            1 => DataStatus::StopIterationAndBuffer,
            2 => DataStatus::StopIterationAndWatermark,
            _ => DataStatus::StopIterationNoBuffer,
        }
    }
}

/// What a guest answers to trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailersStatus {
    /// They go on.
    Continue,
    /// They are held.
    StopIteration,
}

impl TrailersStatus {
    /// Reads a guest's answer; anything but 0 stops.
    pub(crate) fn from_guest(answer: u32) -> TrailersStatus {
        if answer == 0 { TrailersStatus::Continue } else { TrailersStatus::StopIteration }
    }
}

/// What a guest answers to a new connection, and to data of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// It goes on: all that is held and this piece.
    Continue,
    /// It is held; the next callback of that direction sees all that is held.
    StopIteration,
}

impl ConnectionStatus {
    /// Reads a guest's answer; anything but 0 stops.
    pub(crate) fn from_guest(answer: u32) -> ConnectionStatus {
        if answer == 0 { ConnectionStatus::Continue } else { ConnectionStatus::StopIteration }
    }
}

/// Who ended a connection, as its guests are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum PeerType {
    /// Not known: what Envoy says of an upstream that has ended its side.
    Unknown = 0,
    /// This proxy.
    Local = 1,
    /// The other end.
    Remote = 2,
}
