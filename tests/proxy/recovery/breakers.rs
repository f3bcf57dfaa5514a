//! How much of a cluster may be in use at once.

use crate::equipment::{Act, Answer, Client, Gate, Proxy, Upstream, forwarding};

const GET: &str = "GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n";

/// A proxy with these breakers before an upstream that answers when the gate is open.
fn breaking(breakers: &str) -> (Proxy, Upstream, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    let config = forwarding(&[upstream.address()], "");
    let proxy = Proxy::start(&config.replace("endpoints:", &format!("breakers: {{{breakers}}}, endpoints:")));
    (proxy, upstream, gate)
}

fn asking(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(GET);
    client
}

fn is_refused(proxy: &Proxy, client: &mut Client, limit: &str) {
    let response = client.response();
    assert_eq!((response.status(), response.field("x-envoy-overloaded")), (503, Some("true")));
    proxy.wait_for_metric("tidegate_upstream_overflows_total", &[("cluster", "up"), ("limit", limit)], 1.0);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "upstream_overflow")], 1.0);
}

#[test]
fn more_requests_than_may_be_in_flight_are_refused_at_once() {
    let (proxy, upstream, gate) = breaking("requests: 2");
    let mut clients = [asking(&proxy), asking(&proxy)];
    upstream.wait_for(2);
    is_refused(&proxy, &mut asking(&proxy), "requests");
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert_eq!(proxy.client().get("/").status(), 200, "what has ended does not count");
}

#[test]
fn a_request_waits_for_a_connection_where_there_may_be_no_more() {
    let (proxy, upstream, gate) = breaking("connections: 1");
    let mut clients = [asking(&proxy), asking(&proxy), asking(&proxy)];
    upstream.wait_for(1);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert_eq!((upstream.requests().len(), upstream.connections()), (3, 1));
}

#[test]
fn a_connection_that_is_closed_makes_room_for_the_request_that_waits() {
    let (gate, never) = (Gate::new(), Gate::new());
    let (held, forever) = (gate.clone(), never.clone());
    let upstream = Upstream::start(move |head| {
        let answer = Answer::default().read_body();
        match head.target() {
            "/long" => answer.wait(&forever).head(200, &[("content-length", "0")]),
            _ => answer
                .wait(&held)
                .head(200, &[("content-length", "0"), ("connection", "close")])
                .act(Act::Close),
        }
    });
    let config = forwarding(&[upstream.address()], "");
    let proxy =
        Proxy::start(&config.replace("endpoints:", "breakers: {connections: 2, pending: 1}, endpoints:"));
    let mut long = proxy.client();
    long.send("GET /long HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    upstream.wait_for(1);
    let mut short = asking(&proxy);
    upstream.wait_for(2);
    // Of two, one waits and the other is refused, which says that it does.
    let mut others = [asking(&proxy), asking(&proxy)];
    let metric = "tidegate_upstream_overflows_total";
    proxy.wait_for_metric(metric, &[("cluster", "up"), ("limit", "pending")], 1.0);
    gate.open();
    assert_eq!(short.response().status(), 200);
    let mut statuses = others.each_mut().map(|client| client.response().status());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    never.open();
    assert_eq!(long.response().status(), 200);
}

#[test]
fn more_requests_than_may_wait_are_refused() {
    let (proxy, upstream, gate) = breaking("connections_per_endpoint: 1, pending: 1");
    let mut first = asking(&proxy);
    upstream.wait_for(1);
    // Of two, one waits and the other is refused, whichever comes first.
    let mut others = [asking(&proxy), asking(&proxy)];
    let metric = "tidegate_upstream_overflows_total";
    proxy.wait_for_metric(metric, &[("cluster", "up"), ("limit", "pending")], 1.0);
    let waiting = ("tidegate_upstream_pending_requests", [("cluster", "up")]);
    proxy.wait_for_metric(waiting.0, &waiting.1, 1.0);
    gate.open();
    assert_eq!(first.response().status(), 200);
    let mut statuses = others.each_mut().map(|client| client.response().status());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    proxy.wait_for_metric(waiting.0, &waiting.1, 0.0);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_request_that_was_refused_is_not_sent_again() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    let config = forwarding(&[upstream.address()], "retries: {on: [5xx], attempts: 5}");
    let proxy = Proxy::start(&config.replace("endpoints:", "breakers: {requests: 1}, endpoints:"));
    let mut first = asking(&proxy);
    upstream.wait_for(1);
    is_refused(&proxy, &mut asking(&proxy), "requests");
    gate.open();
    assert_eq!(first.response().status(), 200);
    proxy.wait_for_metric("tidegate_upstream_retries_total", &[], 0.0);
}

#[test]
fn the_retries_of_a_cluster_have_a_limit_of_their_own() {
    let upstream = Upstream::start(|_| Answer::sized(503, &[], ""));
    let config = forwarding(&[upstream.address()], "retries: {on: [5xx]}");
    let proxy = Proxy::start(&config.replace("endpoints:", "breakers: {retries: 0}, endpoints:"));
    assert_eq!(proxy.client().get("/").status(), 503);
    assert_eq!(upstream.requests().len(), 1);
    let labels = [("cluster", "up"), ("reason", "budget")];
    proxy.wait_for_metric("tidegate_upstream_retries_denied_total", &labels, 1.0);
}
