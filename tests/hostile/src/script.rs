//! What the guest is told, read from any bytes.

use tidegate::wasm::hostcalls::{HOSTCALLS, Hostcall};

/// How many calls a script has at most.
const MAX_CALLS: usize = 64;

/// How many arguments a hostcall has at most.
pub(crate) const MAX_ARGUMENTS: usize = 12;

/// Numbers that are at an edge of something: of the guest's memory of one page, of its signed and unsigned halves, of a
/// text or an enumeration, and where the guest has texts and well-formed pairs (see `module`).
const EDGES: [u64; 32] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    14,
    16,
    0x20,
    0x40,
    0x60,
    0x80,
    0xa0,
    0x100,
    0x400,
    0xe0,
    0xfffc,
    0xffff,
    0x1_0000,
    0x1_0001,
    0x10_0000,
    0x10_0001,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_fffc,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// What the guest's allocator does with a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// Hands out one block behind another, and its memory grows.
    Bump,
    /// Answers 0.
    Zero,
    /// Answers a block that begins in the memory and ends outside it.
    AcrossTheEnd,
    /// Answers a block beyond all memory.
    Outside,
    /// Answers the block that it answered before.
    Same,
    /// Calls itself for ever.
    Recursing,
    /// Loops for ever.
    Looping,
    /// Logs, then hands out one block behind another.
    Logging,
    /// Makes a hostcall that it may not.
    Forbidden,
    /// Traps.
    Trapping,
}

impl Allocator {
    /// All of them, in the order of their numbers in the guest.
    pub const ALL: [Allocator; 10] = [
        Allocator::Bump,
        Allocator::Zero,
        Allocator::AcrossTheEnd,
        Allocator::Outside,
        Allocator::Same,
        Allocator::Recursing,
        Allocator::Looping,
        Allocator::Logging,
        Allocator::Forbidden,
        Allocator::Trapping,
    ];
}

macro_rules! callbacks {
    ($($variant:ident = $name:literal ($parameters:literal) $result:ident,)*) => {
        /// A callback that the guest has.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is the callback of its name")]
        pub enum On { $($variant,)* }

        impl On {
            /// All of them, in the order of their numbers in the guest.
            pub const ALL: &[On] = &[$(On::$variant,)*];

            /// Its export, its number of parameters, and whether it has a result.
            pub(crate) const fn shape(self) -> (&'static str, usize, bool) {
                match self { $(On::$variant => ($name, $parameters, callbacks!(@ $result)),)* }
            }
        }
    };
    (@ answer) => { true };
    (@ nothing) => { false };
}

callbacks! {
    ContextCreate = "proxy_on_context_create" (2) nothing,
    Tick = "proxy_on_tick" (1) nothing,
    RequestHeaders = "proxy_on_request_headers" (3) answer,
    RequestBody = "proxy_on_request_body" (3) answer,
    RequestTrailers = "proxy_on_request_trailers" (2) answer,
    ResponseHeaders = "proxy_on_response_headers" (3) answer,
    ResponseBody = "proxy_on_response_body" (3) answer,
    ResponseTrailers = "proxy_on_response_trailers" (2) answer,
    HttpCallResponse = "proxy_on_http_call_response" (5) nothing,
    GrpcInitial = "proxy_on_grpc_receive_initial_metadata" (3) nothing,
    GrpcReceive = "proxy_on_grpc_receive" (3) nothing,
    GrpcTrailing = "proxy_on_grpc_receive_trailing_metadata" (3) nothing,
    GrpcClose = "proxy_on_grpc_close" (3) nothing,
    QueueReady = "proxy_on_queue_ready" (2) nothing,
    ForeignFunction = "proxy_on_foreign_function" (3) nothing,
    NewConnection = "proxy_on_new_connection" (1) answer,
    DownstreamData = "proxy_on_downstream_data" (3) answer,
    UpstreamData = "proxy_on_upstream_data" (3) answer,
    DownstreamClose = "proxy_on_downstream_connection_close" (2) nothing,
    UpstreamClose = "proxy_on_upstream_connection_close" (2) nothing,
    Log = "proxy_on_log" (1) nothing,
    Done = "proxy_on_done" (1) answer,
    Delete = "proxy_on_delete" (1) nothing,
}

/// A call of a hostcall.
#[derive(Debug, Clone, Copy)]
struct Call {
    on: On,
    hostcall: usize,
    arguments: [u64; MAX_ARGUMENTS],
}

/// What a guest is to do.
#[derive(Debug, Clone)]
pub struct Script {
    /// What its allocator does.
    pub allocator: Allocator,
    /// What its callbacks answer.
    pub answer: u32,
    calls: Vec<Call>,
}

impl Script {
    /// A guest with this allocator that makes no call.
    pub fn new(allocator: Allocator) -> Script {
        Script { allocator, answer: 1, calls: Vec::new() }
    }

    /// Makes a hostcall in a callback, after those that it has there.
    ///
    /// # Panics
    ///
    /// There is no such hostcall.
    #[must_use]
    pub fn call(mut self, on: On, name: &str, arguments: &[u64]) -> Script {
        let hostcall = HOSTCALLS.iter().position(|hostcall| hostcall.name == name);
        let hostcall = hostcall.unwrap_or_else(|| panic!("there is no hostcall {name}"));
        let mut padded = [0; MAX_ARGUMENTS];
        padded[..arguments.len()].copy_from_slice(arguments);
        self.calls.push(Call { on, hostcall, arguments: padded });
        self
    }

    /// Any bytes are a script: the allocator, the answer, then calls until they end.
    pub fn read(bytes: &[u8]) -> Script {
        let mut bytes = Reader(bytes);
        let allocator = Allocator::ALL[bytes.byte() as usize % Allocator::ALL.len()];
        let answer = u32::from(bytes.byte() % 8);
        let mut script = Script { allocator, answer, calls: Vec::new() };
        while !bytes.0.is_empty() && script.calls.len() < MAX_CALLS {
            let on = On::ALL[bytes.byte() as usize % On::ALL.len()];
            let hostcall = bytes.byte() as usize % HOSTCALLS.len();
            let mut arguments = [0; MAX_ARGUMENTS];
            let parameters = HOSTCALLS[hostcall].params.len();
            arguments[..parameters].fill_with(|| bytes.number());
            script.calls.push(Call { on, hostcall, arguments });
        }
        script
    }

    /// As the guest reads it: the allocator, the answer, the number of calls, and the calls, each a callback, a hostcall
    /// and the arguments. Words of 64 bits, little-endian.
    pub(crate) fn configuration(&self) -> Vec<u8> {
        let head = [self.allocator as u64, u64::from(self.answer), self.calls.len() as u64];
        let calls = self
            .calls
            .iter()
            .flat_map(|call| [call.on as u64, call.hostcall as u64].into_iter().chain(call.arguments));
        head.into_iter().chain(calls).flat_map(u64::to_le_bytes).collect()
    }
}

/// Hostcalls that end the guest.
pub(crate) fn is_an_end(hostcall: &Hostcall) -> bool {
    matches!(hostcall.name, "abort" | "proc_exit")
}

/// Bytes to read from; 0 where there are no more.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// An edge or a number near one, or four bytes as they are.
    fn number(&mut self) -> u64 {
        let tag = self.byte();
        let edge = EDGES[usize::from(tag & 0x1f)];
        match tag >> 5 {
            0..=4 => edge,
            5 => edge.wrapping_add(u64::from(self.byte())),
            6 => edge.wrapping_sub(u64::from(self.byte())),
            _ => u64::from(u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])),
        }
    }
}
