//! A filter that fails costs its own requests at most: the proxy goes on, and the fault is counted by name.

use serde_json::{Value, json};

use super::filters::with_filters;
use crate::equipment::Map::RequestHeaders;
use crate::equipment::{
    Guest, On, Proxy, Step, Upstream, When, eventually, forwarding, in_listener, message, request_text, text,
};

const CONDITION: When = When::Header(RequestHeaders, "x-fail", "yes");

/// A guest that does this in the request headers of those who ask for it.
fn failing(step: Step) -> Guest {
    Guest::new().quiet().on(On::RequestHeaders, [Step::If(CONDITION, vec![step])])
}

/// `said`: what the log says of the fault, among other things.
fn fails_once_and_goes_on(step: Step, kind: &str, said: &str, more: &str) {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("bad", &failing(step), more)]);
    assert_eq!(proxy.client().get("/").text(), "hello");
    for round in 1..=2 {
        let mut client = proxy.client();
        assert_eq!(client.request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
        let labels = [("filter", "bad"), ("kind", kind)];
        proxy.wait_for_metric("tidegate_filter_faults_total", &labels, f64::from(round));
        proxy
            .wait_for_log("the fault", |event| text(event, "fault") == kind && message(event).contains(said));
        eventually("the filter to serve again", || (client.get("/").status() == 200).then_some(()));
    }
    let faults = [("outcome", "filter_fault"), ("code_class", "5xx")];
    assert!(proxy.metrics().sum("tidegate_requests_total", &faults) >= 2.0);
    assert!(
        upstream.requests().iter().all(|request| request.head.field("x-fail").is_none()),
        "none was let through"
    );
}

#[test]
fn a_filter_that_traps_fails_that_request_and_the_proxy_goes_on() {
    fails_once_and_goes_on(Step::Trap, "trap", "unreachable", "");
}

#[test]
fn a_filter_that_loops_is_stopped_by_its_instruction_budget() {
    fails_once_and_goes_on(
        Step::Loop,
        "instructions",
        "`limits.instructions: 100k`",
        ", limits: {instructions: 100k}",
    );
}

#[test]
fn a_filter_that_loops_within_a_huge_budget_is_stopped_by_the_clock() {
    fails_once_and_goes_on(
        Step::Loop,
        "wall_clock",
        "`limits.wall_clock: 100ms`",
        ", limits: {instructions: 1000000M, wall_clock: 100ms}",
    );
}

#[test]
fn a_filter_that_eats_memory_is_stopped_at_its_limit() {
    fails_once_and_goes_on(Step::EatMemory, "memory", "`limits.memory: 1MiB`", ", limits: {memory: 1MiB}");
}

#[test]
fn a_filter_that_recurses_without_end_is_stopped() {
    fails_once_and_goes_on(Step::Recurse, "stack", "call stack exhausted", ", limits: {instructions: 1000M}");
}

#[test]
fn with_the_open_policy_the_failing_request_goes_on_without_the_filter() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("bad", &failing(Step::Trap), ", on_fault: open")]);
    let response = proxy.client().request("POST", "/", &[("x-fail", "yes")], "its body");
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    assert_eq!(upstream.requests()[0].body.clone().unwrap().text(), "its body");
    proxy.wait_for_metric("tidegate_filter_faults_total", &[("filter", "bad"), ("kind", "trap")], 1.0);
    proxy.wait_for_metric("tidegate_filter_on_fault_total", &[("filter", "bad")], 1.0);
}

#[test]
fn a_filter_that_keeps_failing_is_made_anew_once_a_second_at_most() {
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("bad", &failing(Step::Trap), "")]);
    let started = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(proxy.client().request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
    }
    let rebuilds = proxy.metrics().sum("tidegate_filter_rebuilds_total", &[("filter", "bad")]);
    // The first new guest may come at once.
    let most = 1.0 + started.elapsed().as_secs_f64();
    assert!(rebuilds >= 1.0 && rebuilds <= most, "{rebuilds} in {:?}", started.elapsed());
}

/// A small budget: a loop that exceeds it counts for the breaker, whatever the isolation.
const BUDGET: &str = "limits: {instructions: 100k}";

#[test]
fn the_access_log_tells_who_made_a_filter_fail_from_whom_it_was_not_there_for() {
    let upstream = Upstream::ok("hello");
    let failed = "wasm_fail_stream:instructions";
    let lines = [
        ("closed", 503, [failed, failed, "wasm_fail_stream:breaker"], json!([])),
        ("open", 200, [""; 3], json!(["bad"])),
    ];
    for (policy, status, details, skipped) in lines {
        let more = format!(", {BUDGET}, on_fault: {policy}, breaker: {{faults: 2, open_for: 1h}}");
        let fields = ["access_log: true", "filters: [bad]"];
        let config = in_listener(&forwarding(&[upstream.address()], ""), &fields);
        let config = config + &format!("filters:\n  bad: {{module: ./bad.wasm{more}}}\n");
        let proxy = Proxy::with(&config).file("bad.wasm", failing(Step::Loop).build()).start();
        let mut client = proxy.client();
        // The first fault's successor comes at once, and with the second the breaker opens.
        for fields in [&[("x-fail", "yes")][..], &[("x-fail", "yes")], &[]] {
            assert_eq!(client.request("GET", "/", fields, "").status(), status);
        }
        let log = proxy.wait_for_access_log(3);
        let seen: Vec<_> = log.iter().map(|line| text(line, "details")).collect();
        assert_eq!(seen, details, "{log:#?}");
        assert!(log.iter().all(|line| line["skipped"] == skipped), "{log:#?}");
    }
}

