//! gRPC callouts beyond what Envoy can be compared in: connections, limits, and the ends of things.

use crate::equipment::Buffer::GrpcMessage;
use crate::equipment::{
    Act, Answer, Flow, Gate, GrpcAct, GrpcEnd, GrpcService, Guest, Map, On, Proxy, Step, Token, Upstream,
    When, eventually, forwarding, in_listener, message, silent_address,
};

/// A proxy with one filter, beside whose upstream there is the cluster `svc`.
fn proxy(upstream: &Upstream, service: &GrpcService, guest: &Guest, more: &str) -> Proxy {
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [grpc]"]);
    let clusters = format!("clusters:\n  svc: {{endpoints: [\"{}\"]{more}}}\n", service.address());
    let config = config.replacen("clusters:\n", &clusters, 1) + "filters:\n  grpc: {module: ./grpc.wasm}\n";
    Proxy::with(&config).log_guests_fully().file("grpc.wasm", guest.build()).start()
}

fn go_on() -> [Step; 2] {
    [Step::EffectiveStream, Step::Resume(Flow::Request)]
}

/// Holds each request for a call.
fn calling() -> Guest {
    let call = Step::grpc_call("svc", "Do", "a question", 0);
    let guest = Guest::logger().on(On::RequestHeaders, [call, Step::Return(1)]);
    guest.on(On::GrpcReceive, go_on()).on(On::GrpcClose, [Step::CalloutStatus]).on(On::GrpcClose, go_on())
}

fn answer() -> Vec<GrpcAct> {
    vec![
        GrpcAct::ReadToEnd,
        GrpcAct::Message("an answer".to_owned()),
        GrpcAct::Trailers(vec![("grpc-status", "0")]),
    ]
}

fn has_logged(proxy: &Proxy, text: &str) -> bool {
    proxy.guest_log().iter().any(|(_, line)| line.contains(text))
}

#[test]
fn callouts_share_a_connection_one_after_the_other_and_at_once() {
    let (upstream, gate) = (Upstream::ok("hello"), Gate::new());
    let held = gate.clone();
    let service = GrpcService::start(move |_| [vec![GrpcAct::Await(held.clone())], answer()].concat());
    let guest = Guest::logger().on(On::RequestHeaders, [Step::grpc_call("svc", "Do", "a question", 0)]);
    let proxy = proxy(&upstream, &service, &guest, "");
    (0..8).for_each(|_| assert_eq!(proxy.client().get("/").status(), 200));
    service.wait_until("eight calls at once", |rpcs| rpcs.len() == 8);
    gate.open();
    service.settle();
    assert_eq!(proxy.client().get("/").text(), "hello");
    service.wait_until("one more call", |rpcs| rpcs.len() == 9);
    let answers = || proxy.guest_log().iter().filter(|(_, line)| line.contains("grpc_receive ctx=1")).count();
    eventually("nine answers", || (answers() == 9).then_some(()));
    assert_eq!(service.connections(), 1);
}

#[test]
fn a_connection_that_nobody_uses_is_closed_and_made_anew() {
    let upstream = Upstream::ok("hello");
    let service = GrpcService::start(|_| answer());
    let proxy = proxy(&upstream, &service, &calling(), ", idle_timeout: 50ms");
    for _ in 0..2 {
        assert_eq!(proxy.client().get("/").status(), 200);
        service.wait_for_no_connection();
    }
    assert_eq!(service.connections(), 2);
}

#[test]
fn after_a_goaway_calls_go_to_a_new_connection() {
    let upstream = Upstream::ok("hello");
    let service = GrpcService::start(|_| [answer(), vec![GrpcAct::GoAway]].concat());
    let proxy = proxy(&upstream, &service, &calling(), "");
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").status(), 200);
        service.wait_for_no_connection();
    }
    assert!(!has_logged(&proxy, "grpc_close"), "{:?}", proxy.guest_log());
    assert_eq!(service.connections(), 3);
}

#[test]
fn a_connection_that_breaks_ends_its_calls_and_is_replaced() {
    let upstream = Upstream::ok("hello");
    let broken = std::sync::atomic::AtomicBool::new(false);
    let service = GrpcService::start(move |_| match broken.swap(true, std::sync::atomic::Ordering::SeqCst) {
        false => vec![GrpcAct::ReadToEnd, GrpcAct::Close],
        true => answer(),
    });
    let proxy = proxy(&upstream, &service, &calling(), "");
    assert_eq!(proxy.client().get("/").status(), 200);
    assert!(has_logged(&proxy, "grpc_close ctx=1 token=5 status=14"), "{:?}", proxy.guest_log());
    assert_eq!(proxy.client().get("/").status(), 200);
    assert!(has_logged(&proxy, "grpc_receive ctx=1 token=9 size=9"), "{:?}", proxy.guest_log());
}

