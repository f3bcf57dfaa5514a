//! Which endpoint a request goes to, beside Envoy: the same endpoints and settings, the same requests. Where a hash
//! decides, each request has to reach the same endpoint through either.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::equipment::{Client, Envoy, Proxy, Upstream, http_bootstrap};

/// An endpoint: what tidegate's configuration says of it, and what Envoy's.
struct Endpoint {
    ours: &'static str,
    priority: u32,
    zone: &'static str,
    theirs: Json,
}

fn plain() -> Endpoint {
    Endpoint { ours: "", priority: 0, zone: "", theirs: json!({}) }
}

fn weighing(ours: &'static str, weight: u32) -> Endpoint {
    Endpoint { ours, theirs: json!({"load_balancing_weight": weight}), ..plain() }
}

/// A cluster in the words of either, and what a route says beside it.
#[derive(Default)]
struct Settings {
    ours: String,
    theirs: Json,
    route_ours: String,
    route_theirs: Json,
    /// Localities' weights, for Envoy.
    weights: BTreeMap<&'static str, u32>,
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What each answers to a script. `None` where Envoy is not installed.
fn both<T>(endpoints: &[Endpoint], settings: &Settings, script: impl Fn(SocketAddr) -> T) -> Option<(T, T)> {
    if !Envoy::is_installed() {
        return None;
    }
    let upstreams: Vec<_> = NAMES[..endpoints.len()].iter().map(|name| Upstream::ok(name)).collect();
    let addresses: Vec<_> = upstreams.iter().map(Upstream::address).collect();
    let proxy = Proxy::start(&ours(endpoints, &addresses, settings));
    let folder = TempDir::new().expect("a temporary folder");
    let envoy = Envoy::start(folder, &theirs(endpoints, &addresses, settings));
    let seen = (script(proxy.address("in")), script(envoy.address("in")));
    envoy.end();
    Some(seen)
}

fn ours(endpoints: &[Endpoint], addresses: &[SocketAddr], settings: &Settings) -> String {
    let endpoints = endpoints.iter().zip(addresses).map(|(endpoint, address)| {
        let zone = if endpoint.zone.is_empty() {
            String::new()
        } else {
            format!(", locality: {{zone: {}}}", endpoint.zone)
        };
        format!("{{address: \"{address}\", priority: {}{zone}{}}}", endpoint.priority, endpoint.ours)
    });
    format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
         \x20 - {{match: {{path: {{prefix: /}}}}, cluster: up{}}}\n\
         clusters:\n  up: {{endpoints: [{}]{}}}\n",
        settings.route_ours,
        endpoints.collect::<Vec<_>>().join(", "),
        settings.ours
    )
}

fn socket(address: SocketAddr) -> Json {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn theirs(endpoints: &[Endpoint], addresses: &[SocketAddr], settings: &Settings) -> Json {
    let mut groups: BTreeMap<(u32, &str), Vec<Json>> = BTreeMap::new();
    for (endpoint, address) in endpoints.iter().zip(addresses) {
        let mut shown = json!({"endpoint": {"address": socket(*address)}});
        merge(&mut shown, &endpoint.theirs);
        groups.entry((endpoint.priority, endpoint.zone)).or_default().push(shown);
    }
    let groups = groups.into_iter().map(|((priority, zone), endpoints)| {
        let mut group = json!({"priority": priority, "locality": {"zone": zone}, "lb_endpoints": endpoints});
        if let Some(weight) = settings.weights.get(zone) {
            group["load_balancing_weight"] = json!(weight);
        }
        group
    });
    let mut cluster = json!({
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "up", "endpoints": groups.collect::<Vec<_>>()},
    });
    merge(&mut cluster, &settings.theirs);
    let mut action = json!({"cluster": "up"});
    merge(&mut action, &settings.route_theirs);
    let manager = json!({
        "use_remote_address": true,
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": action}],
        }]},
    });
    http_bootstrap(manager, &[cluster])
}

