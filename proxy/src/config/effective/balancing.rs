//! How a cluster's endpoints are picked, in the words of the file.

use serde_json::{Map, Value, json};

use super::super::model::{
    Affinity, Balancing, Cookie, HashFunction, HashPolicy, HashSource, LoadBalancer, Localities,
    LocalityPattern, MetadataMatch, RingSize, Subsets,
};
use super::super::scalar::{Quantity, name_of};
use super::secret;

/// The fields of a cluster. What is not said is not there.
pub(super) fn fields(balancing: &Balancing, fields: &mut Map<String, Value>) {
    let Balancing { algorithm, panic_threshold, overprovisioning, localities, slow_start, subsets } =
        balancing;
    fields.insert("load_balancer".into(), load_balancer(*algorithm));
    fields.insert("panic_threshold".into(), panic_threshold.write().into());
    fields.insert("overprovisioning".into(), overprovisioning.write().into());
    if let Some(value) = self::localities(localities) {
        fields.insert("localities".into(), value);
    }
    if let Some(slow_start) = slow_start {
        let shown = json!({
            "window": slow_start.window.write(),
            "aggression": slow_start.aggression.write(),
            "minimum": slow_start.minimum.write(),
        });
        fields.insert("slow_start".into(), shown);
    }
    if let Some(subsets) = subsets {
        fields.insert("subsets".into(), self::subsets(subsets));
    }
}

fn load_balancer(algorithm: LoadBalancer) -> Value {
    match algorithm {
        LoadBalancer::RoundRobin => json!("round_robin"),
        LoadBalancer::Random => json!("random"),
        LoadBalancer::LeastRequest(count) => json!({ "least_request": { "choice_count": count } }),
        LoadBalancer::PeakEwma(ewma) => json!({
            "peak_ewma": {
                "decay": ewma.decay.write(),
                "default_rtt": ewma.default_rtt.write(),
                "penalty": ewma.penalty.write(),
            }
        }),
        LoadBalancer::RingHash(ring) => {
            let (name, size) = match ring.size {
                RingSize::Each(hashes) => ("hashes", hashes),
                RingSize::AtLeast(minimum) => ("minimum_size", minimum),
            };
            let function = name_of::<HashFunction>(ring.function);
            json!({
                "ring_hash": { name: size, "maximum_size": ring.maximum_size, "hash_function": function }
            })
        }
        LoadBalancer::Maglev(size) => json!({ "maglev": { "table_size": size } }),
    }
}

fn localities(localities: &Localities) -> Option<Value> {
    match localities {
        Localities::Ignored => None,
        Localities::Weighted(list) => {
            let shown = list.iter().map(|(LocalityPattern { region, zone, sub_zone }, weight)| {
                let parts = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
                let said = parts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
                let mut fields: Map<_, _> = said.map(|(name, text)| (name.to_owned(), text.into())).collect();
                fields.insert("weight".into(), (*weight).into());
                Value::Object(fields)
            });
            Some(json!({ "weights": shown.collect::<Vec<_>>() }))
        }
        Localities::ZoneAware(aware) => {
            let mut fields = Map::new();
            if let Some(callers) = &aware.callers {
                fields.insert("callers".into(), callers.cluster.as_str().into());
            }
            fields.insert("enabled".into(), aware.enabled.write().into());
            fields.insert("minimum_endpoints".into(), aware.minimum_endpoints.into());
            Some(json!({ "zone_aware": fields }))
        }
    }
}

fn subsets(subsets: &Subsets) -> Value {
    let mut shown = json!({ "selectors": subsets.selectors, "fallback": name_of(subsets.fallback) });
    if !subsets.default.is_empty() {
        shown["default"] = json!(subsets.default);
    }
    shown
}

pub(super) fn affinity(affinity: &Affinity) -> Value {
    let Affinity { cookie: Cookie { name, path, ttl }, key, strict } = affinity;
    json!({
        "cookie": name,
        "key": secret(key),
        "path": path,
        "ttl": ttl.unwrap_or_default().write(),
        "strict": strict,
    })
}

pub(super) fn metadata_match(wanted: &MetadataMatch) -> Value {
    Value::Object(wanted.entries().iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect())
}

pub(super) fn hash_policy(policy: &HashPolicy) -> Value {
    let (name, value) = match &policy.source {
        HashSource::Header(header) => ("header", json!(header.as_str())),
        HashSource::SourceAddress => ("source_address", json!(true)),
        HashSource::Query(name) => ("query", json!(name)),
        HashSource::Cookie(cookie) => match &cookie.set {
            None => ("cookie", json!(cookie.name)),
            Some(Cookie { name, path, ttl }) => {
                ("cookie", json!({ "name": name, "ttl": ttl.unwrap_or_default().write(), "path": path }))
            }
        },
    };
    json!({ name: value, "terminal": policy.terminal })
}
