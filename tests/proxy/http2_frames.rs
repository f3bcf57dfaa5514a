//! HTTP/2 frame by frame: what RFC 9113 and RFC 7541 demand of a server, section by section, each case on a connection of
//! its own. The same cases are put to Envoy: what it does otherwise is listed, so that the cases themselves are known to be
//! right.

use std::fmt;
use std::net::SocketAddr;

use serde_json::json;

use crate::equipment::frames::*;
use crate::equipment::{Envoy, Proxy, Upstream};

/// Error codes (RFC 9113, 7).
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// What a server has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// Close the connection with one of these codes.
    Close(&'static [u32]),
    /// Reset the stream, or close the connection, with one of these codes; a malformed request may also be answered 400.
    Reset(&'static [u32]),
    /// Go on: it answers a PING, and the last request, if there was one, with this status.
    GoOn(Option<u16>),
}
use Must::{Close, GoOn, Reset};

/// What a server did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    GoAway(u32),
    Reset(u32),
    Answered(u16),
    Ponged,
    Closed,
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A case: where it is demanded and what it is, what is sent after the preface and both SETTINGS, and what is to come of it.
struct Case(&'static str, Vec<u8>, Must);

fn flags(all: &[u8]) -> u8 {
    all.iter().fold(0, |sum, flag| sum | flag)
}

/// A whole GET on a stream.
fn whole(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(&[]))
}

/// A POST's head, whose body is to follow.
fn opened(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", &[]))
}

fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))
}

