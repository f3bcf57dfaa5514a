//! When a request is sent again, how often, and with which body.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::equipment::{
    Act, Answer, Gate, Guest, Map, On, Proxy, Response, Step, Upstream, forwarding, in_listener,
    refusing_address,
};

/// A proxy that sends requests again as this says.
fn retrying(endpoints: &[SocketAddr], retries: &str) -> Proxy {
    Proxy::start(&forwarding(endpoints, &format!("retries: {{{retries}, backoff: {{base: 1ms}}}}")))
}

/// Answers the first so many requests in one way, and the others with `ok`.
fn failing(first: usize, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Upstream {
    let seen = AtomicUsize::new(0);
    Upstream::start(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
        at if at < first => answer(),
        _ => Answer::ok("ok"),
    })
}

fn post(proxy: &Proxy, body: &str) -> Response {
    proxy.client().request("POST", "/", &[], body)
}

#[test]
fn a_status_that_is_named_is_tried_again_with_the_same_body() {
    let upstream = failing(2, || Answer::sized(503, &[], "no"));
    let proxy = retrying(&[upstream.address()], "on: [503], attempts: 2");
    let response = post(&proxy, "the body");
    assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
    let bodies = upstream.wait_for(3).into_iter().map(|request| request.body.unwrap().text());
    assert_eq!(bodies.collect::<Vec<_>>(), ["the body"; 3]);
    let labels = [("cluster", "up"), ("reason", "status")];
    proxy.wait_for_metric("tidegate_upstream_retries_total", &labels, 2.0);
    assert_eq!(upstream.connections(), 1, "a response that nobody wants is read to its end");
}

#[test]
fn the_last_answer_is_passed_on_when_there_are_no_attempts_left() {
    let upstream = failing(9, || Answer::sized(503, &[("x-kind", "last")], "no"));
    let proxy = retrying(&[upstream.address()], "on: [5xx], attempts: 1");
    let response = post(&proxy, "");
    assert_eq!(
        (response.status(), response.field("x-kind"), response.text().as_str()),
        (503, Some("last"), "no")
    );
    assert_eq!(upstream.wait_for(2).len(), 2);
    let labels = [("cluster", "up"), ("reason", "attempts")];
    proxy.wait_for_metric("tidegate_upstream_retries_denied_total", &labels, 1.0);
}

#[test]
fn a_body_of_many_small_pieces_is_kept_in_little_more_than_its_size() {
    const PIECES: usize = 1 << 18;
    let answered = Gate::new();
    let held = answered.clone();
    let upstream = Upstream::start_forgetful(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    let proxy = retrying(&[upstream.address()], "on: [503], buffer: 1MiB");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
    upstream.wait_until("the first piece", |requests| requests.iter().any(|request| request.arrived == 1));
    let before = proxy.allocated_bytes();
    client.send_bytes("1\r\nx\r\n".repeat(PIECES).as_bytes());
    client.send("0\r\n\r\n");
    upstream.wait_for(1);
    let grown = proxy.allocated_bytes().saturating_sub(before);
    assert!(grown < 40 * PIECES as u64, "{grown} bytes for {PIECES}");
    answered.open();
    assert_eq!(client.response().status(), 200);
}

#[test]
fn a_status_that_is_not_named_is_not_tried_again() {
    let upstream = failing(1, || Answer::sized(500, &[], "no"));
    let proxy = retrying(&[upstream.address()], "on: [gateway-error, connect-failure, reset, 429]");
    assert_eq!(post(&proxy, "").status(), 500);
    assert_eq!(upstream.wait_for(1).len(), 1);
}

#[test]
fn a_connection_that_is_refused_or_reset_is_tried_again() {
    let (refusing, _taken) = refusing_address();
    let resetting = Upstream::start(|_| Answer::default().read_body().act(Act::Reset));
    let healthy = Upstream::ok("ok");
    for (bad, on) in [(refusing, "connect-failure"), (resetting.address(), "reset")] {
        let proxy = retrying(&[bad, healthy.address()], &format!("on: [{on}], attempts: 2"));
        for _ in 0..4 {
            assert_eq!(post(&proxy, "body").status(), 200, "{on}");
        }
    }
}

#[test]
fn a_connection_that_is_reset_is_not_tried_again_for_failed_connections_alone() {
    let upstream = failing(1, || Answer::default().read_body().act(Act::Close));
    let proxy = retrying(&[upstream.address()], "on: [connect-failure]");
    assert_eq!(post(&proxy, "body").status(), 502);
}

#[test]
fn an_attempt_that_takes_too_long_is_ended_and_tried_again() {
    let upstream = failing(1, || Answer::default().read_body().act(Act::AwaitEnd));
    let proxy = retrying(&[upstream.address()], "on: [gateway-error], per_try_timeout: 200ms");
    assert_eq!(post(&proxy, "body").status(), 200);
    let labels = [("cluster", "up"), ("reason", "timeout")];
    proxy.wait_for_metric("tidegate_upstream_retries_total", &labels, 1.0);
}

#[test]
fn the_last_attempt_that_takes_too_long_is_504() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
    let config = forwarding(
        &[upstream.address()],
        "retries: {on: [reset], per_try_timeout: 100ms, backoff: {base: 1ms}}",
    );
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    assert_eq!(post(&proxy, "body").status(), 504);
    let line = &proxy.wait_for_access_log(1)[0];
    assert_eq!(line["details"], "upstream_per_try_timeout");
    assert_eq!((&line["outcome"], &line["attempts"]), (&"upstream_timeout".into(), &2.into()));
}

