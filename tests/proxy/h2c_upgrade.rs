//! Connections that begin in HTTP/1.1 and go on in HTTP/2 (RFC 7540, 3.2), where the listener allows it.

use std::process::Command;

use crate::equipment::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PREFACE, SETTINGS, frame, get,
};
use crate::equipment::process::Process;
use crate::equipment::{Guest, Proxy, Upstream, forwarding, in_listener, tool};

const ASK: &str = "GET /first?a=b HTTP/1.1\r\nhost: tide.test\r\nx-own: 1\r\nconnection: Upgrade, HTTP2-Settings, x-private\r\n\
                   x-private: 1\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";

fn config(upstream: &Upstream) -> String {
    in_listener(&forwarding(&[upstream.address()], ""), &["h2c_upgrade: true", "access_log: true"])
}

/// Asks, and is agreed with.
fn changed(proxy: &Proxy, ask: &str) -> Frames {
    let mut client = Frames::dial(proxy.address("in"));
    client.send(ask.as_bytes()).expect("it listens");
    let head = client.http1_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: h2c\r\n"), "{head}");
    client
}

#[test]
fn a_connection_changes_to_http2_and_its_request_is_the_first_stream() {
    let upstream = Upstream::ok("hello");
    let config = config(&upstream).replace("  routes:", "  filters: [log]\n  routes:")
        + "filters:\n  log: {module: ./log.wasm}\n";
    let proxy = Proxy::with(&config).file("log.wasm", Guest::logger().build()).start();
    let mut client = changed(&proxy, ASK);
    client.send(PREFACE).expect("it listens");
    client.send(&frame(SETTINGS, 0, 0, &[])).expect("it listens");
    let head = client.wait_for(|it| it.kind == HEADERS).expect("it answers");
    assert_eq!((head.stream, head.status()), (1, 200));
    assert_eq!(client.wait_for(|it| it.kind == DATA).expect("it has a body").payload, b"hello");
    client.send(&frame(SETTINGS, ACK, 0, &[])).expect("it listens");
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &get(&[]))).expect("it listens");
    let head = client.wait_for(|it| it.kind == HEADERS && it.stream == 3).expect("it answers");
    assert_eq!(head.status(), 200);
    let asked = upstream.requests().remove(0).head;
    assert_eq!((&*asked.line, asked.field("host")), ("GET /first?a=b HTTP/1.1", Some("tide.test")));
    assert_eq!((asked.field("x-own"), asked.field("x-private")), (Some("1"), None));
    assert_eq!((asked.field("upgrade"), asked.field("http2-settings")), (None, None));
    assert!(proxy.guest_log().iter().any(|(_, line)| line.contains("request_headers")), "a filter sees it");
    let lines = proxy.wait_for_access_log(2);
    assert!(lines.iter().all(|line| line["protocol"] == "HTTP/2" && line["status"] == 200), "{lines:#?}");
}

#[test]
fn what_follows_the_settings_at_once_is_served() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::start(&config(&upstream));
    let next = frame(HEADERS, END_HEADERS | END_STREAM, 3, &get(&[]));
    let early = [ASK.as_bytes(), PREFACE, &frame(SETTINGS, 0, 0, &[]), &next].concat();
    let mut client = Frames::dial(proxy.address("in"));
    client.send(&early).expect("it listens");
    assert!(client.http1_head().starts_with("HTTP/1.1 101 "));
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < 2 {
        let head = client.wait_for(|it| it.kind == HEADERS).expect("both are answered");
        assert_eq!(head.status(), 200);
        answered.insert(head.stream);
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_large_head_changes_with_its_connection() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::start(&config(&upstream));
    let large = "x".repeat(20_000);
    let mut client = changed(&proxy, &ASK.replace("x-own: 1", &format!("x-own: {large}")));
    client.send(PREFACE).expect("it listens");
    client.send(&frame(SETTINGS, 0, 0, &[])).expect("it listens");
    assert_eq!(client.wait_for(|it| it.kind == HEADERS).expect("it answers").status(), 200);
    assert_eq!(upstream.requests()[0].head.field("x-own"), Some(&*large));
}

#[test]
fn what_does_not_ask_in_every_respect_is_answered_in_http1() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::start(&config(&upstream));
    let mut client = proxy.client();
    let body = ASK.replace("GET", "POST").replace("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody");
    for ask in [
        ASK.replace("upgrade: h2c", "upgrade: h2c, websocket"),
        ASK.replace("http2-settings: ", "http2-settings: AAMAAABkAAQAAP__\r\nhttp2-settings: "),
        ASK.replace("http2-settings: AAMAAABkAAQAAP__\r\n", ""),
        ASK.replace("AAMAAABkAAQAAP__", "AAMA"),
        ASK.replace(", HTTP2-Settings", ""),
        body,
    ] {
        client.send(&ask);
        assert_eq!(client.response().text(), "hello", "{ask}");
    }
    let closed = Proxy::start(&config(&upstream).replace("  h2c_upgrade: true\n", ""));
    let mut client = closed.client();
    client.send(ASK);
    assert_eq!(client.response().text(), "hello", "nobody allowed it");
    assert!(upstream.requests().iter().all(|request| request.head.field("upgrade").is_none()));
}

#[test]
fn a_client_that_agrees_and_says_something_else_is_left() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::start(&config(&upstream));
    let ping = frame(6, 0, 0, &[0; 8]);
    for instead in [b"GET /smuggled HTTP/1.1\r\nhost: tide.test\r\n\r\n".to_vec(), [PREFACE, &ping].concat()]
    {
        let mut client = changed(&proxy, ASK);
        client.send(&instead).expect("it listens");
        assert!(client.next().is_none(), "it is closed");
    }
    let labels = [("reason", "http2_protocol")];
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &labels, 2.0);
    assert!(upstream.requests().is_empty(), "none of it went on");
}

#[test]
fn the_clients_of_nghttp2_and_curl_change_to_http2() {
    let upstream = Upstream::ok("hello\n");
    let proxy = Proxy::start(&config(&upstream));
    let url = format!("http://{}/page", proxy.address("in"));
    for command in [&["nghttp", "--upgrade", "--no-dep", &url][..], &["curl", "--silent", "--http2", &url]] {
        let path = std::path::Path::new("/usr/bin").join(command[0]);
        if !tool::is_installed(command[0], &path, "peers.sh") {
            return;
        }
        let client = Process::start("a client that asks", Command::new(path).args(&command[1..]));
        assert!(client.wait().success(), "{command:?}: {}", client.stderr.text());
        assert_eq!(client.stdout.text(), "hello", "{command:?}");
    }
    let lines = proxy.wait_for_access_log(2);
    assert!(lines.iter().all(|line| line["protocol"] == "HTTP/2" && line["path"] == "/page"), "{lines:#?}");
}
