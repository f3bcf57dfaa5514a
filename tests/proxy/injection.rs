//! The shipped filter `builtin:fault`, as an operator meets it.

use std::time::{Duration, Instant};

use crate::equipment::{
    Answer, Gate, Guest, On, Proxy, Step, Upstream, eventually, forwarding, in_listener, request_text,
};

/// A proxy whose only filter injects faults. `config` is the filter's, `more` beside it, `listener` the listener's:
/// YAML in flow style.
fn with(upstream: &Upstream, config: &str, more: &str, listener: &str) -> Proxy {
    let fields = format!("  access_log: true\n  filters: [faults]\n{listener}  routes:");
    let text = forwarding(&[upstream.address()], "").replace("  routes:", &fields);
    Proxy::start(&format!(
        "{text}filters:\n  faults: {{module: \"builtin:fault\", config: {config}{more}}}\n"
    ))
}

fn injecting(upstream: &Upstream, config: &str) -> Proxy {
    with(upstream, config, "", "")
}

fn counts(proxy: &Proxy, counter: &str, value: f64) {
    proxy.wait_for_metric(&format!("wasmcustom_fault_{counter}_total"), &[], value);
}

/// How long a request takes.
fn time(ask: impl FnOnce()) -> Duration {
    let started = Instant::now();
    ask();
    started.elapsed()
}

#[test]
fn an_abort_answers_in_the_services_place() {
    let upstream = Upstream::ok("hello");
    let config = "{abort: {status: 418, body: short and stout}, match: {headers: {x-user: {exact: ann}}}}";
    let proxy = injecting(&upstream, config);
    let response = proxy.client().request("POST", "/", &[("x-user", "ann")], "body");
    assert_eq!((response.status(), response.text().as_str()), (418, "short and stout"));
    assert_eq!(proxy.client().request("POST", "/", &[("x-user", "bob")], "body").text(), "hello");
    assert_eq!(upstream.requests().len(), 1);
    counts(&proxy, "aborts", 1.0);
    let line = proxy.wait_for_access_log(2).remove(0);
    assert_eq!(
        (&line["filter"], &line["details"]),
        (&"faults".into(), &"fault_filter_abort".into()),
        "{line}"
    );
}

#[test]
fn a_reset_ends_the_connection_without_an_answer() {
    let upstream = Upstream::ok("hello");
    let proxy = injecting(&upstream, "{abort: {reset: true}}");
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    assert!(client.try_response_to("GET").is_ok_and(|response| response.is_none()));
    assert!(upstream.requests().is_empty());
    counts(&proxy, "aborts", 1.0);
    assert_eq!(proxy.wait_for_access_log(1)[0]["outcome"], "filter_closed");
}

#[test]
fn a_delay_lets_the_request_wait_and_then_go_on_whole() {
    let upstream = Upstream::ok("hello");
    let proxy = injecting(&upstream, "{delay: {fixed: 300ms}}");
    let mut client = proxy.client();
    let took = time(|| assert_eq!(client.request("POST", "/", &[], "body").text(), "hello"));
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert_eq!(upstream.requests()[0].body.clone().unwrap().text(), "body");
    counts(&proxy, "delays", 1.0);
    counts(&proxy, "aborts", 0.0);
}

#[test]
fn a_delay_holds_the_body_and_the_trailers_where_the_host_goes_on_to_show_them() {
    let upstream = Upstream::ok("hello");
    let more = ", allow_on_headers_stop_iteration: true";
    let proxy = with(&upstream, "{delay: {fixed: 300ms}}", more, "");
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n\
                   4\r\nbody\r\n0\r\nx-end: 1\r\n\r\n";
    for text in [&request_text("POST", "/", &[], "body"), chunked] {
        let mut client = proxy.client();
        let took = time(|| {
            client.send(text);
            assert_eq!(client.response().text(), "hello");
        });
        assert!(took >= Duration::from_millis(300), "{took:?} for {text:?}");
    }
    assert!(upstream.requests().iter().all(|request| request.body.clone().unwrap().text() == "body"));
}

#[test]
fn a_request_that_gets_both_is_delayed_and_then_aborted() {
    let upstream = Upstream::ok("hello");
    let proxy = injecting(&upstream, "{delay: {fixed: 200ms}, abort: {status: 503}}");
    let mut client = proxy.client();
    let took = time(|| {
        let response = client.get("/");
        assert_eq!((response.status(), response.text().as_str()), (503, "fault filter abort"));
    });
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(upstream.requests().is_empty());
    counts(&proxy, "delays", 1.0);
    counts(&proxy, "aborts", 1.0);
}

