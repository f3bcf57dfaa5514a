//! Clusters: where their endpoints are, and how one is picked for a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Address, Affinity, Balancing, Http2, Recovery};
use crate::tls::Origination;

/// A service: endpoints that answer alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Any string; filters name it in callouts.
    pub name: String,
    /// Where it is. May be empty: then every request is answered 503.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What its endpoints speak.
    pub protocol: ClusterProtocol,
    /// TLS with them.
    pub tls: Option<Arc<Origination>>,
    /// How one is picked.
    pub balancing: Balancing,
    /// Whether a client's requests go to the endpoint that its first one went to.
    pub affinity: Option<Affinity>,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections kept by one worker to one endpoint.
    pub idle_connections: usize,
    /// A response's status line and headers together, in bytes; more is 502.
    pub header_bytes: usize,
    /// How HTTP/2 is spoken, where it is.
    pub http2: Http2,
    /// What is done about endpoints that fail.
    pub recovery: Recovery,
}

/// What requests to a cluster are sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterProtocol {
    /// HTTP/1.1.
    Http1,
    /// Either, which each endpoint chooses in the TLS handshake. There is TLS.
    Auto,
    /// HTTP/2, which has to be known beforehand where there is no TLS to agree on it (RFC 9113, 3.3).
    Http2,
}

/// One address of a cluster, and what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is. A port is not 0.
    pub address: Address,
    /// Its share of the requests, compared with the others' of its priority; from 1.
    pub weight: u32,
    /// Which endpoints are asked first: those of 0, and of a higher number what those before cannot take.
    pub priority: u32,
    /// Where its machine is.
    pub locality: Locality,
    /// What subsets are made by.
    pub metadata: BTreeMap<String, String>,
    /// How it is at best, whatever else is found out.
    pub health: Health,
}

/// How an endpoint is, as far as the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As far as anybody knows, it takes requests.
    Healthy,
    /// It is to take what the healthy ones cannot.
    Degraded,
    /// It is to take none, as if it had fallen ill.
    Unhealthy,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint::from(Address::Ip(address))
    }
}

impl From<Address> for Endpoint {
    /// An endpoint of which nothing else is said.
    fn from(address: Address) -> Endpoint {
        Endpoint {
            address,
            weight: 1,
            priority: 0,
            locality: Locality::default(),
            metadata: BTreeMap::new(),
            health: Health::Healthy,
        }
    }
}

/// Where a machine is. What is not said is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// Such as a country's part.
    pub region: String,
    /// A part of the region that fails by itself.
    pub zone: String,
    /// A part of the zone.
    pub sub_zone: String,
}

impl Cluster {
    /// Where its endpoints are, in the order of the file.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.endpoints.iter().map(|endpoint| endpoint.address)
    }

    /// Whether a connection that was made for `former` could have been made for this: then it is kept. Whoever adds a
    /// field here says on which side it is.
    pub fn connects_as(&self, former: &Cluster) -> bool {
        let Cluster {
            name: _,
            endpoints: _,
            balancing: _,
            affinity: _,
            connect_timeout: _,
            idle_timeout: _,
            idle_connections: _,
            header_bytes,
            protocol,
            tls,
            http2,
            recovery: _,
        } = self;
        (header_bytes, protocol, tls, http2)
            == (&former.header_bytes, &former.protocol, &former.tls, &former.http2)
    }
}
