//! A limit of requests that adapts to how long they take.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::equipment::{Answer, Client, Gate, Proxy, Upstream, eventually, forwarding};

const GET: &str = "GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n";

/// A proxy before one endpoint, with these terms.
pub(crate) fn adapting(endpoint: SocketAddr, terms: &str) -> Proxy {
    let terms = format!("adaptive_concurrency: {{{terms}}}, endpoints:");
    Proxy::with(&forwarding(&[endpoint], "").replace("endpoints:", &terms)).workers(2).start()
}

/// A service that does so many requests at once, each of which takes its time; the others wait for their turn.
pub(crate) fn service(at_once: usize, time: Duration) -> Upstream {
    let free = Arc::new((Mutex::new(at_once), Condvar::new()));
    Upstream::start_forgetful(move |_| {
        let (count, changed) = &*free;
        let waiting = changed.wait_while(count.lock().expect("nobody panics"), |free| *free == 0);
        *waiting.expect("nobody panics") -= 1;
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        *count.lock().expect("nobody panics") += 1;
        changed.notify_one();
        Answer::ok("ok")
    })
}

/// What came of asking for a while.
#[derive(Debug)]
pub(crate) struct Asked {
    /// How long the requests took that were answered, in order.
    pub(crate) answered: Vec<Duration>,
    pub(crate) refused: usize,
}

impl Asked {
    pub(crate) fn median(&self) -> Duration {
        self.answered.get(self.answered.len() / 2).copied().unwrap_or_default()
    }
}

/// So many clients ask one request after the other; who is refused waits a moment.
pub(crate) fn ask(address: SocketAddr, clients: usize, length: Duration) -> Asked {
    let end = Instant::now() + length;
    let refused = AtomicUsize::new(0);
    let asking = |_| {
        let mut client = Client::connect(address);
        let mut answered = Vec::new();
        while Instant::now() < end {
            let began = Instant::now();
            match client.get("/").status() {
                200 => answered.push(began.elapsed()),
                503 => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                status => panic!("{status}"),
            }
        }
        answered
    };
    let mut answered: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|one| scope.spawn(move || asking(one))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("it ends")).collect()
    });
    answered.sort_unstable();
    Asked { answered, refused: refused.into_inner() }
}

fn limit(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("tidegate_upstream_concurrency_limit", &[("cluster", "up")])
}

#[test]
fn more_requests_than_the_limit_are_refused_with_a_reason_of_their_own() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    let proxy = adapting(upstream.address(), "min: 2, min_rtt: {fixed: 1s}");
    let mut clients = [proxy.client(), proxy.client()];
    clients.iter_mut().for_each(|client| client.send(GET));
    upstream.wait_for(2);
    let response = proxy.client().get("/");
    assert_eq!((response.status(), response.field("x-envoy-overloaded")), (503, Some("true")));
    let labels = [("cluster", "up"), ("limit", "concurrency")];
    proxy.wait_for_metric("tidegate_upstream_overflows_total", &labels, 1.0);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "upstream_concurrency")], 1.0);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
}

#[test]
fn the_limit_grows_while_requests_are_fast_and_falls_when_they_are_slow_and_a_reload_keeps_it() {
    let slow = Arc::new(AtomicUsize::new(0));
    let upstream = {
        let slow = slow.clone();
        Upstream::start_forgetful(move |_| {
            let until = Instant::now() + Duration::from_millis(slow.load(Ordering::Relaxed) as u64);
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            Answer::ok("ok")
        })
    };
    let terms = "min: 2, max: 60, interval: 20ms, min_rtt: {fixed: 100ms}";
    let mut proxy = adapting(upstream.address(), terms);
    assert!(limit(&proxy) < 60.0);
    let mut client = proxy.client();
    eventually("the limit to grow", || {
        assert_eq!(client.get("/").status(), 200);
        (limit(&proxy) == 60.0).then_some(())
    });
    let config = forwarding(&[upstream.address()], "timeout: 20s");
    let terms = format!("adaptive_concurrency: {{{terms}}}, endpoints:");
    assert!(proxy.change(&config.replace("endpoints:", &terms)));
    assert_eq!(limit(&proxy), 60.0, "what was found out is known on");
    slow.store(300, Ordering::Relaxed);
    eventually("the limit to fall", || {
        assert_eq!(client.get("/").status(), 200);
        (limit(&proxy) < 20.0).then_some(())
    });
}

#[test]
fn what_was_sent_before_a_measurement_began_is_none_of_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/slow" => Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")]),
        _ => Answer::ok("ok"),
    });
    let terms = "min: 2, percentile: 100%, interval: 200ms, \
        min_rtt: {interval: 1s, jitter: 0%, requests: 1, buffer: 1000%}";
    let proxy = adapting(upstream.address(), terms);
    let mut client = proxy.client();
    let mut grow = || {
        eventually("the limit to grow", || {
            assert_eq!(client.get("/").status(), 200);
            (limit(&proxy) > 2.0).then_some(())
        });
    };
    grow();
    let mut slow = proxy.client();
    slow.send("GET /slow HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    upstream.wait_until("the slow request", |requests| {
        requests.last().is_some_and(|last| last.head.target() == "/slow")
    });
    let began = Instant::now();
    eventually("the next measurement", || (limit(&proxy) == 2.0).then_some(()));
    let took = began.elapsed();
    gate.open();
    assert_eq!(slow.response().status(), 200);
    grow();
    let base = proxy.metrics().sum("tidegate_upstream_concurrency_min_rtt_seconds", &[("cluster", "up")]);
    assert!(base < took.as_secs_f64() / 2.0, "{base}, and the slow one took {took:?}");
}

#[test]
fn a_limit_that_a_reload_removes_is_in_the_metrics_no_more() {
    let upstream = Upstream::ok("ok");
    let fixed = forwarding(&[upstream.address()], "");
    let adapting = fixed.replace("endpoints:", "adaptive_concurrency: {interval: 20ms}, endpoints:");
    let mut proxy = Proxy::start(&adapting);
    let is_known = |proxy: &Proxy| {
        ["limit", "min_rtt_seconds", "gradient"]
            .map(|name| proxy.metrics().has(&format!("tidegate_upstream_concurrency_{name}")))
    };
    for without in [fixed.clone(), fixed.replace("up:", "other:").replace("cluster: up", "cluster: other")] {
        eventually("the limit to be known", || (limit(&proxy) > 0.0).then_some(()));
        assert_eq!(is_known(&proxy), [true; 3]);
        assert!(proxy.change(&without));
        assert_eq!(is_known(&proxy), [false; 3], "{without}");
        assert!(proxy.change(&adapting));
    }
}

#[test]
fn a_service_that_has_too_much_to_do_goes_on_answering_in_its_time() {
    let time = Duration::from_millis(40);
    let upstream = service(4, time);
    let terms = "min: 2, interval: 50ms, min_rtt: {requests: 20, buffer: 50%}";
    let proxy = adapting(upstream.address(), terms);
    let asked = ask(proxy.address("in"), 24, Duration::from_secs(4));
    println!("median {:?}, {} answered, {} refused", asked.median(), asked.answered.len(), asked.refused);
    // Were all of them let through, each would wait for five others: six times as long.
    assert!(asked.refused > 0);
    assert!(asked.median() < time * 4, "{:?}", asked.median());
    let base = proxy.metrics().sum("tidegate_upstream_concurrency_min_rtt_seconds", &[("cluster", "up")]);
    assert!(base >= time.as_secs_f64() * 0.97, "{base}");
}
