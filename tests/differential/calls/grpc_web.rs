//! gRPC-Web through tidegate's bridge and through Envoy's filter: what the client reads, and what the service gets.

use serde_json::json;

use super::envoy;
use crate::equipment::grpc_web::{WebBody, framed, framed_text, read, read_text};
use crate::equipment::{Client, Envoy, GrpcAct, GrpcService, Proxy, forwarding, in_listener};

/// What can be seen of one call, on both sides.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    head: Vec<(String, String)>,
    body: WebBody,
    service: Vec<(String, String)>,
    messages: Vec<String>,
}

struct Call {
    name: &'static str,
    method: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

fn service() -> GrpcService {
    GrpcService::start(|method| {
        let text = |text: &str| GrpcAct::Message(text.to_owned());
        let ok = || GrpcAct::Trailers(vec![("grpc-status", "0"), ("x-last", "a b"), ("x-bin-bin", "AAEC")]);
        match method {
            "Say" => vec![GrpcAct::ReadToEnd, GrpcAct::Head(vec![("x-first", "1")]), text("an answer"), ok()],
            "Nothing" => vec![GrpcAct::ReadToEnd, GrpcAct::Head(vec![]), ok()],
            "Count" => vec![GrpcAct::ReadToEnd, text("1"), text("22"), text(&"3".repeat(50_000)), ok()],
            "Fail" => vec![
                GrpcAct::ReadToEnd,
                text("in vain"),
                GrpcAct::Trailers(vec![("grpc-status", "9"), ("grpc-message", "not%20now")]),
            ],
            "TrailersOnly" => vec![
                GrpcAct::ReadToEnd,
                GrpcAct::TrailersOnly(vec![("grpc-status", "5"), ("grpc-message", "none"), ("x-last", "1")]),
            ],
            "Plain" => vec![
                GrpcAct::ReadToEnd,
                GrpcAct::Status(503, false),
                GrpcAct::Raw(b"out of 50% order".to_vec()),
                GrpcAct::Finish,
            ],
            other => panic!("no method {other}"),
        }
    })
}

fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for method in ["Say", "Nothing", "Count", "Fail", "TrailersOnly", "Plain"] {
        for (name, kind, body) in [
            ("binary", "application/grpc-web", framed("a question")),
            ("binary proto", "application/grpc-web+proto", framed("a question")),
            ("text", "application/grpc-web-text", framed_text("a question")),
            ("text proto", "application/grpc-web-text+proto", framed_text("a question")),
        ] {
            calls.push(Call { name, method, fields: vec![("content-type", kind), ("accept", kind)], body });
        }
    }
    let web = ("content-type", "application/grpc-web");
    let mut more = |name, fields: Vec<(&'static str, &'static str)>, body| {
        calls.push(Call { name, method: "Say", fields, body });
    };
    more("binary, read as text", vec![web, ("accept", "application/grpc-web-text")], framed("a question"));
    more(
        "text, read as binary",
        vec![("content-type", "application/grpc-web-text"), ("accept", "application/grpc-web")],
        framed_text("a question"),
    );
    more("accepts anything", vec![web, ("accept", "*/*")], framed("a question"));
    more("its own encodings", vec![web, ("grpc-accept-encoding", "gzip")], framed("a question"));
    more("no message", vec![web], Vec::new());
    more("an empty message", vec![web], framed(""));
    let text = ("content-type", "application/grpc-web-text");
    more("two messages as one text", vec![text, ("accept", "application/grpc-web")], {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode([framed("one"), framed("two")].concat()).into_bytes()
    });
    calls
}

/// Makes a call, and notes what is not the proxies' own.
fn make(call: &Call, at: std::net::SocketAddr, service: &GrpcService) -> Seen {
    let before = service.rpcs().len();
    let body: String = call.body.iter().map(|byte| char::from(*byte)).collect();
    let path = format!("/svc/{}", call.method);
    let response = Client::connect(at).request("POST", &path, &call.fields, &body);
    let known = ["content-type", "grpc-status", "grpc-message", "x-first", "x-last", "content-encoding"];
    let mut head: Vec<_> =
        response.head.fields.iter().filter(|(name, _)| known.contains(&&**name)).cloned().collect();
    head.sort();
    let is_text = response.field("content-type").is_some_and(|kind| kind.contains("-text"));
    let mut body = if is_text { read_text(&response.body.bytes) } else { read(&response.body.bytes) };
    body.trailers.sort();
    service.settle();
    let rpc = service.rpcs().swap_remove(before);
    let known = ["content-type", "te", "grpc-accept-encoding", "content-length", "accept"];
    let mut fields: Vec<_> = rpc.fields.into_iter().filter(|(name, _)| known.contains(&&**name)).collect();
    fields.sort();
    Seen { status: response.status(), head, body, service: fields, messages: rpc.messages }
}

#[test]
fn grpc_web_is_bridged_as_envoy_does_it() {
    if !Envoy::is_installed() {
        return;
    }
    let service = service();
    let config = forwarding(&[service.address()], "").replace("endpoints:", "protocol: http2, endpoints:");
    let proxy = Proxy::start(&in_listener(&config, &["grpc_web: true"]));
    let filter = json!({
        "name": "envoy.filters.http.grpc_web",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"},
    });
    let envoy = envoy(service.address(), &[filter]);
    for call in calls() {
        let (ours, theirs) =
            (make(&call, proxy.address("in"), &service), make(&call, envoy.address("in"), &service));
        assert_eq!(ours, theirs, "{} of {}", call.name, call.method);
    }
}
