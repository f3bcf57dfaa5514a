//! Bodies that are decompressed before filters see them.

use crate::equipment::compression::encoded;
use crate::equipment::{
    Act, Answer, Buffer, Guest, Http2Client, On, Proxy, Response, Step, Upstream, forwarding, in_listener,
};

const TEXT: &str = "what is meant";

fn codings(text: &str) -> [(&'static str, Vec<u8>); 4] {
    ["gzip", "br", "zstd", "deflate"].map(|coding| (coding, encoded(coding, text)))
}

/// A proxy whose filter `seeing` has seen the bodies that it logs.
fn start(upstream: &Upstream, terms: &str) -> Proxy {
    let fields = ["filters: [seeing]", &format!("decompression: {{{terms}}}"), "access_log: true"];
    let config = in_listener(&forwarding(&[upstream.address()], ""), &fields);
    let config = format!("{config}filters: {{seeing: {{module: ./seeing.wasm}}}}\n");
    let guest = Guest::logger()
        .on(On::RequestBody, [Step::buffer(Buffer::RequestBody)])
        .on(On::ResponseBody, [Step::buffer(Buffer::ResponseBody)]);
    Proxy::with(&config).file("seeing.wasm", guest.build()).log_guests_fully().start()
}

fn post(proxy: &Proxy, fields: &[(&str, &str)], body: &[u8]) -> Response {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut client = proxy.client();
    client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n{fields}\r\n", body.len()));
    client.send_bytes(body);
    client.response_to("POST")
}

fn has_seen(proxy: &Proxy, text: &str) -> bool {
    proxy.guest_log().iter().any(|(_, line)| line.contains(text))
}

fn answering(
    coding: &'static str,
    compressed: Vec<u8>,
    fields: &'static [(&'static str, &'static str)],
) -> Upstream {
    Upstream::start(move |request| {
        let length = compressed.len().to_string();
        let own = [("content-encoding", coding), ("content-length", &length), ("etag", "\"v1\"")];
        let head = Answer::default().read_body().head(200, &[&own, fields].concat());
        if request.method() == "HEAD" { head } else { head.act(Act::Send(compressed.clone())) }
    })
}

#[test]
fn filters_and_the_upstream_read_a_request_as_it_is_meant() {
    let upstream = Upstream::ok("ok");
    let proxy = start(&upstream, "requests: true");
    for (at, (coding, compressed)) in codings(TEXT).into_iter().enumerate() {
        assert_eq!(post(&proxy, &[("content-encoding", coding)], &compressed).status(), 200, "{coding}");
        let received = &upstream.wait_for(at + 1)[at];
        assert_eq!(received.body.as_ref().map(|body| body.text()).as_deref(), Some(TEXT), "{coding}");
        assert_eq!(received.head.field("content-encoding"), None);
    }
    assert!(has_seen(&proxy, TEXT), "{:?}", proxy.guest_log());
    let mut http2 = Http2Client::connect(proxy.address("in"));
    let (coding, compressed) = &codings(TEXT)[0];
    let sent = http2.request("POST", "/", &[("content-encoding", coding)], compressed);
    assert_eq!(sent.expect("it is answered").status, 200);
    assert_eq!(upstream.wait_for(5)[4].body.as_ref().map(|body| body.text()).as_deref(), Some(TEXT));
}

#[test]
fn a_client_gets_a_response_as_it_is_meant_and_it_may_be_compressed_again() {
    for (coding, compressed) in codings(TEXT) {
        let upstream = answering(coding, compressed, &[("content-type", "text/plain")]);
        let proxy = start(&upstream, "responses: true");
        let response = proxy.client().get("/");
        assert_eq!((response.text().as_str(), response.field("content-encoding")), (TEXT, None), "{coding}");
        assert_eq!(response.field("etag"), Some("W/\"v1\""), "the bytes are others");
        assert!(has_seen(&proxy, TEXT), "{coding}: {:?}", proxy.guest_log());
        let config = forwarding(&[upstream.address()], "compression: {algorithms: [gzip], min_length: 0}");
        let proxy = Proxy::start(&in_listener(&config, &["decompression: {responses: true}"]));
        let response = proxy.client().request("GET", "/", &[("accept-encoding", "gzip")], "");
        assert_eq!(response.field("content-encoding"), Some("gzip"));
    }
}

#[test]
fn a_response_to_head_says_what_the_decompressed_response_to_get_would() {
    let fields = &[("content-type", "text/plain"), ("accept-ranges", "bytes")];
    let upstream = answering("br", encoded("br", TEXT), fields);
    for compression in ["", "compression: {algorithms: [gzip], min_length: 0}"] {
        let config = forwarding(&[upstream.address()], compression);
        let proxy = Proxy::start(&in_listener(&config, &["decompression: {responses: true}"]));
        for accepted in ["gzip", "identity"] {
            let said = ["GET", "HEAD"].map(|method| {
                let response = proxy.client().request(method, "/", &[("accept-encoding", accepted)], "");
                let named =
                    ["content-encoding", "content-length", "content-type", "etag", "vary", "accept-ranges"];
                named.map(|name| response.field(name).map(str::to_owned))
            });
            assert_eq!(said[0], said[1], "{compression} {accepted}");
            assert_eq!(said[1][3].as_deref(), Some("W/\"v1\""), "{compression} {accepted}");
            assert_eq!(said[1][5], None, "a range would be of other bytes: {compression} {accepted}");
        }
    }
    let empty = Upstream::start(|_| {
        let fields = [("content-encoding", "br"), ("content-length", "0"), ("etag", "\"v1\"")];
        Answer::default().read_body().head(200, &fields)
    });
    let proxy = start(&empty, "responses: true");
    for method in ["GET", "HEAD"] {
        let response = proxy.client().request(method, "/", &[], "");
        let said = ["content-length", "etag"].map(|name| response.field(name));
        assert_eq!(said, [Some("0"), Some("\"v1\"")], "{method}: there is nothing to decompress");
    }
}

#[test]
fn what_is_in_no_known_coding_is_left_as_it_is() {
    let [(_, gzip), ..] = codings(TEXT);
    let upstream = Upstream::ok("ok");
    let proxy = start(&upstream, "requests: true");
    let cases: [&[(&str, &str)]; 2] =
        [&[("content-encoding", "compress")], &[("content-encoding", "gzip, br")]];
    for (at, fields) in cases.into_iter().enumerate() {
        assert_eq!(post(&proxy, fields, &gzip).status(), 200);
        let received = &upstream.wait_for(at + 1)[at];
        assert_eq!(received.head.field("content-encoding"), Some(fields[0].1));
        assert_eq!(received.body.as_ref().map(|body| body.bytes.clone()), Some(gzip.clone()));
    }
    let upstream = answering("gzip", gzip.clone(), &[]);
    let proxy = start(&upstream, "requests: true");
    assert_eq!(proxy.client().get("/").body.bytes, gzip, "responses were not asked for");
}

#[test]
fn no_client_hides_a_body_from_filters_by_its_head() {
    let [(_, gzip), ..] = codings(TEXT);
    let upstream = Upstream::ok("ok");
    let proxy = start(&upstream, "requests: true");
    let cases: [&[(&str, &str)]; 4] = [
        &[("content-encoding", "gzip"), ("cache-control", "no-transform")],
        &[("content-encoding", "gzip"), ("content-range", "bytes 0-9/10")],
        &[("content-encoding", "gzip,")],
        &[("content-encoding", "identity"), ("content-encoding", "GZIP")],
    ];
    for (at, fields) in cases.into_iter().enumerate() {
        assert_eq!(post(&proxy, fields, &gzip).status(), 200);
        let received = &upstream.wait_for(at + 1)[at];
        assert_eq!(received.head.field("content-encoding"), None, "{fields:?}");
        assert_eq!(received.body.as_ref().map(|body| &*body.bytes), Some(TEXT.as_bytes()), "{fields:?}");
    }
}

#[test]
fn what_is_not_what_it_says_is_400_and_a_bomb_413() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
    let proxy = start(&upstream, "requests: true, max_ratio: 20x, max_bytes: 64MiB");
    let gzip = [("content-encoding", "gzip")];
    upstream.pardon();
    assert_eq!(post(&proxy, &gzip, b"not at all compressed").status(), 400);
    let bomb = encoded("gzip", &"\0".repeat(16 << 20));
    assert_eq!(post(&proxy, &gzip, &bomb).status(), 413);
    let outcomes: Vec<_> = proxy.wait_for_access_log(2).iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["request_body_malformed", "request_too_large"]);
    upstream.pardon();
}

#[test]
fn a_response_that_is_not_what_it_says_is_cut() {
    let upstream = answering("br", b"\xff\xff\xff\xffnot compressed".to_vec(), &[]);
    let proxy = start(&upstream, "responses: true");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = client.rest();
    assert!(!answer.contains("\r\n0\r\n"), "{answer:?}");
    let line = &proxy.wait_for_access_log(1)[0];
    assert_eq!(line["outcome"], "upstream_body_cut");
    assert!(line["details"].as_str().is_some_and(|details| details.contains("decompressed")), "{line}");
}
