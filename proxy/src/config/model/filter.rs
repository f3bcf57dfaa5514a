//! Filters: a module, what it is given, and what it may use.

use std::time::Duration;

use bytes::Bytes;

use super::{Grant, ModuleSource};
use crate::config::bounds;
use crate::config::scalar::{Count, Size};
use crate::files::Sha256;

/// A filter: a module and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its name: what chains, logs and metrics call it.
    pub name: String,
    /// Where its code is.
    pub module: ModuleSource,
    /// What its code must be.
    pub sha256: Option<Sha256>,
    /// The plugin configuration, as bytes: a mapping in the file is JSON text here, with the text of files in it.
    pub config: Bytes,
    /// The same with the names of files in the place of their text, which may be secret; `None` where it names none.
    pub config_shown: Option<serde_json::Value>,
    /// Shared data and queues are common to filters of one `vm_id`; empty is a namespace like any other. Under one that
    /// is not empty, filters of the same code run in one VM: see [`Plugin::shares`](crate::wasm::Plugin::shares).
    pub vm_id: String,
    /// The VM configuration, as bytes.
    pub vm_config: Bytes,
    /// Which root context of the module this is.
    pub root_id: String,
    /// The environment that WASI shows the guest.
    pub env: Vec<(String, String)>,
    /// Those of them whose values are the proxy's own variables', which may be secret: its names for them.
    pub env_sources: Vec<(String, String)>,
    /// What it may do.
    pub capabilities: Grant,
    /// What the guest may use.
    pub limits: FilterLimits,
    /// Which exchanges share an instance.
    pub isolation: Isolation,
    /// When an instance is replaced.
    pub recycle: Recycle,
    /// What becomes of a request when the filter fails.
    pub on_fault: OnFault,
    /// How soon an instance that failed has a successor.
    pub reload: Reload,
    /// When a filter that fails is left alone.
    pub breaker: Breaker,
    /// What becomes of a request that comes while the filter is over `limits.instructions_per_second`.
    pub on_rate_exceeded: OnFault,
    /// Whether `Pause` from a headers callback lets body callbacks go on (Envoy's `PluginConfig` field 9).
    pub allow_on_headers_stop_iteration: bool,
}

impl Filter {
    /// A module under a name and nothing else said: no configuration, limits and policies as they are without a word.
    pub fn new(name: impl Into<String>, module: ModuleSource) -> Filter {
        Filter {
            name: name.into(),
            module,
            sha256: None,
            config: Bytes::new(),
            config_shown: None,
            vm_id: String::new(),
            vm_config: Bytes::new(),
            root_id: String::new(),
            env: Vec::new(),
            env_sources: Vec::new(),
            capabilities: Grant::Everything,
            limits: FilterLimits::default(),
            isolation: Isolation::Worker,
            recycle: Recycle::default(),
            on_fault: OnFault::Closed,
            reload: Reload::default(),
            breaker: Breaker::default(),
            on_rate_exceeded: OnFault::Closed,
            allow_on_headers_stop_iteration: false,
        }
    }
}

/// What a guest may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterLimits {
    /// Wasm instructions in one callback.
    pub instructions: u64,
    /// Wasm instructions in one second, of the filter on one worker; without it there is no such limit.
    pub instructions_per_second: Option<u64>,
    /// Wall-clock time in one callback: the backstop for time spent in hostcalls.
    pub wall_clock: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory: usize,
    /// Instances on one worker, where each exchange has its own.
    pub instances: usize,
    /// Callouts in flight from one instance, or from all of a filter on a worker where each exchange has its own.
    pub callouts: usize,
    /// Log bytes in one second from one instance; more is dropped and counted.
    pub log_bytes: usize,
    /// Bytes of shared data under one `vm_id`.
    pub shared_data: usize,
    /// Bytes that one shared queue holds, and 64 for each item.
    pub queue: usize,
    /// Bytes of cells (buckets, counters, values that expire) under one `vm_id`.
    pub cells: usize,
    /// Metrics that the filter may define.
    pub metrics: usize,
}

impl Default for FilterLimits {
    /// What holds where the file says nothing.
    fn default() -> FilterLimits {
        let bytes = |Size(bytes): Size| usize::try_from(bytes).unwrap_or(usize::MAX);
        let count = |Count(count): Count| usize::try_from(count).unwrap_or(usize::MAX);
        FilterLimits {
            instructions: bounds::INSTRUCTIONS.default.0,
            instructions_per_second: None,
            wall_clock: bounds::WALL_CLOCK.default,
            memory: bytes(bounds::MEMORY.default),
            instances: count(bounds::INSTANCES.default),
            callouts: count(bounds::CALLOUTS.default),
            log_bytes: bytes(bounds::LOG_BYTES.default),
            shared_data: bytes(bounds::SHARED_DATA.default),
            queue: bytes(bounds::QUEUE.default),
            cells: bytes(bounds::CELLS.default),
            metrics: count(bounds::METRICS.default),
        }
    }
}

/// Which exchanges share an instance of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All of a worker.
    Worker,
    /// None: each has its own, made from a configured one.
    Exchange,
}

/// When an instance is replaced by a new one: whichever comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recycle {
    /// After so many exchanges.
    pub requests: Option<u64>,
    /// When it has more memory than this, in bytes.
    pub memory: Option<usize>,
    /// At this age.
    pub after: Option<Duration>,
}

/// How soon an instance that failed has a successor: the wait doubles from the one to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// The first wait.
    pub base_interval: Duration,
    /// The longest; at least the first.
    pub max_interval: Duration,
}

impl Default for Reload {
    fn default() -> Reload {
        Reload {
            base_interval: bounds::RELOAD_BASE_INTERVAL.default,
            max_interval: bounds::RELOAD_MAX_INTERVAL.default,
        }
    }
}

/// When a filter that fails is left alone, on each worker for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// After so many faults in the interval, on at least half of the exchanges that it was called for; 0 is never.
    pub faults: u64,
    /// How long it looks back.
    pub interval: Duration,
    /// For how long, the first time.
    pub open_for: Duration,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            faults: bounds::BREAKER_FAULTS.default.0,
            interval: bounds::BREAKER_INTERVAL.default,
            open_for: bounds::BREAKER_OPEN_FOR.default,
        }
    }
}

/// What becomes of a request when a filter fails on it, or may not be called for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    /// It is answered 503.
    Closed,
    /// It goes on without the filter.
    Open,
}
