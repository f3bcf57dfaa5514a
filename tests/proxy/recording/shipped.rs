//! The shipped filters: the same build does the same, bit for bit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Recording;
use crate::equipment::{Answer, Proxy, Upstream, in_listener};

/// Exchanges of each filter. `TIDEGATE_TEST_SECONDS` asks for those that are promised.
fn exchanges() -> usize {
    if std::env::var_os("TIDEGATE_TEST_SECONDS").is_some() { 2_500 } else { 60 }
}

const JWKS: &str = include_str!("../../../filters/authz/tests/fixtures/jwks.json");

fn token(name: &str) -> &'static str {
    let tokens = include_str!("../../../filters/authz/tests/fixtures/tokens.txt");
    let found = tokens.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name);
    found.expect("a fixture of this name").1
}

/// All of them in one chain, with a service that is asked and an issuer whose keys are fetched.
fn config(upstream: &Upstream, judge: &Upstream, issuer: &Upstream) -> String {
    let chain = ["buffer_limit: 64KiB", "filters: [authz, limits, faults, split]"];
    let config = in_listener(&crate::equipment::forwarding(&[upstream.address()], ""), &chain);
    let clusters = format!(
        "  judge: {{endpoints: [\"{}\"]}}\n  idp: {{endpoints: [\"{}\"]}}\n",
        judge.address(),
        issuer.address()
    );
    // The key is `open sesame`.
    let filters = r#"filters:
  authz:
    module: "builtin:authz"
    limits: {instructions: 200M, wall_clock: 30s}
    allow_on_headers_stop_iteration: true
    config:
      jwt: {issuers: [{issuer: "https://idp.test", audiences: [api], fetch: {cluster: idp, path: /jwks.json}, headers: {x-user: sub}}]}
      api_keys: {keys: [{name: ci, sha256: 41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb}], header: x-user}
      allow: [{match: {authenticated: true}}]
      external: {cluster: judge, path_prefix: /judge, body: {max_bytes: 4096, allow_partial: true}, timeout: 30s}
  limits: {module: "builtin:rate-limit", config: {key: [header:x-user], rate: 500/s, burst: 20}}
  faults: {module: "builtin:fault", config: {abort: {status: 503, percent: 20}, delay: {fixed: 1ms, percent: 30}, corrupt: {bytes: 5, percent: 30}, truncate: {after: 4KiB, then: end, percent: 10}}}
  split: {module: "builtin:ab-route", config: {cookie: {name: ab}, experiments: [{name: checkout, subject: [header:x-user], variants: [{name: a, weight: 50}, {name: b, weight: 50}], response_header: x-variant}]}}
"#;
    config + &clusters + filters
}

#[test]
fn recordings_of_every_shipped_filter_replay_bit_for_bit() {
    let count = exchanges();
    let large = "0123456789abcdef".repeat(1024);
    let upstream = Upstream::start(move |head| match head.target() {
        "/large" => {
            Answer::chunked(200, &[("content-type", "text/plain")], &[&large, &large], &[("x-end", "1")])
        }
        "/bad" => Answer::sized(500, &[], "bad"),
        _ => Answer::ok("hello"),
    });
    let judge = Upstream::start(|head| match head.target() {
        "/judge/forbidden" => Answer::sized(403, &[("x-why", "because")], "not this"),
        _ => Answer::ok(""),
    });
    let issuer = Upstream::start(|_| Answer::sized(200, &[("content-type", "application/json")], JWKS));
    let proxy = Proxy::with(&config(&upstream, &judge, &issuer)).workers(2).start();
    let filters = ["authz", "limits", "faults", "split"];
    let recordings = filters.map(|filter| Recording::of(&proxy, filter, count, &["--secrets", "keep"]));
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // An aborted exchange does not reach the filters behind, and a denied one reaches none: some more.
                while recordings.iter().any(|recording| !recording.command.is_finished()) {
                    ask(&proxy, sent.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    let builds = ["builtin:authz", "builtin:rate-limit", "builtin:fault", "builtin:ab-route"];
    for (recording, build) in recordings.into_iter().zip(builds) {
        let recorded = recording.finish();
        recorded.report_of(build, &["--format", "json", "--exact"]).is_identical(build, count);
    }
}

/// The n-th request of the mix.
fn ask(proxy: &Proxy, number: usize) {
    let mut client = proxy.client();
    let bearer = ["RS256", "ES256", "EdDSA", "expired"].map(|name| format!("Bearer {}", token(name)));
    let body = "x".repeat(number * 37 % 6000);
    let credential = match number % 7 {
        0..=3 => ("authorization", bearer[number % 4].as_str()),
        4 | 5 => ("x-api-key", "open sesame"),
        _ => ("x-api-key", "wrong"),
    };
    let fields = [credential, ("cookie", "ab=0123456789; other=x")];
    match number % 5 {
        0 => client.request("GET", "/large", &fields, ""),
        1 => client.request("POST", "/post?a=b", &fields, &body),
        2 => client.request("POST", "/chunked", &[fields[0], ("transfer-encoding", "chunked")], &body),
        3 => client.request("GET", "/forbidden", &fields, ""),
        _ => client.request("GET", "/bad", &fields[..1], ""),
    };
}
