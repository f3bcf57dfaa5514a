//! The limit of requests that adapts, beside Envoy's with the same terms: before a service that has too much to do
//! requests are answered as soon as behind Envoy, and as many.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::equipment::{Envoy, envoy_cluster, http_bootstrap};
use crate::proxy::recovery::concurrency::{adapting, ask, service};

/// What chance and a busy machine make of it.
const NOISE: f64 = 1.5;

fn bootstrap(endpoint: SocketAddr) -> Value {
    let filter = json!({
        "name": "envoy.filters.http.adaptive_concurrency",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
            "gradient_controller_config": {
                "sample_aggregate_percentile": {"value": 50},
                "concurrency_limit_params": {"concurrency_update_interval": "0.05s"},
                "min_rtt_calc_params": {
                    "interval": "60s",
                    "request_count": 20,
                    "min_concurrency": 2,
                    "buffer": {"value": 50},
                },
            },
            "enabled": {"default_value": true, "runtime_key": "adaptive"},
        },
    });
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "up"}});
    let manager = json!({
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [filter],
    });
    http_bootstrap(manager, &[envoy_cluster("up", endpoint)])
}

#[test]
fn a_limit_that_adapts_answers_as_soon_as_envoys_and_as_much() {
    if !Envoy::is_installed() {
        return;
    }
    let (time, clients, length) = (Duration::from_millis(40), 24, Duration::from_secs(4));
    let upstream = service(4, time);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let envoy = Envoy::start(folder, &bootstrap(upstream.address()));
    let theirs = ask(envoy.address("in"), clients, length);
    println!("Envoy: {:?}, {} answered, {} refused", theirs.median(), theirs.answered.len(), theirs.refused);
    drop(envoy);
    upstream.pardon();
    let terms = "min: 2, interval: 50ms, min_rtt: {requests: 20, buffer: 50%}";
    let proxy = adapting(upstream.address(), terms);
    let ours = ask(proxy.address("in"), clients, length);
    println!("tidegate: {:?}, {} answered, {} refused", ours.median(), ours.answered.len(), ours.refused);
    assert!(ours.median() <= theirs.median().mul_f64(NOISE), "{:?}, {:?}", ours.median(), theirs.median());
    let (answered, theirs) = (ours.answered.len() as f64, theirs.answered.len() as f64);
    assert!(answered * NOISE >= theirs, "{answered} against {theirs}");
}
