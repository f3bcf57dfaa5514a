//! Clusters as the user wrote them.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::model::{ClusterProtocol, LoadBalancer};
use super::super::scalar::{Count, Size, Text};

/// A service: endpoints that answer alike.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Where it is: IP and port each. With none, requests are answered 503.
    pub(crate) endpoints: Field<Vec<Field<Text<SocketAddr>>>>,
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
}
