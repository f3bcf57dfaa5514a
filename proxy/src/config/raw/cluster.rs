//! Clusters as the user wrote them.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map, Short};
use super::super::model::{ClusterProtocol, Percent, StatedHealth, Times};
use super::super::scalar::{Count, Size, Text};
use super::{
    AdaptiveConcurrency, Affinity, Breakers, HealthCheck, Http2, LoadBalancer, Localities, OutlierDetection,
    SlowStart, Subsets,
};

/// A service: endpoints that answer alike.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Where it is: IP and port each, or a mapping that says more. With none, requests are answered 503.
    pub(crate) endpoints: Field<Vec<Field<Short<SocketAddr, Endpoint>>>>,
    /// What its endpoints speak: HTTP/1.1, or HTTP/2 without TLS, as gRPC services do. Default: `http1`.
    #[serde(default)]
    #[schemars(extend("default" = "http1"))]
    pub(crate) protocol: Field<Text<ClusterProtocol>>,
    /// How an endpoint is picked among those that are as good as each other: an algorithm's name, or its name with
    /// settings. Default: `round_robin`.
    #[serde(default)]
    #[schemars(extend("default" = "round_robin"))]
    pub(crate) load_balancer: Field<LoadBalancer>,
    /// With a smaller share of a priority's endpoints fit, all of them are asked: those that are left would not stand it.
    /// `0%` is never.
    #[serde(default)]
    #[schemars(transform = bounds::PANIC_THRESHOLD.describe())]
    pub(crate) panic_threshold: Field<Text<Percent>>,
    /// How many times its share of the load a priority, or a locality, can take before others are asked.
    #[serde(default)]
    #[schemars(transform = bounds::OVERPROVISIONING.describe())]
    pub(crate) overprovisioning: Field<Text<Times>>,
    /// What the endpoints' localities mean. Default: nothing.
    #[serde(default)]
    pub(crate) localities: Field<Localities>,
    /// Have endpoints that are new, or were unfit, begin with less than their weight. Default: they begin with all of it.
    #[serde(default)]
    pub(crate) slow_start: Field<SlowStart>,
    /// Parts of the endpoints that a route's `metadata_match` may ask for.
    #[serde(default)]
    pub(crate) subsets: Field<Subsets>,
    /// Send a client's requests to the endpoint that its first one went to, by a signed cookie.
    #[serde(default)]
    pub(crate) affinity: Field<Affinity>,
    /// How long a connection may take to be made.
    #[serde(default)]
    #[schemars(transform = bounds::CONNECT_TIMEOUT.describe())]
    pub(crate) connect_timeout: Field<Text<Duration>>,
    /// How long an unused connection is kept.
    #[serde(default)]
    #[schemars(transform = bounds::UPSTREAM_IDLE_TIMEOUT.describe())]
    pub(crate) idle_timeout: Field<Text<Duration>>,
    /// Unused connections that each worker keeps to each endpoint.
    #[serde(default)]
    #[schemars(transform = bounds::IDLE_CONNECTIONS.describe())]
    pub(crate) idle_connections: Field<Text<Count>>,
    /// A response's status line and header fields together; more is answered 502.
    #[serde(default)]
    #[schemars(transform = bounds::HEADER_BYTES.describe())]
    pub(crate) header_bytes: Field<Text<Size>>,
    /// How HTTP/2 is spoken, also by callouts.
    #[serde(default)]
    pub(crate) http2: Field<Http2>,
    /// Which endpoints get no requests for a while, by how they answer those that they get; `{}` is what is said without a
    /// word. Default: none.
    #[serde(default)]
    pub(crate) outlier_detection: Field<OutlierDetection>,
    /// How much of it may be in use at once.
    #[serde(default)]
    pub(crate) breakers: Field<Breakers>,
    /// A limit of the requests in flight that adapts to how long they take; `{}` is all the defaults. Default: none but
    /// that of `breakers`.
    #[serde(default)]
    pub(crate) adaptive_concurrency: Field<AdaptiveConcurrency>,
    /// How endpoints are asked how they are. Default: they are not.
    #[serde(default)]
    pub(crate) health_check: Field<HealthCheck>,
}

/// One address of a cluster, and what there is to say of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoint {
    /// IP and port.
    pub(crate) address: Field<Text<SocketAddr>>,
    /// Its share of the requests, compared with the others' of its priority.
    #[serde(default)]
    #[schemars(transform = bounds::ENDPOINT_WEIGHT.describe())]
    pub(crate) weight: Field<Text<Count>>,
    /// Which endpoints are asked first: those of 0, and of a higher number what those before cannot take.
    #[serde(default)]
    #[schemars(transform = bounds::PRIORITY.describe())]
    pub(crate) priority: Field<Text<Count>>,
    /// Where its machine is.
    #[serde(default)]
    pub(crate) locality: Field<Locality>,
    /// What subsets are made by: any names, each with a text.
    #[serde(default)]
    pub(crate) metadata: Field<Map<String, String>>,
    /// How it is at best, whatever else is found out: `unhealthy` takes it out of service and keeps its place,
    /// `degraded` leaves it what the healthy ones cannot take. Default: `healthy`.
    #[serde(default)]
    #[schemars(extend("default" = "healthy"))]
    pub(crate) health: Field<Text<StatedHealth>>,
}

/// Where a machine is. What is not given is empty.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Locality {
    /// Such as a country's part.
    #[serde(default)]
    pub(crate) region: Field<String>,
    /// A part of the region that fails by itself.
    #[serde(default)]
    pub(crate) zone: Field<String>,
    /// A part of the zone.
    #[serde(default)]
    pub(crate) sub_zone: Field<String>,
}
