//! Filters as the user wrote them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map};
use super::super::model::{Isolation, OnFault};
use super::super::scalar::{Count, Size, Text};
use super::{Canary, Grant, GuestConfig, Module, Variable};

/// A filter: a WebAssembly module and what it is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Its code: `builtin:NAME`; a file, relative to the folder of this configuration, or a folder, of which the newest
    /// version serves: the highest of `NAME-VERSION.wasm`; a URL, `https://` or `http://`; an image in a registry,
    /// `oci://registry/repository:tag`; or a mapping that says more.
    pub(crate) module: Field<Module>,
    /// What the filter is configured with: a text as it is, anything else as JSON. Anywhere in it, `{from_file: PATH}`
    /// is the text of a file, relative to the folder of this configuration.
    #[serde(default)]
    pub(crate) config: Field<GuestConfig>,
    /// Filters of one `vm_id` share data, cells and queues. Those whose code, `vm_config` and `env` are the same too
    /// run in one VM on each worker, each as a root context of its own. Default: empty, under which nobody shares a VM.
    #[serde(default)]
    pub(crate) vm_id: Field<String>,
    /// What the filter's VM is configured with: a text as it is, anything else as JSON.
    #[serde(default)]
    pub(crate) vm_config: Field<serde_json::Value>,
    /// Which root context of the module this is, where it has several. Default: empty.
    #[serde(default)]
    pub(crate) root_id: Field<String>,
    /// Environment variables that the module sees, each a text, or `{from_env: NAME}`: that of the proxy's own
    /// environment, of which it sees no more than this.
    #[serde(default)]
    pub(crate) env: Field<Map<String, Variable>>,
    /// What the filter may do: this and nothing else, or `manifest` for what its module asks for. Default: everything.
    #[serde(default)]
    pub(crate) capabilities: Field<Grant>,
    /// What the filter may use.
    #[serde(default)]
    pub(crate) limits: Field<FilterLimits>,
    /// Whether one instance on each worker serves all its exchanges (`worker`), or each has an instance of its own, made
    /// from a configured one (`exchange`): then a fault costs the exchange that caused it and no other. Default: `worker`.
    #[serde(default)]
    #[schemars(extend("default" = "worker"))]
    pub(crate) isolation: Field<Text<Isolation>>,
    /// When an instance is replaced by a new one. Exchanges that it has end in it.
    #[serde(default)]
    pub(crate) recycle: Field<Recycle>,
    /// What becomes of a request when the filter fails on it: answered 503 (`closed`) or sent on without the filter
    /// (`open`). Default: `closed`.
    #[serde(default)]
    #[schemars(extend("default" = "closed"))]
    pub(crate) on_fault: Field<Text<OnFault>>,
    /// How soon an instance that failed has a successor.
    #[serde(default)]
    pub(crate) reload: Field<Reload>,
    /// When a filter that fails again and again is left alone: then `on_fault` says what becomes of requests. Under
    /// `isolation: exchange` only those faults count that others had to wait for (`instructions`, `wall_clock`, `memory`):
    /// a trap costs the exchange that caused it, however often there is one.
    #[serde(default)]
    pub(crate) breaker: Field<Breaker>,
    /// What becomes of a request that comes while the filter is over `limits.instructions_per_second`: answered 503
    /// (`closed`) or sent on without the filter (`open`). Default: what `on_fault` says.
    #[serde(default)]
    pub(crate) on_rate_exceeded: Field<Text<OnFault>>,
    /// Whether a pause at the headers lets the filter see the body meanwhile, as the field of this name in Envoy does.
    /// Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) allow_on_headers_stop_iteration: Field<bool>,
    /// A second version of the filter beside this one, that gets some of its exchanges.
    #[serde(default)]
    pub(crate) canary: Field<Canary>,
}

/// When an instance is replaced by a new one: whichever comes first. Without any of these it never is. With
/// `isolation: exchange` it is the one for the background, which serves no exchange.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recycle {
    /// After so many exchanges.
    #[serde(default)]
    #[schemars(transform = bounds::RECYCLE_REQUESTS.describe())]
    pub(crate) requests: Field<Text<Count>>,
    /// When it has more memory than this.
    #[serde(default)]
    #[schemars(transform = bounds::RECYCLE_MEMORY.describe())]
    pub(crate) memory: Field<Text<Size>>,
    /// At this age, and up to a tenth later, so that not all workers do it at once.
    #[serde(default)]
    #[schemars(transform = bounds::RECYCLE_AFTER.describe())]
    pub(crate) after: Field<Text<Duration>>,
}

