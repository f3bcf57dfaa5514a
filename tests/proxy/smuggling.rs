//! Requests that two readers could take apart differently. Each is refused with 400 and a close, or forwarded in the
//! one way that the upstream's own strict reader accepts; nothing after it on the connection is ever taken for a
//! request that the client did not plainly make.

use crate::equipment::{Proxy, Upstream};

/// A request that must be refused, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "two different lengths",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    ),
    ("two lengths in one field", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\nhello!"),
    ("a signed length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello"),
    ("a negative length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\nhello"),
    ("a length in hex", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello"),
    (
        "a length that is too large",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
    ),
    ("an empty length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\nhello"),
    ("a space before the colon", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 5\r\n\r\nhello"),
    ("a tab before the colon", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    (
        "chunked that is not last",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    ("an unknown coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (
        "a coding with a trailing byte",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\u{b}\r\n\r\n0\r\n\r\n",
    ),
    ("a quoted coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("a coding in HTTP/1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded field", "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n"),
    ("a folded coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("a line without a colon", "GET / HTTP/1.1\r\nhost: a\r\nbroken\r\n\r\n"),
    ("a field without a name", "GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n"),
    ("a space in a name", "GET / HTTP/1.1\r\nhost: a\r\nx a: b\r\n\r\n"),
    ("a NUL in a name", "GET / HTTP/1.1\r\nhost: a\r\nx\0a: b\r\n\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n"),
    ("a bare CR in a value", "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\rc\r\n\r\n"),
    ("a space before the first field", "GET / HTTP/1.1\r\n host: a\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\nx-a: b\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("two equal hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
    ("a host that is none", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
    ("a space in the host", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
    ("a user in the host", "GET / HTTP/1.1\r\nhost: user@a\r\n\r\n"),
    ("two spaces in the line", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a space in the target", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("no target", "GET HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a target without a slash", "GET a HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a control character in the target", "GET /\u{1} HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a method that is no token", "G@T / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("no version", "GET /\r\nhost: a\r\n\r\n"),
    ("a version that is none", "GET / HTTP/1.x\r\nhost: a\r\n\r\n"),
    ("a lower-case version", "GET / http/1.1\r\nhost: a\r\n\r\n"),
    ("another protocol", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n"),
];

#[test]
fn an_ambiguous_request_is_refused_and_its_connection_closed() {
    let upstream = Upstream::ok("reached");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut failures = Vec::new();
    for (what, request) in REFUSED {
        let mut client = proxy.client();
        client.send(request);
        client.send("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
        match client.try_response_to("GET") {
            Ok(Some(response)) if matches!(response.status(), 400 | 501 | 505) => {
                let rest = client.rest();
                if !rest.is_empty() {
                    failures.push(format!(
                        "{what}: the connection goes on after {}: {rest:?}",
                        response.status()
                    ));
                }
            }
            Ok(Some(response)) => failures.push(format!("{what}: answered {}", response.status())),
            Ok(None) => failures.push(format!("{what}: closed without an answer")),
            Err(error) => failures.push(format!("{what}: {error}")),
        }
    }
    let forwarded: Vec<String> =
        upstream.requests().iter().map(|request| format!("{:?}", request.head)).collect();
    assert!(
        failures.is_empty() && forwarded.is_empty(),
        "{}\nforwarded: {forwarded:#?}",
        failures.join("\n")
    );
}

#[test]
fn a_refused_request_is_counted_and_told_in_plain_words() {
    let upstream = Upstream::ok("reached");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    client.expect_end();
    let labels = [("listener", "in"), ("reason", "malformed_request")];
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &labels, 1.0);
    assert_eq!(proxy.client().get("/").text(), "reached", "others are not affected");
}

#[test]
fn a_client_that_changes_to_http_2_on_its_connection_is_told_that_it_cannot() {
    let upstream = Upstream::ok("reached");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "reached");
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0");
    assert_eq!(client.response().status(), 505);
    client.half_close();
    client.expect_orderly_end();
    let labels = [("listener", "in"), ("reason", "unsupported_version")];
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &labels, 1.0);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_request_with_both_framings_is_never_forwarded_with_both() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "Transfer-Encoding: Chunked\r\nContent-Length: 6",
    ] {
        let mut client = proxy.client();
        client.send(&format!(
            "POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        // RFC 9112 section 6.1: the coding is believed, the length dropped, and the connection closed after the answer.
        assert_eq!(client.response().status(), 200);
        assert_eq!(client.rest(), "", "the connection is closed after {fields:?}");
    }
    let targets: Vec<String> =
        upstream.requests().iter().map(|request| request.head.target().to_owned()).collect();
    assert!(!targets.iter().any(|target| target == "/smuggled"), "{targets:?}");
}

#[test]
fn a_body_of_another_transfer_coding_is_not_taken_for_what_it_is_not() {
    let upstream = Upstream::ok("never");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let lists =
        ["gzip, chunked", "chunked, chunked", "chunked\r\ntransfer-encoding: chunked", "identity, chunked"];
    for codings in lists {
        let mut client = proxy.client();
        client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {codings}\r\n\r\n0\r\n\r\n"));
        assert_eq!(client.response().status(), 501, "{codings:?}"); // RFC 9112 section 6.1, and Envoy's
    }
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "unsupported")], lists.len() as f64);
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_broken_chunk_never_ends_a_request() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    for body in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "z\r\n\r\n0\r\n\r\n",
        "-1\r\nx\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nbroken trailer\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}"));
        let _ = client.try_send(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
        match client.try_response_to("GET") {
            Ok(Some(response)) => assert_eq!(response.status(), 400, "{body:?}"),
            other => panic!("{body:?}: {other:?}"),
        }
        assert_eq!(client.rest(), "", "the connection is closed after {body:?}");
    }
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "request_body_malformed")], 8.0);
    for request in upstream.requests() {
        assert_ne!(request.head.target(), "/smuggled");
        assert!(request.body.as_ref().is_none_or(|body| !crate::equipment::is_whole(body)), "{request:?}");
    }
}
