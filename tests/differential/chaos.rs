//! The test of chaos, put to Envoy with the same policies: tidegate is not worse.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::equipment::{Chaos, Envoy, http_bootstrap};
use crate::proxy::recovery::chaos::{SEED, length, outcome};

/// What a busy machine may add to one of two runs and not to the other.
const NOISE: Duration = Duration::from_millis(50);

/// The configuration of [`crate::proxy::recovery::chaos`] in Envoy's words.
fn bootstrap(endpoints: &[SocketAddr]) -> Value {
    let address = |address: &SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let endpoints = endpoints.iter().map(|it| json!({"endpoint": {"address": address(it)}}));
    let route = json!({
        "match": {"prefix": "/"},
        "route": {
            "cluster": "up",
            "timeout": "5s",
            "retry_policy": {
                "retry_on": "5xx",
                "num_retries": 3,
                "per_try_timeout": "0.25s",
                "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
                "retry_host_predicate": [{
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }],
                "host_selection_retry_max_attempts": 5,
            },
        },
    });
    let manager = json!({
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    });
    let cluster = json!({
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": endpoints.collect::<Value>()}],
        },
        "outlier_detection": {
            "consecutive_5xx": 3,
            "enforcing_success_rate": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "interval": "0.25s",
            "base_ejection_time": "0.5s",
            "max_ejection_time": "1s",
            "max_ejection_percent": 50,
        },
        "health_checks": [{
            "timeout": "0.2s",
            "interval": "0.5s",
            "interval_jitter_percent": 10,
            "no_traffic_interval": "0.5s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "http_health_check": {"path": "/healthz"},
        }],
        "circuit_breakers": {"thresholds": [{
            "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
        }]},
    });
    http_bootstrap(manager, &[cluster])
}

#[test]
fn tidegate_is_not_worse_than_envoy_in_success_time_and_load() {
    if !Envoy::is_installed() {
        return;
    }
    let chaos = Chaos::new();
    let envoy = Envoy::start(
        tempfile::tempdir().expect("a temporary folder can be made"),
        &bootstrap(chaos.addresses()),
    );
    let envoys = chaos.run(envoy.address("in"), length(), SEED);
    println!("Envoy:    {}", envoys.summary());
    drop(envoy);
    let (ours, _proxy) = outcome();
    // One request that fails where the other's did not is chance: who comes first when an endpoint begins to fail is.
    let chance = 2.0 / ours.asked as f64;
    assert!(ours.success() + chance >= envoys.success(), "{} against {}", ours.success(), envoys.success());
    let (p99, theirs) = (ours.percentile(99), envoys.percentile(99));
    assert!(p99 <= theirs.mul_f32(1.1) + NOISE, "p99: {p99:?} against {theirs:?}");
    let (load, theirs) = (ours.amplification(), envoys.amplification());
    assert!(load <= theirs + 0.02, "requests for each request: {load} against {theirs}");
}
