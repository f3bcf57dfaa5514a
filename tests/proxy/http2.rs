//! HTTP/2 from clients and to clusters, in any pairing with HTTP/1.1.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;

use crate::equipment::frames::{
    self, ACK, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, SETTINGS, frame,
};
use crate::equipment::{
    Answer, Gate, GrpcAct, GrpcEnd, GrpcService, Http2Client, Proxy, Upstream, eventually, forwarding,
    in_listener,
};

#[test]
fn a_client_speaks_http2_on_the_port_where_others_speak_http1() {
    let upstream = Upstream::start(|_| Answer::sized(200, &[("x-from", "upstream")], "hello"));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["access_log: true"]);
    let mut proxy = Proxy::start(&config);
    let mut client = Http2Client::connect(proxy.address("in"));
    let cookies = [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")];
    let response = client.request("GET", "/a?b=c", &cookies, b"").expect("it is answered");
    assert_eq!((response.status, &*response.text()), (200, "hello"));
    assert_eq!(response.field("x-from"), Some("upstream"));
    assert_eq!(response.field("connection"), None);
    assert!(response.field("date").is_some());
    assert_eq!(proxy.client().get("/").text(), "hello");
    let received = &upstream.requests()[0].head;
    assert_eq!(received.line, "GET /a?b=c HTTP/1.1");
    assert_eq!(received.all("host"), [proxy.address("in").to_string()]);
    assert_eq!(received.all("cookie"), ["a=1; b=2"], "what HTTP/2 cuts into pieces is one field elsewhere");
    proxy.terminate();
    let log = proxy.wait().stdout;
    assert!(log.lines().next().is_some_and(|line| line.contains(r#""protocol":"HTTP/2""#)), "{log}");
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let upstream = Upstream::ok("fine");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Http2Client::connect(proxy.address("in"));
    let body = "0123456789".repeat(100_000);
    let response = client.request("POST", "/", &[], body.as_bytes()).expect("it is answered");
    assert_eq!((response.status, &*response.text()), (200, "fine"));
    let mut exchange = client.begin("POST", "/", &[("trailer", "x-sum")], false).expect("it is taken");
    client.send(&mut exchange, b"piece", false).expect("it is taken");
    let trailers = HeaderMap::from_iter([("x-sum".parse().expect("a name"), "7".parse().expect("a value"))]);
    exchange.trailers(trailers).expect("they are taken");
    assert_eq!(client.finish(exchange).expect("it is answered").text(), "fine");
    let received = upstream.requests();
    let bodies: Vec<_> = received.iter().filter_map(|request| request.body.as_ref()).collect();
    assert_eq!(bodies[0].bytes, body.as_bytes());
    assert_eq!(
        (&*bodies[1].bytes, &*bodies[1].trailers),
        (&b"piece"[..], &[("x-sum".into(), "7".into())][..])
    );
}

#[test]
fn many_requests_go_on_at_once_on_one_connection() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Http2Client::connect(proxy.address("in"));
    for _ in 0..10 {
        let sent: Vec<_> =
            (0..50).map(|_| client.begin("GET", "/", &[], true).expect("it is taken")).collect();
        for exchange in sent {
            assert_eq!(client.finish(exchange).expect("it is answered").text(), "hello");
        }
    }
}

/// A configuration whose cluster speaks HTTP/2, as the options say.
fn speaking_http2(service: &GrpcService, options: &str) -> String {
    let http2 = format!("protocol: http2, http2: {{{options}}}, endpoints:");
    forwarding(&[service.address()], "").replace("endpoints:", &http2)
}

fn answered() -> Vec<GrpcAct> {
    vec![GrpcAct::Head(vec![]), GrpcAct::Trailers(vec![("grpc-status", "0")])]
}

#[test]
fn there_are_as_many_connections_as_requests_need_and_no_more() {
    let gate = Gate::new();
    let shut = gate.clone();
    let service = GrpcService::start(move |_| [vec![GrpcAct::Await(shut.clone())], answered()].concat());
    let proxy = Proxy::start(&speaking_http2(&service, "max_concurrent_streams: 2"));
    let mut client = Http2Client::connect(proxy.address("in"));
    let sent: Vec<_> = (0..5).map(|_| client.begin("GET", "/", &[], true).expect("it is taken")).collect();
    service.wait_until("all requests", |rpcs| rpcs.len() == 5);
    gate.open();
    for exchange in sent {
        assert_eq!(client.finish(exchange).expect("it is answered").status, 200);
    }
    assert_eq!(service.connections(), 3);
    for _ in 0..4 {
        client.get("/");
    }
    assert_eq!(service.connections(), 3, "those that there are have room");
}

#[test]
fn a_request_that_was_refused_is_sent_again_and_one_whose_body_is_gone_is_not() {
    let asked = AtomicUsize::new(0);
    let service = GrpcService::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => vec![GrpcAct::Reset(7)],
        _ => answered(),
    });
    let proxy = Proxy::start(&speaking_http2(&service, ""));
    let client = proxy.client();
    let mut client = client;
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(service.rpcs().len(), 2);
    assert_eq!(client.request("POST", "/", &[("host", "tide.test")], "body").status(), 502);
    assert_eq!(service.rpcs().len(), 3);
}

