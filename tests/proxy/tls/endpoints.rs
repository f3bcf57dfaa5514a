//! TLS with endpoints.

use std::net::SocketAddr;

use crate::equipment::{
    Authority, Backend, Client, Proxy, Start, TlsServer, Upstream, forwarding, in_listener,
};

/// A proxy whose cluster `up` has these fields in flow style, and `ca.pem` beside its configuration.
fn prepared(endpoint: SocketAddr, authority: &Authority, fields: &str, route: &str) -> Start {
    let route = if route.is_empty() { String::new() } else { format!(", {route}") };
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  access_log: true\n  routes: [{{match: {{}}, cluster: up{route}}}]\n\
         clusters:\n  up: {{endpoints: [\"{endpoint}\"], {fields}}}\n"
    );
    Proxy::with(&config).file("ca.pem", authority.pem())
}

#[test]
fn a_request_goes_out_by_tls_to_who_it_has_to_be() {
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let server = TlsServer::before(upstream.address(), &authority.issue(&["up.test"]), &["http/1.1"]);
    let proxy = prepared(server.address(), &authority, "tls: {ca: ca.pem, server_name: up.test}", "").start();
    let mut client = proxy.client();
    assert_eq!(client.get("/one").text(), "hello");
    assert_eq!(client.get("/two").text(), "hello");
    let shaken = server.shaken();
    assert_eq!(shaken.len(), 1, "the connection is kept: {shaken:?}");
    let shaken = shaken[0].as_ref().expect("the handshake goes well");
    assert_eq!((shaken.name.as_str(), shaken.alpn.as_deref()), ("up.test", Some("http/1.1")));
    let labels = [("cluster", "up"), ("version", "TLSv1.3"), ("resumed", "false")];
    proxy.wait_for_metric("tidegate_upstream_tls_handshakes_total", &labels, 1.0);
}

#[test]
fn an_address_is_verified_and_not_asked_for_by_name() {
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let server = TlsServer::before(upstream.address(), &authority.issue(&["127.0.0.1"]), &[]);
    let proxy = prepared(server.address(), &authority, "tls: {ca: ca.pem}", "").start();
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(server.shaken()[0].as_ref().map(|shaken| shaken.name.as_str()), Ok(""));
}

#[test]
fn who_cannot_prove_who_it_is_gets_no_request() {
    let upstream = Upstream::ok("hello");
    let (authority, other) = (Authority::new("tide"), Authority::new("other"));
    let named = "tls: {ca: ca.pem, server_name: up.test}";
    for (issued, said) in [
        (other.issue(&["up.test"]), "UnknownIssuer"),
        (authority.issue(&["else.test"]), "not valid for name \"up.test\""),
        (authority.issue_expired(&["up.test"]), "expired"),
    ] {
        let server = TlsServer::before(upstream.address(), &issued, &[]);
        let proxy = prepared(server.address(), &authority, named, "").start();
        assert_eq!(proxy.client().get("/").status(), 503);
        let line = proxy.wait_for_access_log(1).remove(0);
        assert_eq!(
            (&line["outcome"], &line["flags"]),
            (&"upstream_tls_failed".into(), &"UF".into()),
            "{line}"
        );
        assert!(line["details"].as_str().expect("it is text").contains(said), "{said}: {line}");
        let labels = [("cluster", "up"), ("reason", "tls")];
        proxy.wait_for_metric("tidegate_upstream_connect_failures_total", &labels, 1.0);
        // It is believed where nobody has to be anybody, which is said at the start.
        let start = prepared(server.address(), &authority, "tls: {insecure_skip_verify: true}", "");
        let trusting = start.start();
        assert_eq!(trusting.client().get("/").text(), "hello");
        trusting
            .wait_for_log("the warning", |event| event.to_string().contains("certificates are not verified"));
    }
    assert_eq!(upstream.requests().len(), 3, "those of the proxies that trust anybody");
    // One that speaks no TLS at all: it sends back what it was sent.
    let proxy = prepared(Backend::start().echo(), &authority, named, "").start();
    assert_eq!(proxy.client().get("/").status(), 503);
    assert_eq!(proxy.wait_for_access_log(1)[0]["outcome"], "upstream_tls_failed");
}

#[test]
fn a_handshake_that_fails_is_tried_with_another_endpoint() {
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let good = TlsServer::before(upstream.address(), &authority.issue(&["up.test"]), &[]);
    let bad = TlsServer::before(upstream.address(), &Authority::new("other").issue(&["up.test"]), &[]);
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n  - match: {{}}\n    cluster: up\n    \
         retries: {{attempts: 1, on: [connect]}}\n\
         clusters:\n  up:\n    endpoints: [\"{}\", \"{}\"]\n    tls: {{ca: ca.pem, server_name: up.test}}\n    \
         outlier_detection: {{consecutive_local_failures: 2, max_ejection_percent: 50%, base_ejection_time: 1h}}\n",
        bad.address(),
        good.address()
    );
    let proxy = Proxy::with(&config).file("ca.pem", authority.pem()).start();
    for _ in 0..8 {
        assert_eq!(proxy.client().get("/").text(), "hello");
    }
    proxy.wait_for_metric(
        "tidegate_upstream_retries_total",
        &[("cluster", "up"), ("reason", "connect")],
        2.0,
    );
    assert_eq!(bad.shaken().len(), 2, "then it is left alone");
}

/// The protocol of each request that came to this proxy, which stands for an endpoint.
fn protocols(inner: &Proxy, count: usize) -> Vec<String> {
    let lines = inner.wait_for_access_log(count);
    lines.iter().map(|line| line["protocol"].as_str().expect("it is text").to_owned()).collect()
}

#[test]
fn an_endpoint_chooses_the_version_of_http() {
    let upstream = Upstream::ok("hello");
    let inner = in_listener(&forwarding(&[upstream.address()], ""), &["access_log: true"]);
    let authority = Authority::new("tide");
    let issued = authority.issue(&["up.test"]);
    for (protocol, agrees, expected) in [
        ("auto", &["h2", "http/1.1"][..], Some("HTTP/2")),
        ("auto", &["http/1.1"], Some("HTTP/1.1")),
        ("auto", &[], Some("HTTP/1.1")),
        ("http2", &["h2", "http/1.1"], Some("HTTP/2")),
        ("http2", &["http/1.1"], None),
        ("http1", &["h2", "http/1.1"], Some("HTTP/1.1")),
    ] {
        let inner = Proxy::start(&inner);
        let server = TlsServer::before(inner.address("in"), &issued, agrees);
        let fields = format!("protocol: {protocol}, tls: {{ca: ca.pem, server_name: up.test}}");
        let proxy = prepared(server.address(), &authority, &fields, "").start();
        let mut client = proxy.client();
        let statuses = [client.get("/").status(), client.get("/").status(), proxy.client().get("/").status()];
        match expected {
            None => assert_eq!(statuses, [503; 3], "{protocol} with {agrees:?}"),
            Some(expected) => {
                assert_eq!(statuses, [200; 3], "{protocol} with {agrees:?}");
                assert_eq!(protocols(&inner, 3), [expected; 3], "{protocol} with {agrees:?}");
                assert_eq!(server.shaken().len(), 1, "the connection is kept");
            }
        }
    }
}

#[test]
fn an_endpoint_is_connected_to_once_for_a_request_where_no_connection_is_kept() {
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let server = TlsServer::before(upstream.address(), &authority.issue(&["up.test"]), &["http/1.1"]);
    let fields = "protocol: auto, idle_connections: 0, tls: {ca: ca.pem, server_name: up.test}";
    let proxy = prepared(server.address(), &authority, fields, "").start();
    let mut client = proxy.client();
    for count in 1..=3 {
        assert_eq!(client.get("/").text(), "hello");
        assert_eq!(server.shaken().len(), count);
    }
}

#[test]
fn an_endpoint_that_comes_back_may_choose_anew() {
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let issued = authority.issue(&["up.test"]);
    let plain = forwarding(&[upstream.address()], "");
    let inner = Proxy::start(&in_listener(&plain, &["access_log: true", "limits: {idle_timeout: 100ms}"]));
    let behind = inner.address("in");
    let server = TlsServer::before(behind, &issued, &["h2", "http/1.1"]);
    let at = server.address();
    let fields = "protocol: auto, tls: {ca: ca.pem, server_name: up.test}";
    let proxy = prepared(at, &authority, fields, "").start();
    assert_eq!(proxy.client().get("/").text(), "hello");
    proxy.wait_for_metric("tidegate_upstream_active_connections", &[("cluster", "up")], 0.0);
    drop(server);
    let server = TlsServer::at(at, behind, &issued, &["http/1.1"]);
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(protocols(&inner, 2), ["HTTP/2", "HTTP/1.1"]);
    drop(server);
}

#[test]
fn sessions_with_an_endpoint_are_resumed() {
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let server = TlsServer::before(upstream.address(), &authority.issue(&["up.test"]), &[]);
    let fields = "idle_connections: 0, tls: {ca: ca.pem, server_name: up.test}";
    let proxy = prepared(server.address(), &authority, fields, "").start();
    for _ in 0..4 {
        assert_eq!(proxy.client().get("/").text(), "hello");
    }
    let resumed: Vec<_> = server.shaken().into_iter().map(|shaken| shaken.unwrap().resumed).collect();
    assert_eq!(resumed, [false, true, true, true]);
}

#[test]
fn tcp_connections_go_out_by_tls() {
    let echo = Backend::start().echo();
    let authority = Authority::new("tide");
    let server = TlsServer::before(echo, &authority.issue(&["up.test"]), &[]);
    let config = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", protocol: tcp, cluster: up}}]\n\
         clusters:\n  up: {{endpoints: [\"{}\"], tls: {{ca: ca.pem, server_name: up.test}}}}\n",
        server.address()
    );
    let proxy = Proxy::with(&config).file("ca.pem", authority.pem()).start();
    let mut client: Client = proxy.client();
    client.send("ping");
    assert_eq!(client.exactly(4), "ping");
    client.send("pong");
    client.half_close();
    assert_eq!(client.rest(), "pong");
    assert_eq!(server.shaken()[0].as_ref().map(|shaken| shaken.alpn.clone()), Ok(None));
    proxy.wait_for_metric("tidegate_tcp_connections_total", &[("outcome", "ok")], 1.0);
}

#[test]
fn checks_of_health_are_made_by_tls() {
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let server = TlsServer::before(upstream.address(), &authority.issue(&["up.test"]), &["http/1.1"]);
    let check = "health_check: {path: /healthz, interval: 1h}";
    for (name, passed) in [("up.test", true), ("else.test", false)] {
        let fields = format!("{check}, tls: {{ca: ca.pem, server_name: {name}}}");
        let proxy = prepared(server.address(), &authority, &fields, "").start();
        let result = if passed { "success" } else { "failure" };
        let labels = [("cluster", "up"), ("result", result)];
        proxy.wait_for_metric("tidegate_upstream_health_checks_total", &labels, 1.0);
    }
    assert_eq!(upstream.requests().len(), 1);
}
