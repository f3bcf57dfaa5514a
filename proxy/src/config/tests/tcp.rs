//! What TCP listeners take, and what is told where HTTP and TCP are mixed up.

use expect_test::expect;

use super::super::model::Protocol;
use super::{problems, valid};

/// A file with one listener, in flow style, and two clusters.
fn with_listener(fields: &str) -> String {
    format!(
        "listeners:\n  - {{name: l, address: 127.0.0.1:0, {fields}}}\n\
         clusters: {{api: {{endpoints: [127.0.0.1:9001]}}, web: {{endpoints: []}}}}\n"
    )
}

#[test]
fn connections_go_to_a_cluster_or_to_several_by_weight() {
    let protocol = |fields| valid(&with_listener(fields)).config.listeners[0].protocol.clone();
    assert_eq!(protocol("protocol: tcp, cluster: web"), Protocol::Tcp(vec![(1, 1)]));
    assert_eq!(protocol("protocol: tcp, clusters: {api: 95, web: 5}"), Protocol::Tcp(vec![(0, 95), (1, 5)]));
    assert_eq!(protocol("protocol: http, routes: [{match: {}, cluster: api}]"), Protocol::Http);
}

#[test]
fn a_tcp_listener_says_where_connections_go() {
    expect![[""]].assert_eq(&problems(&with_listener("protocol: tcp")));
    expect![[""]].assert_eq(&problems(&with_listener("protocol: tcp, cluster: apy")));
    expect![[""]].assert_eq(&problems(&with_listener("protocol: tcp, clusters: {}")));
    expect![[""]].assert_eq(&problems(&with_listener("protocol: tcp, cluster: api, clusters: {web: 1}")));
    expect![[""]].assert_eq(&problems(&with_listener("protocol: udp, cluster: api")));
}

#[test]
fn what_is_of_http_is_refused_on_a_tcp_listener() {
    let fields = "protocol: tcp, cluster: api, routes: [], trusted_hops: 1, path_normalization: {}, limits: \
                  {connections: 1, header_bytes: 8KiB, headers: 1, header_timeout: 1s, stream_idle_timeout: 1s}";
    expect![[""]].assert_eq(&problems(&with_listener(fields)));
}

#[test]
fn what_is_of_tcp_is_refused_on_an_http_listener() {
    let fields = "routes: [{match: {}, cluster: api}], cluster: api, clusters: {web: 1}";
    expect![[""]].assert_eq(&problems(&with_listener(fields)));
}
