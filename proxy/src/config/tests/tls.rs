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
    let more = ", protocol: auto, tls: {ca: cert.pem, server_name: up.test, alpn: [h2], certificate: shop.pem, \
                private_key: shop.key, min_version: \"1.3\"}";
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
    expect![[""]].assert_eq(&problems(&file("address: 127.0.0.1:0, protocol: auto, routes: []", "")));
    expect![[""]].assert_eq(&problems(&file(&format!("address: 127.0.0.1:0, {ROUTES}"), ", protocol: auto")));
    expect![[""]]
        .assert_eq(&problems(&file(&format!("address: 127.0.0.1:0, socket_mode: \"0660\", {ROUTES}"), "")));
    expect![[""]].assert_eq(&problems(&file(&format!("address: /run/a.sock, {ROUTES}"), "")));
    expect![[""]].assert_eq(&problems(&file(&format!("address: \"unix:@\", {ROUTES}"), "")));
    expect![[""]].assert_eq(&problems(&file(
        &format!("address: 127.0.0.1:0, server_names: {{10.0.0.1: api, a.test: apy, A.test: web, a.test.: web}}, {ROUTES}"),
        "",
    )));
    expect![[""]].assert_eq(&problems(&file(
        &format!("address: 127.0.0.1:0, tls: {{certificates: [], min_version: 1.1}}, {ROUTES}"),
        ", tls: {ca: none.pem, certificate: a.pem, insecure_skip_verify: true}",
    )));
}
