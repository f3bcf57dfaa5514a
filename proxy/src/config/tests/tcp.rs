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
    expect![[r#"
        error: the field `cluster` is missing here
         --> tidegate.yaml:2:5
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: tcp}
          |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: say where connections go: `cluster: NAME`
    "#]]
    .assert_eq(&problems(&with_listener("protocol: tcp")));
    expect![[r#"
        error: there is no cluster `apy`
         --> tidegate.yaml:2:61
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: tcp, cluster: apy}
          |                                                             ^^^
          |
          = help: did you mean `api`?
    "#]]
    .assert_eq(&problems(&with_listener("protocol: tcp, cluster: apy")));
    expect![[r#"
        error: `clusters` names no cluster
         --> tidegate.yaml:2:62
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: tcp, clusters: {}}
          |                                                              ^^
    "#]]
    .assert_eq(&problems(&with_listener("protocol: tcp, clusters: {}")));
    expect![[r#"
        error: `cluster` and `clusters` cannot be given together
         --> tidegate.yaml:2:5
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: tcp, cluster: api, clusters: {web: 1}}
          |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: `clusters` has each with its weight
    "#]]
    .assert_eq(&problems(&with_listener("protocol: tcp, cluster: api, clusters: {web: 1}")));
    expect![[r#"
        error: expected `http`, `tcp` or `auto`, found `udp`
         --> tidegate.yaml:2:47
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: udp, cluster: api}
          |                                               ^^^
          |
          = help: the choices are `http`, `tcp`, `auto`
    "#]]
    .assert_eq(&problems(&with_listener("protocol: udp, cluster: api")));
}

#[test]
fn what_is_of_http_is_refused_on_a_tcp_listener() {
    let fields = "protocol: tcp, cluster: api, routes: [], trusted_hops: 1, path_normalization: {}, limits: \
                  {connections: 1, header_bytes: 8KiB, headers: 1, header_timeout: 1s, stream_idle_timeout: 1s}";
    expect![[r#"
        error: `routes` is of HTTP, and this is a TCP listener
         --> tidegate.yaml:2:74
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: tcp, cluster: api, routes: [], trusted_hops: 1, path_normalization: {}, limits: {connec...
          |                                                                          ^^
          |
          = help: connections go to its `cluster`, or to its `clusters` with their weights

        error: `trusted_hops` is of HTTP, and this is a TCP listener
         --> tidegate.yaml:2:92
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: tcp, cluster: api, routes: [], trusted_hops: 1, path_normalization: {}, limits: {connec...
          |                                                                                            ^
          |
          = help: remove `trusted_hops`

        error: `path_normalization` is of HTTP, and this is a TCP listener
         --> tidegate.yaml:2:115
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: tcp, cluster: api, routes: [], trusted_hops: 1, path_normalization: {}, limits: {connec...
          |                                                                                                                   ^^
          |
          = help: remove `path_normalization`

        error: `limits.header_bytes` is of HTTP, and this is a TCP listener
         --> tidegate.yaml:2:158
          |
        2 | ...path_normalization: {}, limits: {connections: 1, header_bytes: 8KiB, headers: 1, header_timeout: 1s, stream_idle_timeout: 1s}}
          |                                                                   ^^^^
          |
          = help: remove `limits.header_bytes`

        error: `limits.headers` is of HTTP, and this is a TCP listener
         --> tidegate.yaml:2:173
          |
        2 | ...tion: {}, limits: {connections: 1, header_bytes: 8KiB, headers: 1, header_timeout: 1s, stream_idle_timeout: 1s}}
          |                                                                    ^
          |
          = help: remove `limits.headers`

        error: `limits.header_timeout` is of HTTP, and this is a TCP listener
         --> tidegate.yaml:2:192
          |
        2 | ...connections: 1, header_bytes: 8KiB, headers: 1, header_timeout: 1s, stream_idle_timeout: 1s}}
          |                                                                    ^^
          |
          = help: remove `limits.header_timeout`

        error: `limits.stream_idle_timeout` is of HTTP, and this is a TCP listener
         --> tidegate.yaml:2:217
          |
        2 | ...tes: 8KiB, headers: 1, header_timeout: 1s, stream_idle_timeout: 1s}}
          |                                                                    ^^
          |
          = help: `limits.idle_timeout` is that of its connections
    "#]].assert_eq(&problems(&with_listener(fields)));
}

#[test]
fn what_is_of_tcp_is_refused_on_an_http_listener() {
    let fields = "routes: [{match: {}, cluster: api}], cluster: api, clusters: {web: 1}";
    expect![[r#"
        error: an HTTP listener has its `cluster` in a route
         --> tidegate.yaml:2:83
          |
        2 |   - {name: l, address: 127.0.0.1:0, routes: [{match: {}, cluster: api}], cluster: api, clusters: {web: 1}}
          |                                                                                   ^^^
          |
          = help: write `routes: [{match: {}, cluster: …}]`, or add `protocol: tcp`

        error: an HTTP listener has its `clusters` in a route
         --> tidegate.yaml:2:98
          |
        2 |   - {name: l, address: 127.0.0.1:0, routes: [{match: {}, cluster: api}], cluster: api, clusters: {web: 1}}
          |                                                                                                  ^^^^^^^^
          |
          = help: write `routes: [{match: {}, clusters: …}]`, or add `protocol: tcp`
    "#]].assert_eq(&problems(&with_listener(fields)));
}
