//! Every size and every wait has a limit, and reaching one has its own answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::equipment::{
    Act, Answer, Client, Gate, Proxy, Upstream, eventually, forwarding, in_listener, request_text,
};

fn with_limits(upstream: &Upstream, limits: &str) -> Proxy {
    let config = forwarding(&[upstream.address()], "");
    Proxy::start(&in_listener(&config, &[&format!("limits: {{{limits}}}")]))
}

#[test]
fn headers_that_are_too_large_are_refused_with_431() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "header_bytes: 8KiB");
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[("x-large", &"x".repeat(9000))], ""));
    assert_eq!(client.response().status(), 431);
    client.expect_end();
    let fits = "x".repeat(7000);
    assert_eq!(proxy.client().request("GET", "/", &[("x-large", &fits)], "").status(), 200);
    assert_eq!(upstream.requests().len(), 1);
    let labels = [("reason", "request_head_too_large")];
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &labels, 1.0);
}

#[test]
fn headers_that_are_too_many_are_refused_with_431() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "headers: 20");
    let fields = vec![("x-many", "1"); 30];
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &fields, ""));
    assert_eq!(client.response().status(), 431);
    client.expect_end();
    assert_eq!(proxy.client().request("GET", "/", &fields[..10], "").status(), 200);
}

#[test]
fn a_target_that_is_too_long_is_refused_with_414() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "header_bytes: 128KiB");
    let mut client = proxy.client();
    client.send(&request_text("GET", &format!("/{}", "x".repeat(1 << 16)), &[], ""));
    assert_eq!(client.response().status(), 414);
    client.half_close();
    client.expect_orderly_end();
    let refused = "tidegate_downstream_protocol_errors_total";
    proxy.wait_for_metric(refused, &[("reason", "uri_too_long")], 1.0);
    // A head that is too large for that as well says so.
    let mut client = proxy.client();
    client.send(&request_text("GET", &format!("/{}", "x".repeat(1 << 18)), &[], ""));
    assert_eq!(client.response().status(), 431);
    proxy.wait_for_metric(refused, &[("reason", "request_head_too_large")], 1.0);
    assert!(upstream.requests().is_empty());
}

#[test]
fn the_default_limits_refuse_100_kib_of_headers() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    let _ = client.try_send(request_text("GET", "/", &[("x-large", &"x".repeat(100 << 10))], "").as_bytes());
    assert_eq!(client.response().status(), 431);
    client.expect_end();
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "header_timeout: 300ms");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: tide.te");
    assert_eq!(client.response().status(), 408);
    client.expect_end();
    let labels = [("reason", "request_head_timeout")];
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &labels, 1.0);
}

#[test]
fn a_request_body_that_stops_is_given_up() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "stream_idle_timeout: 300ms");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!(client.response().status(), 408);
    client.expect_end();
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "request_idle")], 1.0);
}

#[test]
fn a_body_that_moves_is_not_idle_however_long_it_takes() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "stream_idle_timeout: 500ms");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n");
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_millis(1500) {
        client.send("1\r\nx\r\n");
        sent += 1;
        upstream.wait_until("the piece", |requests| requests.iter().any(|request| request.arrived == sent));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn a_response_body_that_stops_is_cut() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().head(200, &[("content-length", "9")]).send("half").wait(&held)
    });
    let proxy = with_limits(&upstream, "stream_idle_timeout: 300ms");
    let response = proxy.client().get("/");
    assert!(!crate::equipment::is_whole(&response.body), "{response:?}");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "response_idle")], 1.0);
    gate.open();
}

#[test]
fn connections_over_the_limit_are_closed_and_the_others_served() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "connections: 2");
    let (mut first, mut second) = (proxy.client(), proxy.client());
    assert_eq!((first.get("/").status(), second.get("/").status()), (200, 200));
    let mut third = proxy.client();
    assert_eq!(third.rest(), "", "closed without a word");
    proxy.wait_for_metric("tidegate_downstream_refused_connections_total", &[], 1.0);
    assert_eq!(first.get("/").status(), 200);
    second.leave();
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[], 1.0);
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn a_head_that_stops_after_a_pause_is_given_up() {
    let upstream = Upstream::ok("ok");
    let proxy = with_limits(&upstream, "header_timeout: 300ms");
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    let mut clock = proxy.client();
    clock.send("GET");
    assert_eq!(clock.response().status(), 408); // so the first one's was looked at as well
    client.send("GET / HTTP/1.1\r\nhost: tide.te");
    assert_eq!(client.response().status(), 408);
    client.expect_end();
}

#[test]
fn a_response_that_is_not_taken_is_given_up() {
    let upstream = Upstream::start(|_| {
        let answer = Answer::default().read_body().head(200, &[("content-length", "134217728")]);
        let written = Arc::default();
        answer.act(Act::Flood { block: vec![b'x'; 64 << 10], times: 2048, written })
    });
    let proxy = with_limits(&upstream, "stream_idle_timeout: 300ms");
    let mut client = Client::connect_narrow(proxy.address("in"));
    client.send(&request_text("GET", "/", &[], ""));
    assert_eq!(client.head().status(), 200);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "request_idle")], 1.0);
    proxy.settle(); // while the client is still there
    eventually("the upstream to be told", || (upstream.open_connections() == 0).then_some(()));
}

/// Takes its time: as long as a connection may be idle at this proxy.
fn tick(proxy: &Proxy) {
    proxy.client().expect_end();
}

/// Far shorter than what is allowed, so that a busy machine does not make the one as long as the other; a few of these
/// together are longer.
const PACE: &str = "idle_timeout: 300ms";

#[test]
fn a_body_that_goes_on_slowly_is_not_cut() {
    let gates: Vec<Gate> = (0..10).map(|_| Gate::new()).collect();
    let held = gates.clone();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().head(200, &[("transfer-encoding", "chunked")]);
        let answer = held.iter().fold(answer, |answer, gate| answer.wait(gate).chunk("down"));
        answer.read_body().last_chunk(&[])
    });
    let proxy = with_limits(&upstream, &format!("stream_idle_timeout: 2s, {PACE}"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nup\r\n");
    assert_eq!(client.head().status(), 200);
    for gate in &gates {
        tick(&proxy);
        gate.open();
        assert_eq!(client.exactly(9), "4\r\ndown\r\n");
    }
    for _ in &gates {
        tick(&proxy);
        client.send("2\r\nup\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.exactly(5), "0\r\n\r\n");
}

#[test]
fn the_routes_timeout_begins_when_the_request_is_whole() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "7")]).send("in time")
    });
    let config = forwarding(&[upstream.address()], "timeout: 4s");
    let proxy = Proxy::start(&in_listener(&config, &[&format!("limits: {{{PACE}}}")]));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 16\r\n\r\n");
    for _ in 0..8 {
        tick(&proxy);
        client.send("up");
    }
    // Less than the timeout by far, but more together with the time that the request took.
    (0..6).for_each(|_| tick(&proxy));
    gate.open();
    assert_eq!(client.response().text(), "in time");
}