#[test]
fn a_delay_ends_with_its_request() {
    let upstream = Upstream::ok("hello");
    let proxy = injecting(&upstream, "{delay: {fixed: 1h}, match: {headers: {x-slow: {present: true}}}}");
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[("x-slow", "1")], ""));
    proxy.wait_for_metric("wasmcustom_fault_active", &[], 1.0);
    client.reset();
    proxy.wait_for_metric("wasmcustom_fault_active", &[], 0.0);
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(upstream.requests().len(), 1);
}

/// At 5 KiB a second a body of 2560 bytes takes half a second.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

#[test]
fn a_slow_response_takes_its_size_over_the_rate() {
    let whole = "x".repeat(2560);
    let upstream = Upstream::start(|head| {
        let (first, rest) = ("x".repeat(500), "x".repeat(2060));
        match head.target() {
            "/sized" => Answer::ok(&"x".repeat(2560)),
            "/chunked" => Answer::chunked(200, &[], &[&first, &rest], &[]),
            _ => Answer::chunked(200, &[("trailer", "x-end")], &[&first, &rest], &[("x-end", "1")]),
        }
    });
    let proxy = injecting(&upstream, "{rate_limit: {limit_kbps: 5}}");
    for target in ["/sized", "/chunked", "/trailers"] {
        let mut client = proxy.client();
        let took = time(|| assert_eq!(client.get(target).text(), whole));
        assert!(took >= HALF_A_SECOND, "{took:?} for {target}");
    }
    counts(&proxy, "rate_limits", 3.0);
}

#[test]
fn a_slow_response_may_be_larger_than_the_buffer() {
    let upstream = Upstream::start(|_| Answer::chunked(200, &[], &["x".repeat(512).as_str(); 5], &[]));
    let proxy = with(&upstream, "{rate_limit: {limit_kbps: 5}}", "", "  buffer_limit: 1KiB\n");
    let mut client = proxy.client();
    let took = time(|| assert_eq!(client.get("/").text(), "x".repeat(2560)));
    assert!(took >= HALF_A_SECOND, "{took:?}");
}

#[test]
fn clients_ask_for_faults_only_where_they_may() {
    let upstream = Upstream::ok("hello");
    let asked = [("x-envoy-fault-abort-request", "418"), ("x-envoy-fault-delay-request", "200")];
    let deaf = injecting(&upstream, "{}");
    assert_eq!(deaf.client().request("GET", "/", &asked, "").text(), "hello");
    let proxy = injecting(&upstream, "{allow_headers: true}");
    let mut client = proxy.client();
    let took = time(|| assert_eq!(client.request("GET", "/", &asked, "").status(), 418));
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert_eq!(client.get("/").text(), "hello");
    counts(&proxy, "aborts", 1.0);
    counts(&proxy, "delays", 1.0);
}

#[test]
fn the_filter_is_woken_only_when_something_is_due() {
    let upstream = Upstream::ok("hello");
    let clock = Guest::new().quiet().on(On::Configure, [Step::TickPeriod(20)]).on(On::Tick, []);
    let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [faults, clock]"]);
    let filters = "  faults: {module: \"builtin:fault\", config: {delay: {fixed: 20ms}}}\n  clock: {module: ./clock.wasm}\n";
    let proxy = Proxy::with(&format!("{text}filters:\n{filters}")).file("clock.wasm", clock.build()).start();
    assert_eq!(proxy.client().get("/").text(), "hello");
    let ticks = |filter| {
        let labels = [("filter", filter), ("callback", "on_tick")];
        proxy.metrics().sum("tidegate_filter_calls_total", &labels)
    };
    let before = ticks("clock");
    eventually("time to pass", || (ticks("clock") >= before + 10.0).then_some(()));
    assert_eq!(ticks("faults"), 1.0);
}

#[test]
fn no_more_exchanges_than_allowed_have_a_fault_at_once() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/held" => Answer::default().wait(&held).read_body().head(200, &[("content-length", "2")]).send("ok"),
        _ => Answer::ok("hello"),
    });
    let proxy = injecting(&upstream, "{rate_limit: {limit_kbps: 1000000}, max_active: 1}");
    let mut first = proxy.client();
    first.send(&request_text("GET", "/held", &[], ""));
    proxy.wait_for_metric("wasmcustom_fault_active", &[], 1.0);
    assert_eq!(proxy.client().get("/").text(), "hello");
    counts(&proxy, "overflows", 1.0);
    counts(&proxy, "rate_limits", 1.0);
    gate.open();
    assert_eq!(first.response().text(), "ok");
    proxy.wait_for_metric("wasmcustom_fault_active", &[], 0.0);
    assert_eq!(proxy.client().get("/").text(), "hello");
    counts(&proxy, "rate_limits", 2.0);
    counts(&proxy, "overflows", 1.0);
}