fn merge(into: &mut Json, more: &Json) {
    if let (Some(into), Some(more)) = (into.as_object_mut(), more.as_object()) {
        into.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// Who answers requests with each of so many values of `x-key`.
fn by_key(address: SocketAddr) -> String {
    let mut client = Client::connect(address);
    let ask = |key: usize| client.request("GET", "/", &[("x-key", &format!("key-{key}"))], "");
    (0..400)
        .map(ask)
        .map(|answer| if answer.status() == 200 { answer.text() } else { "-".to_owned() })
        .collect()
}

/// How many of so many requests each endpoint answers.
fn shares(address: SocketAddr) -> BTreeMap<String, usize> {
    let mut client = Client::connect(address);
    let mut shares = BTreeMap::new();
    (0..1000).for_each(|_| *shares.entry(client.get("/").text()).or_default() += 1);
    shares
}

const BY_HEADER: &str = ", hash_policy: [{header: x-key}]";

fn by_header() -> Json {
    json!({"hash_policy": [{"header": {"header_name": "x-key"}}]})
}

fn ring(ours: &str, theirs: Json) -> Settings {
    Settings {
        ours: ours.to_owned(),
        theirs: json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": theirs}),
        route_ours: BY_HEADER.to_owned(),
        route_theirs: by_header(),
        ..Settings::default()
    }
}

fn assert_same_owners(endpoints: &[Endpoint], settings: &Settings) {
    let Some((ours, theirs)) = both(endpoints, settings, by_key) else { return };
    assert_eq!(ours, theirs);
}

#[test]
fn a_ring_sends_each_request_where_envoys_does() {
    let endpoints: Vec<_> = (0..5).map(|_| plain()).collect();
    let settings = ring(", load_balancer: {ring_hash: {minimum_size: 1024}}", json!({}));
    assert_same_owners(&endpoints, &settings);
}

#[test]
fn a_weighted_ring_of_another_hash_sends_each_request_where_envoys_does() {
    let endpoints = [weighing(", weight: 5", 5), weighing(", weight: 2", 2), weighing(", weight: 7", 7)];
    let settings = ring(
        ", load_balancer: {ring_hash: {minimum_size: 500, maximum_size: 4096, hash_function: murmur_hash_2}}",
        json!({"minimum_ring_size": 500, "maximum_ring_size": 4096, "hash_function": "MURMUR_HASH_2"}),
    );
    assert_same_owners(&endpoints, &settings);
}

fn maglev(ours: &str, theirs: Json) -> Settings {
    Settings {
        ours: ours.to_owned(),
        theirs: json!({"lb_policy": "MAGLEV", "maglev_lb_config": theirs}),
        route_ours: BY_HEADER.to_owned(),
        route_theirs: by_header(),
        ..Settings::default()
    }
}

#[test]
fn a_maglev_table_sends_each_request_where_envoys_does() {
    let endpoints: Vec<_> = (0..5).map(|_| plain()).collect();
    assert_same_owners(&endpoints, &maglev(", load_balancer: maglev", json!({})));
    let endpoints = [weighing(", weight: 5", 5), weighing(", weight: 2", 2), weighing("", 1)];
    let settings = maglev(", load_balancer: {maglev: {table_size: 1009}}", json!({"table_size": 1009}));
    assert_same_owners(&endpoints, &settings);
}

#[test]
fn what_is_hashed_is_put_together_as_in_envoy() {
    let endpoints: Vec<_> = (0..6).map(|_| plain()).collect();
    let settings = Settings {
        route_ours: ", hash_policy: [{cookie: id, terminal: true}, {header: x-key}, {query: user}, {source_address: true}]"
            .to_owned(),
        route_theirs: json!({"hash_policy": [
            {"cookie": {"name": "id"}, "terminal": true},
            {"header": {"header_name": "x-key"}},
            {"query_parameter": {"name": "user"}},
            {"connection_properties": {"source_ip": true}},
        ]}),
        ..maglev(", load_balancer: maglev", json!({}))
    };
    let script = |address| {
        let mut client = Client::connect(address);
        let mut ask = |path: &str, fields: &[(&str, &str)]| client.request("GET", path, fields, "").text();
        let mut seen = String::new();
        for key in 0..60 {
            let (cookie, value) = (format!("a=b; id=\"{key}\"; id=2"), format!("value-{key}"));
            seen += &ask("/", &[("cookie", &cookie), ("x-key", &value)]);
            seen += &ask(&format!("/?user={key}&user=x"), &[("x-key", &value), ("x-key", "second")]);
            seen += &ask(&format!("/?user={key}"), &[]);
        }
        seen
    };
    let Some((ours, theirs)) = both(&endpoints, &settings, script) else { return };
    assert_eq!(ours, theirs);
}

fn ill(priority: u32) -> Endpoint {
    Endpoint {
        ours: ", health: unhealthy",
        priority,
        zone: "",
        theirs: json!({"health_status": "UNHEALTHY"}),
    }
}

fn well(priority: u32) -> Endpoint {
    Endpoint { priority, ..plain() }
}

/// The priority of whoever answered, for endpoints of which the first `first` are of the first.
fn priorities(owners: &str, first: usize) -> String {
    owners.chars().map(|it| if NAMES[..first].contains(&&*it.to_string()) { '0' } else { '1' }).collect()
}

#[test]
fn priorities_take_the_same_requests_as_in_envoy() {
    // Half of the first is fit: 70 percent stay.
    let endpoints = [ill(0), ill(0), well(0), well(0), well(1), well(1)];
    let settings = maglev(", load_balancer: maglev", json!({}));
    let Some((ours, theirs)) = both(&endpoints, &settings, by_key) else { return };
    assert_eq!(priorities(&ours, 4), priorities(&theirs, 4));
    // A quarter: 35, and the other takes the rest.
    let endpoints = [ill(0), ill(0), ill(0), well(0), well(1), well(1)];
    let Some((ours, theirs)) = both(&endpoints, &settings, by_key) else { return };
    assert_eq!(priorities(&ours, 4), priorities(&theirs, 4));
}

#[test]
fn where_everybody_panics_requests_reach_the_same_endpoints_as_in_envoy() {
    let settings = maglev(", load_balancer: maglev", json!({}));
    assert_same_owners(&[ill(0), ill(0), ill(0), well(0)], &settings);
    assert_same_owners(&[ill(0), ill(0), ill(0), ill(1), ill(1), well(1)], &settings);
    let never = Settings {
        theirs: json!({"lb_policy": "MAGLEV", "common_lb_config": {"healthy_panic_threshold": {"value": 0}}}),
        ..maglev(", load_balancer: maglev, panic_threshold: 0%", json!({}))
    };
    assert_same_owners(&[ill(0), ill(0), ill(0), well(0)], &never);
}

fn degraded() -> Endpoint {
    Endpoint { ours: ", health: degraded", theirs: json!({"health_status": "DEGRADED"}), ..plain() }
}

/// By turns: with a hash Envoy asks no degraded endpoint of a priority that has a healthy one.
#[test]
fn degraded_endpoints_get_the_same_shares_as_in_envoy() {
    let endpoints = [plain(), plain(), degraded(), degraded()];
    let settings = Settings { theirs: json!({"lb_policy": "ROUND_ROBIN"}), ..Settings::default() };
    let Some((ours, theirs)) = both(&endpoints, &settings, shares) else { return };
    for name in ["a", "b", "c", "d"] {
        let diff = ours[name].abs_diff(theirs[name]);
        // Chance decides between healthy and degraded: of 1000 requests 150 are expected with a deviation of 12.
        assert!(diff <= 80, "{name} got {} of 1000 requests and {} through Envoy", ours[name], theirs[name]);
    }
}

#[test]
fn localities_and_weights_get_the_same_shares_as_in_envoy() {
    let zone = |zone, ours, weight: u32| Endpoint { zone, ..weighing(ours, weight) };
    let endpoints = [zone("x", ", weight: 3", 3), zone("x", "", 1), zone("y", "", 1), zone("z", "", 1)];
    let settings = Settings {
        ours: ", localities: {weights: [{zone: x, weight: 5}, {zone: y, weight: 3}, {zone: z, weight: 2}]}"
            .to_owned(),
        theirs: json!({"lb_policy": "ROUND_ROBIN", "common_lb_config": {"locality_weighted_lb_config": {}}}),
        weights: BTreeMap::from([("x", 5), ("y", 3), ("z", 2)]),
        ..Settings::default()
    };
    let Some((ours, theirs)) = both(&endpoints, &settings, shares) else { return };
    for (name, share) in &theirs {
        let diff = ours[name].abs_diff(*share);
        assert!(diff <= 5, "{name} got {} of 1000 requests and {share} through Envoy", ours[name]);
    }
}

#[test]
fn subsets_are_the_same_as_in_envoy() {
    let of = |ours, version: &str| Endpoint {
        ours,
        theirs: json!({"metadata": {"filter_metadata": {"envoy.lb": {"version": version}}}}),
        ..plain()
    };
    let endpoints = [
        of(", metadata: {version: v1}", "v1"),
        of(", metadata: {version: v2}", "v2"),
        of(", metadata: {version: v2}", "v2"),
        of(", metadata: {version: v1}", "v1"),
    ];
    let cases = [
        (", subsets: {selectors: [[version]]}", "NO_FALLBACK", ", metadata_match: {version: v2}", "v2"),
        (", subsets: {selectors: [[version]]}", "NO_FALLBACK", ", metadata_match: {version: v3}", "v3"),
        (
            ", subsets: {selectors: [[version]], fallback: any}",
            "ANY_ENDPOINT",
            ", metadata_match: {version: v3}",
            "v3",
        ),
        (
            ", subsets: {selectors: [[version]], fallback: default, default: {version: v1}}",
            "DEFAULT_SUBSET",
            ", metadata_match: {version: v3}",
            "v3",
        ),
    ];
    for (cluster, fallback, route, version) in cases {
        let ours = format!(", load_balancer: maglev{cluster}");
        let route_ours = format!("{BY_HEADER}{route}");
        let mut subsets = json!({"fallback_policy": fallback, "subset_selectors": [{"keys": ["version"]}]});
        if fallback == "DEFAULT_SUBSET" {
            subsets["default_subset"] = json!({"version": "v1"});
        }
        let mut route_theirs = by_header();
        route_theirs["metadata_match"] = json!({"filter_metadata": {"envoy.lb": {"version": version}}});
        let settings = Settings {
            ours,
            theirs: json!({"lb_policy": "MAGLEV", "lb_subset_config": subsets}),
            route_ours,
            route_theirs,
            ..Settings::default()
        };
        assert_same_owners(&endpoints, &settings);
    }
}
