//! WebSockets to upstreams that speak HTTP/2 (RFC 8441): their peer is the proxy itself, as one that takes such a request and
//! has an upstream over HTTP/1.1, and Envoy as the same.

use std::net::SocketAddr;

use super::upgrades::{ASK, echo, upgraded_stream};
use crate::equipment::frames::{DATA, END_STREAM, RST_STREAM, frame};
use crate::equipment::{Act, Answer, Proxy, Upstream, eventually, forwarding, in_listener};

/// A proxy whose endpoint speaks HTTP/2.
fn over_http2(endpoint: SocketAddr) -> Proxy {
    let config = forwarding(&[endpoint], "").replace("endpoints:", "protocol: http2, endpoints:");
    Proxy::start(&in_listener(&config, &["access_log: true"]))
}

#[test]
fn a_websocket_goes_to_an_upstream_that_speaks_http2() {
    let upstream = echo();
    let far = Proxy::forwarding_to(&[upstream.address()]);
    let near = over_http2(far.address("in"));
    for round in 1..=2 {
        let mut client = near.client();
        client.send(ASK);
        let head = client.head();
        assert_eq!((head.status(), head.field("upgrade")), (101, Some("websocket")));
        assert!(head.lists("connection", "upgrade"), "{head:?}");
        // RFC 6455, 1.3, has this key and this answer to it.
        assert_eq!(head.all("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
        for message in ["one", "two", &"large ".repeat(50_000)] {
            client.send(message);
            assert_eq!(client.exactly(message.len()), message);
        }
        let asked = upstream.requests().pop().expect("it was asked").head;
        assert_eq!((&*asked.line, asked.field("upgrade")), ("GET /chat HTTP/1.1", Some("websocket")));
        assert_eq!(
            (asked.field("host"), asked.field("sec-websocket-version")),
            (Some("tide.test"), Some("13"))
        );
        assert_ne!(asked.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="), "a key of its own");
        client.half_close();
        assert_eq!(client.rest(), "");
        let line = near.wait_for_access_log(round).pop().expect("it is there");
        assert_eq!((&line["status"], &line["outcome"]), (&101.into(), &"ok".into()), "{line}");
        assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&300_006.into(), &300_006.into()));
    }
    assert_eq!(near.metrics().sum("tidegate_upstream_connections_total", &[]), 1.0, "streams share it");
}

#[test]
fn a_websocket_is_a_stream_on_both_sides() {
    let upstream = echo();
    let far = Proxy::forwarding_to(&[upstream.address()]);
    let near = over_http2(far.address("in"));
    let (mut client, status) = upgraded_stream(&near);
    assert_eq!(status, 200);
    for message in ["one", "two"] {
        client.send(&frame(DATA, 0, 1, message.as_bytes())).expect("it listens");
        let echoed = client.wait_for(|it| it.kind == DATA).expect("it is there");
        assert_eq!(echoed.payload, message.as_bytes());
    }
    client.send(&frame(DATA, END_STREAM, 1, b"")).expect("it listens");
    client.wait_for(|it| it.kind == DATA && it.flags & END_STREAM != 0).expect("it ends");
}

#[test]
fn a_client_that_leaves_takes_the_upstreams_stream_back() {
    let upstream = echo();
    let far = Proxy::forwarding_to(&[upstream.address()]);
    let near = over_http2(far.address("in"));
    let mut client = near.client();
    client.send(ASK);
    assert_eq!(client.head().status(), 101);
    client.reset();
    eventually("the upstream to be told", || (upstream.open_connections() == 0).then_some(()));
    let (mut client, _) = upgraded_stream(&near);
    client.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).expect("it listens");
    eventually("the upstream to be told", || (upstream.open_connections() == 0).then_some(()));
    assert!(upstream.requests().len() == 2, "both had been there");
}

#[test]
fn an_upstream_that_ends_its_stream_ends_the_websocket() {
    let upstream = Upstream::start(|_| {
        let answer = Answer::default().head(101, &[("connection", "upgrade"), ("upgrade", "websocket")]);
        answer.send("bye").act(Act::Close)
    });
    let far = Proxy::forwarding_to(&[upstream.address()]);
    let near = over_http2(far.address("in"));
    let mut client = near.client();
    client.send(ASK);
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.rest(), "bye");
}

#[test]
fn a_websocket_that_an_upstream_over_http2_refuses_is_an_ordinary_answer() {
    let upstream = Upstream::start(|head| match head.field("upgrade") {
        Some(_) => Answer::sized(403, &[("x-why", "no")], "not here"),
        None => Answer::ok("plain"),
    });
    let far = Proxy::forwarding_to(&[upstream.address()]);
    let near = over_http2(far.address("in"));
    let mut client = near.client();
    client.send(ASK);
    let response = client.response();
    assert_eq!((response.status(), response.field("x-why")), (403, Some("no")));
    assert_eq!((response.text().as_str(), response.field("sec-websocket-accept")), ("not here", None));
    assert_eq!(client.get("/").text(), "plain", "and the connection goes on");
}

#[test]
fn a_request_for_a_websocket_with_a_body_is_not_sent_over_http2() {
    let upstream = echo();
    let far = Proxy::forwarding_to(&[upstream.address()]);
    let near = over_http2(far.address("in"));
    let mut client = near.client();
    client.send(&ASK.replace("\r\n\r\n", "\r\ncontent-length: 3\r\n\r\nabc"));
    assert_eq!(client.response().status(), 502);
    assert!(upstream.requests().is_empty());
}
