//! Why a filter failed: a kind with a fixed word, the callback, and a message for the log.
//!
//! A fault means that the instance is lost; what becomes of its exchanges is the pipeline's decision.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::abi::Callback;
use super::engine::START_ALLOWANCE;
use super::host::Host;
use super::tally::HOSTCALL_COST;
use crate::config::{Count, Quantity};

/// A filter's failure. The instance that it came from must be dropped.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind} fault in {callback}: {message}")]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The export in which it went wrong, or `instantiate`.
    pub callback: &'static str,
    /// What the guest was doing: the cause, with the limit that it met, and the guest's own call stack, with source lines
    /// where it has them.
    pub message: String,
}

/// The ways in which a filter fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It trapped, by itself (a panic, an abort) or by a forbidden act.
    Trap,
    /// It used up the instructions that one callback may take.
    Instructions,
    /// It used up the time that one callback may take.
    WallClock,
    /// It gave up after it was refused more memory, or needs more than it may have to begin with.
    Memory,
    /// Its call stack overflowed.
    Stack,
    /// It called the host at a time when the ABI does not let it.
    Protocol,
    /// It gave up after its allocator had returned no usable block.
    Allocator,
    /// It could not be instantiated, or refused to start (`proxy_on_vm_start`).
    Start,
    /// It refused its configuration (`proxy_on_configure`).
    Configure,
    /// It was called although it had failed before.
    Dead,
    /// Its module could not be fetched yet.
    Missing,
    /// It has as many instances as it may, each of which serves an exchange.
    Instances,
    /// It is left alone for a while, because it does nothing but fail.
    Breaker,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 13] = [
        FaultKind::Trap,
        FaultKind::Instructions,
        FaultKind::WallClock,
        FaultKind::Memory,
        FaultKind::Stack,
        FaultKind::Protocol,
        FaultKind::Allocator,
        FaultKind::Start,
        FaultKind::Configure,
        FaultKind::Dead,
        FaultKind::Missing,
        FaultKind::Instances,
        FaultKind::Breaker,
    ];
    /// How many there are.
    pub const COUNT: usize = FaultKind::ALL.len();

    /// The fixed word for metrics, logs and the admin pages.
    pub fn word(self) -> &'static str {
        match self {
            FaultKind::Trap => "trap",
            FaultKind::Instructions => "instructions",
            FaultKind::WallClock => "wall_clock",
            FaultKind::Memory => "memory",
            FaultKind::Stack => "stack",
            FaultKind::Protocol => "protocol",
            FaultKind::Allocator => "allocator",
            FaultKind::Start => "start",
            FaultKind::Configure => "configure",
            FaultKind::Dead => "dead",
            FaultKind::Missing => "missing",
            FaultKind::Instances => "instances",
            FaultKind::Breaker => "breaker",
        }
    }
}

impl FaultKind {
    /// What happened, in the words of whoever operates the proxy.
    pub fn description(self) -> &'static str {
        match self {
            FaultKind::Trap => {
                "it stopped itself (a panic, an abort, an exit) or did what no module may, such as reading beyond its \
                 memory: a mistake in the filter, whose call stack is in the log"
            }
            FaultKind::Instructions => "one callback took more than `limits.instructions`",
            FaultKind::WallClock => "one callback took longer than `limits.wall_clock`",
            FaultKind::Memory => {
                "it gave up when it got no memory beyond `limits.memory`, or needs more than that to begin with"
            }
            FaultKind::Stack => "its calls went too deep: a recursion without an end, most likely",
            FaultKind::Protocol => {
                "it called the proxy when the ABI does not let it: before its root context was created, or from its \
                 allocator"
            }
            FaultKind::Allocator => {
                "it gave up after its own allocator had returned no block that can be used"
            }
            FaultKind::Start => {
                "it could not be instantiated, or refused to start (its `proxy_on_vm_start` answered false)"
            }
            FaultKind::Configure => "it refused its `config` (its `proxy_on_configure` answered false)",
            FaultKind::Dead => {
                "the exchange had begun in an instance that then failed on another one. Only the access log has this: the \
                 fault is counted once, as what it was"
            }
            FaultKind::Missing => "its module could not be fetched yet, so that there is nothing to call",
            FaultKind::Instances => {
                "as many exchanges as `limits.instances` allows had an instance of their own (`isolation: exchange`)"
            }
            FaultKind::Breaker => {
                "it was left alone, because it did little but fail before (`breaker`): counted for no filter, it is \
                in the access log's `details`"
            }
        }
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a hostcall stops its guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// WASI's `proc_exit`, which a guest reaches when it gives up.
    #[error("the guest exited with code {0} (proc_exit)")]
    Exit(u32),
    /// `env.abort`: AssemblyScript's panic.
    #[error("the guest aborted: {0}")]
    Abort(String),
    /// It asked for more than the host does in one call.
    #[error("it called the proxy too often")]
    TooMuchAsked,
    /// A hostcall at a time when there is nothing that it could act on.
    #[error("{call} may not be called {during}")]
    Restricted {
        /// The hostcall.
        call: &'static str,
        /// When.
        during: &'static str,
    },
}

