//! Endpoints are asked how they are, and those that are not well get no requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::equipment::{
    Answer, Backend, GrpcAct, GrpcService, Proxy, Upstream, eventually, forwarding, message, refusing_address,
};

/// A proxy that asks its endpoints so, often.
fn asking(config: &str, check: &str) -> Proxy {
    let cluster = format!("health_check: {{interval: 50ms, {check}}}, endpoints:");
    Proxy::start(&config.replace("endpoints:", &cluster))
}

/// An upstream whose health a test changes.
fn patient() -> (Upstream, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = well.clone();
    let upstream = Upstream::start(move |head| {
        let checked = head.target() == "/healthz";
        let status = if checked && !is_well.load(Ordering::Relaxed) { 503 } else { 200 };
        Answer::sized(status, &[], if checked { "" } else { "served" })
    });
    (upstream, well)
}

fn served(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|request| request.head.target() == "/").count()
}

fn checks(proxy: &Proxy, result: &str) -> f64 {
    proxy.metrics().sum("tidegate_upstream_health_checks_total", &[("cluster", "up"), ("result", result)])
}

#[test]
fn an_endpoint_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let ((sick, well), good) = (patient(), Upstream::ok("ok"));
    let config = forwarding(&[sick.address(), good.address()], "");
    let proxy = asking(&config, "path: /healthz, unhealthy_threshold: 2, healthy_threshold: 2");
    let mut client = proxy.client();
    eventually("both to pass", || (checks(&proxy, "success") >= 2.0).then_some(()));
    well.store(false, Ordering::Relaxed);
    proxy.wait_for_log("the failure", |event| message(event).contains("fails its health check"));
    let before = served(&sick);
    (0..10).for_each(|_| assert_eq!(client.get("/").status(), 200));
    assert_eq!(served(&sick), before);
    well.store(true, Ordering::Relaxed);
    proxy.wait_for_log("the recovery", |event| message(event).contains("passes its health check"));
    eventually("it to be asked again", || {
        client.get("/");
        (served(&sick) > before).then_some(())
    });
    let changes = proxy.log();
    let changes = changes.iter().filter(|event| message(event).contains("its health check")).count();
    assert_eq!(changes, 2, "only changes are in the log");
}

#[test]
fn the_first_check_decides_whatever_the_thresholds() {
    let (refusing, _taken) = refusing_address();
    let good = Upstream::ok("ok");
    let config = forwarding(&[refusing, good.address()], "");
    let proxy = asking(&config, "path: /healthz, unhealthy_threshold: 1000");
    proxy.wait_for_log("the failure", |event| message(event).contains("fails its health check"));
    let mut client = proxy.client();
    (0..10).for_each(|_| assert_eq!(client.get("/").status(), 200));
}

#[test]
fn a_check_asks_what_it_is_told_to_ask() {
    let upstream = Upstream::start(|head| {
        Answer::sized(if head.target() == "/live?deep=1" { 204 } else { 200 }, &[], "")
    });
    let config = forwarding(&[upstream.address()], "");
    let check =
        "path: /live?deep=1, method: OPTIONS, host: svc.test, headers: {x-check: yes}, statuses: [2xx]";
    let proxy = asking(&config, check);
    eventually("a check", || (checks(&proxy, "success") >= 1.0).then_some(()));
    let head = upstream.requests()[0].head.clone();
    assert_eq!((head.method(), head.target()), ("OPTIONS", "/live?deep=1"));
    assert_eq!((head.field("host"), head.field("x-check")), (Some("svc.test"), Some("yes")));
    assert_eq!(head.field("user-agent"), Some("tidegate-health-check"));
}

#[test]
fn a_grpc_service_says_itself_whether_it_serves() {
    let serving = Arc::new(AtomicBool::new(true));
    let serves = serving.clone();
    let service = GrpcService::start(move |path| {
        assert_eq!(path, "Check");
        let status = if serves.load(Ordering::Relaxed) { "\u{8}\u{1}" } else { "\u{8}\u{2}" };
        vec![
            GrpcAct::ReadToEnd,
            GrpcAct::Message(status.to_owned()),
            GrpcAct::Trailers(vec![("grpc-status", "0")]),
        ]
    });
    let proxy = asking(&forwarding(&[service.address()], ""), "grpc: {service: a.B}");
    eventually("a check", || (checks(&proxy, "success") >= 1.0).then_some(()));
    let asked = &service.rpcs()[0];
    assert_eq!(
        (asked.path.as_str(), asked.messages[0].as_str()),
        ("/grpc.health.v1.Health/Check", "\u{a}\u{3}a.B")
    );
    serving.store(false, Ordering::Relaxed);
    proxy.wait_for_log("the failure", |event| message(event).contains("fails its health check"));
}

