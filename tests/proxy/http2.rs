//! HTTP/2 from clients and to clusters, in any pairing with HTTP/1.1.

use http::HeaderMap;

use crate::equipment::{
    Answer, GrpcAct, GrpcEnd, GrpcService, Http2Client, Proxy, Upstream, eventually, forwarding, in_listener,
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
    let config = forwarding(&[service.address()], "").replace("endpoints:", "protocol: http2, endpoints:");
    let proxy = Proxy::start(&config);
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
}

#[test]
fn a_drain_lets_what_goes_on_end_and_closes_the_connection() {
    let upstream = Upstream::ok("hello");
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Http2Client::connect(proxy.address("in"));
    let mut exchange = client.begin("POST", "/", &[], false).expect("it is taken");
    client.send(&mut exchange, b"a", false).expect("it is taken");
    client.get("/");
    proxy.terminate();
    eventually("the drain to begin", || (proxy.admin("/ready").status() == 503).then_some(()));
    client.send(&mut exchange, b"b", true).expect("it is taken");
    assert_eq!(client.finish(exchange).expect("it is answered").status, 200);
    client.wait_for_end();
    assert_eq!(proxy.wait().code, Some(0));
}
