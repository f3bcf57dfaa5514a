//! Clusters in the words of the file.

use serde_json::{Map, Value, json};

use super::super::model::{Cluster, Endpoint, Locality};
use super::super::scalar::{Quantity, name_of};
use super::{balancing, http2, recovery, size, tls};

pub(super) fn cluster(cluster: &Cluster) -> Value {
    let endpoints = cluster.endpoints.iter().map(|it| endpoint(it)).collect();
    let mut fields = Map::from_iter([("endpoints".to_owned(), endpoints)]);
    fields.insert("protocol".into(), name_of(cluster.protocol).into());
    balancing::fields(&cluster.balancing, &mut fields);
    if let Some(affinity) = &cluster.affinity {
        fields.insert("affinity".into(), balancing::affinity(affinity));
    }
    fields.insert("connect_timeout".into(), cluster.connect_timeout.write().into());
    fields.insert("idle_timeout".into(), cluster.idle_timeout.write().into());
    fields.insert("idle_connections".into(), cluster.idle_connections.into());
    fields.insert("header_bytes".into(), size(cluster.header_bytes).into());
    fields.insert("http2".into(), http2(&cluster.http2));
    let mut shown = Value::Object(fields);
    recovery::recovery(&cluster.recovery, &mut shown);
    tls::of_cluster(cluster, &mut shown);
    shown
}

/// An address alone where there is nothing else to say.
fn endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint { address, weight, priority, locality: place, metadata, health } = endpoint;
    if *endpoint == Endpoint::from(*address) {
        return json!(address);
    }
    let mut fields = Map::from_iter([("address".to_owned(), json!(address))]);
    fields.insert("weight".into(), (*weight).into());
    fields.insert("priority".into(), (*priority).into());
    fields.insert("health".into(), name_of(*health).into());
    if *place != Locality::default() {
        fields.insert("locality".into(), locality(place));
    }
    if !metadata.is_empty() {
        fields.insert("metadata".into(), json!(metadata));
    }
    Value::Object(fields)
}

pub(super) fn locality(locality: &Locality) -> Value {
    let Locality { region, zone, sub_zone } = locality;
    let parts = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
    let said = parts.into_iter().filter(|(_, text)| !text.is_empty());
    Value::Object(said.map(|(name, text)| (name.to_owned(), text.as_str().into())).collect())
}