#[test]
fn a_body_that_is_longer_than_what_is_kept_is_not_sent_again() {
    let upstream = failing(2, || Answer::sized(503, &[], "no"));
    let proxy = retrying(&[upstream.address()], "on: [503], buffer: 10");
    assert_eq!(post(&proxy, "eleven byte").status(), 503);
    let labels = [("cluster", "up"), ("reason", "body")];
    proxy.wait_for_metric("tidegate_upstream_retries_denied_total", &labels, 1.0);
    let response = post(&proxy, "ten bytes.");
    assert_eq!((response.status(), upstream.wait_for(3).len()), (200, 3));
}

#[test]
fn a_body_that_comes_bit_by_bit_is_sent_again_from_its_beginning() {
    let early = Gate::new();
    let told = early.clone();
    let seen = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
        // Before the request is whole.
        0 => Answer::default().head(503, &[("content-length", "0")]).reached(&told).act(Act::AwaitEnd),
        _ => Answer::ok("ok"),
    });
    let proxy = retrying(&[upstream.address()], "on: [503]");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    assert!(early.pass());
    upstream.wait_for_heads(2);
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let body = upstream.requests()[1].body.clone().expect("it was read");
    assert_eq!(body.text(), "firstsecond");
}

#[test]
fn filters_see_one_request_and_one_response() {
    let upstream = failing(2, || Answer::sized(503, &[], "no"));
    let guest = Guest::new()
        .on(On::RequestHeaders, [Step::say("request"), Step::add(Map::RequestHeaders, "x-filter", "1")])
        .on(On::ResponseHeaders, [Step::say("response")])
        .build();
    let config = forwarding(&[upstream.address()], "retries: {on: [503], attempts: 2, backoff: {base: 1ms}}");
    let config = in_listener(&config, &["filters: [f]"]) + "filters: {f: {module: ./f.wasm}}\n";
    let proxy = Proxy::with(&config).file("f.wasm", guest).log_guests_fully().start();
    assert_eq!(post(&proxy, "body").status(), 200);
    let lines: Vec<_> = proxy.guest_log().into_iter().map(|(_, line)| line).collect();
    let count = |wanted: &str| lines.iter().filter(|line| *line == wanted).count();
    assert_eq!((count("request"), count("response")), (1, 1), "{lines:?}");
    let marks = upstream.wait_for(3).into_iter().map(|request| request.head.all("x-filter").len());
    assert_eq!(marks.collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_response_says_when_to_come_again_and_one_that_asks_too_much_is_passed_on() {
    let upstream = failing(1, || Answer::sized(503, &[("retry-after", "1")], "no"));
    let proxy = retrying(&[upstream.address()], "on: [503], retry_after: {max: 1s}");
    let began = std::time::Instant::now();
    assert_eq!(post(&proxy, "").status(), 200);
    assert!(began.elapsed().as_millis() >= 1000, "it waited for as long as it was asked to");
    let upstream = failing(1, || Answer::sized(503, &[("retry-after", "2")], "no"));
    let proxy = retrying(&[upstream.address()], "on: [503], retry_after: {max: 1s}");
    let response = post(&proxy, "");
    assert_eq!((response.status(), response.field("retry-after")), (503, Some("2")));
}

#[test]
fn a_budget_bounds_the_retries_of_a_cluster() {
    const CLIENTS: usize = 10;
    let (all, retries) = (Gate::new(), Gate::new());
    let (held, again) = (all.clone(), retries.clone());
    let seen = AtomicUsize::new(0);
    // All are answered at once, when all of them are there, and those that come again when they are let.
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().read_body();
        match seen.fetch_add(1, Ordering::Relaxed) {
            at if at < CLIENTS => answer.wait(&held).send("HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n"),
            _ => answer.wait(&again).head(200, &[("content-length", "0")]),
        }
    });
    let proxy = retrying(&[upstream.address()], "on: [503], attempts: 1, budget: 0%, budget_minimum: 2");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
            client
        })
        .collect();
    upstream.wait_for(CLIENTS);
    all.open();
    let labels = [("cluster", "up"), ("reason", "budget")];
    proxy.wait_for_metric("tidegate_upstream_retries_denied_total", &labels, (CLIENTS - 2) as f64);
    retries.open();
    let statuses: Vec<u16> = clients.into_iter().map(|mut client| client.response().status()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2, "{statuses:?}");
    assert_eq!(upstream.requests().len(), CLIENTS + 2);
}