impl Fault {
    /// What a failed call says of its guest. What the guest was refused during the call explains a trap that follows.
    pub(crate) fn from_trap(error: &wasmtime::Error, callback: Callback, host: &Host) -> Fault {
        let kind = match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => FaultKind::Instructions,
            Some(Trap::Interrupt) => FaultKind::WallClock,
            Some(Trap::StackOverflow) => FaultKind::Stack,
            _ if matches!(error.downcast_ref(), Some(Stop::TooMuchAsked)) => FaultKind::Instructions,
            _ if matches!(error.downcast_ref(), Some(Stop::Restricted { .. })) => FaultKind::Protocol,
            _ if host.limiter.refusal().is_some() => FaultKind::Memory,
            _ if host.allocator_failed => FaultKind::Allocator,
            _ => FaultKind::Trap,
        };
        Fault { kind, callback: callback.name(), message: describe(kind, error, host) }
    }

    /// A guest that could not be instantiated.
    pub(crate) fn from_instantiation(error: &wasmtime::Error, host: &Host) -> Fault {
        let kind = match error.downcast_ref::<Trap>() {
            None if host.limiter.refusal().is_some() => FaultKind::Memory,
            None if error.is::<PoolConcurrencyLimitError>() => FaultKind::Instances,
            None => FaultKind::Start,
            Some(_) => Fault::from_trap(error, Callback::Start, host).kind,
        };
        Fault { kind, callback: "instantiate", message: describe(kind, error, host) }
    }
}

/// The cause in one line, then the guest's call stack, innermost first, with demangled names and, where the module has
/// debug information, source lines.
fn describe(kind: FaultKind, error: &wasmtime::Error, host: &Host) -> String {
    let cause = cause(kind, error, host);
    match error.downcast_ref::<WasmBacktrace>() {
        Some(backtrace) => {
            let backtrace = backtrace.to_string();
            // Its first line is a heading that says nothing of the guest.
            let frames = backtrace.split_once('\n').map_or("", |(_heading, frames)| frames);
            format!("{cause}\n{frames}")
        }
        None => cause,
    }
}

/// What the guest met. A limit is named as the configuration has it, with its value: there it can be raised.
fn cause(kind: FaultKind, error: &wasmtime::Error, host: &Host) -> String {
    let root = &host.roots[host.current.root];
    let limits = &root.filter.limits;
    let (what, times) = match root.starting {
        true => ("a step of a start", format!("{START_ALLOWANCE} times ")),
        false => ("a callback", String::new()),
    };
    let cause = error.root_cause().to_string();
    match kind {
        FaultKind::Instructions => {
            let most = Count(limits.instructions).write();
            if matches!(error.downcast_ref(), Some(Stop::TooMuchAsked)) {
                return format!(
                    "it had the proxy do more for it than {what} may: each call counts as {HOSTCALL_COST} instructions \
                     ({times}`limits.instructions: {most}`)"
                );
            }
            format!("it took more instructions than {what} may ({times}`limits.instructions: {most}`)")
        }
        FaultKind::WallClock => {
            let most = limits.wall_clock.write();
            format!("it took longer than {what} may ({times}`limits.wall_clock: {most}`)")
        }
        FaultKind::Memory => match host.limiter.refusal() {
            Some(refusal) => format!("{refusal}: {cause}"),
            None => cause,
        },
        _ => cause,
    }
}
