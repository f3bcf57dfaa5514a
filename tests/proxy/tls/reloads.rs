//! What a new configuration asks of clients it asks of those as well who are connected.

use super::{config, prepared, tls};
use crate::equipment::{
    Authority, Backend, Client, Gate, Http2Client, Proxy, Start, TlsClient, TlsOptions, Upstream,
};
use crate::proxy::reload::holding;

#[test]
fn nobody_goes_on_in_clear_on_a_listener_that_begins_with_tls() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let authority = Authority::new("tide");
    let issued = authority.issue(&["a.test"]);
    let mut proxy = prepared(upstream.address(), &[], &[("a", &issued)]).workers(2).start();
    let (mut idle, mut waiting) = (proxy.client(), proxy.client());
    let mut multiplexed = Http2Client::connect(proxy.address("in"));
    assert_eq!((idle.get("/").text(), multiplexed.get("/").text()), ("hello".into(), "hello".into()));
    waiting.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("it waits", |seen| seen.iter().any(|request| request.head.target() == "/held"));
    assert!(proxy.change(&config(upstream.address(), &[&tls(&["a"], "")])));
    idle.expect_end();
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[("listener", "in")], 1.0);
    gate.open();
    let last = waiting.response();
    assert_eq!((last.status(), last.field("connection")), (200, Some("close")), "what began ends in order");
    waiting.expect_end();
    assert_eq!(proxy.client().get("/").status(), 400, "from now on it is to be TLS");
    let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&authority, "a.test"));
    let mut client = Client::connect(way.address());
    assert_eq!(client.get("/").text(), "hello");
    // There is as much room as before, and a drain finds everybody.
    proxy.terminate();
    client.expect_end();
    assert_eq!(proxy.wait().code, Some(0));
}

/// A proxy that asks clients for certificates as `more` says, and a client of it that has one of `clients`.
fn entered(upstream: &Upstream, more: &str) -> (Proxy, TlsClient, Client, [Authority; 3]) {
    let authorities = ["tide", "clients", "others"].map(Authority::new);
    let [authority, clients, others] = &authorities;
    let issued = authority.issue(&["a.test"]);
    let start: Start = prepared(upstream.address(), &[&tls(&["a"], more)], &[("a", &issued)]);
    let proxy = start.file("clients.pem", clients.pem()).file("others.pem", others.pem()).start();
    let options = TlsOptions::new(authority, "a.test").identity(clients.issue(&["client.test"]));
    let way = TlsClient::to(proxy.address("in"), &options.version_1_2());
    let mut client = Client::connect(way.address());
    assert_eq!(client.get("/").text(), "hello");
    (proxy, way, client, authorities)
}

#[test]
fn who_has_not_shown_what_is_asked_for_now_has_to_come_again() {
    let upstream = Upstream::ok("hello");
    for (before, after) in [
        ("", "client_ca: clients.pem"),
        ("client_ca: clients.pem", "client_ca: others.pem"),
        ("", "min_version: 1.3"),
    ] {
        let (mut proxy, _way, mut client, _) = entered(&upstream, before);
        assert!(proxy.change(&config(upstream.address(), &[&tls(&["a"], after)])), "{after}");
        client.expect_end();
    }
    // The name of the file is the same.
    let (mut proxy, _way, mut client, [.., others]) = entered(&upstream, "client_ca: clients.pem");
    proxy.put("clients.pem", others.pem());
    assert!(proxy.reload());
    client.expect_end();
}

#[test]
fn who_has_shown_enough_stays() {
    let upstream = Upstream::ok("hello");
    for (before, after) in [
        ("client_ca: clients.pem", ""),
        ("client_ca: clients.pem", "client_ca: clients.pem, handshake_timeout: 5s, alpn: [http/1.1]"),
    ] {
        let (mut proxy, _way, mut client, [authority, ..]) = entered(&upstream, before);
        let next = authority.issue(&["a.test"]);
        proxy.put("a.pem", next.certificate);
        proxy.put("a.key", next.key);
        assert!(proxy.change(&config(upstream.address(), &[&tls(&["a"], after)])), "{after}");
        assert_eq!(client.get("/").field("connection"), None, "{after}");
    }
}

#[test]
fn a_connection_is_nothing_else_because_its_listener_is() {
    let (upstream, backend) = (Upstream::ok("hello"), Backend::start());
    let serving = |fields: &str| {
        format!(
            "drain_timeout: 100ms\nlisteners:\n- {{name: in, address: \"127.0.0.1:0\", {fields}}}\n\
             clusters:\n  up: {{endpoints: [\"{}\"]}}\n  rest: {{endpoints: [\"{}\"]}}\n",
            upstream.address(),
            backend.address()
        )
    };
    let http = serving("routes: [{match: {}, cluster: up}]");
    let tcp = serving("protocol: tcp, cluster: rest");
    let mut proxy = Proxy::start(&http);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "hello");
    assert!(proxy.change(&tcp));
    client.expect_end();
    let mut client = proxy.client();
    client.send("ping");
    let mut server = backend.accept();
    assert_eq!(server.exactly(4), "ping");
    assert!(proxy.change(&http));
    client.expect_end();
    assert_eq!(proxy.client().get("/").text(), "hello");
}

#[test]
fn who_has_to_come_again_meets_what_holds_now_until_then() {
    let authority = Authority::new("tide");
    let issued = authority.issue(&["a.test"]);
    let upstream = Upstream::ok("hello");
    let closed = |status: u16| {
        config(upstream.address(), &[&tls(&["a"], "")])
            .replace("cluster: up}", &format!("respond: {{status: {status}}}}}"))
    };
    let mut proxy = prepared(upstream.address(), &[], &[("a", &issued)]).start();
    let begun = || {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\n"); // its request is on its way
        client
    };
    let mut clients = [begun(), begun()];
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[("listener", "in")], 2.0);
    for (client, status) in clients.iter_mut().zip([403, 404]) {
        assert!(proxy.change(&closed(status)));
        client.send("host: a\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status(), response.field("connection")), (status, Some("close")));
    }
    assert_eq!(upstream.requests().len(), 0);
}