#[test]
fn a_tcp_check_says_what_it_is_told_to_and_waits_for_the_answer() {
    let backend = Backend::start();
    let config = forwarding(&[backend.address()], "");
    let proxy = asking(&config, r#"tcp: {send: "PING\r\n", receive: "+PONG"}, unhealthy_threshold: 1"#);
    let mut asked = backend.accept();
    assert_eq!(asked.exactly(6), "PING\r\n");
    asked.send("+PO");
    asked.send("NG\r\n");
    eventually("a check", || (checks(&proxy, "success") >= 1.0).then_some(()));
    let mut asked = backend.accept();
    assert_eq!(asked.exactly(6), "PING\r\n");
    asked.send("-ERR\r\n");
    asked.leave();
    proxy.wait_for_log("the failure", |event| message(event).contains("fails its health check"));
}

#[test]
fn checks_are_made_once_for_all_workers_and_end_with_their_cluster() {
    let (upstream, _) = patient();
    let config = forwarding(&[upstream.address()], "");
    let checked = config.replace("endpoints:", "health_check: {interval: 1h, path: /healthz}, endpoints:");
    let mut proxy = Proxy::with(&checked).workers(4).start();
    upstream.wait_for(1);
    // Every worker has had its turn by the end of these, to ask as well if it did.
    (0..100).for_each(|_| assert_eq!(proxy.client().get("/").status(), 200));
    let asked = upstream.requests().iter().filter(|request| request.head.target() == "/healthz").count();
    assert_eq!(asked, 1, "one for all of them");
    upstream.wait_for(101);
    assert!(proxy.change(&checked.replace("1h", "10ms")));
    upstream.wait_for(105);
    assert!(proxy.change(&config));
    // One may have been under way.
    let now = checks(&proxy, "success") + checks(&proxy, "failure");
    (0..20).for_each(|_| assert_eq!(proxy.client().get("/").status(), 200));
    assert!(checks(&proxy, "success") + checks(&proxy, "failure") <= now + 1.0);
}

#[test]
fn endpoints_that_stay_are_not_asked_anew_when_their_cluster_changes() {
    let all: Vec<_> = (0..4).map(|_| patient().0).collect();
    let asking = |count: usize| {
        let addresses: Vec<_> = all[..count].iter().map(Upstream::address).collect();
        let config = forwarding(&addresses, "");
        config.replace("endpoints:", "health_check: {interval: 1h, path: /healthz}, endpoints:")
    };
    let mut proxy = Proxy::start(&asking(1));
    all[0].wait_for(1);
    for count in 2..=4 {
        assert!(proxy.change(&asking(count)));
        all[count - 1].wait_for(1);
    }
    assert!(proxy.change(&asking(4).replace("path: /healthz", "path: /other")));
    all.iter().for_each(|upstream| drop(upstream.wait_for(2)));
    for upstream in &all {
        let asked: Vec<_> = upstream.requests().iter().map(|it| it.head.target().to_owned()).collect();
        assert_eq!(asked, ["/healthz", "/other"], "what is asked otherwise is asked at once");
    }
}

#[test]
fn thousands_of_endpoints_are_asked_one_after_the_other() {
    const COUNT: u16 = 2000;
    // All of 127.0.0.0/8 is this machine, and one socket listens on all of it.
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("there is a port");
    let port = listener.local_addr().expect("it is bound").port();
    let asked = std::thread::spawn(move || {
        listener.incoming().take(COUNT.into()).flatten().map(drop).count();
    });
    let endpoints: Vec<_> =
        (0..COUNT).map(|at| format!("\"127.1.{}.{}:{port}\"", at / 250, at % 250 + 1)).collect();
    let config = format!(
        "listeners: [{{name: in, address: 127.0.0.1:0, routes: [{{match: {{}}, cluster: up}}]}}]\n\
         clusters: {{up: {{health_check: {{interval: 1h, tcp: {{}}}}, endpoints: [{}]}}}}\n",
        endpoints.join(", ")
    );
    let began = Instant::now();
    let proxy = Proxy::start(&config);
    let labels = [("cluster", "up"), ("result", "success")];
    proxy.wait_for_metric("tidegate_upstream_health_checks_total", &labels, f64::from(COUNT));
    assert!(began.elapsed() >= Duration::from_millis(u64::from(COUNT) - 1), "{:?}", began.elapsed());
    asked.join().expect("each of them was asked once");
}