#[test]
fn after_a_goaway_what_goes_on_ends_and_what_comes_has_another_connection() {
    let gate = Gate::new();
    let shut = gate.clone();
    let service = GrpcService::start(move |method| match method {
        "Last" => [vec![GrpcAct::GoAway, GrpcAct::Await(shut.clone())], answered()].concat(),
        _ => answered(),
    });
    let proxy = Proxy::start(&speaking_http2(&service, ""));
    let mut client = Http2Client::connect(proxy.address("in"));
    let last = client.begin("GET", "/test/Last", &[], true).expect("it is taken");
    service.wait_until("the last one", |rpcs| rpcs.len() == 1);
    eventually("another connection", || {
        assert_eq!(client.get("/test/Next").status, 200);
        (service.connections() == 2).then_some(())
    });
    gate.open();
    assert_eq!(client.finish(last).expect("it is answered").status, 200);
}

#[test]
fn a_body_that_its_client_cuts_is_reset_and_that_is_the_clients_doing() {
    let service = GrpcService::start(|_| vec![GrpcAct::AwaitReset]);
    let config = speaking_http2(&service, "");
    let mut proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 100\r\n\r\nsome");
    service.wait_until("the call", |rpcs| rpcs.len() == 1);
    client.half_close();
    service.wait_until("its end", |rpcs| rpcs[0].end == Some(GrpcEnd::Reset(Some(8))));
    let entry = proxy.wait_for_access_log(1).remove(0);
    assert_eq!(entry["outcome"], "request_body_cut", "{entry}");
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn a_connection_that_answers_no_pings_is_closed() {
    // A client.
    let upstream = Upstream::ok("hello");
    let keepalive = "http2: {keepalive: {interval: 20ms, timeout: 100ms}}";
    let proxy = Proxy::start(&in_listener(&forwarding(&[upstream.address()], ""), &[keepalive]));
    let mut lively = Http2Client::connect(proxy.address("in"));
    let mut dead = Frames::open(proxy.address("in"));
    dead.wait_for(|it| it.kind == PING && it.flags & ACK == 0).expect("it is asked");
    while dead.next().is_some() {}
    assert_eq!(lively.get("/").text(), "hello");
    // An endpoint: it says what it must, and then nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = silent.local_addr().expect("it is bound");
    let ended = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().expect("it is connected to");
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).expect("it is read");
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        received
    });
    let cluster = "protocol: http2, http2: {keepalive: {interval: 20ms, timeout: 100ms}}, endpoints:";
    let proxy = Proxy::start(&forwarding(&[address], "").replace("endpoints:", cluster));
    assert_eq!(proxy.client().get("/").status(), 502);
    let received = ended.join().expect("it is closed");
    assert!(received.windows(9).any(|header| header[3..5] == [PING, 0]), "it was asked");
}

#[test]
fn grpc_passes_from_http2_to_http2() {
    let service = GrpcService::start(|method| match method {
        "Echo" => vec![
            GrpcAct::Head(vec![("x-head", "1")]),
            GrpcAct::Echo,
            GrpcAct::Trailers(vec![("grpc-status", "0"), ("grpc-message", "fine")]),
        ],
        "Refused" => vec![GrpcAct::TrailersOnly(vec![("grpc-status", "7")])],
        _ => vec![GrpcAct::AwaitReset],
    });
    let proxy = Proxy::start(&in_listener(&speaking_http2(&service, ""), &["access_log: true"]));
    let mut client = Http2Client::connect(proxy.address("in"));
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let message = b"\0\0\0\0\x05hello";
    let response = client.request("POST", "/test.Service/Echo", &headers, message).expect("it is answered");
    assert_eq!((response.status, &*response.body), (200, &message[..]));
    assert_eq!(response.field("x-head"), Some("1"));
    let trailers = response.trailers.expect("there are some");
    assert_eq!(
        (trailers["grpc-status"].as_bytes(), trailers["grpc-message"].as_bytes()),
        (&b"0"[..], &b"fine"[..])
    );
    let response =
        client.request("POST", "/test.Service/Refused", &headers, message).expect("it is answered");
    assert_eq!((response.field("grpc-status"), &response.trailers), (Some("7"), &None));
    let exchange = client.begin("POST", "/test.Service/Wait", &headers, false).expect("it is taken");
    service.wait_until("the call", |rpcs| rpcs.len() == 3);
    exchange.reset();
    client.get("/test.Service/Refused");
    service.wait_until("its end", |rpcs| rpcs[2].end == Some(GrpcEnd::Reset(Some(8))));
    assert_eq!(service.connections(), 1);
    // How each ended is counted and logged; what is no call is not.
    for (status, calls) in [("ok", 1.0), ("permission_denied", 1.0), ("none", 1.0)] {
        proxy.wait_for_metric("tidegate_grpc_calls_total", &[("grpc_status", status)], calls);
    }
    assert_eq!(proxy.metrics().sum("tidegate_grpc_calls_total", &[]), 3.0);
    let logged = proxy.wait_for_access_log(4);
    let status = |path: &str| {
        let entry = logged.iter().find(|entry| entry["path"] == path && entry["method"] == "POST");
        entry.expect("it is logged")["grpc_status"].clone()
    };
    assert_eq!(status("/test.Service/Echo"), "ok");
    assert_eq!(status("/test.Service/Refused"), "permission_denied");
    assert!(status("/test.Service/Wait").is_null());
}

