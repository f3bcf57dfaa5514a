//! What is done about endpoints that fail, as the user wrote it.

use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map, OneOrMany};
use super::super::model::{Percent, StatusRange, Times};
use super::super::scalar::{Authority, Count, Text};

/// Which endpoints get no requests for a while, by how they answer those that they get. Where nothing is given, those that
/// answer five times in a row with 5xx, or not at all, and those whose rate of successes is far below the others'.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutlierDetection {
    /// So many responses of 5xx in a row, or failures to connect or to answer; 0 is never.
    #[serde(default)]
    #[schemars(transform = bounds::CONSECUTIVE_5XX.describe())]
    pub(crate) consecutive_5xx: Field<Text<Count>>,
    /// So many of 502, 503 or 504 in a row, or failures to connect or to answer; 0 is never.
    #[serde(default)]
    #[schemars(transform = bounds::CONSECUTIVE_GATEWAY_FAILURES.describe())]
    pub(crate) consecutive_gateway_failures: Field<Text<Count>>,
    /// So many failures in a row to connect, or to answer in time. Where this is given, those do not count as 5xx; 0 has
    /// them count as 5xx.
    #[serde(default)]
    #[schemars(transform = bounds::CONSECUTIVE_LOCAL_FAILURES.describe())]
    pub(crate) consecutive_local_failures: Field<Text<Count>>,
    /// How often endpoints are compared with each other.
    #[serde(default)]
    #[schemars(transform = bounds::OUTLIER_INTERVAL.describe())]
    pub(crate) interval: Field<Text<Duration>>,
    /// How long an endpoint is left alone the first time; the second time in a row twice as long, and so on. When it is back
    /// its first answer decides: a failure has it left alone again.
    #[serde(default)]
    #[schemars(transform = bounds::BASE_EJECTION_TIME.describe())]
    pub(crate) base_ejection_time: Field<Text<Duration>>,
    /// How long at most.
    #[serde(default)]
    #[schemars(transform = bounds::MAX_EJECTION_TIME.describe())]
    pub(crate) max_ejection_time: Field<Text<Duration>>,
    /// A random time up to this is added, so that they do not all come back at once.
    #[serde(default)]
    #[schemars(transform = bounds::EJECTION_JITTER.describe())]
    pub(crate) ejection_jitter: Field<Text<Duration>>,
    /// How many of the cluster's endpoints may be left alone at once; one of several always may.
    #[serde(default)]
    #[schemars(transform = bounds::MAX_EJECTION_PERCENT.describe())]
    pub(crate) max_ejection_percent: Field<Text<Percent>>,
    /// Those whose rate of successes in an interval is far below the others'.
    #[serde(default)]
    pub(crate) success_rate: Field<SuccessRate>,
    /// Those that fail too large a share of an interval's requests. Default: not looked at.
    #[serde(default)]
    pub(crate) failure_percentage: Field<FailurePercentage>,
    /// Those that take far longer to answer than the others. Default: not looked at.
    #[serde(default)]
    pub(crate) latency: Field<Latency>,
}

/// Endpoints whose rate of successes is below the mean by so many standard deviations.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuccessRate {
    /// How many standard deviations; 0 does not look.
    #[serde(default)]
    #[schemars(transform = bounds::STDEV_FACTOR.describe())]
    pub(crate) stdev_factor: Field<Text<Times>>,
    /// Requests in the interval that an endpoint needs to be looked at.
    #[serde(default)]
    #[schemars(transform = bounds::SUCCESS_RATE_VOLUME.describe())]
    pub(crate) request_volume: Field<Text<Count>>,
    /// Endpoints with as many that it takes to compare.
    #[serde(default)]
    #[schemars(transform = bounds::OUTLIER_MINIMUM_HOSTS.describe())]
    pub(crate) minimum_hosts: Field<Text<Count>>,
}

/// Endpoints that fail this share of their requests, or more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FailurePercentage {
    /// The share.
    #[serde(default)]
    #[schemars(transform = bounds::FAILURE_THRESHOLD.describe())]
    pub(crate) threshold: Field<Text<Percent>>,
    /// Requests in the interval that an endpoint needs to be looked at.
    #[serde(default)]
    #[schemars(transform = bounds::FAILURE_VOLUME.describe())]
    pub(crate) request_volume: Field<Text<Count>>,
    /// Endpoints with as many that it takes to look at any.
    #[serde(default)]
    #[schemars(transform = bounds::OUTLIER_MINIMUM_HOSTS.describe())]
    pub(crate) minimum_hosts: Field<Text<Count>>,
}

