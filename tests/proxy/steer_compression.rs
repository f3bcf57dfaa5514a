//! Responses that are compressed for clients that take that.

use std::io::Read as _;

use crate::equipment::{
    Answer, Gate, Proxy, Response, Upstream, compression, forwarding, in_listener, request_text,
};

fn start(upstream: &Upstream, compression: &str) -> Proxy {
    Proxy::start(&forwarding(&[upstream.address()], &format!("compression: {compression}")))
}

fn get(proxy: &Proxy, accepted: &str) -> Response {
    proxy.client().request("GET", "/", &[("accept-encoding", accepted)], "")
}

fn text() -> String {
    (0..2000).map(|line| format!("{line} is a number and so is {}\n", line * 7)).collect()
}

/// A body as it was before it was compressed.
fn decoded(response: &Response) -> String {
    compression::decoded(response.field("content-encoding").unwrap_or_default(), &response.body.bytes)
}

fn sized(fields: &'static [(&'static str, &'static str)]) -> Upstream {
    Upstream::start(move |_| Answer::sized(200, fields, &text()))
}

const TEXT: &[(&str, &str)] = &[("content-type", "text/plain; charset=utf-8")];

#[test]
fn a_client_gets_a_response_in_the_coding_that_it_takes() {
    let upstream = sized(&[
        ("content-type", "Text/Plain; charset=utf-8"),
        ("etag", "\"v1\""),
        ("accept-ranges", "bytes"),
    ]);
    for level in ["fast", "balanced", "best"] {
        let proxy = start(&upstream, &format!("{{level: {level}}}"));
        for (accepted, coding) in
            [("gzip", "gzip"), ("br", "br"), ("zstd", "zstd"), ("gzip, br;q=0.5", "gzip")]
        {
            let response = get(&proxy, accepted);
            assert_eq!(response.field("content-encoding"), Some(coding));
            assert!(response.body.bytes.len() * 4 < text().len(), "{coding} {}", response.body.bytes.len());
            assert_eq!(decoded(&response), text());
            assert_eq!(response.field("vary"), Some("accept-encoding"));
            assert_eq!(response.field("etag"), Some("W/\"v1\""), "the bytes are others");
            assert_eq!(response.field("accept-ranges"), None);
            assert_eq!(response.field("content-length"), None);
        }
    }
}

#[test]
fn a_client_that_takes_none_gets_it_as_it_is() {
    let upstream = sized(TEXT);
    let proxy = start(&upstream, "{algorithms: [gzip]}");
    for accepted in ["identity", "br", "gzip;q=0", ""] {
        let response = get(&proxy, accepted);
        assert_eq!((response.field("content-encoding"), response.text()), (None, text()));
        assert_eq!(response.field("vary"), Some("accept-encoding"), "for caches");
    }
}

#[test]
fn what_must_not_be_compressed_is_not() {
    for fields in [
        &[("content-type", "image/png")][..],
        &[("content-type", "text/plain"), ("content-encoding", "identity")],
        &[("content-type", "text/plain"), ("cache-control", "public, No-Transform")],
        &[("content-type", "application/grpc+json")],
        &[],
    ] {
        let upstream = Upstream::start(move |_| Answer::sized(200, fields, &text()));
        let response = get(&start(&upstream, "{}"), "gzip");
        assert_eq!(response.text(), text(), "{fields:?}");
        assert_eq!(response.field("vary"), None, "{fields:?}");
    }
    let part = Upstream::start(|_| {
        Answer::sized(
            206,
            &[("content-type", "text/plain"), ("content-range", "bytes 0-999/2000")],
            &"x".repeat(1000),
        )
    });
    assert_eq!(get(&start(&part, "{}"), "gzip").field("content-encoding"), None);
    let short = Upstream::start(|_| Answer::sized(200, TEXT, "short"));
    assert_eq!(get(&start(&short, "{}"), "gzip").text(), "short");
    assert_eq!(decoded(&get(&start(&short, "{min_length: 5B}"), "gzip")), "short");
}

