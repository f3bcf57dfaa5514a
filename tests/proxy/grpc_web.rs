//! gRPC-Web: calls of web pages reach services that speak gRPC, and the other way round.

use crate::equipment::grpc_web::{framed, framed_text, read, read_text};
use crate::equipment::{
    Answer, Gate, GrpcAct, GrpcService, Guest, Http2Client, Proxy, Response, Upstream, forwarding,
    in_listener,
};

const WEB: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// What most methods of the service do.
fn service() -> GrpcService {
    GrpcService::start(|method| {
        let text = |text: &str| GrpcAct::Message(text.to_owned());
        let ok = || GrpcAct::Trailers(vec![("grpc-status", "0"), ("x-last", "1")]);
        match method {
            "Say" => vec![GrpcAct::ReadToEnd, GrpcAct::Head(vec![("x-first", "1")]), text("an answer"), ok()],
            "Count" => vec![GrpcAct::ReadToEnd, text("1"), text("22"), text("333"), ok()],
            "Fail" => vec![
                GrpcAct::ReadToEnd,
                GrpcAct::TrailersOnly(vec![("grpc-status", "5"), ("grpc-message", "none")]),
            ],
            "Plain" => vec![
                GrpcAct::ReadToEnd,
                GrpcAct::Status(503, false),
                GrpcAct::Raw(b"out of 50% order".to_vec()),
                GrpcAct::Finish,
            ],
            "Bare" => vec![GrpcAct::ReadToEnd, GrpcAct::Status(403, true)],
            "Reset" => vec![GrpcAct::ReadToEnd, text("first"), GrpcAct::Reset(8)],
            other => panic!("no method {other}"),
        }
    })
}

fn config(service: &GrpcService, route: &str) -> String {
    let config = forwarding(&[service.address()], route).replace("endpoints:", "protocol: http2, endpoints:");
    in_listener(&config, &["grpc_web: true", "access_log: true"])
}

/// Calls a method, in the same form both ways.
fn call(proxy: &Proxy, method: &str, kind: &str, body: &[u8]) -> Response {
    let fields = [("content-type", kind), ("accept", kind), ("x-grpc-web", "1")];
    let body: String = body.iter().map(|byte| char::from(*byte)).collect();
    proxy.client().request("POST", &format!("/svc/{method}"), &fields, &body)
}

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn a_pages_call_reaches_a_service_that_speaks_grpc() {
    let service = service();
    let proxy = Proxy::start(&config(&service, ""));
    let response = call(&proxy, "Say", WEB, &framed("a question"));
    assert_eq!((response.status(), response.field("content-type")), (200, Some(WEB)));
    assert_eq!((response.field("x-first"), response.field("content-length")), (Some("1"), None));
    let body = read(&response.body.bytes);
    assert_eq!(body.messages, ["an answer"]);
    assert_eq!(pairs(&body.trailers), [("grpc-status", "0"), ("x-last", "1")]);
    assert!(response.body.trailers.is_empty(), "they are in the body");
    let rpc = service.rpcs().remove(0);
    let field = |name: &str| rpc.fields.iter().find(|(had, _)| had == name).map(|(_, value)| value.as_str());
    assert_eq!((field("content-type"), field("te")), (Some("application/grpc"), Some("trailers")));
    assert_eq!((field("grpc-accept-encoding"), field("content-length")), (Some("identity"), None));
    assert_eq!((rpc.path.as_str(), &rpc.messages[..]), ("/svc/Say", &["a question".to_owned()][..]));
}

#[test]
fn text_is_base64_both_ways() {
    let service = service();
    let proxy = Proxy::start(&config(&service, ""));
    // Two messages, each with a padding of its own.
    let sent = [framed_text("fours"), framed_text("again!")].concat();
    let response = call(&proxy, "Count", TEXT, &sent);
    assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"));
    let body = read_text(&response.body.bytes);
    assert_eq!(body.messages, ["1", "22", "333"]);
    assert_eq!(pairs(&body.trailers), [("grpc-status", "0"), ("x-last", "1")]);
    assert_eq!(service.rpcs()[0].messages, ["fours", "again!"]);
}

