//! A request that is not answered in good time goes to another endpoint too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::equipment::{
    Act, Answer, Gate, GrpcAct, GrpcEnd, GrpcService, Guest, On, Proxy, Upstream, eventually, forwarding,
    in_listener, silent_address,
};

/// CANCEL.
const CANCEL: u32 = 8;

fn config(endpoints: &[SocketAddr], retries: &str) -> String {
    let more = format!("retries: {{{retries}, backoff: {{base: 1ms}}, attempt_count: true}}");
    in_listener(&forwarding(endpoints, &more), &["access_log: true"])
}

/// Reads a request and never answers it.
fn silent() -> Upstream {
    Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd))
}

/// Answers when the gate is open.
fn held(gate: &Gate) -> Upstream {
    let answer = Answer::default().read_body().wait(gate).head(200, &[("content-length", "0")]);
    Upstream::start(move |_| answer.clone())
}

/// The same configuration with more of its cluster.
fn in_cluster(config: &str, more: &str) -> String {
    config.replace("endpoints:", &format!("{more}, endpoints:"))
}

/// How often each endpoint has failed.
fn failures(proxy: &Proxy) -> Vec<u64> {
    let page: serde_json::Value = serde_json::from_str(&proxy.admin("/clusters").text()).expect("it is JSON");
    let endpoints = page["clusters"]["up"]["endpoints"].as_array().expect("it is a list");
    endpoints.iter().map(|endpoint| endpoint["failures"].as_u64().expect("it is a number")).collect()
}

fn hedges(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("tidegate_upstream_retries_total", &[("cluster", "up"), ("reason", "hedge")])
}

#[test]
fn the_first_answer_is_passed_on_and_the_other_attempt_is_given_up() {
    let (slow, fast) = (silent(), Upstream::ok("ok"));
    let proxy = Proxy::start(&config(&[slow.address(), fast.address()], "hedge: {after: 50ms}"));
    let mut hedged = 0;
    while hedged < 2 {
        let response = proxy.client().request("POST", "/", &[], "the body");
        assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
        hedged += usize::from(response.field("x-envoy-attempt-count") == Some("2"));
    }
    let bodies = slow.wait_for(2).into_iter().map(|request| request.body.expect("it is whole").text());
    assert!(bodies.into_iter().all(|body| body == "the body"));
    eventually("what nobody waits for to end", || (slow.open_connections() == 0).then_some(()));
    assert_eq!(hedges(&proxy), 2.0);
    let lines = proxy.wait_for_access_log(2);
    assert!(lines.iter().all(|line| line["upstream"] == fast.address().to_string()), "{lines:#?}");
}

#[test]
fn no_endpoint_gets_a_request_twice_and_no_more_than_the_attempts_get_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let answer = move |_: &_| Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")]);
    let upstreams = [(); 4].map(|()| Upstream::start(answer.clone()));
    let endpoints: Vec<_> = upstreams.iter().map(Upstream::address).collect();
    let proxy = Proxy::start(&config(&endpoints, "attempts: 2, hedge: {after: 30ms}"));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.wait_for_metric("tidegate_upstream_retries_total", &[("reason", "hedge")], 2.0);
    let asked = || upstreams.iter().map(|upstream| upstream.requests().len()).collect::<Vec<_>>();
    eventually("three to be asked", || (asked().iter().sum::<usize>() == 3).then_some(()));
    assert!(asked().iter().all(|count| *count <= 1), "{:?}", asked());
    assert_eq!(proxy.metrics().sum("tidegate_upstream_active_requests", &[]), 3.0, "breakers count each");
    gate.open();
    assert_eq!(client.response().status(), 200);
}

#[test]
fn a_bad_answer_does_not_win_while_there_may_be_a_good_one() {
    let (asked, answered) = (Gate::new(), Gate::new());
    let (reached, held) = (asked.clone(), answered.clone());
    let bad = {
        let answer = Answer::default().read_body().wait(&asked).head(503, &[("content-length", "0")]);
        let answer = answer.reached(&answered);
        Upstream::start(move |_| answer.clone())
    };
    let good = Upstream::start(move |_| {
        Answer::default().reached(&reached).read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    let guest = Guest::new().quiet().on(On::RequestHeaders, []).on(On::ResponseHeaders, []);
    let config = config(&[bad.address(), good.address()], "on: [503], hedge: {after: 30ms}");
    let config =
        in_listener(&config, &["filters: [seeing]"]) + "filters: {seeing: {module: ./seeing.wasm}}\n";
    let proxy = Proxy::with(&config).file("seeing.wasm", guest.build()).start();
    let mut client = proxy.client();
    while bad.requests().is_empty() || good.requests().is_empty() {
        let response = client.get("/");
        assert_eq!(response.status(), 200, "{response:?}");
    }
    let answers = proxy.access_log().len() as f64;
    let calls = [("filter", "seeing"), ("callback", "on_response_headers")];
    assert!(proxy.metrics().sum("tidegate_filter_calls_total", &calls) <= answers + 1.0);
    assert_eq!(proxy.metrics().sum("tidegate_requests_total", &[("code_class", "5xx")]), 0.0);
}

#[test]
fn an_attempt_whose_time_is_over_may_go_on_and_still_win() {
    let (asked, answer) = (Gate::new(), Gate::new());
    let (reached, held) = (asked.clone(), asked.clone());
    let first = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0"), ("x-from", "first")])
    });
    let second = Upstream::start(move |_| {
        Answer::default().reached(&reached).read_body().wait(&answer).head(200, &[("content-length", "0")])
    });
    // The first one answers when the second was asked, which does not answer.
    let retries = "per_try_timeout: 100ms, hedge: {on_per_try_timeout: true}";
    let priorities = |config: &str| {
        let listed = format!("\"{}\"", second.address());
        config.replace(&listed, &format!("{{address: {listed}, priority: 1}}"))
    };
    let proxy = Proxy::start(&priorities(&config(&[first.address(), second.address()], retries)));
    let response = proxy.client().request("POST", "/", &[], "body");
    assert_eq!((response.status(), response.field("x-from")), (200, Some("first")));
    assert_eq!(second.requests().len(), 1);
    proxy.wait_for_metric("tidegate_upstream_retries_total", &[("reason", "timeout")], 1.0);
}