#[test]
fn a_response_to_head_says_what_the_response_to_get_would() {
    let upstream = Upstream::start(|head| {
        let fields = [
            ("content-type", "text/plain"),
            ("content-length", "70000"),
            ("etag", "\"strong\""),
            ("accept-ranges", "bytes"),
        ];
        let answer = Answer::default().read_body().head(200, &fields);
        if head.method() == "HEAD" { answer } else { answer.send(&"x".repeat(70_000)) }
    });
    let proxy = start(&upstream, "{}");
    for accepted in ["gzip", "identity"] {
        let ask = |method| proxy.client().request(method, "/", &[("accept-encoding", accepted)], "");
        let (get, head) = (ask("GET"), ask("HEAD"));
        for name in ["content-encoding", "content-length", "etag", "accept-ranges", "vary", "content-type"] {
            assert_eq!(head.field(name), get.field(name), "{name} for {accepted}");
        }
        assert_eq!(head.field("content-encoding").is_some(), accepted == "gzip");
    }
}

#[test]
fn a_large_answer_of_the_proxys_own_is_compressed_whole() {
    let page = "a page that is longer than what is compressed at once. ".repeat(10_000);
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n  \
        - {match: {}, respond: {file: ./page.txt, headers: {content-type: text/plain}}, compression: {}}\n";
    let proxy = Proxy::with(config).file("page.txt", page.clone()).start();
    for coding in ["gzip", "br", "zstd"] {
        let response = get(&proxy, coding);
        assert_eq!(response.field("content-encoding"), Some(coding));
        assert_eq!(decoded(&response), page, "{coding}");
    }
}

#[test]
fn each_event_of_a_stream_goes_on_at_once() {
    let gate = Gate::new();
    let shut = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default()
            .read_body()
            .head(200, &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])
            .chunk("data: one\n\n")
            .wait(&shut)
            .chunk("data: two\n\n")
            .last_chunk(&[])
    });
    let proxy = start(&upstream, "{algorithms: [gzip]}");
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[("accept-encoding", "gzip")], ""));
    assert_eq!(client.head().field("content-encoding"), Some("gzip"));
    // The first event is there, whole, before the second is sent.
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        line += &client.exactly(1);
    }
    let length = usize::from_str_radix(line.trim(), 16).expect("a chunk's length");
    let first: Vec<u8> = client.exactly(length).chars().map(|byte| byte as u8).collect();
    let mut decoder = flate2::read::GzDecoder::new(&first[..]);
    let mut event = [0; 11];
    decoder.read_exact(&mut event).expect("a flushed piece can be read");
    assert_eq!(&event, b"data: one\n\n");
    gate.open();
}

#[test]
fn trailers_come_after_a_compressed_body() {
    let upstream = Upstream::start(|_| {
        let fields = [("content-type", "text/plain"), ("trailer", "x-sum")];
        Answer::chunked(200, &fields, &["one ", "two"], &[("x-sum", "7")])
    });
    let proxy = start(&upstream, "{}");
    let response = proxy.client().request("GET", "/", &[("accept-encoding", "br"), ("te", "trailers")], "");
    assert_eq!(decoded(&response), "one two");
    assert_eq!(response.body.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn a_large_body_is_compressed_as_it_comes() {
    let block = "0123456789abcdef".repeat(4096);
    let length = (block.len() * 1000).to_string();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().read_body();
        let answer = answer.head(200, &[("content-type", "text/plain"), ("content-length", &length)]);
        (0..1000).fold(answer, |answer, _| answer.send(&block))
    });
    let proxy = start(&upstream, "{}");
    let before = proxy.allocated_bytes();
    for coding in ["gzip", "br", "zstd"] {
        let response = get(&proxy, coding);
        assert_eq!(decoded(&response).len(), 65_536_000);
    }
    let grown = proxy.allocated_bytes().saturating_sub(before);
    println!("three codings of 62 MiB took {} KiB", grown >> 10);
    assert!(grown < 32 << 20, "{grown} bytes");
}

#[test]
fn a_listener_has_all_of_its_routes_compress() {
    let upstream = sized(TEXT);
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["compression: {algorithms: [gzip]}"]);
    let routes = "  routes:\n  - {match: {path: {prefix: /off}}, cluster: up, compression: off}\n  \
        - {match: {path: {prefix: /own}}, cluster: up, compression: {algorithms: [br]}}\n  \
        - {match: {path: {prefix: /said}}, respond: {body: \"a text that is long enough\", headers: {content-type: text/plain}}, compression: {min_length: 1}}\n";
    let proxy = Proxy::start(&config.replace("  routes:\n", routes));
    let mut client = proxy.client();
    for (path, coding) in [("/", Some("gzip")), ("/off", None), ("/own", Some("br")), ("/said", Some("zstd"))]
    {
        let response = client.request("GET", path, &[("accept-encoding", "gzip, br, zstd")], "");
        assert_eq!(response.field("content-encoding"), coding, "{path}");
    }
}
