//! WebSockets between tidegate and Envoy over HTTP/2 (RFC 8441): either takes what the other asks.

use std::net::SocketAddr;

use super::{Peer, envoy_to};
use crate::equipment::{Act, Answer, Client, Envoy, Proxy, Upstream, forwarding};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: tide.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

fn echo() -> Upstream {
    Upstream::start(|head| {
        assert!(head.lists("connection", "upgrade"), "the upgrade is passed on: {head:?}");
        Answer::default().head(101, &[("connection", "upgrade"), ("upgrade", "websocket")]).act(Act::Echo)
    })
}

fn converse(at: SocketAddr) {
    let mut client = Client::connect(at);
    client.send(ASK);
    let head = client.head();
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("websocket")), "{head:?}");
    for message in ["one", "two", &"large ".repeat(50_000)] {
        client.send(message);
        assert_eq!(client.exactly(message.len()), message);
    }
    client.reset(); // Envoy does not pass the end of one side on
}

#[test]
fn envoy_takes_a_websocket_over_http2_from_tidegate() {
    if !Envoy::is_installed() {
        return;
    }
    let upstream = echo();
    let envoy = envoy_to(upstream.address(), Peer::Http1, &[]);
    let config = forwarding(&[envoy.address("in")], "").replace("endpoints:", "protocol: http2, endpoints:");
    converse(Proxy::start(&config).address("in"));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn tidegate_takes_a_websocket_over_http2_from_envoy() {
    if !Envoy::is_installed() {
        return;
    }
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let envoy = envoy_to(proxy.address("in"), Peer::Http2, &[]);
    converse(envoy.address("in"));
    assert_eq!(upstream.requests().len(), 1);
}
