//! What the admin listener and the metrics show of clusters' endpoints.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::status::Status;
use crate::config::model::Locality;
use crate::telemetry::metrics::{EndpointsSample, Registry, write_endpoints};
use crate::upstream::{Cluster, Endpoint, Health, HealthFlag};

/// The page of the clusters that are served.
pub(super) fn page(clusters: &[Arc<Cluster>]) -> String {
    let shown = clusters.iter().map(|it| (it.name().to_owned(), json!({ "endpoints": endpoints(it) })));
    format!("{:#}\n", json!({ "clusters": Map::from_iter(shown) }))
}

fn endpoints(cluster: &Cluster) -> Vec<Value> {
    cluster.endpoints().iter().map(endpoint).collect()
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let spec = endpoint.spec();
    let mut shown = json!({
        "address": spec.address,
        "health": endpoint.health().word(),
        "flags": endpoint.flags().map(HealthFlag::word).collect::<Vec<_>>(),
        "weight": spec.weight,
        "priority": spec.priority,
        "active_requests": endpoint.active(),
        "requests": endpoint.requests(),
        "failures": endpoint.failures(),
    });
    if spec.locality != Locality::default() {
        let Locality { region, zone, sub_zone } = &spec.locality;
        shown["locality"] = json!({ "region": region, "zone": zone, "sub_zone": sub_zone });
    }
    if !spec.metadata.is_empty() {
        shown["metadata"] = json!(spec.metadata);
    }
    shown
}

/// Shows how many endpoints of each cluster are how.
pub(super) fn export_endpoints(metrics: &Registry, status: &Status) {
    let status = status.clone();
    metrics.add_source(move |page| {
        let snapshot = status.snapshot();
        let samples: Vec<_> = snapshot.clusters().iter().map(|cluster| sample(cluster)).collect();
        write_endpoints(page, &samples)
    });
}

fn sample(cluster: &Cluster) -> EndpointsSample {
    let count = |health: Health| {
        let like_it = cluster.endpoints().iter().filter(|endpoint| endpoint.health() == health);
        (health.word(), like_it.count() as u64)
    };
    EndpointsSample { cluster: cluster.name().to_owned(), counts: Health::ALL.map(count) }
}
