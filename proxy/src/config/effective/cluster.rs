//! Clusters in the words of the file.

use serde_json::{Map, Value, json};

use super::super::model::{Cluster, Endpoint, Locality};
use super::super::scalar::{Quantity, name_of};
use super::{http2, recovery, size};

pub(super) fn cluster(cluster: &Cluster) -> Value {
    let mut shown = json!({
        "endpoints": cluster.endpoints.iter().map(|it| endpoint(it)).collect::<Vec<_>>(),
        "protocol": name_of(cluster.protocol),
        "load_balancer": name_of(cluster.load_balancer),
        "connect_timeout": cluster.connect_timeout.write(),
        "idle_timeout": cluster.idle_timeout.write(),
        "idle_connections": cluster.idle_connections,
        "header_bytes": size(cluster.header_bytes),
        "http2": http2(&cluster.http2),
    });
    recovery::recovery(&cluster.recovery, &mut shown);
    shown
}

/// An address alone where there is nothing else to say.
fn endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint { address, weight, priority, locality: place, metadata } = endpoint;
    if *endpoint == Endpoint::from(*address) {
        return json!(address);
    }
    let mut fields = Map::from_iter([("address".to_owned(), json!(address))]);
    fields.insert("weight".into(), (*weight).into());
    fields.insert("priority".into(), (*priority).into());
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