/// Endpoints whose mean time to the head of a response is so many times that of the one in the middle.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latency {
    /// How many times.
    #[serde(default)]
    #[schemars(transform = bounds::LATENCY_FACTOR.describe())]
    pub(crate) factor: Field<Text<Times>>,
    /// Requests in the interval that an endpoint needs to be looked at.
    #[serde(default)]
    #[schemars(transform = bounds::FAILURE_VOLUME.describe())]
    pub(crate) request_volume: Field<Text<Count>>,
    /// Endpoints with as many that it takes to compare.
    #[serde(default)]
    #[schemars(transform = bounds::OUTLIER_MINIMUM_HOSTS.describe())]
    pub(crate) minimum_hosts: Field<Text<Count>>,
}

/// How much of a cluster may be in use at once, on all workers together; what is more is answered 503 with
/// `x-envoy-overloaded`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Breakers {
    /// Connections. With HTTP/1.1 a request then waits for one that is free; a worker without any makes one all the same.
    #[serde(default)]
    #[schemars(transform = bounds::BREAKER_CONNECTIONS.describe())]
    pub(crate) connections: Field<Text<Count>>,
    /// Connections of one worker to one endpoint, in the same way.
    #[serde(default)]
    #[schemars(transform = bounds::BREAKER_CONNECTIONS.describe())]
    pub(crate) connections_per_endpoint: Field<Text<Count>>,
    /// Requests that wait for a connection, or for it to be made.
    #[serde(default)]
    #[schemars(transform = bounds::BREAKER_REQUESTS.describe())]
    pub(crate) pending: Field<Text<Count>>,
    /// Requests in flight.
    #[serde(default)]
    #[schemars(transform = bounds::BREAKER_REQUESTS.describe())]
    pub(crate) requests: Field<Text<Count>>,
    /// Retries in flight, whatever the `budget` of a route. Default: what the budgets allow.
    #[serde(default)]
    pub(crate) retries: Field<Text<Count>>,
}

/// How endpoints are asked how they are: exactly one of `path`, `grpc` and `tcp`. They are asked once for the whole
/// process, on a connection of their own each time; the first answer decides, after it the thresholds do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// A request for this path, in the cluster's `protocol`.
    #[serde(default)]
    pub(crate) path: Field<String>,
    /// gRPC's health service (`grpc.health.v1.Health`).
    #[serde(default)]
    pub(crate) grpc: Field<GrpcCheck>,
    /// A connection, and what is said on it.
    #[serde(default)]
    pub(crate) tcp: Field<TcpCheck>,
    /// With `path`: the request's method. Default: `GET`.
    #[serde(default)]
    #[schemars(extend("default" = "GET"))]
    pub(crate) method: Field<Text<Method>>,
    /// With `path` or `grpc`: the request's `host`. Default: the cluster's name where that is one, else the endpoint's
    /// address.
    #[serde(default)]
    pub(crate) host: Field<Text<Authority>>,
    /// With `path` or `grpc`: more header fields of the request.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, Text<HeaderValue>>>,
    /// With `path`: the statuses of an endpoint that is well. Default: `200`.
    #[serde(default)]
    pub(crate) statuses: Field<OneOrMany<Text<StatusRange>>>,
    /// Between two checks of an endpoint.
    #[serde(default)]
    #[schemars(transform = bounds::CHECK_INTERVAL.describe())]
    pub(crate) interval: Field<Text<Duration>>,
    /// The same while it is not well. Default: `interval`.
    #[serde(default)]
    pub(crate) unhealthy_interval: Field<Text<Duration>>,
    /// The same for as long as the cluster was never sent a request. Default: `interval`.
    #[serde(default)]
    pub(crate) no_traffic_interval: Field<Text<Duration>>,
    /// How much longer than that the interval may be, at random.
    #[serde(default)]
    #[schemars(transform = bounds::CHECK_JITTER.describe())]
    pub(crate) jitter: Field<Text<Percent>>,
    /// How long a check may take.
    #[serde(default)]
    #[schemars(transform = bounds::CHECK_TIMEOUT.describe())]
    pub(crate) timeout: Field<Text<Duration>>,
    /// So many checks in a row that went well make an endpoint healthy.
    #[serde(default)]
    #[schemars(transform = bounds::HEALTHY_THRESHOLD.describe())]
    pub(crate) healthy_threshold: Field<Text<Count>>,
    /// So many that did not make it unhealthy.
    #[serde(default)]
    #[schemars(transform = bounds::UNHEALTHY_THRESHOLD.describe())]
    pub(crate) unhealthy_threshold: Field<Text<Count>>,
}

/// Asks gRPC's health service over HTTP/2, whatever the cluster's `protocol`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrpcCheck {
    /// The service that is asked about. Default: empty, which is the server as a whole.
    #[serde(default)]
    pub(crate) service: Field<String>,
}

/// Connects, and where anything is given says it and waits for the answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpCheck {
    /// What is sent. Default: nothing.
    #[serde(default)]
    pub(crate) send: Field<String>,
    /// What has to be in the answer, within its first 64 KiB. Default: none is waited for.
    #[serde(default)]
    pub(crate) receive: Field<String>,
}