#[test]
fn it_is_within_the_budget_and_only_while_the_body_is_kept() {
    let cases = [("budget: 0%, budget_minimum: 0", "budget"), ("buffer: 3", "body")];
    for (terms, reason) in cases {
        let gate = Gate::new();
        let held = gate.clone();
        let answer =
            move |_: &_| Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")]);
        let upstreams = [(); 2].map(|()| Upstream::start(answer.clone()));
        let endpoints = upstreams.each_ref().map(Upstream::address);
        let proxy = Proxy::start(&config(&endpoints, &format!("{terms}, hedge: {{after: 30ms}}")));
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
        proxy.wait_for_metric("tidegate_upstream_retries_denied_total", &[("reason", reason)], 1.0);
        assert_eq!((hedges(&proxy), upstreams.iter().map(|it| it.requests().len()).sum::<usize>()), (0.0, 1));
        gate.open();
        assert_eq!(client.response().status(), 200, "the one attempt goes on");
    }
}

#[test]
fn a_stream_of_http2_that_is_given_up_is_reset_and_its_connection_is_kept() {
    let slow = GrpcService::start(|_| vec![GrpcAct::AwaitReset]);
    let fast = GrpcService::start(|_| vec![GrpcAct::TrailersOnly(vec![("grpc-status", "0")])]);
    let config = config(&[slow.address(), fast.address()], "hedge: {after: 50ms}");
    let proxy = Proxy::start(&config.replace("endpoints:", "protocol: http2, endpoints:"));
    let mut client = proxy.client();
    while hedges(&proxy) < 2.0 {
        assert_eq!(client.get("/").status(), 200);
    }
    let rpcs = slow.wait_until("two resets", |rpcs| {
        rpcs.iter().filter(|rpc| matches!(rpc.end, Some(GrpcEnd::Reset(_)))).count() == 2
    });
    assert!(rpcs.iter().all(|rpc| rpc.end == Some(GrpcEnd::Reset(Some(CANCEL)))), "{rpcs:#?}");
    assert_eq!(proxy.metrics().sum("tidegate_upstream_connections_total", &[("cluster", "up")]), 2.0);
}

#[test]
fn when_none_is_good_the_request_is_tried_again_with_those_that_were_not_asked() {
    let bad = [(); 2].map(|()| Upstream::start(|_| Answer::sized(503, &[], "no")));
    let good = Upstream::ok("ok");
    let endpoints = [bad[0].address(), bad[1].address(), good.address()];
    let proxy = Proxy::start(&config(&endpoints, "on: [503], attempts: 2, hedge: {after: 10s}"));
    for _ in 0..6 {
        assert_eq!(proxy.client().request("POST", "/", &[], "body").text(), "ok");
    }
}

#[test]
fn a_silent_endpoint_is_ejected_though_others_answer_for_it() {
    let (silent, fast) = (silent(), Upstream::ok("ok"));
    let (unreachable, _queue) = silent_address();
    let cases = [
        (silent.address(), "hedge: {after: 50ms}"),
        (unreachable, "hedge: {after: 50ms}"),
        (silent.address(), "per_try_timeout: 50ms, hedge: {on_per_try_timeout: true}"),
        (silent.address(), "per_try_timeout: 10s, hedge: {after: 50ms, on_per_try_timeout: true}"),
    ];
    for (silent, retries) in cases {
        let terms = "outlier_detection: {consecutive_5xx: 3, base_ejection_time: 1h}";
        let proxy = Proxy::start(&in_cluster(&config(&[silent, fast.address()], retries), terms));
        let mut client = proxy.client();
        eventually("the ejection", || {
            assert_eq!(client.get("/").status(), 200);
            let ejections = proxy.metrics().sum("tidegate_upstream_ejections_total", &[("cluster", "up")]);
            (ejections == 1.0).then_some(())
        });
        assert_eq!(failures(&proxy)[0], 3, "{retries}");
    }
}