/// How soon an instance that failed has a successor. The wait doubles each time that one fails before it has lived for
/// `max_interval`, and is made up to half longer at random.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reload {
    /// The first wait.
    #[serde(default)]
    #[schemars(transform = bounds::RELOAD_BASE_INTERVAL.describe())]
    pub(crate) base_interval: Field<Text<Duration>>,
    /// The longest.
    #[serde(default)]
    #[schemars(transform = bounds::RELOAD_MAX_INTERVAL.describe())]
    pub(crate) max_interval: Field<Text<Duration>>,
}

/// When a filter that fails is left alone, on each worker for itself: so many faults in the interval, and one on at least
/// half of the exchanges that it was called for. The second keeps those who can make a filter fail on their own requests
/// from taking it away from everyone's.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Breaker {
    /// So many faults; 0 for never.
    #[serde(default)]
    #[schemars(transform = bounds::BREAKER_FAULTS.describe())]
    pub(crate) faults: Field<Text<Count>>,
    /// In this time.
    #[serde(default)]
    #[schemars(transform = bounds::BREAKER_INTERVAL.describe())]
    pub(crate) interval: Field<Text<Duration>>,
    /// For how long it is left alone. Twice as long each time that the first call after it fails, up to an hour.
    #[serde(default)]
    #[schemars(transform = bounds::BREAKER_OPEN_FOR.describe())]
    pub(crate) open_for: Field<Text<Duration>>,
}

/// What a filter may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterLimits {
    /// WebAssembly instructions in one callback.
    #[serde(default)]
    #[schemars(transform = bounds::INSTRUCTIONS.describe())]
    pub(crate) instructions: Field<Text<Count>>,
    /// WebAssembly instructions in one second, of the filter on one worker; a second's worth is saved up. Beyond it the
    /// filter is not called for what begins: see `on_rate_exceeded`.
    #[serde(default)]
    #[schemars(transform = bounds::INSTRUCTIONS_PER_SECOND.describe())]
    pub(crate) instructions_per_second: Field<Text<Count>>,
    /// Time in one callback, that spent in the host included.
    #[serde(default)]
    #[schemars(transform = bounds::WALL_CLOCK.describe())]
    pub(crate) wall_clock: Field<Text<Duration>>,
    /// Memory of one instance.
    #[serde(default)]
    #[schemars(transform = bounds::MEMORY.describe())]
    pub(crate) memory: Field<Text<Size>>,
    /// Instances at once on one worker, where each exchange has its own (`isolation: exchange`).
    #[serde(default)]
    #[schemars(transform = bounds::INSTANCES.describe())]
    pub(crate) instances: Field<Text<Count>>,
    /// HTTP and gRPC callouts in flight from one instance, or from all of one filter and worker where each exchange has
    /// its own.
    #[serde(default)]
    #[schemars(transform = bounds::CALLOUTS.describe())]
    pub(crate) callouts: Field<Text<Count>>,
    /// Log text in one second from one instance; more is dropped and counted.
    #[serde(default)]
    #[schemars(transform = bounds::LOG_BYTES.describe())]
    pub(crate) log_bytes: Field<Text<Size>>,
    /// Shared data under one `vm_id`.
    #[serde(default)]
    #[schemars(transform = bounds::SHARED_DATA.describe())]
    pub(crate) shared_data: Field<Text<Size>>,
    /// What waits in one shared queue that the filter registers: the items' bytes, and 64 for each. More is refused.
    #[serde(default)]
    #[schemars(transform = bounds::QUEUE.describe())]
    pub(crate) queue: Field<Text<Size>>,
    /// Cells under one `vm_id`: token buckets, counters, values that expire. Beyond it unused ones are forgotten.
    #[serde(default)]
    #[schemars(transform = bounds::CELLS.describe())]
    pub(crate) cells: Field<Text<Size>>,
    /// Metrics that the filter may define.
    #[serde(default)]
    #[schemars(transform = bounds::METRICS.describe())]
    pub(crate) metrics: Field<Text<Count>>,
}
