//! What is done about endpoints that fail.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::super::bounds;
use super::super::scalar::Count;
use super::{AdaptiveConcurrency, Percent, Times};

/// What a cluster does about endpoints that fail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Which endpoints are left alone for a while, by how they answer.
    pub outlier_detection: Option<OutlierDetection>,
    /// How endpoints are asked how they are.
    pub health_check: Option<HealthCheck>,
    /// How much may be in use at once.
    pub breakers: Breakers,
    /// How the limit of requests adapts, beside that of the breakers.
    pub concurrency: Option<AdaptiveConcurrency>,
}

/// How much of a cluster may be in use at once, on all workers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breakers {
    /// Connections.
    pub connections: usize,
    /// Connections of one worker to one endpoint.
    pub connections_per_endpoint: usize,
    /// Requests that wait for a connection.
    pub pending: usize,
    /// Requests in flight.
    pub requests: usize,
    /// Retries in flight, whatever the budgets; `usize::MAX` is what those allow.
    pub retries: usize,
}

impl Default for Breakers {
    /// What holds where the file says nothing.
    fn default() -> Breakers {
        let count = |Count(count): Count| usize::try_from(count).unwrap_or(usize::MAX);
        Breakers {
            connections: count(bounds::BREAKER_CONNECTIONS.default),
            connections_per_endpoint: count(bounds::BREAKER_CONNECTIONS.default),
            pending: count(bounds::BREAKER_REQUESTS.default),
            requests: count(bounds::BREAKER_REQUESTS.default),
            retries: usize::MAX,
        }
    }
}

/// Which endpoints are left alone for a while, by how they answer. A number that is 0 is never reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx in a row, and what would become one.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504 in a row, and what would become one.
    pub consecutive_gateway_failures: u32,
    /// Failures in a row to connect, or to answer in time. Where it is 0 those count for the two above.
    pub consecutive_local_failures: u32,
    /// How often endpoints are compared.
    pub interval: Duration,
    /// How long one is left alone the first time.
    pub base_ejection_time: Duration,
    /// How long at most; at least the first.
    pub max_ejection_time: Duration,
    /// What is added to it at most, at random.
    pub ejection_jitter: Duration,
    /// How many may be at once.
    pub max_ejection_percent: Percent,
    /// Below the mean rate of successes by so many standard deviations.
    pub success_rate: Option<Comparison<Times>>,
    /// Failures in this share of the requests.
    pub failure_percentage: Option<Comparison<Percent>>,
    /// So many times the time of the endpoint in the middle.
    pub latency: Option<Comparison<Times>>,
}

/// What endpoints are compared by, each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison<T> {
    /// The bound.
    pub threshold: T,
    /// Requests in the interval that an endpoint needs to be looked at.
    pub request_volume: u64,
    /// Endpoints with as many that it takes.
    pub minimum_hosts: usize,
}

/// How endpoints are asked how they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What they are asked.
    pub probe: Probe,
    /// Between two checks of an endpoint.
    pub interval: Duration,
    /// The same while it is unhealthy.
    pub unhealthy_interval: Duration,
    /// The same before the cluster's first request.
    pub no_traffic_interval: Duration,
    /// How much longer, at random, as a share.
    pub jitter: Percent,
    /// For a check.
    pub timeout: Duration,
    /// Successes in a row that make it healthy; from 1.
    pub healthy_threshold: u32,
    /// Failures in a row that make it unhealthy; from 1.
    pub unhealthy_threshold: u32,
}

/// What an endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A request.
    Http {
        /// For this path, and query if it has one.
        path: http::uri::PathAndQuery,
        /// Its method.
        method: Method,
        /// Its `host`, where it is another than the endpoint's address.
        host: Option<HeaderValue>,
        /// More of its fields.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The statuses of one that is well. Never empty.
        statuses: Vec<StatusRange>,
    },
    /// gRPC's health service.
    Grpc {
        /// About this service.
        service: String,
        /// Its authority, where it is another than the endpoint's address.
        host: Option<HeaderValue>,
        /// More of its metadata.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// A connection.
    Tcp {
        /// What is sent on it.
        send: Bytes,
        /// What has to be in the answer.
        receive: Bytes,
    },
}

/// Statuses from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

impl StatusRange {
    /// 200 alone.
    pub const OK: StatusRange = StatusRange { first: 200, last: 200 };

    /// Whether a status is one of them.
    pub fn contains(self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}