#[test]
fn a_filter_that_does_nothing_but_fail_is_left_alone_until_it_is_tried_again() {
    let upstream = Upstream::ok("hello");
    let more =
        format!(", isolation: exchange, on_fault: open, {BUDGET}, breaker: {{faults: 3, open_for: 1s}}");
    let proxy = with_filters(&upstream, &[("bad", &failing(Step::Loop), &more)]);
    let mut client = proxy.client();
    let faults = || proxy.metrics().sum("tidegate_filter_faults_total", &[("filter", "bad")]);
    let of = |metric: &str| proxy.metrics().sum(metric, &[("filter", "bad")]);
    let mut fail = |count: usize| {
        for _ in 0..count {
            assert_eq!(client.request("GET", "/", &[("x-fail", "yes")], "").status(), 200, "it is open");
        }
    };
    fail(10);
    assert_eq!((faults(), of("tidegate_filter_on_fault_total")), (3.0, 10.0));
    assert_eq!((of("tidegate_filter_breaker_trips_total"), of("tidegate_filter_breakers_open")), (1.0, 1.0));
    proxy.wait_for_log("that it is left alone", |event| message(event).contains("not called for a while"));
    let mut other = proxy.client();
    eventually("it is tried again and fails at once", || {
        other.request("GET", "/", &[("x-fail", "yes")], "");
        (of("tidegate_filter_breaker_trips_total") == 2.0).then_some(())
    });
    assert_eq!(faults(), 4.0, "one more was enough");
    let tried = |event: &Value| message(event).contains("called again, after it was left alone");
    proxy.wait_for_log("that it was tried", tried);
    eventually("it serves again", || {
        assert_eq!(other.get("/").status(), 200);
        (of("tidegate_filter_breakers_open") == 0.0).then_some(())
    });
}

#[test]
fn a_proxy_whose_filter_does_nothing_but_fail_says_that_it_is_not_ready() {
    let upstream = Upstream::ok("hello");
    for (policy, status, word) in [("closed", 503, "failing"), ("open", 200, "ready")] {
        let more = format!(
            ", isolation: exchange, on_fault: {policy}, {BUDGET}, breaker: {{faults: 2, open_for: 1s}}"
        );
        let proxy = with_filters(&upstream, &[("bad", &failing(Step::Loop), &more)]);
        assert_eq!(proxy.admin("/ready").text(), "ready\n");
        let mut client = proxy.client();
        for _ in 0..2 {
            client.request("GET", "/", &[("x-fail", "yes")], "");
        }
        let ready = proxy.admin("/ready");
        let trouble = "filter bad fails again and again: 1 of 1 workers do not call it";
        assert_eq!((ready.status(), ready.text()), (status, format!("{word}\n{trouble}\n")));
        eventually("it is tried again, and serves", || {
            client.get("/");
            (proxy.admin("/ready").text() == "ready\n").then_some(())
        });
    }
}

#[test]
fn those_whose_requests_make_a_filter_fail_cannot_take_it_from_the_others() {
    let upstream = Upstream::ok("hello");
    let more = format!(", isolation: exchange, {BUDGET}, breaker: {{faults: 3}}");
    let proxy = with_filters(&upstream, &[("bad", &failing(Step::Loop), &more)]);
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
        for _ in 0..2 {
            assert_eq!(client.get("/").status(), 200);
        }
    }
    assert_eq!(proxy.metrics().sum("tidegate_filter_breaker_trips_total", &[("filter", "bad")]), 0.0);
}

#[test]
fn a_filter_that_was_made_anew_ticks_again() {
    let upstream = Upstream::ok("hello");
    let guest = failing(Step::Trap).on(On::Configure, [Step::TickPeriod(20)]).on(On::Tick, []);
    let proxy = with_filters(&upstream, &[("bad", &guest, "")]);
    assert_eq!(proxy.client().request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
    let ticks = || {
        let labels = [("filter", "bad"), ("callback", "on_tick")];
        proxy.metrics().sum("tidegate_filter_calls_total", &labels)
    };
    let before = ticks();
    assert_eq!(proxy.client().get("/").status(), 200);
    eventually("ticks of the new guest", || (ticks() >= before + 3.0).then_some(()));
}

#[test]
fn a_fault_in_one_filter_leaves_the_others_alone() {
    let upstream = Upstream::ok("hello");
    let good = Guest::new().quiet().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-good", "1")]);
    let bad = failing(Step::Trap);
    let proxy = with_filters(&upstream, &[("good", &good, ""), ("bad", &bad, ", on_fault: open")]);
    for fields in [&[("x-fail", "yes")][..], &[]] {
        assert_eq!(proxy.client().request("GET", "/", fields, "").status(), 200);
    }
    assert!(upstream.requests().iter().all(|request| request.head.field("x-good") == Some("1")));
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[("filter", "good")]), 0.0);
}

