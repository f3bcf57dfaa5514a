//! Clusters as the user wrote them.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map, Short};
use super::super::model::{ClusterProtocol, LoadBalancer};
use super::super::scalar::{Count, Size, Text};
use super::{Breakers, HealthCheck, Http2, OutlierDetection};

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
    /// How an endpoint is picked: each in turn, or the less busy of two picked at random. Default: `round_robin`.
    #[serde(default)]
    #[schemars(extend("default" = "round_robin"))]
    pub(crate) load_balancer: Field<Text<LoadBalancer>>,
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
