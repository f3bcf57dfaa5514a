//! gRPC calls as traffic, from HTTP/2 to HTTP/2: how they end, and in which order their two sides do.

use http::HeaderMap;

use crate::equipment::grpc_web::framed;
use crate::equipment::{
    Gate, GrpcAct, GrpcEnd, GrpcService, Guest, Http2Client, Http2Response, Proxy, forwarding, in_listener,
};

const CALL: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

fn config(service: &GrpcService, route: &str) -> String {
    let config = forwarding(&[service.address()], route).replace("endpoints:", "protocol: http2, endpoints:");
    in_listener(&config, &["access_log: true"])
}

/// A proxy before the service, and the same with a filter that sees all there is.
fn proxies(service: &GrpcService, route: &str) -> [Proxy; 2] {
    let filtered = config(service, route).replace("  routes:", "  filters: [log]\n  routes:");
    let filtered = filtered + "filters:\n  log: {module: ./log.wasm}\n";
    let filtered = Proxy::with(&filtered).file("log.wasm", Guest::logger().build());
    [Proxy::start(&config(service, route)), filtered.start()]
}

fn client(proxy: &Proxy) -> Http2Client {
    Http2Client::connect(proxy.address("in"))
}

fn status(fields: Option<&HeaderMap>) -> Option<(&str, &str)> {
    let fields = fields?;
    let field =
        |name| fields.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or("");
    Some((field("grpc-status"), field("grpc-message")))
}

fn message(text: &str) -> GrpcAct {
    GrpcAct::Message(text.to_owned())
}

fn trailers(status: &'static str) -> GrpcAct {
    GrpcAct::Trailers(vec![("grpc-status", status)])
}

/// A service that says one thing, and does another once the gate is open.
fn after_a_message(gate: &Gate, act: GrpcAct) -> GrpcService {
    let held = gate.clone();
    GrpcService::start(move |_| vec![message("first"), GrpcAct::Await(held.clone()), act.clone()])
}

/// What a client of such a service has in the end, which had its message before the rest came.
fn watched(proxy: &Proxy, gate: &Gate) -> Http2Response {
    let mut client = client(proxy);
    let mut call = client.begin("POST", "/svc/Watch", &CALL, true).expect("it listens");
    let mut began = client.head(&mut call).expect("it has begun");
    assert_eq!(client.piece(&mut began).expect("there is one"), framed("first"));
    gate.open();
    client.rest(began).expect("it ends in order")
}

#[test]
fn a_stream_that_the_service_resets_ends_with_what_the_reset_means() {
    for (code, meant) in [(8, "1"), (2, "13"), (1, "13"), (11, "8"), (12, "7"), (7, "14")] {
        let gate = Gate::new();
        let service = after_a_message(&gate, GrpcAct::Reset(code));
        for proxy in proxies(&service, "") {
            gate.shut();
            let response = watched(&proxy, &gate);
            assert_eq!(
                status(response.trailers.as_ref()),
                Some((meant, "the response was cut short")),
                "{code}"
            );
            let line = proxy.wait_for_access_log(1).remove(0);
            assert_eq!(line["outcome"], "upstream_body_cut", "{line}");
            assert!(line["grpc_status"].is_string(), "{line}");
        }
    }
}

#[test]
fn a_stream_whose_service_is_gone_ends_as_unavailable() {
    let gate = Gate::new();
    let service = after_a_message(&gate, GrpcAct::Close);
    for proxy in proxies(&service, "") {
        gate.shut();
        let response = watched(&proxy, &gate);
        assert_eq!(status(response.trailers.as_ref()).map(|(status, _)| status), Some("14"));
    }
}

#[test]
fn what_is_no_call_is_reset_where_it_breaks_off() {
    let gate = Gate::new();
    let held = gate.clone();
    let service = GrpcService::start(move |_| {
        vec![
            GrpcAct::Status(201, false),
            GrpcAct::Raw(b"half".to_vec()),
            GrpcAct::Await(held.clone()),
            GrpcAct::Reset(8),
        ]
    });
    for proxy in proxies(&service, "") {
        gate.shut();
        let mut client = client(&proxy);
        let mut call = client.begin("GET", "/", &[], true).expect("it listens");
        let mut began = client.head(&mut call).expect("it has begun");
        assert_eq!(client.piece(&mut began).expect("there is one"), b"half");
        gate.open();
        assert!(client.rest(began).is_err(), "nobody is to take it for whole");
    }
}

