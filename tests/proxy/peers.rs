//! Real servers and their clients, with the proxy between them.

use super::tcp::prepared;
use crate::equipment::peers::{check_websockets, nats, redis, redis_benchmark, websockets};
use crate::equipment::{Client, Guest, On, Proxy, forwarding, in_listener};

#[test]
fn a_websocket_library_at_both_ends_sees_no_difference() {
    let Some(server) = websockets() else { return };
    check_websockets(server.address());
    let proxy = Proxy::forwarding_to(&[server.address()]);
    check_websockets(proxy.address("in"));
    let config = in_listener(&forwarding(&[server.address()], ""), &["filters: [log]"]);
    let config = config + "filters:\n  log: {module: ./log.wasm}\n";
    let filtered = Proxy::with(&config).file("log.wasm", Guest::logger().build()).start();
    check_websockets(filtered.address("in"));
}

#[test]
fn a_websocket_library_sees_no_difference_over_http2_either() {
    let Some(server) = websockets() else { return };
    let far = Proxy::forwarding_to(&[server.address()]);
    let config = forwarding(&[far.address("in")], "").replace("endpoints:", "protocol: http2, endpoints:");
    let near = Proxy::start(&config);
    check_websockets(near.address("in"));
    assert_eq!(near.metrics().sum("tidegate_upstream_connections_total", &[]), 1.0, "each is a stream");
}

/// A filter that sees what goes both ways.
fn seeing() -> Guest {
    Guest::new().quiet().on(On::DownstreamData, []).on(On::UpstreamData, [])
}

#[test]
fn redis_serves_its_clients_through_a_filter() {
    let Some(server) = redis() else { return };
    let proxy = prepared(server.address(), &[], &[("see", &seeing(), "")]).start();
    let mut client = proxy.client();
    client.send("PING\r\n");
    assert_eq!(client.exactly(7), "+PONG\r\n");
    let value = "v".repeat(1 << 20);
    client.send(&format!("*3\r\n$3\r\nSET\r\n$4\r\ntide\r\n${}\r\n{value}\r\n", value.len()));
    assert_eq!(client.exactly(5), "+OK\r\n");
    client.send("GET tide\r\n");
    let answer = format!("${}\r\n{value}\r\n", value.len());
    assert_eq!(client.exactly(answer.len()), answer);

    let (mut subscriber, mut publisher) = (proxy.client(), proxy.client());
    subscriber.send("SUBSCRIBE news\r\n");
    let subscribed = "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
    assert_eq!(subscriber.exactly(subscribed.len()), subscribed);
    for _ in 0..3 {
        publisher.send("PUBLISH news hello\r\n");
        assert_eq!(publisher.exactly(4), ":1\r\n");
        let news = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!(subscriber.exactly(news.len()), news);
    }
    client.send("QUIT\r\n");
    assert_eq!(client.rest(), "+OK\r\n", "and the server's end is the client's");
    redis_benchmark(proxy.address("in"));
    subscriber.leave();
    publisher.leave();
}

/// Says who it is, once the server has said who that is.
fn greeted(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    assert_eq!(client.exactly(6), "INFO {", "the server speaks first");
    let mut greeting = String::new();
    while !greeting.ends_with("\r\n") {
        greeting += &client.exactly(1);
    }
    client.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
    assert_eq!(client.exactly(6), "PONG\r\n");
    client
}

#[test]
fn a_server_that_speaks_first_is_heard_first() {
    let Some(server) = nats() else { return };
    let proxy = prepared(server.address(), &[], &[("see", &seeing(), "")]).start();
    let (mut subscriber, mut publisher) = (greeted(&proxy), greeted(&proxy));
    subscriber.send("SUB tide 7\r\nPING\r\n");
    assert_eq!(subscriber.exactly(6), "PONG\r\n");
    for text in ["low", "high"] {
        publisher.send(&format!("PUB tide {}\r\n{text}\r\n", text.len()));
        let message = format!("MSG tide 7 {}\r\n{text}\r\n", text.len());
        assert_eq!(subscriber.exactly(message.len()), message);
    }
    subscriber.leave();
    publisher.leave();
}
