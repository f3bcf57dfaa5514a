//! A connection that is closed while the client still sends is not reset: that could destroy the answer on its way
//! (RFC 9112, section 9.6).

use std::time::Instant;

use crate::equipment::{BOUND, Client, Proxy, Upstream, request_text};

const MIB: usize = 1 << 20;

/// A proxy that answers `403` by itself, before a request's body has come; with these limits.
fn refusing(limits: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  limits: {{{limits}}}\n  routes:\n\
         \x20 - {{match: {{path: {{prefix: /}}}}, respond: {{status: 403, body: no entry}}}}\n"
    ))
}

/// Sends a head that announces this much body.
fn announce(client: &mut Client, body: usize) {
    client.send(&format!("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: {body}\r\n\r\n"));
}

#[test]
fn a_client_that_goes_on_sending_has_the_whole_of_an_early_answer() {
    let proxy = refusing("");
    // One that waits for an answer before it sends, one that reads while it sends, and one that reads when it has sent
    // everything.
    for reads_at in [0, MIB / 2, MIB] {
        let mut client = proxy.client();
        announce(&mut client, MIB);
        client.send_bytes(&vec![b'x'; reads_at]);
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (403, "no entry"));
        assert!(response.head.lists("connection", "close"), "{response:?}");
        client.send_bytes(&vec![b'x'; MIB - reads_at]);
        client.half_close();
        client.expect_orderly_end();
    }
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[], 0.0);
}

#[test]
fn what_follows_a_broken_chunk_does_not_reset_the_connection() {
    let upstream = Upstream::ok("never");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n");
    client.send_bytes(&vec![b'x'; MIB]);
    assert_eq!(client.response().status(), 400);
    client.half_close();
    client.expect_orderly_end();
}

#[test]
fn a_head_far_beyond_the_limit_is_answered_in_order() {
    let proxy = refusing("header_bytes: 8KiB");
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[("x-large", &"x".repeat(2 * MIB))], ""));
    assert_eq!(client.response().status(), 431);
    client.half_close();
    client.expect_orderly_end();
}

#[test]
fn requests_behind_the_last_one_do_not_reset_the_connection() {
    let proxy = refusing("");
    let mut client = proxy.client();
    let mut text = request_text("GET", "/", &[("connection", "close")], "");
    text += &request_text("GET", "/", &[], "").repeat(MIB / 64);
    client.send(&text);
    assert_eq!(client.response().status(), 403);
    client.half_close();
    client.expect_orderly_end();
    proxy.wait_for_metric("tidegate_requests_total", &[], 1.0);
}

#[test]
fn the_rest_of_a_request_behind_the_last_one_does_not_reset_the_connection() {
    let proxy = refusing("");
    let mut client = proxy.client();
    // What is there of the second has been read when the first is answered.
    client.send(&(request_text("GET", "/", &[("connection", "close")], "") + "POST / HT"));
    assert_eq!(client.response().status(), 403);
    client.send_bytes(&vec![b'x'; MIB]);
    client.half_close();
    client.expect_orderly_end();
    proxy.wait_for_metric("tidegate_requests_total", &[], 1.0);
}

#[test]
fn a_client_that_never_stops_sending_is_cut() {
    let proxy = refusing("");
    let mut client = proxy.client();
    announce(&mut client, 1 << 40);
    assert_eq!(client.response().status(), 403);
    let (block, began) = (vec![b'x'; 64 << 10], Instant::now());
    while client.try_send(&block).is_ok() {
        assert!(began.elapsed() < BOUND, "nobody stops the client");
    }
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[], 0.0);
}

#[test]
fn a_connection_on_which_nothing_is_left_is_closed_at_once() {
    // A connection that were waited for would take the only place.
    let proxy = refusing("connections: 1");
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = proxy.client();
        client.send(&request_text("POST", "/", &[("connection", "close")], ""));
        assert_eq!(client.response().status(), 403);
        client.expect_orderly_end();
        clients.push(client);
    }
    assert_eq!(proxy.metrics().sum("tidegate_downstream_refused_connections_total", &[]), 0.0);
}
