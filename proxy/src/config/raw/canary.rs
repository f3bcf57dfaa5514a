//! A filter's second version, as the user wrote it.

use std::time::Duration;

use ::http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map};
use super::super::model::{CanaryMode, Isolation, OnFault, Percent, Times};
use super::super::scalar::{Count, Text};
use super::{Breaker, FilterLimits, Grant, GuestConfig, Match, Module, Recycle, Reload, Variable};

/// A second version of a filter beside the first. What it does not say of the filter is as the first version's; a field
/// that it gives replaces the first version's whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Canary {
    /// The second version's code, in the forms of the filter's `module`.
    #[serde(default)]
    pub(crate) module: Field<Module>,
    /// What it is configured with.
    #[serde(default)]
    pub(crate) config: Field<GuestConfig>,
    /// Whose shared data, cells and queues it has. A second version never shares a VM.
    #[serde(default)]
    pub(crate) vm_id: Field<String>,
    /// What its VM is configured with.
    #[serde(default)]
    pub(crate) vm_config: Field<serde_json::Value>,
    /// Which root context of the module it is.
    #[serde(default)]
    pub(crate) root_id: Field<String>,
    /// Environment variables that it sees.
    #[serde(default)]
    pub(crate) env: Field<Map<String, Variable>>,
    /// What it may do. A second version that needs more than the first says so here.
    #[serde(default)]
    pub(crate) capabilities: Field<Grant>,
    /// What it may use: all limits, those that are not given here as they are without a word.
    #[serde(default)]
    pub(crate) limits: Field<FilterLimits>,
    /// Which exchanges share an instance of it.
    #[serde(default)]
    pub(crate) isolation: Field<Text<Isolation>>,
    /// When an instance of it is replaced.
    #[serde(default)]
    pub(crate) recycle: Field<Recycle>,
    /// What becomes of a request when it fails on it. In a shadow nothing does.
    #[serde(default)]
    pub(crate) on_fault: Field<Text<OnFault>>,
    /// How soon an instance of it that failed has a successor.
    #[serde(default)]
    pub(crate) reload: Field<Reload>,
    /// When it is left alone because it fails again and again.
    #[serde(default)]
    pub(crate) breaker: Field<Breaker>,
    /// What becomes of a request that comes while it is over `limits.instructions_per_second`.
    #[serde(default)]
    pub(crate) on_rate_exceeded: Field<Text<OnFault>>,
    /// Whether it serves exchanges in the place of the first version (`serve`), or is only shown a copy of what the first
    /// version sees, so that its decisions can be compared (`shadow`): what it does then changes nothing, and its
    /// callouts are not sent. Compared are replies, by their status, and the heads that requests go on with, not
    /// responses' heads or bodies. Default: `serve`.
    #[serde(default)]
    #[schemars(extend("default" = "serve"))]
    pub(crate) mode: Field<Text<CanaryMode>>,
    /// Which share of the exchanges it gets at the beginning. Default: the first of `promote.steps`, or `0%`.
    #[serde(default)]
    pub(crate) percent: Field<Text<Percent>>,
    /// Which requests it gets whatever the percentage, as the filter sees them.
    #[serde(default, rename = "match")]
    pub(crate) matches: Field<Match>,
    /// A header field of the request: exchanges with one value of it get one version, and keep it as the percentage
    /// grows. Default: each exchange for itself.
    #[serde(default)]
    pub(crate) key: Field<Text<HeaderName>>,
    /// When it gets no exchange any more, until its configuration changes or an operator says otherwise.
    #[serde(default)]
    pub(crate) rollback: Field<Rollback>,
    /// How its percentage grows by itself. Default: not at all.
    #[serde(default)]
    pub(crate) promote: Field<Promote>,
}

/// When a second version gets no exchange any more. But for faults it is compared with what the first version did in the
/// same time, once both have seen `minimum` exchanges; what is not given is not looked at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// So many exchanges make a comparison.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_MINIMUM.describe())]
    pub(crate) minimum: Field<Text<Count>>,
    /// How far a comparison looks back; up to twice as far, or further where there are fewer exchanges than `minimum`.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_INTERVAL.describe())]
    pub(crate) interval: Field<Text<Duration>>,
    /// It failed on so many exchanges; 0 for never. This needs no minimum.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_FAULTS.describe())]
    pub(crate) faults: Field<Text<Count>>,
    /// Its share of responses with a status of 5xx is beyond the first version's by so much.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_SHARE.describe())]
    pub(crate) server_errors: Field<Text<Percent>>,
    /// Its share of exchanges that the filter itself ended, by a reply with a status of 400 or more or by a close, is
    /// beyond the first version's by so much.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_SHARE.describe())]
    pub(crate) denials: Field<Text<Percent>>,
    /// The mean time to the response's head is more than so many times the first version's.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_TIMES.describe())]
    pub(crate) latency: Field<Text<Times>>,
    /// The mean of the instructions that it runs for an exchange is more than so many times the first version's.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_TIMES.describe())]
    pub(crate) instructions: Field<Text<Times>>,
}

/// How a second version's percentage grows by itself, as long as it is not rolled back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promote {
    /// The percentages, each more than the one before it.
    #[schemars(length(min = 1))]
    pub(crate) steps: Field<Vec<Field<Text<Percent>>>>,
    /// How long each lasts, and longer until `rollback.minimum` exchanges were seen in it.
    #[serde(default)]
    #[schemars(transform = bounds::CANARY_EVERY.describe())]
    pub(crate) every: Field<Text<Duration>>,
}
