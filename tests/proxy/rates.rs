//! How much a filter may run in all: `limits.instructions_per_second`. With a rate that one call uses up for minutes,
//! no test depends on the time.

use super::filters::{with_filters, with_filters_in};
use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Guest, On, Step, Upstream, When, eventually, message, text};

/// A filter whose first call takes hundreds of seconds' worth, and its limit.
fn spender() -> Guest {
    let steps = [Step::Spin(100_000), Step::add(RequestHeaders, "x-seen", "yes")];
    Guest::new().quiet().on(On::RequestHeaders, steps)
}

const LIMITS: &str = ", limits: {instructions: 10M, instructions_per_second: 1k}";

fn limited(work: &str) -> [(&str, &str); 2] {
    [("filter", "spender"), ("work", work)]
}

#[test]
fn beyond_its_rate_a_filter_that_is_closed_on_faults_has_requests_answered_503() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters_in(&upstream, &["access_log: true"], &[("spender", &spender(), LIMITS)]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status(), response.text().as_str()), (503, "a filter is over its rate"));
    }
    assert_eq!(upstream.requests().len(), 1, "the others went no further");
    let line = proxy.wait_for_access_log(4).remove(3);
    for (field, value) in [("outcome", "filter_over_rate"), ("at_fault", "filter"), ("filter", "spender")] {
        assert_eq!(line[field], value, "{line}");
    }
    proxy.wait_for_metric("tidegate_filter_rate_limited_total", &limited("exchange"), 3.0);
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_requests_total", &[("outcome", "filter_over_rate")]), 3.0);
    assert_eq!(metrics.sum("tidegate_filter_faults_total", &[]), 0.0, "it is none");
    assert_eq!(metrics.sum("tidegate_filter_rebuilds_total", &[]), 0.0, "and the guest lives on");
    let said = |event: &serde_json::Value| message(event).contains("over its rate");
    let events: Vec<_> = proxy.log().into_iter().filter(said).collect();
    assert_eq!(events.len(), 1, "once, not for each request: {events:?}");
    assert_eq!((text(&events[0], "filter").as_str(), &events[0]["level"]), ("spender", &"WARN".into()));
}

#[test]
fn beyond_its_rate_a_filter_that_is_open_on_faults_is_left_out() {
    let upstream = Upstream::ok("hello");
    let after = Guest::new().quiet().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-after", "yes")]);
    let more = format!("{LIMITS}, on_fault: open");
    let proxy = with_filters(&upstream, &[("spender", &spender(), &more), ("after", &after, "")]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.request("POST", "/", &[], "its body").status(), 200);
    }
    let seen: Vec<_> =
        upstream.requests().iter().map(|request| request.head.field("x-seen").is_some()).collect();
    assert_eq!(seen, [true, false, false]);
    assert!(upstream.requests().iter().all(|request| request.head.field("x-after") == Some("yes")));
    assert_eq!(upstream.requests()[2].body.clone().expect("it was sent").text(), "its body");
    proxy.wait_for_metric("tidegate_filter_rate_limited_total", &limited("exchange"), 2.0);
}

#[test]
fn what_happens_beyond_the_rate_can_be_another_thing_than_on_faults() {
    let upstream = Upstream::ok("hello");
    for (more, status) in [
        (", on_fault: closed, on_rate_exceeded: open", 200),
        (", on_fault: open, on_rate_exceeded: closed", 503),
    ] {
        let proxy = with_filters(&upstream, &[("spender", &spender(), &format!("{LIMITS}{more}"))]);
        let mut client = proxy.client();
        assert_eq!([client.get("/").status(), client.get("/").status()], [200, status], "{more}");
    }
}

#[test]
fn ticks_that_come_while_a_filter_is_over_its_rate_are_left_out() {
    let upstream = Upstream::ok("hello");
    let ticking = spender().on(On::Configure, [Step::TickPeriod(10)]).on(On::Tick, []);
    let more = format!("{LIMITS}, on_fault: open");
    let proxy = with_filters(&upstream, &[("spender", &ticking, &more)]);
    proxy.client().get("/");
    let metrics = || proxy.metrics();
    let ticks = [("filter", "spender"), ("callback", "on_tick")];
    eventually("ticks to be left out", || {
        (metrics().sum("tidegate_filter_rate_limited_total", &limited("tick")) >= 1.0).then_some(())
    });
    let before = metrics().sum("tidegate_filter_calls_total", &ticks);
    eventually("more ticks to be left out", || {
        (metrics().sum("tidegate_filter_rate_limited_total", &limited("tick")) >= 5.0).then_some(())
    });
    assert_eq!(metrics().sum("tidegate_filter_calls_total", &ticks), before);
}

#[test]
fn a_filter_that_is_over_its_rate_is_not_told_of_the_end_of_what_another_filter_answered() {
    let upstream = Upstream::ok("hello");
    let asked = When::Header(RequestHeaders, "x-stop", "yes");
    let guard =
        Guest::new().quiet().on(On::RequestHeaders, [Step::If(asked, vec![Step::reply(403, "no", &[])])]);
    let spender = spender().on(On::Log, []);
    let proxy = with_filters(&upstream, &[("guard", &guard, ""), ("spender", &spender, LIMITS)]);
    let mut client = proxy.client();
    let logged = || {
        let labels = [("filter", "spender"), ("callback", "on_log")];
        proxy.metrics().sum("tidegate_filter_calls_total", &labels)
    };
    assert_eq!(client.request("GET", "/", &[("x-stop", "yes")], "").status(), 403);
    eventually("the end of what the guard answered", || (logged() == 1.0).then_some(()));
    assert_eq!(client.get("/").status(), 200);
    eventually("the end of what went through", || (logged() == 2.0).then_some(()));
    assert_eq!(client.request("GET", "/", &[("x-stop", "yes")], "").status(), 403);
    proxy.wait_for_metric("tidegate_filter_rate_limited_total", &limited("exchange"), 1.0);
    assert_eq!(logged(), 2.0);
}
