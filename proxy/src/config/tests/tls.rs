//! TLS, names of hosts, several protocols on one port and UNIX sockets: what is taken, what is told, and that the effective
//! configuration means the same.

use std::path::Path;

use expect_test::expect;

use super::super::model::{Address, Protocol};
use super::super::{effective, parse};
use super::{problems, valid};
use crate::tls::Version;

/// A file with one listener, in flow style, and two clusters, of which `more` says more of the first.
fn file(listener: &str, more: &str) -> String {
    format!(
        "listeners:\n  - {{name: l, {listener}}}\n\
         clusters: {{api: {{endpoints: [127.0.0.1:9001]{more}}}, web: {{endpoints: []}}}}\n"
    )
}

/// What stands behind `listener` where the rest of it does not matter.
const ROUTES: &str = "routes: [{match: {}, cluster: api}]";

/// The folder of the example with certificates.
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tls/tidegate.yaml")
}

#[test]
fn what_everything_says_is_what_it_means() {
    let listener = format!(
        "address: \"unix:@name\", protocol: auto, cluster: web, {ROUTES}, server_names: {{a.test: api, \"*.B.test\": web}}, \
         limits: {{detection_timeout: 3s}}, tls: {{certificates: [{{certificate: cert.pem, private_key: key.pem}}], \
         min_version: 1.3, alpn: [h2], client_ca: cert.pem, handshake_timeout: 4s}}"
    );
    let more = ", protocol: auto, tls: {ca: cert.pem, server_name: up.test, alpn: [h2], certificate: cert.pem, \
                private_key: key.pem, min_version: \"1.3\"}";
    let loaded = parse(&file(&listener, more), &folder()).unwrap_or_else(|problems| panic!("{problems}"));
    let listener = &loaded.config.listeners[0];
    assert_eq!(listener.protocol, Protocol::Auto(vec![(1, 1)]));
    assert_eq!(listener.server_names.find("a.test"), Some(0));
    assert_eq!(listener.server_names.find("x.y.b.test"), Some(1));
    assert_eq!(listener.server_names.find("b.test"), None);
    assert!(matches!(listener.address, Address::Unix(address) if address.abstract_name() == Some("name")));
    assert_eq!(listener.tls.as_ref().map(|tls| tls.terms().min_version), Some(Version::V1_3));
    let shown = serde_json::to_string(&effective(&loaded.config)).unwrap();
    let again = parse(&shown, &folder()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(serde_json::to_string(&effective(&again.config)).unwrap(), shown);
    assert_eq!(again.config.listeners[0].tls, listener.tls);
    assert_eq!(again.config.clusters, loaded.config.clusters);
}

#[test]
fn the_mode_of_a_socket_is_said_again() {
    let text = file(&format!("address: \"unix:/run/a.sock\", socket_mode: \"0640\", {ROUTES}"), "");
    let loaded = valid(&text);
    assert_eq!(loaded.config.listeners[0].socket_mode, Some(0o640));
    assert_eq!(effective(&loaded.config)["listeners"][0]["socket_mode"], "0640");
}

#[test]
fn what_does_not_go_together_is_explained() {
    expect![[r#"
        error: the field `cluster` is missing here
         --> tidegate.yaml:2:5
          |
        2 |   - {name: l, address: 127.0.0.1:0, protocol: auto, routes: []}
          |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: say where goes what is not HTTP: `cluster: NAME`
    "#]]
    .assert_eq(&problems(&file("address: 127.0.0.1:0, protocol: auto, routes: []", "")));
    expect![[r#"
        error: without TLS there is no handshake to agree on a protocol in
         --> tidegate.yaml:3:57
          |
        3 | clusters: {api: {endpoints: [127.0.0.1:9001], protocol: auto}, web: {endpoints: []}}
          |                                                         ^^^^
          |
          = help: add `tls: {}`, or say which: `protocol: http2`
    "#]]
    .assert_eq(&problems(&file(&format!("address: 127.0.0.1:0, {ROUTES}"), ", protocol: auto")));
    expect![[r#"
        error: `socket_mode` has no effect here
         --> tidegate.yaml:2:50
          |
        2 |   - {name: l, address: 127.0.0.1:0, socket_mode: "0660", routes: [{match: {}, cluster: api}]}
          |                                                  ^^^^^^
          |
          = help: only a UNIX socket with a path has permissions: remove it
    "#]]
    .assert_eq(&problems(&file(&format!("address: 127.0.0.1:0, socket_mode: \"0660\", {ROUTES}"), "")));
    expect![[r#"
        error: expected an address such as `127.0.0.1:8080`, `"[::1]:8080"` or `unix:/run/web.sock`, found `/run/a.sock`
         --> tidegate.yaml:2:24
          |
        2 |   - {name: l, address: /run/a.sock, routes: [{match: {}, cluster: api}]}
          |                        ^^^^^^^^^^^
          |
          = help: a UNIX socket is written `unix:/run/a.sock`
    "#]].assert_eq(&problems(&file(&format!("address: /run/a.sock, {ROUTES}"), "")));
    expect![[r#"
        error: expected an address such as `127.0.0.1:8080`, `"[::1]:8080"` or `unix:/run/web.sock`, found `unix:@`
         --> tidegate.yaml:2:24
          |
        2 |   - {name: l, address: "unix:@", routes: [{match: {}, cluster: api}]}
          |                        ^^^^^^^^
          |
          = help: the socket has no name
    "#]].assert_eq(&problems(&file(&format!("address: \"unix:@\", {ROUTES}"), "")));
    expect![[r#"
        error: expected a host such as `api.example.com` or `"*.example.com"`, found `10.0.0.1`
         --> tidegate.yaml:2:52
          |
        2 |   - {name: l, address: 127.0.0.1:0, server_names: {10.0.0.1: api, a.test: apy, A.test: web, a.test.: web}, routes: [{match: {}, clust...
          |                                                    ^^^^^^^^
          |
          = help: no client asks for an address by name

        error: there is no cluster `apy`
         --> tidegate.yaml:2:75
          |
        2 |   - {name: l, address: 127.0.0.1:0, server_names: {10.0.0.1: api, a.test: apy, A.test: web, a.test.: web}, routes: [{match: {}, clust...
          |                                                                           ^^^
          |
          = help: did you mean `api`?
    "#]].assert_eq(&problems(&file(
        &format!("address: 127.0.0.1:0, server_names: {{10.0.0.1: api, a.test: apy, A.test: web, a.test.: web}}, {ROUTES}"),
        "",
    )));
    expect![[r#"
        error: there are no certificates
         --> tidegate.yaml:2:57
          |
        2 |   - {name: l, address: 127.0.0.1:0, tls: {certificates: [], min_version: 1.1}, routes: [{match: {}, cluster: api}]}
          |                                                         ^^
          |
          = help: give one: `{certificate: cert.pem, private_key: key.pem}`

        error: expected a version of TLS: `1.2` or `1.3`, found `1.1`
         --> tidegate.yaml:2:74
          |
        2 |   - {name: l, address: 127.0.0.1:0, tls: {certificates: [], min_version: 1.1}, routes: [{match: {}, cluster: api}]}
          |                                                                          ^^^
          |
          = help: versions before 1.2 are not spoken (RFC 8996)

        error: `ca` has no effect with `insecure_skip_verify`
         --> tidegate.yaml:3:57
          |
        3 | clusters: {api: {endpoints: [127.0.0.1:9001], tls: {ca: none.pem, certificate: a.pem, insecure_skip_verify: true}}, web: {endpoints: ...
          |                                                         ^^^^^^^^
          |
          = help: remove one of the two

        error: the field `private_key` is missing beside this
         --> tidegate.yaml:3:80
          |
        3 | clusters: {api: {endpoints: [127.0.0.1:9001], tls: {ca: none.pem, certificate: a.pem, insecure_skip_verify: true}}, web: {endpoints: ...
          |                                                                                ^^^^^
    "#]].assert_eq(&problems(&file(
        &format!("address: 127.0.0.1:0, tls: {{certificates: [], min_version: 1.1}}, {ROUTES}"),
        ", tls: {ca: none.pem, certificate: a.pem, insecure_skip_verify: true}",
    )));
}