/// Header fields beside those that every request has.
fn more(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(fields))
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn number(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn weight(dependency: u32) -> Vec<u8> {
    [&number(dependency)[..], &[15]].concat()
}

fn cat(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const PATH: (&str, &str) = (":path", "/");
    let big = vec![0; 16_385];
    let cut = |block: &[u8], at: usize| (block[..at].to_vec(), block[at..].to_vec());
    let (first, rest) = cut(&get(&[("x-a", "1")]), 7);
    let malformed = |name, fields: &[(&str, &str)]| Case(name, with(fields), Reset(&[PROTOCOL_ERROR]));
    vec![
        Case("4.1 a frame of an unknown type is ignored", cat(&[frame(0x16, 0, 0, &[0; 8]), whole(1)]), GoOn(Some(200))),
        Case("4.1 undefined flags are ignored", frame(PING, 0x16, 0, &[0; 8]), GoOn(None)),
        Case("4.1 the reserved bit of a stream's number is ignored", frame(PING, 0, 0x8000_0000, &[0; 8]), GoOn(None)),
        Case("4.2 DATA as long as may be is taken", cat(&[opened(1), frame(DATA, END_STREAM, 1, &big[..16_384])]), GoOn(Some(200))),
        Case("4.2 DATA that is longer than may be", cat(&[opened(1), frame(DATA, END_STREAM, 1, &big)]), Reset(&[FRAME_SIZE_ERROR])),
        Case("4.2 HEADERS that are longer than may be", frame(HEADERS, END_STREAM | END_HEADERS, 1, &big), Close(&[FRAME_SIZE_ERROR])),
        Case("4.3 a header block that cannot be decoded", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x40, 0x82]), Close(&[COMPRESSION_ERROR])),
        Case("4.3 another frame within a header block", cat(&[frame(HEADERS, END_STREAM, 1, &first), frame(PRIORITY, 0, 1, &weight(0)), frame(CONTINUATION, END_HEADERS, 1, &rest)]), Close(&[PROTOCOL_ERROR])),
        Case("4.3 another stream's HEADERS within a header block", cat(&[frame(HEADERS, END_STREAM, 1, &first), whole(3)]), Close(&[PROTOCOL_ERROR])),
        Case("5.1 DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x"), Close(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        Case("5.1 RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &number(8)), Close(&[PROTOCOL_ERROR])),
        Case("5.1 WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &number(100)), Close(&[PROTOCOL_ERROR])),
        Case("5.1 CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, &get(&[])), Close(&[PROTOCOL_ERROR])),
        Case("5.1 DATA on a stream that the client ended", cat(&[whole(1), frame(DATA, END_STREAM, 1, b"x")]), Reset(&[STREAM_CLOSED])),
        Case("5.1 HEADERS on a stream that the client ended", cat(&[whole(1), whole(1)]), Reset(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        Case("5.1 CONTINUATION on a stream that the client ended", cat(&[whole(1), frame(CONTINUATION, END_HEADERS, 1, &get(&[]))]), Close(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        Case("5.1 DATA on a stream that the client reset", cat(&[opened(1), frame(RST_STREAM, 0, 1, &number(8)), frame(DATA, END_STREAM, 1, b"x")]), Reset(&[STREAM_CLOSED])),
        Case("5.1 HEADERS on a stream that the client reset", cat(&[opened(1), frame(RST_STREAM, 0, 1, &number(8)), whole(1)]), Reset(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        Case("5.1.1 a stream of an even number", whole(2), Close(&[PROTOCOL_ERROR])),
        Case("5.1.1 a stream of a number below a former one's", cat(&[whole(5), whole(3)]), Close(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        Case("5.3.1 HEADERS that depend on their own stream", frame(HEADERS, flags(&[END_STREAM, END_HEADERS, WITH_PRIORITY]), 1, &[weight(1), get(&[])].concat()), Reset(&[PROTOCOL_ERROR])),
        Case("5.3.1 PRIORITY that depends on its own stream", cat(&[opened(1), frame(PRIORITY, 0, 1, &weight(1))]), Reset(&[PROTOCOL_ERROR])),
        Case("5.5 an unknown frame within a header block", cat(&[frame(HEADERS, END_STREAM, 1, &first), frame(0xff, 0, 1, &[0; 4]), frame(CONTINUATION, END_HEADERS, 1, &rest)]), Close(&[PROTOCOL_ERROR])),
        Case("6.1 DATA on stream 0", frame(DATA, END_STREAM, 0, b"x"), Close(&[PROTOCOL_ERROR])),
        Case("6.1 DATA with more padding than there is of it", cat(&[opened(1), frame(DATA, END_STREAM | PADDED, 1, &[5, 0, 0, 0])]), Close(&[PROTOCOL_ERROR])),
        Case("6.1 DATA with padding", cat(&[opened(1), frame(DATA, END_STREAM | PADDED, 1, &[2, b'x', 0, 0])]), GoOn(Some(200))),
        Case("6.2 HEADERS on stream 0", frame(HEADERS, END_STREAM | END_HEADERS, 0, &get(&[])), Close(&[PROTOCOL_ERROR])),
        Case("6.2 HEADERS with more padding than there is of them", frame(HEADERS, flags(&[END_STREAM, END_HEADERS, PADDED]), 1, &[&[255][..], &get(&[])].concat()), Close(&[PROTOCOL_ERROR])),
        Case("6.2 HEADERS with priority and padding", frame(HEADERS, flags(&[END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY]), 1, &[&[2][..], &weight(0), &get(&[]), &[0, 0]].concat()), GoOn(Some(200))),
        Case("6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, &weight(1)), Close(&[PROTOCOL_ERROR])),
        Case("6.3 PRIORITY of another length", cat(&[opened(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1])]), Reset(&[FRAME_SIZE_ERROR])),
        Case("6.4 RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &number(8)), Close(&[PROTOCOL_ERROR])),
        Case("6.4 RST_STREAM of another length", cat(&[opened(1), frame(RST_STREAM, 0, 1, &[0, 0, 0])]), Close(&[FRAME_SIZE_ERROR])),
        Case("6.5 SETTINGS ACK with something in it", frame(SETTINGS, ACK, 0, &[0]), Close(&[FRAME_SIZE_ERROR])),
        Case("6.5 SETTINGS on another stream", frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]), Close(&[PROTOCOL_ERROR])),
        Case("6.5 SETTINGS of a length that is no multiple of six", frame(SETTINGS, 0, 0, &[0, 3, 0]), Close(&[FRAME_SIZE_ERROR])),
        Case("6.5.2 ENABLE_PUSH of another value", setting(2, 2), Close(&[PROTOCOL_ERROR])),
        Case("6.5.2 INITIAL_WINDOW_SIZE that is too large", setting(4, 1 << 31), Close(&[FLOW_CONTROL_ERROR])),
        Case("6.5.2 MAX_FRAME_SIZE that is too small", setting(5, 16_383), Close(&[PROTOCOL_ERROR])),
        Case("6.5.2 MAX_FRAME_SIZE that is too large", setting(5, 1 << 24), Close(&[PROTOCOL_ERROR])),
        Case("6.5.2 an unknown setting is ignored", cat(&[setting(0xff, 1), whole(1)]), GoOn(Some(200))),
        Case("6.5.3 of a setting that comes twice the last counts", cat(&[setting(4, 1), setting(4, 65_535), whole(1)]), GoOn(Some(200))),
        Case("6.6 PUSH_PROMISE from a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[&number(2)[..], &get(&[])].concat()), Close(&[PROTOCOL_ERROR])),
        Case("6.7 PING is answered with what is in it", frame(PING, 0, 0, b"abcdefgh"), GoOn(None)),
        Case("6.7 PING ACK is not answered", cat(&[frame(PING, ACK, 0, b"unasked!"), whole(1)]), GoOn(Some(200))),
        Case("6.7 PING on another stream", frame(PING, 0, 1, &[0; 8]), Close(&[PROTOCOL_ERROR])),
        Case("6.7 PING of another length", frame(PING, 0, 0, &[0; 6]), Close(&[FRAME_SIZE_ERROR])),
        Case("6.8 GOAWAY on another stream", frame(GOAWAY, 0, 1, &[0; 8]), Close(&[PROTOCOL_ERROR])),
        Case("6.9 WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &number(0)), Close(&[PROTOCOL_ERROR])),
        Case("6.9 WINDOW_UPDATE by nothing on a stream", cat(&[opened(1), frame(WINDOW_UPDATE, 0, 1, &number(0))]), Reset(&[PROTOCOL_ERROR])),
        Case("6.9 WINDOW_UPDATE of another length", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), Close(&[FRAME_SIZE_ERROR])),
        Case("6.9.1 a connection's window that grows too large", cat(&[frame(WINDOW_UPDATE, 0, 0, &number(0x7fff_ffff)), frame(WINDOW_UPDATE, 0, 0, &number(0x7fff_ffff))]), Close(&[FLOW_CONTROL_ERROR])),
        Case("6.9.1 a stream's window that grows too large", cat(&[opened(1), frame(WINDOW_UPDATE, 0, 1, &number(0x7fff_ffff)), frame(WINDOW_UPDATE, 0, 1, &number(0x7fff_ffff))]), Reset(&[FLOW_CONTROL_ERROR])),
        Case("6.10 CONTINUATION in as many pieces as it takes", cat(&[frame(HEADERS, END_STREAM, 1, &first), frame(CONTINUATION, 0, 1, &rest[..3]), frame(CONTINUATION, END_HEADERS, 1, &rest[3..])]), GoOn(Some(200))),
        Case("6.10 CONTINUATION after a header block's end", cat(&[whole(1), frame(CONTINUATION, END_HEADERS, 1, &rest)]), Close(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        Case("6.10 CONTINUATION on stream 0", cat(&[frame(HEADERS, END_STREAM, 1, &first), frame(CONTINUATION, END_HEADERS, 0, &rest)]), Close(&[PROTOCOL_ERROR])),
        Case("6.10 CONTINUATION after DATA", cat(&[opened(1), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, END_HEADERS, 1, &rest)]), Close(&[PROTOCOL_ERROR])),
        Case("7 an unknown code in RST_STREAM is taken", cat(&[opened(1), frame(RST_STREAM, 0, 1, &number(0xff)), whole(3)]), GoOn(Some(200))),
        Case("8.1 a second HEADERS without the stream's end", cat(&[opened(1), frame(HEADERS, END_HEADERS, 1, &block(&[("x-sum", "1")]))]), Reset(&[PROTOCOL_ERROR])),
        malformed("8.2.1 a name in upper case", &[METHOD, SCHEME, PATH, (":authority", "a"), ("X-Test", "ok")]),
        malformed("8.2.1 a line feed in a value", &[METHOD, SCHEME, PATH, (":authority", "a"), ("x-test", "a\nb")]),
        malformed("8.2.1 a space in a name", &[METHOD, SCHEME, PATH, (":authority", "a"), ("x test", "ok")]),
        malformed("8.3 an unknown pseudo-header field", &[METHOD, SCHEME, PATH, (":authority", "a"), (":test", "ok")]),
        malformed("8.3 a response's pseudo-header field", &[METHOD, SCHEME, PATH, (":authority", "a"), (":status", "200")]),
        malformed("8.3 a pseudo-header field after another field", &[("x-test", "ok"), METHOD, SCHEME, PATH, (":authority", "a")]),
        Case("8.3 a pseudo-header field in trailers", cat(&[opened(1), frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[METHOD]))]), Reset(&[PROTOCOL_ERROR])),
        Case("8.2.2 a field of a connection", more(&[("connection", "keep-alive")]), Reset(&[PROTOCOL_ERROR])),
        Case("8.2.2 transfer-encoding", more(&[("transfer-encoding", "chunked")]), Reset(&[PROTOCOL_ERROR])),
        Case("8.2.2 te that is not trailers", more(&[("te", "trailers, deflate")]), Reset(&[PROTOCOL_ERROR])),
        Case("8.2.2 te that is trailers", more(&[("te", "trailers")]), GoOn(Some(200))),
        malformed("8.3.1 an empty path", &[METHOD, SCHEME, (":path", ""), (":authority", "a")]),
        malformed("8.3.1 no method", &[SCHEME, PATH, (":authority", "a")]),
        malformed("8.3.1 no scheme", &[METHOD, PATH, (":authority", "a")]),
        malformed("8.3.1 no path", &[METHOD, SCHEME, (":authority", "a")]),
        malformed("8.3.1 two methods", &[METHOD, METHOD, SCHEME, PATH, (":authority", "a")]),
        malformed("8.3.1 two schemes", &[METHOD, SCHEME, SCHEME, PATH, (":authority", "a")]),
        malformed("8.3.1 two paths", &[METHOD, SCHEME, PATH, PATH, (":authority", "a")]),
        malformed("8.3.1 a path that is none", &[METHOD, SCHEME, (":path", "here"), (":authority", "a")]),
        malformed("8.3.1 an authority and another host", &[METHOD, SCHEME, PATH, (":authority", "a"), ("host", "b")]),
        Case("8.1.1 less than content-length says", cat(&[frame(HEADERS, END_HEADERS, 1, &request("POST", &[("content-length", "2")])), frame(DATA, END_STREAM, 1, b"x")]), Reset(&[PROTOCOL_ERROR])),
        Case("8.1.1 more than content-length says", cat(&[frame(HEADERS, END_HEADERS, 1, &request("POST", &[("content-length", "1")])), frame(DATA, 0, 1, b"x"), frame(DATA, END_STREAM, 1, b"x")]), Reset(&[PROTOCOL_ERROR])),
        Case("8.4 a client pushes nothing", frame(PUSH_PROMISE, END_HEADERS, 1, &[&number(2)[..], &get(&[])].concat()), Close(&[PROTOCOL_ERROR])),
        Case("7541 2.3.3 an index that is in no table", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[get(&[]), vec![0xc6]].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 4.2 a table's size that changes at a block's end", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[get(&[]), vec![0x21]].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 5.2 padding of a Huffman code that is longer than seven bits", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[get(&[]), vec![0, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x49, 0x50, 0x9f, 0xff]].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 5.2 padding of a Huffman code with zeros", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[get(&[]), vec![0, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x83, 0x49, 0x50, 0x90]].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 5.2 a Huffman code's end in a text", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[get(&[]), vec![0, 0x85, 0xf2, 0xb2, 0x4a, 0x87, 0xff, 0xff, 0xff, 0xfd, 0x25, 0x42, 0x7f]].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 6.1 index 0", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[get(&[]), vec![0x80]].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 6.2 a literal whose name is an index of no table", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[get(&[]), vec![0x7f, 0x20, 1, b'x']].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 6.3 a table that is larger than allowed", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[vec![0x3f, 0xe2, 0x1f], get(&[])].concat()), Close(&[COMPRESSION_ERROR])),
        Case("7541 6.3 a table's new size before a block", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[vec![0x20], get(&[])].concat()), GoOn(Some(200))),
    ]
}

/// Puts a case to a server: what it did first that says something.
fn put(address: SocketAddr, Case(_, bytes, must): &Case) -> Did {
    let mut frames = Frames::open(address);
    let awaits_status = matches!(must, GoOn(Some(_)));
    // A server that did nothing of what it must answers this, and one that closes the connection need not hear it. It may
    // answer the first before it does something else.
    let _ = frames.send(&cat(&[bytes.clone(), frame(PING, 0, 0, b"the next")]));
    while let Some(got) = frames.next() {
        match got.kind {
            GOAWAY => return Did::GoAway(got.code()),
            RST_STREAM if got.code() != NO_ERROR => return Did::Reset(got.code()),
            HEADERS if awaits_status => return Did::Answered(got.status()),
            // The only malformed requests that are answered are those that were taken for none at all.
            HEADERS if matches!(must, Reset(_)) && got.status() == 400 => return Did::Answered(400),
            PING if got.payload == b"the next" => {
                let _ = frames.send(&frame(PING, 0, 0, b"the last"));
            }
            PING if got.payload == b"the last" && !awaits_status => return Did::Ponged,
            _ => {}
        }
    }
    Did::Closed
}

fn holds(must: Must, did: &Did) -> bool {
    // The code that is for want of a better one will do: what is wrong was seen, and ended.
    let says = |codes: &[u32], code| codes.contains(code) || *code == PROTOCOL_ERROR;
    match (must, did) {
        (Close(codes), Did::GoAway(code)) => says(codes, code),
        (Reset(codes), Did::GoAway(code) | Did::Reset(code)) => says(codes, code),
        (Reset(_), Did::Answered(400)) => true,
        (GoOn(None), Did::Ponged) => true,
        (GoOn(Some(wanted)), Did::Answered(status)) => wanted == *status,
        _ => false,
    }
}

/// The cases that a server does not do as they say, with what it does.
fn failures(address: SocketAddr) -> Vec<String> {
    let put = |case: &Case| (case.0, case.2, put(address, case));
    let did = cases().iter().map(put).collect::<Vec<_>>();
    let failed = did.into_iter().filter(|(_, must, did)| !holds(*must, did));
    failed.map(|(name, must, did)| format!("{name}: {did}, not {must:?}")).collect()
}

#[test]
fn what_the_rfc_demands_of_a_server_section_by_section() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    // `h2` drops pseudo-header fields that it finds in trailers, so that nobody gets to see them.
    let known = ["8.3 a pseudo-header field in trailers: Ponged, not Reset([1])"];
    assert_eq!(failures(proxy.address("in")), known);
}

/// What Envoy does of the same cases, so that it is known whether a case or a server is wrong.
#[test]
fn envoy_does_nearly_the_same() {
    if !Envoy::is_installed() {
        return;
    }
    let upstream = Upstream::ok("hello");
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip(), "port_value": address.port()}});
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = json!({"endpoint": {"address": socket(upstream.address())}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "delayed_close_timeout": "0.01s", // a second for each case, otherwise
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "up"}},
        ]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    });
    let bootstrap = json!({
        "admin": {"address": socket(any)},
        "static_resources": {
            "listeners": [{"name": "in", "address": socket(any), "filter_chains": [{"filters": [
                {"name": "manager", "typed_config": manager},
            ]}]}],
            "clusters": [{"name": "up", "load_assignment": {
                "cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}],
            }}],
        },
    });
    let envoy = Envoy::start(tempfile::tempdir().expect("a temporary folder can be made"), &bootstrap);
    // It closes connections with something unread, so that its GOAWAY may be lost on the way.
    let failures = failures(envoy.address("in"));
    let otherwise = failures.iter().filter(|failure| !failure.contains(": Closed, not "));
    let expected = [
        "5.1 DATA on a stream that the client reset: Ponged, not Reset([5])",
        "5.1 HEADERS on a stream that the client reset: Ponged, not Reset([5, 1])",
        "5.1.1 a stream of a number below a former one's: Ponged, not Close([1, 5])",
        "5.3.1 PRIORITY that depends on its own stream: Ponged, not Reset([1])",
        "6.3 PRIORITY on stream 0: Ponged, not Close([1])",
        "8.3.1 an authority and another host: Ponged, not Reset([1])",
    ];
    assert_eq!(otherwise.collect::<Vec<_>>(), expected);
}
