//! When a request is sent again, as the user wrote it.

use std::time::Duration;

use ::http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map, OneOrMany};
use super::super::model::{Percent, ResetFormat, RetryCondition};
use super::super::scalar::{Count, Size, Text};
use super::ValueMatcher;

/// When a request is sent again, and how often. Whether that may be done twice is for whoever writes this to know: a
/// method says nothing of it here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retries {
    /// What is tried again: any of these words of Envoy's, of the statuses of gRPC (of a response without a body), and of
    /// HTTP's as numbers.
    #[serde(default)]
    pub(crate) on: Field<OneOrMany<Text<RetryCondition>>>,
    /// Responses with any of these header fields are tried again too.
    #[serde(default)]
    pub(crate) on_headers: Field<Map<Text<HeaderName>, ValueMatcher>>,
    /// How often a request is sent again at most.
    #[serde(default)]
    #[schemars(transform = bounds::RETRY_ATTEMPTS.describe())]
    pub(crate) attempts: Field<Text<Count>>,
    /// How long the header fields of a response are waited for before the request is sent again, as with a reset. Default:
    /// for as long as the route's `timeout`.
    #[serde(default)]
    pub(crate) per_try_timeout: Field<Text<Duration>>,
    /// How long to wait before each.
    #[serde(default)]
    pub(crate) backoff: Field<Backoff>,
    /// When the response says how long to wait.
    #[serde(default)]
    pub(crate) retry_after: Field<RetryAfter>,
    /// How many of a cluster's requests in flight may be retries, of any route; more are not sent again.
    #[serde(default)]
    #[schemars(transform = bounds::RETRY_BUDGET.describe())]
    pub(crate) budget: Field<Text<Percent>>,
    /// How many may be whatever `budget` says, so that a cluster with few requests has retries too.
    #[serde(default)]
    #[schemars(transform = bounds::RETRY_BUDGET_MINIMUM.describe())]
    pub(crate) budget_minimum: Field<Text<Count>>,
    /// How much of a request's body is kept to be sent again. Of a longer one the request is not, once more of it was sent.
    #[serde(default)]
    #[schemars(transform = bounds::RETRY_BUFFER.describe())]
    pub(crate) buffer: Field<Text<Size>>,
    /// Whether `x-envoy-attempt-count` says which attempt it is, in requests and in the response. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) attempt_count: Field<bool>,
    /// Send a request that is not answered in good time to another endpoint too: the first good answer is passed on, and the
    /// other attempts are given up. They are among the `attempts` and within the budget. Default: it is not.
    #[serde(default)]
    pub(crate) hedge: Field<Hedge>,
}

/// When a request is sent to another endpoint too. One of the two is required.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hedge {
    /// So long after the last time, while there is no answer. Best a little longer than nearly all answers take.
    #[serde(default)]
    pub(crate) after: Field<Text<Duration>>,
    /// When the `per_try_timeout` of an attempt is over, which goes on then. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) on_per_try_timeout: Field<bool>,
}

/// How long to wait before a request is sent again: a random time below `base` the first time, below thrice as much the
/// second, then seven times.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backoff {
    /// Below this the first time.
    #[serde(default)]
    #[schemars(transform = bounds::RETRY_BACKOFF_BASE.describe())]
    pub(crate) base: Field<Text<Duration>>,
    /// Below this each time. Default: ten times `base`.
    #[serde(default)]
    pub(crate) max: Field<Text<Duration>>,
}

/// Header fields of a response that say when to come again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryAfter {
    /// The fields, and what they say: how many `seconds` from now (or, in `retry-after`, a date), or a `unix_timestamp`.
    /// The first that is there counts. Default: `{retry-after: seconds}`; `{}` is none.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, Text<ResetFormat>>>,
    /// A response that asks for a longer wait is passed on to the client, who may wait as long.
    #[serde(default)]
    #[schemars(transform = bounds::RETRY_AFTER_MAX.describe())]
    pub(crate) max: Field<Text<Duration>>,
}
