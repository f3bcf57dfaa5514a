//! gRPC as it is spoken by others, through tidegate and through Envoy: what neither a case of guests nor a script says.

mod grpc_web;
mod interop;
mod websocket;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::equipment::{Envoy, envoy_cluster, http_bootstrap};

/// What an endpoint speaks.
#[derive(Clone, Copy)]
enum Peer {
    Http1,
    Http2,
}

/// An Envoy whose listener `in` sends everything to one endpoint that speaks HTTP/2, through these filters.
fn envoy(upstream: SocketAddr, filters: &[Value]) -> Envoy {
    envoy_to(upstream, Peer::Http2, filters)
}

fn envoy_to(upstream: SocketAddr, peer: Peer, filters: &[Value]) -> Envoy {
    let protocol = match peer {
        Peer::Http1 => json!({"http_protocol_options": {}}),
        Peer::Http2 => json!({"http2_protocol_options": {"allow_connect": true}}),
    };
    let route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "up", "timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}},
    });
    let manager = json!({
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": true},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    });
    let mut cluster = envoy_cluster("up", upstream);
    cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": protocol,
    }});
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    Envoy::start(folder, &http_bootstrap(manager, &[cluster]))
}