#[test]
fn a_filter_that_fails_while_the_upstream_waits_ends_the_exchange() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::new().quiet().on(On::RequestBody, [Step::If(When::Call(2), vec![Step::Trap])]);
    let proxy = with_filters(&upstream, &[("bad", &guest, "")]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n");
    upstream.wait_for_heads(1);
    client.send("4\r\nmore\r\n");
    assert_eq!(client.response().status(), 503);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "filter_fault")], 1.0);
}

#[test]
fn a_trap_in_each_callback_is_contained() {
    for callback in [
        On::RequestHeaders,
        On::RequestBody,
        On::ResponseHeaders,
        On::ResponseBody,
        On::Log,
        On::Done,
        On::Delete,
    ] {
        let upstream = Upstream::ok("hello");
        let guest = Guest::new().quiet().on(callback, [Step::If(When::Call(2), vec![Step::Trap])]);
        let proxy = with_filters(&upstream, &[("bad", &guest, "")]);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let mut client = proxy.client();
            client.send(&request_text("POST", "/", &[], "body"));
            match client.try_response_to("POST") {
                Ok(Some(response)) => seen.push(response.status()),
                Ok(None) | Err(_) => seen.push(0),
            }
        }
        assert_eq!(
            seen[0],
            if callback == On::ResponseBody { seen[0] } else { 200 },
            "{callback:?}: {seen:?}"
        );
        eventually(&format!("service after a trap in {callback:?}"), || {
            let mut client = proxy.client();
            client.send(&request_text("POST", "/", &[], "body"));
            matches!(client.try_response_to("POST"), Ok(Some(response)) if response.status() == 200)
                .then_some(())
        });
        assert!(
            proxy.metrics().sum("tidegate_filter_faults_total", &[("filter", "bad")]) >= 1.0,
            "{callback:?}"
        );
    }
}

#[test]
fn a_filters_cost_is_counted() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::new().quiet().on(On::RequestHeaders, [Step::Spin(1000)]).on(On::ResponseHeaders, []);
    let proxy = with_filters(&upstream, &[("spin", &guest, "")]);
    for _ in 0..5 {
        proxy.client().get("/");
    }
    let calls = |callback| [("filter", "spin"), ("callback", callback)];
    proxy.wait_for_metric("tidegate_filter_calls_total", &calls("on_request_headers"), 5.0);
    proxy.wait_for_metric("tidegate_filter_calls_total", &calls("on_response_headers"), 5.0);
    let metrics = proxy.metrics();
    let instructions = metrics.sum("tidegate_filter_instructions_total", &[("filter", "spin")]);
    assert!(instructions > 5_000.0 && instructions < 200_000.0, "{instructions}");
    assert!(metrics.sum("tidegate_filter_time_seconds_total", &[("filter", "spin")]) > 0.0);
}

#[test]
fn a_filters_log_lines_carry_its_name_and_level() {
    let upstream = Upstream::ok("hello");
    let say = |level, text: &str| Step::Say(level, text.to_owned());
    let guest =
        Guest::new().on(On::RequestHeaders, [say(2, "at info"), say(3, "at warn"), say(0, "at trace")]);
    let proxy = with_filters(&upstream, &[("talk", &guest, "")]);
    proxy.client().get("/");
    let line = proxy.wait_for_log("the warning", |event| message(event) == "at warn");
    assert_eq!(line["level"], "WARN", "{line}");
    assert_eq!(text(&line, "filter"), "talk", "{line}");
    let texts: Vec<String> = proxy.guest_log().into_iter().map(|(_, text)| text).collect();
    assert!(texts.contains(&"at info".to_owned()) && !texts.contains(&"at trace".to_owned()), "{texts:?}");
}

#[test]
fn an_exchange_that_waits_is_answered_when_its_guest_dies_elsewhere() {
    // In Envoy it waits for ever.
    let upstream = Upstream::ok("hello");
    let waiting = Guest::new()
        .quiet()
        .on(On::RequestHeaders, [Step::TickPeriod(20), Step::callout("up", "/aside", 5000), Step::Return(1)]);
    for callback in [On::Tick, On::CalloutResponse] {
        let guest = waiting.clone().on(callback, [Step::Trap]);
        let proxy = with_filters(&upstream, &[("bad", &guest, "")]);
        assert_eq!(proxy.client().get("/").status(), 503, "{callback:?}");
        let proxy = with_filters(&upstream, &[("bad", &guest, ", on_fault: open")]);
        assert_eq!(proxy.client().get("/").text(), "hello", "{callback:?}");
    }
}
