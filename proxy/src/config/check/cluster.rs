//! Checks clusters.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::bounds;
use super::super::decode::{Field, Located, Map, Short};
use super::super::model::{Cluster, ClusterProtocol, Endpoint, Locality, Recovery, StatedHealth};
use super::super::raw;
use super::super::scalar::Text;
use super::super::source::Span;
use super::balancing::Raw;
use super::{Checker, Unique, entries, items};

/// An endpoint as it is written.
type Written = Short<SocketAddr, raw::Endpoint>;

impl Checker<'_> {
    pub(super) fn cluster(&self, name: Located<String>, raw: Field<raw::Cluster>) -> Option<Cluster> {
        self.name(&name);
        let Located { value: raw, span: _ } = raw.given()?;
        let endpoints = self.required(raw.endpoints, "endpoints", name.span);
        let concurrency = raw.adaptive_concurrency.value().map(|raw| self.concurrency(raw));
        let recovery = self.recovery(&name.value, raw.outlier_detection, raw.health_check, raw.breakers);
        let recovery = Recovery { concurrency, ..recovery };
        let balancing = self.balancing(Raw {
            load_balancer: raw.load_balancer,
            panic_threshold: raw.panic_threshold,
            overprovisioning: raw.overprovisioning,
            localities: raw.localities,
            slow_start: raw.slow_start,
            subsets: raw.subsets,
        });
        Some(Cluster {
            recovery,
            name: name.value,
            endpoints: endpoints.map(|list| self.endpoints(list.value)).unwrap_or_default(),
            protocol: raw.protocol.value().map_or(ClusterProtocol::Http1, |Text(value)| value),
            balancing,
            affinity: raw.affinity.given().and_then(|raw| self.affinity(raw)),
            connect_timeout: self.duration(raw.connect_timeout, bounds::CONNECT_TIMEOUT),
            idle_timeout: self.duration(raw.idle_timeout, bounds::UPSTREAM_IDLE_TIMEOUT),
            idle_connections: self.count(raw.idle_connections, bounds::IDLE_CONNECTIONS),
            header_bytes: self.bytes(raw.header_bytes, bounds::HEADER_BYTES),
            http2: self.http2(raw.http2),
        })
    }

    fn endpoints(&self, list: Vec<Field<Written>>) -> Vec<Arc<Endpoint>> {
        let mut known = HashSet::new();
        let endpoints = items(list).filter_map(|raw| {
            let Located { value, span } = raw;
            let endpoint = match value {
                Short::Scalar(address) => Endpoint::from(self.address(address, span)),
                Short::Fields(fields) => self.endpoint(*fields, span)?,
            };
            if !known.insert(endpoint.address) {
                self.warn_of_address_twice(span);
            }
            Some(Arc::new(endpoint))
        });
        endpoints.collect()
    }

    fn endpoint(&self, raw: raw::Endpoint, span: Span) -> Option<Endpoint> {
        let address = self.required(raw.address, "address", span);
        let weight = self.number(raw.weight, bounds::ENDPOINT_WEIGHT).0;
        let priority = self.number(raw.priority, bounds::PRIORITY).0;
        let locality = raw.locality.value().map(|raw| self.locality(raw)).unwrap_or_default();
        let metadata = self.metadata(raw.metadata);
        let health = raw.health.value().map_or(StatedHealth::Healthy, |Text(health)| health);
        let address = address?;
        Some(Endpoint {
            address: self.address(address.value.0, address.span),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            priority: u32::try_from(priority).unwrap_or(u32::MAX),
            locality,
            metadata,
            health,
        })
    }

    fn address(&self, address: SocketAddr, span: Span) -> SocketAddr {
        if address.port() == 0 {
            self.log.error(span, "an endpoint's port cannot be 0");
        }
        address
    }

    pub(super) fn locality(&self, raw: raw::Locality) -> Locality {
        let text = |field: Field<String>| field.value().unwrap_or_default();
        Locality { region: text(raw.region), zone: text(raw.zone), sub_zone: text(raw.sub_zone) }
    }

    /// Names and texts that subsets are made by.
    pub(super) fn metadata(&self, raw: Field<Map<String, String>>) -> BTreeMap<String, String> {
        let mut twice = Unique::new(self.log);
        let mut metadata = BTreeMap::new();
        for (name, value) in entries(raw) {
            self.name(&name);
            twice.take(name.value.clone(), name.span, || format!("`{}` is given twice", name.value));
            metadata.extend(value.value().map(|value| (name.value, value)));
        }
        metadata
    }
}