#[test]
fn text_that_comes_byte_by_byte_is_read_as_well() {
    let service = service();
    let proxy = Proxy::start(&config(&service, ""));
    let mut client = Http2Client::connect(proxy.address("in"));
    let fields = [("content-type", TEXT), ("accept", WEB)];
    let mut call = client.begin("POST", "/svc/Say", &fields, false).expect("it listens");
    let text = framed_text("a question");
    for (at, byte) in text.iter().enumerate() {
        client.send(&mut call, &[*byte], at + 1 == text.len()).expect("it listens");
    }
    let response = client.finish(call).expect("it answers");
    assert_eq!(response.field("content-type"), Some(WEB), "as it accepts");
    assert_eq!(read(&response.body).messages, ["an answer"]);
    assert!(response.trailers.is_none(), "they are in the body, over HTTP/2 too");
    assert_eq!(service.rpcs()[0].messages, ["a question"]);
}

#[test]
fn each_message_of_a_stream_goes_on_when_it_comes() {
    let gate = Gate::new();
    let held = gate.clone();
    let service = GrpcService::start(move |_| {
        vec![
            GrpcAct::Message("now".to_owned()),
            GrpcAct::Await(held.clone()),
            GrpcAct::Message("later".to_owned()),
            GrpcAct::Trailers(vec![("grpc-status", "0")]),
        ]
    });
    let proxy = Proxy::start(&config(&service, ""));
    let mut client = proxy.client();
    let body = String::from_utf8(framed_text("a question")).expect("it is base64");
    let fields = format!("content-type: {TEXT}\r\naccept: {TEXT}\r\ncontent-length: {}", body.len());
    client.send(&format!("POST /svc/Watch HTTP/1.1\r\nhost: tide.test\r\n{fields}\r\n\r\n{body}"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(17), "C\r\nAAAAAANub3c=\r\n", "a chunk of twelve characters");
    gate.open();
    client.leave();
}

#[test]
fn a_status_in_the_place_of_a_response_stays_in_the_head() {
    let service = service();
    let proxy = Proxy::start(&config(&service, ""));
    let response = call(&proxy, "Fail", WEB, &framed("a question"));
    assert_eq!((response.status(), response.field("content-type")), (200, Some(WEB)));
    assert_eq!((response.field("grpc-status"), response.field("grpc-message")), (Some("5"), Some("none")));
    assert!(response.body.bytes.is_empty());
}

#[test]
fn what_the_proxy_says_itself_is_said_in_the_head() {
    let service = service();
    let proxy = Proxy::start(&config(&service, "").replace("{prefix: /}", "{prefix: /other}"));
    let response = call(&proxy, "Say", TEXT, &framed_text("a question"));
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"));
    assert_eq!(response.field("grpc-status"), Some("12"));
    assert_eq!(response.field("grpc-message"), Some("no route for this request"));
}

#[test]
fn text_that_is_none_is_the_clients_fault() {
    let service = service();
    let proxy = Proxy::start(&config(&service, ""));
    for body in ["AAA=AAA", "no base64!!!", "AAAAAAo"] {
        let response = call(&proxy, "Say", TEXT, body.as_bytes());
        assert_eq!((response.status(), response.field("grpc-status")), (200, Some("13")), "{body}");
    }
    let lines = proxy.wait_for_access_log(3);
    assert!(lines.iter().all(|line| line["outcome"] == "request_body_malformed"), "{lines:#?}");
    assert!(service.rpcs().iter().all(|rpc| rpc.messages.is_empty()));
}

#[test]
fn a_response_that_is_no_grpc_keeps_its_status_and_says_what_it_means() {
    let service = service();
    let proxy = Proxy::start(&config(&service, ""));
    let response = call(&proxy, "Plain", TEXT, &framed_text("a question"));
    assert_eq!((response.status(), response.field("grpc-status")), (503, Some("14")));
    assert_eq!(response.field("grpc-message"), Some("out of 50%25 order"));
    assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"));
    assert!(response.body.bytes.is_empty());
    let response = call(&proxy, "Bare", WEB, &framed("a question"));
    assert_eq!((response.status(), response.field("grpc-status")), (403, Some("7")));
    proxy.wait_for_metric("tidegate_grpc_calls_total", &[("grpc_status", "unavailable")], 1.0);

    let page = "<p>".to_owned() + &"x".repeat(100_000);
    let upstream =
        Upstream::start(move |_| Answer::sized(200, &[("content-type", "text/html")], &page).read_body());
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["grpc_web: true"]);
    let response = call(&Proxy::start(&config), "Say", WEB, &framed("a question"));
    assert_eq!((response.status(), response.field("grpc-status")), (200, Some("2")));
    let message = response.field("grpc-message").expect("there is one");
    assert_eq!((&message[..4], message.len()), ("<p>x", 4096), "no longer than clients take in a head");
    assert!(response.body.bytes.is_empty());
}

