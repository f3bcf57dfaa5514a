//! Requests go on succeeding while six of twenty endpoints fail, in every way at once.
//!
//! In short each time; `TIDEGATE_TEST_SECONDS` makes it take that long: `make chaos`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::equipment::{Chaos, Outcome, Proxy};

/// How long it takes where nobody says.
const SHORT: Duration = Duration::from_secs(7);

/// As long as an endpoint that is well again may have to wait, and what a busy machine adds.
const RECOVERY: Duration = Duration::from_millis(1_000 + 600);

/// Who fails when.
pub(crate) const SEED: u64 = 7;

/// How long it is to take.
pub(crate) fn length() -> Duration {
    let seconds = std::env::var("TIDEGATE_TEST_SECONDS").ok();
    seconds.map_or(SHORT, |text| Duration::from_secs(text.parse().expect("a number of seconds")))
}

/// The policies under which it is done. Envoy's are the same.
pub(crate) fn config(endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "
listeners:
- name: in
  address: 127.0.0.1:0
  routes:
  - match: {{path: {{prefix: /}}}}
    cluster: up
    timeout: 5s
    retries:
      on: [5xx]
      attempts: 3
      per_try_timeout: 250ms
      backoff: {{base: 5ms, max: 50ms}}
      budget: 20%
      budget_minimum: 10
clusters:
  up:
    connect_timeout: 250ms
    endpoints: [{}]
    outlier_detection:
      consecutive_5xx: 3
      success_rate: {{stdev_factor: 0}}
      interval: 250ms
      base_ejection_time: 500ms
      max_ejection_time: 1s
      max_ejection_percent: 50%
    health_check: {{path: /healthz, interval: 500ms, timeout: 200ms, unhealthy_threshold: 1, healthy_threshold: 1}}
",
        endpoints.join(", ")
    )
}

/// Puts tidegate through it.
pub(crate) fn outcome() -> (Outcome, Proxy) {
    let chaos = Chaos::new();
    let proxy = Proxy::start(&config(chaos.addresses()));
    let outcome = chaos.run(proxy.address("in"), length(), SEED);
    println!("tidegate: {}", outcome.summary());
    (outcome, proxy)
}

#[test]
fn requests_succeed_while_endpoints_fail_and_those_that_fail_are_left_alone() {
    let (outcome, proxy) = outcome();
    assert!(outcome.success() >= 0.999, "{:.4}: {:#?}", outcome.success(), outcome.failures);
    let retries = proxy.metrics().sum("tidegate_upstream_retries_total", &[("cluster", "up")]);
    println!("{retries} retries");
    assert!(retries <= 0.2 * outcome.asked as f64, "{retries} retries of {} requests", outcome.asked);
    // What it takes to be ejected, those that were on their way by then, and one for each time that it was taken back.
    let steps = length().as_millis() / 7 / 500 + 1;
    for (who, wasted) in &outcome.wasted {
        let most = 3 + 4 + usize::try_from(steps).unwrap();
        // One that flaps is well half of the time, and taken back for it.
        assert!(*wasted <= most || who.ends_with("Flap"), "{who}: {wasted} requests, at most {most}");
    }
    for (who, after) in &outcome.recoveries {
        assert!(*after <= RECOVERY, "{who}: it waited {after:?}");
    }
}
