//! What a cluster that speaks HTTP/2 does to a request on its way: takes it slowly, refuses it, lets it wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::equipment::{Client, GrpcAct, GrpcService, Proxy, forwarding, silent_address};

/// REFUSED_STREAM.
const REFUSED: u32 = 7;

fn http2(services: &[&GrpcService], route: &str, cluster: &str) -> String {
    let endpoints: Vec<_> = services.iter().map(|service| service.address()).collect();
    forwarding(&endpoints, route).replace("endpoints:", &format!("protocol: http2{cluster}, endpoints:"))
}

/// Refuses every stream, and counts them.
fn refusing() -> (GrpcService, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = GrpcService::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        vec![GrpcAct::Reset(REFUSED)]
    });
    (service, asked)
}

fn well() -> GrpcService {
    GrpcService::start(|_| vec![GrpcAct::TrailersOnly(vec![("grpc-status", "0")])])
}

#[test]
fn an_upload_goes_on_while_its_client_reads_nothing_of_the_response() {
    const RESPONSE: usize = 12 << 20;
    const UPLOAD: u64 = 4 << 20;
    let service = GrpcService::start(|_| {
        vec![
            GrpcAct::Head(vec![("content-length", "12582912")]),
            GrpcAct::Raw(vec![b'y'; RESPONSE]),
            GrpcAct::ReadToEnd,
            GrpcAct::Finish,
        ]
    });
    // All of the response leaves the service at once: it is the client alone who does not take it.
    let windows = ", http2: {initial_stream_window_size: 64MiB, initial_connection_window_size: 64MiB}";
    let proxy = Proxy::start(&http2(&[&service], "", windows));
    let mut client = Client::connect_narrow(proxy.address("in"));
    client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\n\r\n"));
    client.send_filler(UPLOAD);
    service.wait_until("the whole upload", |rpcs| rpcs.iter().any(|rpc| rpc.end.is_some()));
    client.forget_bodies();
    assert_eq!(client.response_to("POST").status(), 200);
}

#[test]
fn a_refused_stream_is_sent_once_more_to_somebody_else() {
    let ((bad, asked), good) = (refusing(), well());
    let proxy = Proxy::with(&http2(&[&bad, &good], "", "")).workers(1).start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(asked.load(Ordering::Relaxed) > 0, "some of them were refused first");
}

#[test]
fn who_is_the_only_one_and_refuses_everything_is_asked_once_more_on_another_connection() {
    let (bad, asked) = refusing();
    let proxy = Proxy::with(&http2(&[&bad], "", "")).workers(1).start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 502);
    }
    assert_eq!((asked.load(Ordering::Relaxed), bad.connections()), (20, 2));
}

#[test]
fn a_stream_that_is_refused_stays_refused_where_there_may_be_no_other_connection() {
    for limits in ["connections: 1", "connections_per_endpoint: 1"] {
        let (bad, asked) = refusing();
        let cluster = format!(", breakers: {{{limits}}}");
        let proxy = Proxy::with(&http2(&[&bad], "", &cluster)).workers(1).start();
        assert_eq!(proxy.client().get("/").status(), 502, "{limits}");
        assert_eq!((asked.load(Ordering::Relaxed), bad.connections()), (1, 1));
        assert_eq!(proxy.metrics().sum("tidegate_upstream_overflows_total", &[]), 0.0, "{limits}");
    }
}

#[test]
fn refused_streams_are_tried_again_as_often_as_the_route_says_and_not_twice_as_often() {
    let (bad, also_bad) = (refusing(), refusing());
    let retries = "retries: {attempts: 2, on: [connect], backoff: {base: 1ms, max: 1ms}}";
    let proxy = Proxy::with(&http2(&[&bad.0, &also_bad.0], retries, "")).workers(1).start();
    assert_eq!(proxy.client().get("/").status(), 502);
    let asked = [&bad.1, &also_bad.1].map(|asked| asked.load(Ordering::Relaxed));
    assert_eq!(asked.iter().sum::<usize>(), 3, "{asked:?}");
    assert!(asked.iter().all(|asked| *asked > 0), "nobody is asked again before the other was: {asked:?}");
    let retried = [("reason", "refused_stream")];
    proxy.wait_for_metric("tidegate_upstream_retries_total", &retried, 2.0);
}

#[test]
fn who_refuses_every_stream_is_ejected() {
    let ((bad, asked), good) = (refusing(), well());
    let outliers = ", outlier_detection: {consecutive_5xx: 3, base_ejection_time: 1h, max_ejection_time: 1h}";
    let proxy = Proxy::with(&http2(&[&bad, &good], "", outliers)).workers(1).start();
    let mut client = proxy.client();
    while asked.load(Ordering::Relaxed) < 3 {
        assert_eq!(client.get("/").status(), 200);
    }
    proxy.wait_for_metric("tidegate_upstream_ejections_total", &[], 1.0);
    for _ in 0..20 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3, "it is left alone");
}

#[test]
fn who_says_goodbye_is_not_ejected_for_it() {
    let service =
        GrpcService::start(|_| vec![GrpcAct::TrailersOnly(vec![("grpc-status", "0")]), GrpcAct::GoAway]);
    let outliers = ", outlier_detection: {consecutive_5xx: 1, base_ejection_time: 1h, max_ejection_time: 1h}";
    let proxy = Proxy::with(&http2(&[&service, &service], "", outliers)).workers(1).start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(proxy.metrics().sum("tidegate_upstream_ejections_total", &[]), 0.0);
}

#[test]
fn no_more_requests_wait_for_an_http2_connection_than_may() {
    let (nobody, _sockets) = silent_address();
    let config = forwarding(&[nobody], "");
    let config = config.replace("endpoints:", "protocol: http2, breakers: {pending: 1}, endpoints:");
    let proxy = Proxy::with(&config).workers(1).start();
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.wait_for_metric("tidegate_upstream_active_requests", &[], 1.0);
    assert_eq!(proxy.client().get("/").status(), 503);
    let labels = [("cluster", "up"), ("limit", "pending")];
    proxy.wait_for_metric("tidegate_upstream_overflows_total", &labels, 1.0);
}

#[test]
fn empty_frames_in_every_response_do_not_cost_the_connection() {
    let service = GrpcService::start(|_| {
        vec![
            GrpcAct::Message("x".to_owned()),
            GrpcAct::Raw(Vec::new()),
            GrpcAct::Trailers(vec![("grpc-status", "0")]),
        ]
    });
    let proxy = Proxy::start(&http2(&[&service], "", ""));
    let mut client = proxy.client();
    for _ in 0..300 {
        let response = client.get("/");
        assert_eq!((response.status(), &*response.text()), (200, "\0\0\0\0\u{1}x"));
    }
    assert_eq!(service.connections(), 1);
}