#[test]
fn a_client_that_speaks_grpc_gets_a_grpc_status() {
    let upstream = Upstream::ok("hello");
    let proxy = injecting(&upstream, "{abort: {grpc_status: 14, body: try again}}");
    let mut client = proxy.client();
    let response = client.request("POST", "/pkg.Service/Call", &[("content-type", "application/grpc")], "");
    assert_eq!((response.status(), response.text().as_str()), (200, ""));
    let told =
        ["content-type", "grpc-status", "grpc-message"].map(|name| response.field(name).unwrap_or("none"));
    assert_eq!(told, ["application/grpc", "14", "try again"]);
    let response = client.get("/");
    assert_eq!((response.status(), response.text().as_str()), (503, "try again"));
}

/// A proxy that lets requests wait longer than their route allows; `delay` has more fields of the delay.
fn with_late_answers(upstream: &Upstream, delay: &str) -> Proxy {
    let config = format!("{{delay: {{fixed: 600ms{delay}}}}}");
    let text = in_listener(&forwarding(&[upstream.address()], "timeout: 300ms"), &["filters: [faults]"]);
    Proxy::start(&format!("{text}filters:\n  faults: {{module: \"builtin:fault\", config: {config}}}\n"))
}

#[test]
fn a_delay_is_not_the_services_time_unless_it_is_meant_to_be() {
    let upstream = Upstream::ok("hello");
    let proxy = with_late_answers(&upstream, "");
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert_eq!(proxy.client().request("POST", "/", &[], "body").text(), "hello");
    let counting = with_late_answers(&upstream, ", counts_against_timeout: true");
    let mut client = counting.client();
    let took = time(|| assert_eq!(client.get("/").status(), 504));
    assert!(took < Duration::from_millis(600), "{took:?}");
}

#[test]
fn a_timeout_that_was_extended_still_ends() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Answer::default().wait(&held));
    let proxy = with_late_answers(&upstream, "");
    let mut client = proxy.client();
    let took = time(|| assert_eq!(client.get("/").status(), 504));
    assert!(took >= Duration::from_millis(900), "{took:?}");
    gate.open();
}

#[test]
fn a_truncated_response_is_short_and_ends_in_order() {
    let upstream = Upstream::start(|head| match head.target() {
        "/sized" => Answer::ok("hello world"),
        _ => Answer::chunked(200, &[], &["hel", "lo wor", "ld"], &[]),
    });
    let proxy = injecting(&upstream, "{truncate: {after: 5}}");
    let mut client = proxy.client();
    for target in ["/sized", "/chunked"] {
        assert_eq!(client.get(target).text(), "hello", "on one connection");
    }
    counts(&proxy, "truncations", 2.0);
}

#[test]
fn a_response_is_cut_with_what_came_before_on_its_way() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default()
            .read_body()
            .head(200, &[("transfer-encoding", "chunked")])
            .chunk("hello world")
            .wait(&held)
            .chunk("!")
            .last_chunk(&[])
    });
    let proxy = injecting(&upstream, "{truncate: {after: 5, then: cut}}");
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(10), "5\r\nhello\r\n");
    gate.open();
    client.expect_end();
    counts(&proxy, "truncations", 1.0);
}

#[test]
fn a_corrupt_response_is_as_long_as_it_was() {
    let upstream = Upstream::ok("hello world, this is a body");
    let proxy = injecting(&upstream, "{corrupt: {bytes: 5}, when: 'request.path == \"/spoilt\"'}");
    let mut client = proxy.client();
    let spoilt = client.get("/spoilt");
    assert_eq!(spoilt.field("content-length"), Some("27"));
    assert_ne!(spoilt.text(), "hello world, this is a body");
    assert_eq!(client.get("/other").text(), "hello world, this is a body");
    counts(&proxy, "corruptions", 1.0);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_the_fields_name() {
    let text = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  filters: [faults]\n  routes:\n\
                \x20 - {match: {}, respond: {status: 200}}\n\
                filters:\n  faults:\n    module: builtin:fault\n    config: {abort: {status: 99}}\n";
    let exit = Proxy::with_text(text).run("check");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    for mention in ["tidegate.yaml:10", "abort.status", "99", "from 200 to 599"] {
        assert!(exit.stderr.contains(mention), "{mention:?} in {}", exit.stderr);
    }
}
