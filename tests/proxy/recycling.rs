//! Guests that are replaced: after so many exchanges, at a size, at an age. No request notices.

use super::filters::with_filters;
use crate::equipment::Map::ResponseHeaders;
use crate::equipment::{Answer, Gate, Guest, On, Proxy, Step, Upstream, When, eventually};

/// Says in the response whether it was the instance's first.
fn first() -> Guest {
    let first = Step::If(When::Call(1), vec![Step::add(ResponseHeaders, "x-first", "1")]);
    Guest::logger().on(On::ResponseHeaders, [first])
}

fn recycles(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("tidegate_filter_recycles_total", &[("filter", "worn")])
}

fn count(proxy: &Proxy, begin: &str) -> usize {
    proxy.guest_log().iter().filter(|(_, line)| line.starts_with(begin)).count()
}

#[test]
fn a_guest_serves_as_many_exchanges_as_it_may_and_then_another_does() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("worn", &first(), ", recycle: {requests: 3}")]);
    let mut client = proxy.client();
    for round in 1..=3 {
        assert_eq!(client.get("/").field("x-first"), Some("1"), "{round}");
        assert_eq!(client.get("/").field("x-first"), None, "{round}");
        assert_eq!(client.get("/").field("x-first"), None, "{round}");
        proxy.wait_for_metric("tidegate_filter_recycles_total", &[("filter", "worn")], f64::from(round));
    }
    eventually("the old guests were told", || (count(&proxy, "delete ctx=1") == 3).then_some(()));
    assert_eq!(upstream.connections(), 1, "nothing else was replaced");
}

#[test]
fn an_exchange_ends_in_the_guest_that_it_began_in() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/held" => Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")]),
        _ => Answer::ok("hello"),
    });
    let proxy = with_filters(&upstream, &[("worn", &first(), ", recycle: {requests: 1}")]);
    let mut waiting = proxy.client();
    waiting.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_for(1);
    eventually("the guest was replaced", || (recycles(&proxy) == 1.0).then_some(()));
    assert_eq!(proxy.client().get("/").field("x-first"), Some("1"));
    gate.open();
    assert_eq!(waiting.response().field("x-first"), Some("1"), "nobody else has called its guest");
}

#[test]
fn a_guest_that_has_grown_too_large_is_replaced() {
    let grown = Guest::new().quiet().on(On::RequestHeaders, [Step::If(When::Call(2), vec![Step::Grow(64)])]);
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("worn", &grown, ", recycle: {memory: 2MiB}")]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(recycles(&proxy), 0.0);
    assert_eq!(client.get("/").status(), 200);
    eventually("it was replaced", || (recycles(&proxy) == 1.0).then_some(()));
    let memory = || proxy.metrics().sum("tidegate_filter_memory_bytes", &[("filter", "worn")]);
    eventually("its memory was given back", || (memory() < 2_097_152.0).then_some(()));
}

#[test]
fn a_guest_of_a_certain_age_is_replaced_without_a_request() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("worn", &first(), ", recycle: {after: 1s}")]);
    eventually("it was replaced twice", || (recycles(&proxy) >= 2.0).then_some(()));
    assert_eq!(proxy.client().get("/").status(), 200);
}