#[test]
fn what_is_no_http_2_is_unavailable() {
    let upstream = Upstream::ok("hello");
    let plain = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = plain.local_addr().expect("a bound socket has an address");
    let answering = std::thread::spawn(move || {
        let (mut peer, _) = plain.accept().expect("the proxy connects");
        let _ = std::io::Write::write_all(&mut peer, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = std::io::Read::read_to_end(&mut peer, &mut Vec::new());
    });
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [grpc]"]);
    let config =
        config.replacen("clusters:\n", &format!("clusters:\n  svc: {{endpoints: [\"{address}\"]}}\n"), 1);
    let config = config + "filters:\n  grpc: {module: ./grpc.wasm}\n";
    let proxy = Proxy::with(&config).log_guests_fully().file("grpc.wasm", calling().build()).start();
    assert_eq!(proxy.client().get("/").status(), 200);
    assert!(has_logged(&proxy, "grpc_close ctx=1 token=5 status=14"), "{:?}", proxy.guest_log());
    answering.join().expect("it only answers");
}

#[test]
fn a_message_beyond_the_limit_ends_its_callout() {
    let upstream = Upstream::ok("hello");
    let service = GrpcService::start(|_| {
        // One byte more than 4 MiB is announced.
        vec![GrpcAct::ReadToEnd, GrpcAct::Raw(b"\0\x00\x40\x00\x01".to_vec()), GrpcAct::AwaitReset]
    });
    let proxy = proxy(&upstream, &service, &calling(), "");
    assert_eq!(proxy.client().get("/").status(), 200);
    assert!(has_logged(&proxy, "grpc_close ctx=1 token=5 status=8"), "{:?}", proxy.guest_log());
}

#[test]
fn metadata_beyond_the_limit_ends_its_callout_and_no_other() {
    let upstream = Upstream::ok("hello");
    let large: &str = "x".repeat(20_000).leak();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let service =
        GrpcService::start(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => vec![GrpcAct::Head(vec![("x-large", large)]), GrpcAct::AwaitReset],
            _ => answer(),
        });
    let proxy = proxy(&upstream, &service, &calling(), ", header_bytes: 16KiB");
    (0..2).for_each(|_| assert_eq!(proxy.client().get("/").status(), 200));
    assert!(has_logged(&proxy, "grpc_close ctx=1 token=5 status=14"), "{:?}", proxy.guest_log());
    assert!(has_logged(&proxy, "grpc_receive ctx=1 token=9 size=9"), "{:?}", proxy.guest_log());
    assert_eq!(service.connections(), 1);
}

#[test]
fn a_large_message_comes_whole_both_ways() {
    let upstream = Upstream::ok("hello");
    let text = "0123456789".repeat(3_000); // a guest's constants have no room for more
    let answers = "x".repeat(3 << 20);
    let service = GrpcService::start(move |_| {
        vec![
            GrpcAct::ReadToEnd,
            GrpcAct::Message(answers.clone()),
            GrpcAct::Trailers(vec![("grpc-status", "0")]),
        ]
    });
    let call = Step::grpc_call("svc", "Do", &text, 0);
    let guest = Guest::logger().on(On::RequestHeaders, [call, Step::Return(1)]).on(On::GrpcReceive, go_on());
    let proxy = proxy(&upstream, &service, &guest, "");
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(service.rpcs()[0].messages, [text]);
    let size = 3 << 20;
    assert!(
        has_logged(&proxy, &format!("grpc_receive ctx=1 token=5 size={size}")),
        "{:?}",
        proxy.guest_log()
    );
}

/// Opens a stream for each request and lets the request go.
fn streaming() -> Guest {
    let open = [Step::grpc_stream("svc", "Do"), Step::grpc_send(Token::Slot(0), "one", false)];
    Guest::logger().on(On::RequestHeaders, open).on(On::GrpcReceive, [Step::buffer(GrpcMessage)])
}

fn echo(_: &str) -> Vec<GrpcAct> {
    vec![GrpcAct::Echo]
}

