//! The shipped rate limit, with real clients on real workers: how exact it is, and what clients and operators see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::equipment::{Client, Proxy, Upstream, forwarding, in_listener};

/// A proxy in front of `upstream` with this limit; `more` are fields of the filter.
fn with_limit(upstream: &Upstream, config: &str, more: &str) -> Proxy {
    let fields = ["access_log: true", "filters: [limits]"];
    let text = in_listener(&forwarding(&[upstream.address()], ""), &fields);
    let filter = format!("{{module: \"builtin:rate-limit\", config: {config}{more}}}");
    Proxy::with(&format!("{text}filters:\n  limits: {filter}\n")).workers(2).start()
}

/// The limit that clients rush to.
pub(crate) const RUSHED: &str = r#"{"key": ["header:x-user"], "rate": "500/s", "burst": 100}"#;

/// What clients that send as fast as they can were told.
#[derive(Default)]
struct Told {
    allowed: AtomicU64,
    refused: AtomicU64,
}

/// Eight connections send for so long; returns what they were told and how long it took from the first request to the
/// last answer.
fn rush(address: SocketAddr, duration: Duration) -> (u64, u64, Duration) {
    let told = Arc::new(Told::default());
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !over.load(Ordering::Relaxed) {
                    let count = match client.request("GET", "/", &[("x-user", "ann")], "").status() {
                        200 => &told.allowed,
                        429 => &told.refused,
                        other => panic!("neither let through nor refused: {other}"),
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while begun.elapsed() < duration {
            std::thread::park_timeout(duration - begun.elapsed());
        }
        over.store(true, Ordering::Relaxed);
    });
    (told.allowed.load(Ordering::Relaxed), told.refused.load(Ordering::Relaxed), begun.elapsed())
}

/// How long to rush: a short form, unless `TIDEGATE_TEST_RUSH_SECONDS` says otherwise.
fn rush_time() -> Duration {
    let seconds = std::env::var("TIDEGATE_TEST_RUSH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Eight connections rush to a limit of [`RUSHED`]; as many as it says are let through, give or take this part of them.
#[track_caller]
pub(crate) fn assert_admitted(address: SocketAddr, tolerance: f64) {
    let (rate, burst) = (500.0, 100.0);
    let (allowed, refused, took) = rush(address, rush_time());
    let expected = rate * took.as_secs_f64() + burst;
    let off = allowed as f64 / expected - 1.0;
    println!("{allowed} of {} in {took:?}, expected {expected:.0}: {:+.2} %", allowed + refused, off * 100.0);
    assert!(refused > allowed / 10, "the clients were too slow to reach the limit: {allowed} and {refused}");
    assert!(off.abs() <= tolerance, "{allowed} were let through, expected {expected:.0} ± {tolerance}");
}

#[test]
fn eight_connections_on_two_workers_get_the_rate_and_the_burst_and_no_more() {
    let upstream = Upstream::ok("hello");
    assert_admitted(with_limit(&upstream, RUSHED, "").address("in"), 0.01);
}

#[test]
fn without_cells_shared_data_counts_nearly_as_well() {
    let upstream = Upstream::ok("hello");
    let proxy = with_limit(&upstream, RUSHED, ", limits: {cells: 0}");
    assert_admitted(proxy.address("in"), 0.05);
    let said = proxy
        .log()
        .iter()
        .filter(|event| event["message"].as_str().is_some_and(|m| m.contains("has no tidegate.")))
        .count();
    assert!((1..=2).contains(&said), "each worker says so once: {said}");
}

#[test]
fn a_client_that_is_refused_is_told_when_to_come_back_and_the_operator_why() {
    let upstream = Upstream::ok("hello");
    let rules = "[{name: per-user, key: [header:x-user], rate: 2/h}, {name: all, rate: 100/h}]";
    let proxy = with_limit(&upstream, &format!("{{rules: {rules}}}"), "");
    let mut client = proxy.client();
    let first = client.request("GET", "/", &[("x-user", "ann")], "");
    assert_eq!(first.status(), 200);
    assert_eq!(first.field("ratelimit-policy"), Some(r#""per-user";q=2;w=3600, "all";q=100;w=3600"#));
    assert_eq!(first.field("ratelimit"), Some(r#""per-user";r=1;t=1800, "all";r=99;t=36"#));
    assert_eq!(client.request("GET", "/", &[("x-user", "ann")], "").status(), 200);

    let refused = client.request("GET", "/", &[("x-user", "ann")], "");
    assert_eq!((refused.status(), refused.text().as_str()), (429, "too many requests\n"));
    let wait: u64 = refused.field("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!((1795..=1800).contains(&wait), "{wait}");
    assert!(refused.field("ratelimit").is_some_and(|field| field.starts_with(r#""per-user";r=0;t="#)));
    assert_eq!(client.request("GET", "/", &[("x-user", "bob")], "").status(), 200, "another user");
    assert_eq!(client.get("/").status(), 200, "no user");

    let lines = proxy.wait_for_access_log(5);
    assert_eq!(lines[2]["details"], "rate_limited:per-user");
    let outcome = |rule, outcome| [("rule", rule), ("outcome", outcome)];
    proxy.wait_for_metric("wasmcustom_rate_limit_requests_total", &outcome("per-user", "allowed"), 3.0);
    proxy.wait_for_metric("wasmcustom_rate_limit_requests_total", &outcome("per-user", "limited"), 1.0);
    proxy.wait_for_metric("wasmcustom_rate_limit_requests_total", &outcome("all", "allowed"), 4.0);
}

#[test]
fn a_grpc_client_is_told_that_a_resource_is_exhausted() {
    let upstream = Upstream::ok("hello");
    let proxy = with_limit(&upstream, "{rate: 1/h}", "");
    let fields = [("content-type", "application/grpc")];
    proxy.client().request("POST", "/", &fields, "");
    let refused = proxy.client().request("POST", "/", &fields, "");
    assert_eq!((refused.status(), refused.field("grpc-status")), (200, Some("8")));
    assert!(refused.field("retry-after").is_some());
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_field_value_and_what_was_expected() {
    let text = forwarding(&[], "");
    let filter = "filters:\n  limits: {module: \"builtin:rate-limit\", config: {rate: often}}\n";
    let text = in_listener(&text, &["filters: [limits]"]);
    let exit = Proxy::with(&format!("{text}{filter}")).run("check");
    assert_eq!(exit.code, Some(1));
    let expected = "rate: invalid value: string \"often\", expected a rate such as \"100/s\"";
    assert!(exit.stderr.contains(expected), "{}", exit.stderr);
}