#[test]
fn a_limit_that_adapts_knows_how_long_those_waited_that_were_given_up() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let moody = {
        let is_silent = is_silent.clone();
        Upstream::start(move |_| match is_silent.load(Ordering::Relaxed) {
            true => Answer::default().read_body().act(Act::AwaitEnd),
            false => Answer::ok("ok"),
        })
    };
    let fast = Upstream::ok("ok");
    let terms =
        "adaptive_concurrency: {min: 2, max: 60, percentile: 100%, interval: 20ms, min_rtt: {fixed: 50ms}}";
    let config = config(&[moody.address(), fast.address()], "hedge: {after: 200ms}");
    let proxy = Proxy::start(&in_cluster(&config, terms));
    let mut client = proxy.client();
    let mut until = |what: &str, holds: fn(f64) -> bool| {
        eventually(what, || {
            assert_eq!(client.get("/").status(), 200);
            let limit = proxy.metrics().sum("tidegate_upstream_concurrency_limit", &[("cluster", "up")]);
            holds(limit).then_some(())
        });
    };
    until("the limit to grow", |limit| limit == 60.0);
    is_silent.store(true, Ordering::Relaxed);
    until("the limit to fall", |limit| limit < 20.0);
}

#[test]
fn an_attempt_that_takes_too_long_is_counted_once() {
    let silent = silent();
    // It goes on, and all of the request's time is over as well.
    let retries = "budget: 0%, budget_minimum: 0, per_try_timeout: 50ms, hedge: {on_per_try_timeout: true}";
    let config = config(&[silent.address()], retries).replace("cluster: up", "cluster: up, timeout: 500ms");
    let proxy = Proxy::start(&config);
    assert_eq!(proxy.client().get("/").status(), 504);
    assert_eq!(failures(&proxy), [1]);
}

#[test]
fn an_attempt_that_waits_for_a_connection_is_not_its_endpoints_to_answer_for() {
    let gate = Gate::new();
    let upstream = held(&gate);
    let retries = "budget: 0%, budget_minimum: 0, per_try_timeout: 50ms, hedge: {on_per_try_timeout: true}";
    let config =
        in_cluster(&config(&[upstream.address()], retries), "breakers: {connections_per_endpoint: 1}");
    let proxy = Proxy::start(&config);
    let mut clients = [proxy.client(), proxy.client()];
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    let labels = [("cluster", "up"), ("reason", "budget")];
    proxy.wait_for_metric("tidegate_upstream_retries_denied_total", &labels, 2.0);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert_eq!(failures(&proxy), [1], "the one that was sent");
}

#[test]
fn an_attempt_that_was_answered_is_not_counted_as_one_that_takes_too_long() {
    let gate = Gate::new();
    let (first, bad) = (held(&gate), Upstream::start(|_| Answer::sized(503, &[], "no")));
    // Long enough for the bad answer to have come when the third attempt begins, which is at the first endpoint again.
    let retries = "on: [503], attempts: 2, per_try_timeout: 1s, hedge: {on_per_try_timeout: true}";
    let listed = format!("\"{}\"", bad.address());
    let config = config(&[first.address(), bad.address()], retries)
        .replace(&listed, &format!("{{address: {listed}, priority: 1}}"));
    let proxy = Proxy::start(&config);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    first.wait_for(2);
    assert_eq!((failures(&proxy)[1], bad.requests().len()), (1, 1), "it answered 503");
    gate.open();
    assert_eq!(client.response().status(), 200);
}

#[test]
fn a_client_that_is_strictly_tied_to_an_endpoint_asks_it_once() {
    let gate = Gate::new();
    let upstreams = [(); 2].map(|()| {
        let held = Answer::default().read_body().wait(&gate).head(200, &[("content-length", "0")]);
        Upstream::start(move |head| if head.target() == "/" { Answer::ok("ok") } else { held.clone() })
    });
    let config = config(&upstreams.each_ref().map(Upstream::address), "hedge: {after: 100ms}");
    let affinity = "affinity: {cookie: stay, key: {from_file: cookie.key}, strict: true}";
    let start = Proxy::with(&in_cluster(&config, affinity));
    let proxy = start.file("cookie.key", "a key of more than 16 bytes\n").start();
    let first = proxy.client().get("/");
    let cookie = first.field("set-cookie").and_then(|set| set.split(';').next()).expect("a cookie");
    let asked = |target: &str| {
        let requests = upstreams.iter().flat_map(Upstream::requests);
        requests.filter(|request| request.head.target() == target).count()
    };
    let (mut tied, mut free) = (proxy.client(), proxy.client());
    tied.send(&format!("GET /tied HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n"));
    eventually("the one that is tied", || (asked("/tied") == 1).then_some(()));
    // Its time is over later.
    free.send("GET /free HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the other at both endpoints", || (asked("/free") == 2).then_some(()));
    assert_eq!((asked("/tied"), hedges(&proxy)), (1, 1.0));
    gate.open();
    assert_eq!([tied.response().status(), free.response().status()], [200, 200]);
}
