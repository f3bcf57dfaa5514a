//! Endpoints that fail are left alone for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::equipment::{Answer, Proxy, Upstream, eventually, forwarding, message, refusing_address, text};

/// An upstream whose status a test changes.
struct Moody {
    upstream: Upstream,
    status: Arc<AtomicU16>,
}

impl Moody {
    fn start(status: u16) -> Moody {
        let status = Arc::new(AtomicU16::new(status));
        let answered = status.clone();
        let upstream = Upstream::start(move |_| Answer::sized(answered.load(Ordering::Relaxed), &[], "x"));
        Moody { upstream, status }
    }

    fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn asked(&self) -> usize {
        self.upstream.requests().len()
    }
}

fn detecting(endpoints: &[SocketAddr], detection: &str) -> Proxy {
    let config = forwarding(endpoints, "");
    let cluster = format!("outlier_detection: {{{detection}}}, endpoints:");
    Proxy::start(&config.replace("endpoints:", &cluster))
}

fn statuses(proxy: &Proxy, count: usize) -> Vec<u16> {
    let mut client = proxy.client();
    (0..count).map(|_| client.get("/").status()).collect()
}

fn ejections(proxy: &Proxy, reason: &str, count: f64) {
    let labels = [("cluster", "up"), ("reason", reason)];
    proxy.wait_for_metric("tidegate_upstream_ejections_total", &labels, count);
}

#[test]
fn an_endpoint_that_fails_so_often_in_a_row_gets_no_requests() {
    let (bad, good) = (Moody::start(503), Upstream::ok("ok"));
    let proxy = detecting(&[bad.address(), good.address()], "consecutive_5xx: 3, base_ejection_time: 1h");
    let failed = statuses(&proxy, 20).iter().filter(|status| **status == 503).count();
    assert_eq!((failed, bad.asked()), (3, 3));
    ejections(&proxy, "consecutive_5xx", 1.0);
    let event = proxy.wait_for_log("the ejection", |event| message(event).contains("is ejected"));
    assert_eq!(text(&event, "endpoint"), bad.address().to_string());
    assert_eq!((text(&event, "cluster"), text(&event, "reason")), ("up".into(), "consecutive_5xx".into()));
}

#[test]
fn a_success_ends_a_row_of_failures() {
    // Two failures, one success, two failures …
    let count = AtomicU16::new(0);
    let bad = Upstream::start(move |_| match count.fetch_add(1, Ordering::Relaxed) % 3 {
        2 => Answer::ok("ok"),
        _ => Answer::sized(500, &[], ""),
    });
    let good = Upstream::ok("ok");
    let proxy = detecting(&[bad.address(), good.address()], "consecutive_5xx: 3, base_ejection_time: 1h");
    statuses(&proxy, 40);
    assert_eq!(bad.requests().len(), 20);
    ejections(&proxy, "consecutive_5xx", 0.0);
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_left_alone_too() {
    let (refusing, _taken) = refusing_address();
    let good = Upstream::ok("ok");
    let proxy = detecting(&[refusing, good.address()], "consecutive_5xx: 2, base_ejection_time: 1h");
    let failed = statuses(&proxy, 20).iter().filter(|status| **status == 503).count();
    assert_eq!(failed, 2);
    let proxy = detecting(
        &[refusing, good.address()],
        "consecutive_5xx: 1, consecutive_local_failures: 3, base_ejection_time: 1h",
    );
    let failed = statuses(&proxy, 20).iter().filter(|status| **status == 503).count();
    assert_eq!(failed, 3, "a failure on the way is none of the endpoint's where these are told apart");
    ejections(&proxy, "consecutive_local_failures", 1.0);
}

#[test]
fn an_endpoint_is_taken_back_and_its_first_answer_decides() {
    let (bad, good) = (Moody::start(503), Upstream::ok("ok"));
    let proxy = detecting(
        &[bad.address(), good.address()],
        "consecutive_5xx: 5, base_ejection_time: 200ms, interval: 1h",
    );
    statuses(&proxy, 10);
    ejections(&proxy, "consecutive_5xx", 1.0);
    let asked = bad.asked();
    assert_eq!(asked, 5);
    eventually("the endpoint to be asked once more, and to be left alone for it", || {
        statuses(&proxy, 1);
        (proxy.metrics().sum("tidegate_upstream_ejections_total", &[("reason", "probation")]) >= 1.0)
            .then_some(())
    });
    assert_eq!(bad.asked(), asked + 1);
    bad.answer(200);
    eventually("the endpoint to be back for good", || {
        statuses(&proxy, 1);
        (bad.asked() >= asked + 10).then_some(())
    });
}

#[test]
fn no_more_endpoints_are_left_alone_than_may_be() {
    let all: Vec<Moody> = (0..4).map(|_| Moody::start(503)).collect();
    let addresses: Vec<_> = all.iter().map(Moody::address).collect();
    let proxy =
        detecting(&addresses, "consecutive_5xx: 1, base_ejection_time: 1h, max_ejection_percent: 50%");
    statuses(&proxy, 20);
    ejections(&proxy, "consecutive_5xx", 2.0);
    assert!(proxy.metrics().sum("tidegate_upstream_ejections_denied_total", &[("cluster", "up")]) > 0.0);
    let asked: Vec<_> = all.iter().map(Moody::asked).collect();
    assert_eq!(asked.iter().filter(|count| **count == 1).count(), 2, "{asked:?}");
}

#[test]
fn an_endpoint_that_fails_too_large_a_share_is_left_alone() {
    let all: Vec<Moody> = (0..5).map(|_| Moody::start(200)).collect();
    let addresses: Vec<_> = all.iter().map(Moody::address).collect();
    all[3].answer(500);
    let proxy = detecting(
        &addresses,
        "consecutive_5xx: 0, success_rate: {stdev_factor: 0}, interval: 100ms, base_ejection_time: 1h, \
         failure_percentage: {threshold: 90%, request_volume: 5}",
    );
    eventually("the endpoint to be left alone", || {
        statuses(&proxy, 40);
        let metric = "tidegate_upstream_ejections_total";
        (proxy.metrics().sum(metric, &[("reason", "failure_percentage")]) == 1.0).then_some(())
    });
    let asked = all[3].asked();
    statuses(&proxy, 20);
    assert_eq!(all[3].asked(), asked);
}

#[test]
fn endpoints_are_compared_however_often_their_cluster_changes() {
    let all: Vec<Moody> = (0..5).map(|_| Moody::start(200)).collect();
    all[3].answer(500);
    let addresses: Vec<_> = all.iter().map(Moody::address).collect();
    let with = |connect_timeout: usize| {
        forwarding(&addresses, "").replace(
            "endpoints:",
            &format!(
                "connect_timeout: {connect_timeout}s, outlier_detection: {{consecutive_5xx: 0, interval: 2s, \
                 success_rate: {{stdev_factor: 0}}, base_ejection_time: 1h, \
                 failure_percentage: {{threshold: 90%, request_volume: 2}}}}, endpoints:"
            ),
        )
    };
    let mut proxy = Proxy::start(&with(1));
    let mut changes = 1;
    eventually("the endpoint to be left alone", || {
        statuses(&proxy, 40);
        changes += 1;
        assert!(proxy.change(&with(changes)));
        let metric = "tidegate_upstream_ejections_total";
        (proxy.metrics().sum(metric, &[("reason", "failure_percentage")]) == 1.0).then_some(())
    });
}
