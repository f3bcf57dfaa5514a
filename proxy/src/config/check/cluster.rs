//! Checks clusters.

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{Cluster, ClusterProtocol, LoadBalancer};
use super::super::raw;
use super::super::scalar::Text;
use super::{Checker, items};

impl Checker<'_> {
    pub(super) fn cluster(&self, name: Located<String>, raw: Field<raw::Cluster>) -> Option<Cluster> {
        self.name(&name);
        let Located { value: raw, span: _ } = raw.given()?;
        let endpoints = self.required(raw.endpoints, "endpoints", name.span);
        let endpoints: Vec<_> = endpoints.map(|list| items(list.value).collect()).unwrap_or_default();
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.value.0.port() == 0) {
            self.log.error(endpoint.span, "an endpoint's port cannot be 0");
        }
        Some(Cluster {
            name: name.value,
            endpoints: endpoints.into_iter().map(|endpoint| endpoint.value.0).collect(),
            protocol: raw.protocol.value().map_or(ClusterProtocol::Http1, |Text(value)| value),
            load_balancer: raw.load_balancer.value().map_or(LoadBalancer::RoundRobin, |Text(value)| value),
            connect_timeout: self.duration(raw.connect_timeout, bounds::CONNECT_TIMEOUT),
            idle_timeout: self.duration(raw.idle_timeout, bounds::UPSTREAM_IDLE_TIMEOUT),
            idle_connections: self.count(raw.idle_connections, bounds::IDLE_CONNECTIONS),
            header_bytes: self.bytes(raw.header_bytes, bounds::HEADER_BYTES),
        })
    }
}