/// So many that are received before anybody reads them are more than a connection may hold by `h2`'s own measure.
const SMALL: usize = 4_000;

#[test]
fn a_client_that_is_slow_to_read_gets_every_small_message() {
    let sent = Gate::new();
    let reached = sent.clone();
    let service = GrpcService::start(move |_| {
        let mut acts = vec![GrpcAct::Message("x".repeat(60)); SMALL];
        acts.push(GrpcAct::Reached(reached.clone()));
        acts.extend(vec![GrpcAct::Message("y".repeat(60)); SMALL]);
        acts.push(GrpcAct::Trailers(vec![("grpc-status", "0")]));
        acts
    });
    let proxy = Proxy::start(&speaking_http2(&service, ""));
    let mut client = Http2Client::connect(proxy.address("in"));
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = client.begin("POST", "/test.Service/Stream", &headers, true).expect("it is taken");
    assert!(sent.pass(), "so many were taken before any was read");
    let response = client.finish(call).expect("the stream is whole");
    assert_eq!(response.body.len(), 2 * SMALL * 65);
    assert_eq!(response.trailers.expect("there are some")["grpc-status"], "0");
}

#[test]
fn a_service_that_is_slow_to_read_gets_every_small_message() {
    let gate = Gate::new();
    let shut = gate.clone();
    let service = GrpcService::start(move |_| {
        [vec![GrpcAct::Await(shut.clone()), GrpcAct::ReadToEnd], answered()].concat()
    });
    let proxy = Proxy::start(&speaking_http2(&service, ""));
    let mut client = Http2Client::connect(proxy.address("in"));
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let mut call = client.begin("POST", "/test.Service/Collect", &headers, false).expect("it is taken");
    let message = [b"\0\0\0\0\x3c", &[b'x'; 60][..]].concat();
    for _ in 0..2 * SMALL {
        client.send(&mut call, &message, false).expect("it is taken");
    }
    call.trailers(http::HeaderMap::new()).expect("it is taken");
    service.wait_until("the call", |rpcs| rpcs.len() == 1);
    gate.open();
    assert_eq!(client.finish(call).expect("it is answered").status, 200);
    service.wait_until("its messages", |rpcs| rpcs[0].messages.len() == 2 * SMALL);
}

#[test]
fn a_drain_lets_what_goes_on_end_and_closes_the_connection() {
    let upstream = Upstream::ok("hello");
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Http2Client::connect(proxy.address("in"));
    let mut exchange = client.begin("POST", "/", &[], false).expect("it is taken");
    client.send(&mut exchange, b"a", false).expect("it is taken");
    client.get("/");
    // One that has nothing under way, and does not listen either.
    let idle = Frames::open(proxy.address("in"));
    proxy.terminate();
    eventually("the drain to begin", || (proxy.admin("/ready").status() == 503).then_some(()));
    assert_eq!(idle.end(), Some(0), "it has waited long enough");
    client.send(&mut exchange, b"b", true).expect("it is taken");
    assert_eq!(client.finish(exchange).expect("it is answered").status, 200);
    client.wait_for_end();
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Frames::open(proxy.address("in"));
    let head = frames::request("POST", &[("expect", "100-continue"), ("content-length", "4")]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).expect("it listens");
    let asked = client.wait_for(|it| it.kind == HEADERS).expect("it is asked");
    assert_eq!(asked.status(), 100);
    client.send(&frame(DATA, END_STREAM, 1, b"body")).expect("it listens");
    assert_eq!(client.wait_for(|it| it.kind == HEADERS).expect("it is answered").status(), 200);
    assert_eq!(upstream.requests()[0].head.field("expect"), None);
}

#[test]
fn a_get_with_a_body_of_unknown_length_has_it_at_the_upstream() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Http2Client::connect(proxy.address("in"));
    assert_eq!(client.request("GET", "/search", &[], b"what").expect("it is answered").text(), "hello");
    let received = upstream.requests().remove(0);
    assert_eq!(received.body.expect("it was read").bytes, b"what");
}

#[test]
fn trailers_say_nothing_of_a_connection() {
    let service = GrpcService::start(|_| [vec![GrpcAct::ReadToEnd], answered()].concat());
    let proxy = Proxy::start(&speaking_http2(&service, ""));
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         0\r\nconnection: x-gone\r\nx-gone: 1\r\nx-sum: 7\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    assert_eq!(service.rpcs()[0].end, Some(GrpcEnd::HalfClosed));
}
