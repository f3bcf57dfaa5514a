//! gRPC as it is spoken by others, through tidegate and through Envoy: what neither a case of guests nor a script says.

mod grpc_web;
mod interop;
mod websocket;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::equipment::Envoy;

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
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    });
    let filters: Vec<Value> = filters.iter().cloned().chain([router]).collect();
    let route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "up", "timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}},
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": true},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    });
    let any = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let endpoint =
        json!({"socket_address": {"address": upstream.ip().to_string(), "port_value": upstream.port()}});
    let bootstrap = json!({
        "admin": {"address": any},
        "static_resources": {
            "listeners": [{"name": "in", "address": any, "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }]}]}],
            "clusters": [{
                "name": "up",
                "type": "STATIC",
                "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [{
                    "endpoint": {"address": endpoint},
                }]}]},
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": protocol,
                }},
            }],
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    });
    Envoy::start(tempfile::tempdir().expect("a temporary folder can be made"), &bootstrap)
}