#[test]
fn a_deadline_that_passes_within_a_stream_ends_it_as_exceeded() {
    let service = GrpcService::start(|_| vec![message("first"), GrpcAct::AwaitReset]);
    let deadline = [CALL[0], CALL[1], ("grpc-timeout", "300m")];
    for (route, fields) in [("timeout: 300ms", &CALL[..]), ("timeout: 0s, grpc_timeout: 0s", &deadline)] {
        for proxy in proxies(&service, route) {
            let before = service.rpcs().len();
            let response =
                client(&proxy).request("POST", "/svc/Watch", fields, &framed("go")).expect("it ends");
            assert_eq!(response.body, framed("first"));
            let told = Some(("4", "upstream request timeout"));
            assert_eq!(status(response.trailers.as_ref()), told, "{route}");
            service.wait_until("its end", |rpcs| rpcs[before].end == Some(GrpcEnd::Reset(Some(8))));
            assert_eq!(proxy.wait_for_access_log(1)[0]["grpc_status"], "deadline_exceeded");
        }
    }
}

#[test]
fn a_client_that_cancels_within_a_stream_cancels_it_at_the_service() {
    let service = GrpcService::start(|_| vec![message("first"), GrpcAct::AwaitReset]);
    for proxy in proxies(&service, "") {
        let before = service.rpcs().len();
        let mut client = client(&proxy);
        let mut call = client.begin("POST", "/svc/Watch", &CALL, false).expect("it listens");
        let mut began = client.head(&mut call).expect("it has begun");
        assert_eq!(client.piece(&mut began).expect("there is one"), framed("first"));
        call.reset();
        service.wait_until("its end", |rpcs| rpcs[before].end == Some(GrpcEnd::Reset(Some(8))));
        assert_eq!(proxy.wait_for_access_log(1)[0]["outcome"], "client_left");
    }
}

#[test]
fn a_message_may_be_cut_anywhere() {
    let service = GrpcService::start(|_| vec![GrpcAct::Head(vec![]), GrpcAct::Echo, trailers("0")]);
    for proxy in proxies(&service, "") {
        let mut client = client(&proxy);
        let mut call = client.begin("POST", "/svc/Echo", &CALL, false).expect("it listens");
        let bytes = [framed("one"), framed(""), framed("three")].concat();
        for byte in &bytes {
            client.send(&mut call, &[*byte], false).expect("it is taken");
        }
        client.send(&mut call, b"", true).expect("it is taken");
        let response = client.finish(call).expect("it is answered");
        assert_eq!((response.body, status(response.trailers.as_ref())), (bytes, Some(("0", ""))));
        assert_eq!(service.rpcs().pop().expect("it is there").messages, ["one", "", "three"]);
    }
}

#[test]
fn either_side_may_be_the_first_to_end() {
    let service = GrpcService::start(|method| match method {
        // It answers before the client has said all.
        "First" => vec![GrpcAct::Read(1), message("enough"), trailers("0")],
        _ => vec![GrpcAct::ReadToEnd, message("all"), trailers("0")],
    });
    for proxy in proxies(&service, "") {
        let mut client = client(&proxy);
        let mut call = client.begin("POST", "/svc/First", &CALL, false).expect("it listens");
        client.send(&mut call, &framed("a question"), false).expect("it is taken");
        let response = client.finish(call).expect("it is answered");
        assert_eq!((response.body, status(response.trailers.as_ref())), (framed("enough"), Some(("0", ""))));
        let mut call = client.begin("POST", "/svc/Last", &CALL, false).expect("it listens");
        client.send(&mut call, &framed("a question"), false).expect("it is taken");
        client.send(&mut call, b"", true).expect("it is taken");
        let response = client.finish(call).expect("it is answered");
        assert_eq!((response.body, status(response.trailers.as_ref())), (framed("all"), Some(("0", ""))));
    }
}
