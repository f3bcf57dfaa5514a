//! Filters as the user wrote them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map};
use super::super::model::OnFault;
use super::super::scalar::{Count, Size, Text};
use super::{GuestConfig, Module, Variable};

/// A filter: a WebAssembly module and what it is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Its code: `builtin:NAME`; a file, relative to the folder of this configuration; a URL, `https://` or `http://`; an
    /// image in a registry, `oci://registry/repository:tag`; or a mapping that says more.
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
    /// What the filter may use.
    #[serde(default)]
    pub(crate) limits: Field<FilterLimits>,
    /// What becomes of a request when the filter fails on it: answered 503 (`closed`) or sent on without the filter
    /// (`open`). Default: `closed`.
    #[serde(default)]
    #[schemars(extend("default" = "closed"))]
    pub(crate) on_fault: Field<Text<OnFault>>,
    /// Whether a pause at the headers lets the filter see the body meanwhile, as the field of this name in Envoy does.
    /// Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) allow_on_headers_stop_iteration: Field<bool>,
}

/// What a filter may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterLimits {
    /// WebAssembly instructions in one callback.
    #[serde(default)]
    #[schemars(transform = bounds::INSTRUCTIONS.describe())]
    pub(crate) instructions: Field<Text<Count>>,
    /// Time in one callback, that spent in the host included.
    #[serde(default)]
    #[schemars(transform = bounds::WALL_CLOCK.describe())]
    pub(crate) wall_clock: Field<Text<Duration>>,
    /// Memory of one instance.
    #[serde(default)]
    #[schemars(transform = bounds::MEMORY.describe())]
    pub(crate) memory: Field<Text<Size>>,
    /// HTTP and gRPC callouts in flight from one instance.
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
