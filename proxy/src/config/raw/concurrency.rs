//! How a cluster's limit of requests adapts, as the user wrote it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::model::Percent;
use super::super::scalar::{Count, Text};

/// A limit of the requests that a cluster has in flight, on all workers together, which adapts to how long they take to
/// answer; what is more is answered 503 with `x-envoy-overloaded`. `{}` is all the defaults, which are Envoy's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdaptiveConcurrency {
    /// Which of a window's times to the head of a response counts: that within which this share was answered.
    #[serde(default)]
    #[schemars(transform = bounds::CONCURRENCY_PERCENTILE.describe())]
    pub(crate) percentile: Field<Text<Percent>>,
    /// The least limit, and the limit while it is measured how long requests take.
    #[serde(default)]
    #[schemars(transform = bounds::CONCURRENCY_MIN.describe())]
    pub(crate) min: Field<Text<Count>>,
    /// The most; `breakers.requests` holds beside it.
    #[serde(default)]
    #[schemars(transform = bounds::CONCURRENCY_MAX.describe())]
    pub(crate) max: Field<Text<Count>>,
    /// Between two changes of the limit.
    #[serde(default)]
    #[schemars(transform = bounds::CONCURRENCY_INTERVAL.describe())]
    pub(crate) interval: Field<Text<Duration>>,
    /// How long requests take where there are few at once.
    #[serde(default)]
    pub(crate) min_rtt: Field<MinRtt>,
}

/// How long requests take where there are few at once: measured now and then, or given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MinRtt {
    /// Between two measurements.
    #[serde(default)]
    #[schemars(transform = bounds::MIN_RTT_INTERVAL.describe())]
    pub(crate) interval: Field<Text<Duration>>,
    /// How many requests a measurement has.
    #[serde(default)]
    #[schemars(transform = bounds::MIN_RTT_REQUESTS.describe())]
    pub(crate) requests: Field<Text<Count>>,
    /// How much longer than `interval` it may be until the next, at random: proxies that measured at once would make the
    /// service idle together.
    #[serde(default)]
    #[schemars(transform = bounds::MIN_RTT_JITTER.describe())]
    pub(crate) jitter: Field<Text<Percent>>,
    /// How much longer requests may take before the limit falls.
    #[serde(default)]
    #[schemars(transform = bounds::MIN_RTT_BUFFER.describe())]
    pub(crate) buffer: Field<Text<Percent>>,
    /// The time itself. Then nothing is measured. Default: it is measured.
    #[serde(default)]
    pub(crate) fixed: Field<Text<Duration>>,
}