#[test]
fn a_stream_outlives_its_exchange_and_ends_with_the_proxy() {
    let upstream = Upstream::ok("hello");
    let service = GrpcService::start(echo);
    let mut proxy = proxy(&upstream, &service, &streaming(), "");
    assert_eq!(proxy.client().get("/").text(), "hello");
    let rpcs = service.wait_until("the message", |rpcs| rpcs.iter().any(|rpc| rpc.messages == ["one"]));
    assert_eq!(rpcs[0].end, None);
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
    let rpcs = service.wait_until("the end", |rpcs| rpcs[0].end.is_some());
    assert_eq!(rpcs[0].end, Some(GrpcEnd::Reset(Some(8))), "it is cancelled, and not cut");
    service.wait_for_no_connection();
}

#[test]
fn a_fault_cancels_what_its_instance_had_open() {
    let upstream = Upstream::ok("hello");
    let service = GrpcService::start(echo);
    let guest = streaming().on(On::GrpcReceive, [Step::Trap]);
    let proxy = proxy(&upstream, &service, &guest, "");
    let _ = proxy.client().get("/");
    let rpcs = service.wait_until("the end", |rpcs| rpcs.iter().any(|rpc| rpc.end.is_some()));
    assert_eq!(rpcs[0].end, Some(GrpcEnd::Reset(Some(8))));
}

#[test]
fn a_half_closed_stream_can_be_cancelled() {
    let gate = Gate::new();
    let (waiting, reached) = (gate.clone(), gate);
    let upstream = Upstream::start(move |_| {
        let mut answer = Answer::ok("hello");
        answer.acts.insert(0, Act::Await(waiting.clone()));
        answer
    });
    let service = GrpcService::start(move |_| {
        vec![GrpcAct::Read(1), GrpcAct::Reached(reached.clone()), GrpcAct::AwaitReset]
    });
    let steps = [
        Step::grpc_stream("svc", "Do"),
        Step::grpc_send(Token::Slot(0), "one", false),
        Step::GrpcClose(Token::Slot(0)),
    ];
    let guest = Guest::logger().on(On::RequestHeaders, steps).on(On::Log, [Step::GrpcCancel(Token::Slot(0))]);
    let proxy = proxy(&upstream, &service, &guest, "");
    assert_eq!(proxy.client().get("/").status(), 200);
    service.settle();
    assert_eq!(service.rpcs()[0].end, Some(GrpcEnd::Reset(Some(8))));
    assert!(!has_logged(&proxy, "grpc_close ctx"), "cancelling is silent: {:?}", proxy.guest_log());
}

/// A service that takes only the beginning of a message, and does this with each call but the first, which comes before
/// its window is known.
fn taking_nothing(then: GrpcAct) -> GrpcService {
    let is_known = std::sync::atomic::AtomicBool::new(false);
    GrpcService::with_window(5, move |_| match is_known.swap(true, std::sync::atomic::Ordering::SeqCst) {
        false => vec![GrpcAct::TrailersOnly(vec![("grpc-status", "7")])],
        true => vec![then.clone(), GrpcAct::AwaitReset],
    })
}

/// Has the guest call the service twice; the second callout's end is a reset.
fn call_twice(proxy: &Proxy) {
    assert_eq!(proxy.client().get("/").status(), 200);
    eventually("the first end", || has_logged(proxy, "grpc_close ctx=1").then_some(()));
    assert_eq!(proxy.client().get("/").status(), 200);
}

fn expect_cancellation(service: &GrpcService) {
    let rpcs = service.wait_until("the end", |rpcs| rpcs.get(1).is_some_and(|rpc| rpc.end.is_some()));
    assert_eq!((rpcs[1].end, rpcs[1].messages.len()), (Some(GrpcEnd::Reset(Some(8))), 0));
}

#[test]
fn a_stream_whose_service_takes_nothing_can_be_cancelled() {
    let upstream = Upstream::ok("hello");
    let service = taking_nothing(GrpcAct::Head(vec![("x-second", "1")]));
    let cancel =
        Step::If(When::Header(Map::GrpcInitial, "x-second", "1"), vec![Step::GrpcCancel(Token::Own)]);
    let guest = streaming().on(On::GrpcInitial, [cancel]);
    let proxy = proxy(&upstream, &service, &guest, ", idle_timeout: 50ms");
    call_twice(&proxy);
    expect_cancellation(&service);
    service.wait_for_no_connection();
}