#[test]
fn a_stream_that_the_service_breaks_off_is_broken_off() {
    let gate = Gate::new();
    let held = gate.clone();
    let service = GrpcService::start(move |_| {
        vec![GrpcAct::Message("first".to_owned()), GrpcAct::Await(held.clone()), GrpcAct::Reset(8)]
    });
    let proxy = Proxy::start(&config(&service, ""));
    let mut client = proxy.client();
    client.send(&format!(
        "POST /svc/Watch HTTP/1.1\r\nhost: tide.test\r\ncontent-type: {WEB}\r\ncontent-length: 0\r\n\r\n"
    ));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(15), "A\r\n\0\0\0\0\u{5}first\r\n");
    gate.open();
    client.expect_end(); // without the last chunk, so that nobody takes it for whole
    proxy.wait_for_access_log(1);
}

#[test]
fn routes_filters_and_metrics_see_a_call() {
    let service = service();
    let config = config(&service, "")
        .replace("path: {prefix: /}", "path: {prefix: /}, headers: {content-type: {exact: application/grpc}}")
        .replace("  routes:", "  filters: [log]\n  routes:")
        + "filters:\n  log: {module: ./log.wasm}\n";
    let proxy = Proxy::with(&config).file("log.wasm", Guest::logger().build()).log_guests_fully().start();
    let response = call(&proxy, "Say", TEXT, &framed_text("a question"));
    assert_eq!(read_text(&response.body.bytes).messages, ["an answer"]);
    let lines: Vec<String> = proxy.guest_log().into_iter().map(|(_, line)| line).collect();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(has("response_trailers"), "the trailers are some to filters: {lines:#?}");
    assert_eq!(proxy.wait_for_access_log(1)[0]["grpc_status"], "ok");
    proxy.wait_for_metric("tidegate_grpc_calls_total", &[("grpc_status", "ok")], 1.0);
}

#[test]
fn pages_of_other_origins_may_read_the_status() {
    let service = service();
    let cors = "cors: {allow_origin: [\"https://page.test\"], allow_methods: [POST], \
                allow_headers: [content-type, x-grpc-web, grpc-timeout], expose_headers: [grpc-status, grpc-message]}";
    let proxy = Proxy::start(&config(&service, cors));
    let origin = ("origin", "https://page.test");
    let asks =
        [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "x-grpc-web")];
    let response = proxy.client().request("OPTIONS", "/svc/Say", &asks, "");
    assert_eq!(response.field("access-control-allow-origin"), Some("https://page.test"));
    let fields = [origin, ("content-type", WEB)];
    let body: String = framed("a question").into_iter().map(char::from).collect();
    let response = proxy.client().request("POST", "/svc/Fail", &fields, &body);
    assert_eq!(response.field("access-control-expose-headers"), Some("grpc-status, grpc-message"));
    assert_eq!(response.field("grpc-status"), Some("5"));
}

#[test]
fn without_the_bridge_such_a_request_is_like_any_other() {
    let service = service();
    let proxy = Proxy::start(&config(&service, "").replace("  grpc_web: true\n", ""));
    let response = call(&proxy, "Say", WEB, &framed("a question"));
    assert_eq!(response.field("content-type"), Some("application/grpc"));
    let rpc = service.rpcs().remove(0);
    assert!(rpc.fields.contains(&("content-type".to_owned(), WEB.to_owned())), "{:?}", rpc.fields);
    // And gRPC itself is not changed where there is one.
    let proxy = Proxy::start(&config(&service, ""));
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let response = Http2Client::connect(proxy.address("in"))
        .request("POST", "/svc/Say", &fields, &framed("a question"))
        .expect("it answers");
    assert_eq!(response.field("content-type"), Some("application/grpc"));
    assert_eq!(response.trailers.expect("it has some")["grpc-status"], "0");
}