#[test]
fn the_endpoint_that_was_just_tried_is_not_tried_again_while_there_is_another() {
    let bad = Upstream::start(|_| Answer::sized(503, &[], ""));
    let good = Upstream::ok("ok");
    let config = forwarding(
        &[bad.address(), good.address()],
        "retries: {on: [503], attempts: 1, budget_minimum: 100, backoff: {base: 1ms}}",
    );
    // By chance it would be the same one half of the time.
    let proxy = Proxy::start(&config.replace("endpoints:", "load_balancer: least_request, endpoints:"));
    let mut client = proxy.client();
    assert!((0..40).all(|_| client.get("/").status() == 200));
    assert!(!bad.requests().is_empty());
}

#[test]
fn which_attempt_it_is_is_said_where_it_is_asked_for() {
    let upstream = failing(1, || Answer::sized(503, &[], "no"));
    let proxy = retrying(&[upstream.address()], "on: [503], attempt_count: true");
    assert_eq!(post(&proxy, "").field("x-envoy-attempt-count"), Some("2"));
    let said =
        upstream.wait_for(2).into_iter().map(|it| it.head.field("x-envoy-attempt-count").map(str::to_owned));
    assert_eq!(said.collect::<Vec<_>>(), [Some("1".to_owned()), Some("2".to_owned())]);
}

#[test]
fn a_request_is_its_own_policy_where_it_is_trusted_and_nowhere_else() {
    for (trusted, status, sent) in [(true, 200, 2), (false, 503, 1)] {
        let upstream = failing(1, || Answer::sized(503, &[], "no"));
        let config = forwarding(&[upstream.address()], "");
        let trust = format!("trusted_hops: {}", u8::from(trusted));
        let proxy = Proxy::start(&in_listener(&config, &[&trust]));
        let fields = [("x-envoy-retry-on", "5xx, nonsense"), ("x-envoy-max-retries", "1")];
        let response = proxy.client().request("GET", "/", &fields, "");
        assert_eq!(response.status(), status);
        let requests = upstream.wait_for(sent);
        assert_eq!(requests.len(), sent);
        assert!(requests.iter().all(|it| it.head.field("x-envoy-retry-on").is_none()), "it goes no further");
    }
}