#[test]
fn a_stream_whose_service_takes_nothing_ends_with_the_proxy() {
    let upstream = Upstream::ok("hello");
    let service = taking_nothing(GrpcAct::Head(vec![("x-second", "1")]));
    let guest = streaming().on(On::GrpcInitial, [Step::get(Map::GrpcInitial, "x-second")]);
    let mut proxy = proxy(&upstream, &service, &guest, "");
    call_twice(&proxy);
    eventually("the head", || has_logged(&proxy, "x-second -> 0 1").then_some(()));
    proxy.terminate();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0));
    assert!(!exit.stderr.contains("the drain's time is over"), "{}", exit.stderr);
    expect_cancellation(&service);
}

#[test]
fn a_call_that_is_answered_before_it_was_taken_leaves_nothing_behind() {
    let upstream = Upstream::ok("hello");
    let service = taking_nothing(GrpcAct::TrailersOnly(vec![("grpc-status", "7")]));
    let proxy = proxy(&upstream, &service, &calling(), ", idle_timeout: 50ms");
    call_twice(&proxy);
    assert!(has_logged(&proxy, "grpc_close ctx=1 token=9 status=7"), "{:?}", proxy.guest_log());
    expect_cancellation(&service);
    service.wait_for_no_connection();
}

#[test]
fn a_call_whose_service_takes_nothing_ends_with_its_time() {
    let upstream = Upstream::ok("hello");
    let service = taking_nothing(GrpcAct::Head(vec![]));
    let call = Step::grpc_call("svc", "Do", "a question", 200);
    let guest = Guest::logger().on(On::RequestHeaders, [call, Step::Return(1)]).on(On::GrpcClose, go_on());
    let proxy = proxy(&upstream, &service, &guest, ", idle_timeout: 50ms");
    call_twice(&proxy);
    expect_cancellation(&service);
    service.wait_for_no_connection();
}

#[test]
fn calls_that_wait_for_one_connection_fail_together() {
    let (address, _queue) = silent_address();
    let upstream = Upstream::ok("hello");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [grpc]"]);
    let cluster = format!("clusters:\n  svc: {{endpoints: [\"{address}\"], connect_timeout: 200ms}}\n");
    let config = config.replacen("clusters:\n", &cluster, 1) + "filters:\n  grpc: {module: ./grpc.wasm}\n";
    let call = || Step::grpc_call("svc", "Do", "a question", 0);
    let guest = Guest::logger().on(On::RequestHeaders, [call(), call(), call()]);
    let proxy = Proxy::with(&config).log_guests_fully().file("grpc.wasm", guest.build()).start();
    assert_eq!(proxy.client().get("/").status(), 200);
    let closes = || proxy.guest_log().iter().filter(|(_, line)| line.contains("grpc_close ctx=1")).count();
    eventually("three failures", || (closes() == 3).then_some(()));
    let labels = [("cluster", "svc"), ("reason", "timeout")];
    assert_eq!(proxy.metrics().sum("tidegate_upstream_connect_failures_total", &labels), 1.0);
}

#[test]
fn a_service_is_read_ahead_by_no_more_than_a_window() {
    let upstream = Upstream::ok("hello");
    let service = GrpcService::start(|_| [vec![GrpcAct::Window(300 << 10)], answer()].concat());
    let proxy = proxy(&upstream, &service, &calling(), "");
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(service.rpcs()[0].window, Some(256 << 10));
    assert!(has_logged(&proxy, "grpc_receive ctx=1"), "{:?}", proxy.guest_log());
}

#[test]
fn a_drain_waits_for_calls_and_their_guests_hear_of_them() {
    let (upstream, gate) = (Upstream::ok("hello"), Gate::new());
    let held = gate.clone();
    let service = GrpcService::start(move |_| [vec![GrpcAct::Await(held.clone())], answer()].concat());
    let guest = Guest::logger().on(On::RequestHeaders, [Step::grpc_call("svc", "Do", "a question", 0)]);
    let mut proxy = proxy(&upstream, &service, &guest, "");
    assert_eq!(proxy.client().get("/").status(), 200);
    service.wait_until("the call", |rpcs| rpcs.len() == 1);
    proxy.terminate();
    proxy.wait_for_log("the drain", |event| message(event) == "draining");
    gate.open();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("grpc_receive ctx=1 token=5 size=9"), "{}", exit.stderr);
    assert_eq!(service.rpcs()[0].end, Some(GrpcEnd::HalfClosed));
}
