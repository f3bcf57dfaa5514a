//! Whatever a filter asks of the world, a replay of the same build is told the same.

use std::io::{Read as _, Write as _};

use super::Recording;
use crate::equipment::Map::{
    CalloutHeaders, RequestHeaders, RequestTrailers, ResponseHeaders, ResponseTrailers,
};
use crate::equipment::language::{ASSEMBLYSCRIPT, GO, RUST, RUST_WASI};
use crate::equipment::{
    Answer, Backend, Buffer, Client, Flow, GrpcAct, GrpcService, Guest, On, Proxy, Step, Upstream, When,
    eventually, forwarding, in_listener,
};

const PAUSE: i32 = 1;

/// Filters, each with what one of the house's own can do, and more of their configurations in flow style.
fn filters() -> Vec<(&'static str, Guest, &'static str)> {
    let go_on = [Step::EffectiveStream, Step::Resume(Flow::Request)];
    let asks = Guest::logger()
        .on(On::RequestHeaders, [Step::callout("up", "/asked", 60_000), Step::Return(PAUSE)])
        .on(
            On::CalloutResponse,
            [Step::Pairs(CalloutHeaders), Step::buffer(Buffer::CalloutBody), Step::CalloutStatus],
        )
        .on(On::CalloutResponse, go_on.clone());
    let calls = Guest::logger()
        .on(On::RequestHeaders, [Step::grpc_call("svc", "Do", "a question", 0), Step::Return(PAUSE)])
        .on(On::GrpcReceive, [Step::buffer(Buffer::GrpcMessage)])
        .on(On::GrpcReceive, go_on.clone())
        .on(On::GrpcClose, [Step::CalloutStatus])
        .on(On::GrpcClose, go_on);
    let shares = Guest::logger()
        .on(On::Configure, [Step::RegisterQueue("q".to_owned(), 0), Step::TickPeriod(1)])
        .on(
            On::RequestHeaders,
            [
                Step::SharedGet("key".to_owned()),
                Step::SharedSet("key".to_owned(), "a".to_owned(), Some(0)),
                Step::SharedGet("key".to_owned()),
                Step::ResolveQueue(String::new(), "q".to_owned(), 1),
                Step::Enqueue(1, "item".to_owned()),
            ],
        )
        .on(On::QueueReady, [Step::Dequeue(0), Step::Dequeue(0)])
        .on(On::Tick, [Step::SharedGet("key".to_owned())]);
    let others = Guest::logger().on(
        On::RequestHeaders,
        [Step::SharedGet("key".to_owned()), Step::SharedSet("key".to_owned(), "b".to_owned(), None)],
    );
    let edits = Guest::logger()
        .on(On::RequestHeaders, [Step::If(When::MoreToCome, vec![Step::Return(PAUSE)])])
        .on(
            On::RequestBody,
            [
                Step::buffer(Buffer::RequestBody),
                Step::If(When::MoreToCome, vec![Step::Return(PAUSE)]),
                Step::set_buffer(Buffer::RequestBody, 0, 3, "more than it was"),
            ],
        )
        .on(On::RequestTrailers, [Step::Pairs(RequestTrailers), Step::add(RequestTrailers, "x-more", "1")])
        .on(
            On::ResponseHeaders,
            [Step::Pairs(ResponseHeaders), Step::remove(ResponseHeaders, "content-length")],
        )
        .on(On::ResponseBody, [Step::set_buffer(Buffer::ResponseBody, 0, 1, "")])
        .on(On::ResponseTrailers, [Step::Pairs(ResponseTrailers), Step::remove(ResponseTrailers, "x-end")]);
    let replies = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::If(
                When::Header(RequestHeaders, "x-do", "reply"),
                vec![Step::reply(403, "no", &[("x-a", "b")])],
            ),
            Step::If(When::Header(RequestHeaders, "x-do", "close"), vec![Step::Close(Flow::Request)]),
        ],
    );
    let late = Guest::logger()
        .on(On::Configure, [Step::TickPeriod(1)])
        .on(On::Done, [Step::Return(0)])
        .on(On::Tick, [Step::EffectiveStream, Step::ProxyDone]);
    // `kept` lives as long as the connection: `DeclarePropertyArguments`.
    let keeps = Guest::logger()
        .on(On::Configure, [Step::foreign("declare_property", b"\x0a\x04kept\x28\x02")])
        .on(
            On::RequestHeaders,
            [
                Step::property("kept"),
                Step::SetProperty(vec!["kept".to_owned()], "value".to_owned()),
                Step::property("kept"),
                Step::SetProperty(vec!["own".to_owned()], "mine".to_owned()),
                Step::property("own"),
                Step::property("request.path"),
                Step::property("source.address"),
                Step::property("connection.id"),
                Step::property("plugin_name"),
            ],
        )
        .on(On::Log, [Step::property("response.code"), Step::property("request.duration")]);
    let may_little = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::Pairs(RequestHeaders),
            Step::get(RequestHeaders, "x-seen"),
            Step::get(RequestHeaders, "x-hidden"),
            Step::add(RequestHeaders, "x-denied", "1"),
            Step::callout("up", "/asked", 60_000),
            Step::DefineMetric(0, "denied".to_owned(), 3),
            Step::IncrementMetric(3, 1),
            Step::SharedGet("key".to_owned()),
            Step::property("request.path"),
        ],
    );
    let prefers = Guest::logger()
        .abi("0_2_1")
        .on(On::RequestHeaders, [Step::UpstreamHosts, Step::PreferHost("127.0.0.1:9".to_owned())]);
    let alone = Guest::logger()
        .on(
            On::Configure,
            [Step::RegisterQueue("q".to_owned(), 0), Step::DefineMetric(0, "alone".to_owned(), 1)],
        )
        .on(
            On::RequestHeaders,
            [Step::IncrementMetric(1, 1), Step::GetMetric(1), Step::callout("up", "/asked", 60_000)],
        );
    vec![
        ("keeps", keeps, ""),
        ("replies", replies, ""),
        ("asks", asks, ""),
        ("calls", calls, ""),
        ("shares", shares, ", vm_id: together"),
        ("others", others, ", vm_id: together"),
        ("edits", edits, ", allow_on_headers_stop_iteration: true"),
        ("late", late, ""),
        ("may_little", may_little, ", capabilities: {headers: {read: [x-seen]}}"),
        ("prefers", prefers, ""),
        ("alone", alone, ", isolation: exchange"),
    ]
}

fn answer() -> Vec<GrpcAct> {
    vec![
        GrpcAct::ReadToEnd,
        GrpcAct::Message("an answer".to_owned()),
        GrpcAct::Trailers(vec![("grpc-status", "0")]),
    ]
}

#[test]
fn what_filters_ask_of_the_world_is_answered_again() {
    let upstream = Upstream::start(|head| match head.target() {
        "/chunked" => Answer::chunked(200, &[], &["hello ", "world"], &[("x-end", "1")]),
        _ => Answer::ok("hello"),
    });
    let service = GrpcService::start(|_| answer());
    let filters = filters();
    let names: Vec<&str> = filters.iter().map(|(name, ..)| *name).collect();
    let chain = format!("filters: [{}]", names.join(", "));
    let mut config = in_listener(&forwarding(&[upstream.address()], ""), &[&chain]);
    config += &format!("  svc: {{endpoints: [\"{}\"]}}\nfilters:\n", service.address());
    for (name, _, more) in &filters {
        config += &format!("  {name}: {{module: ./{name}.wasm{more}}}\n");
    }
    let start = filters.iter().fold(Proxy::with(&config), |start, (name, guest, _)| {
        start.file(&format!("{name}.wasm"), guest.build())
    });
    let proxy = start.workers(2).log_guests_fully().start();
    // Of those that reply, and before them, every exchange is taken; the others do not see all.
    let count = |name| if ["keeps", "replies"].contains(&name) { 16 } else { 12 };
    let recordings: Vec<_> =
        names.iter().map(|name| (*name, Recording::of(&proxy, name, count(name), &[]))).collect();
    for _ in 0..2 {
        let mut client = proxy.client();
        client.request("GET", "/", &[("x-seen", "1"), ("x-hidden", "2")], "");
        client.request("POST", "/chunked", &[], "body");
        let head = "POST /chunked HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n";
        client.send(head);
        client.send("5\r\nfirst\r\n");
        service.wait_until("the call", |rpcs| !rpcs.is_empty());
        client.send("6\r\nsecond\r\n0\r\nx-t: 1\r\n\r\n");
        client.response();
        client.get("/chunked");
        client.request("HEAD", "/", &[], "");
        client.request("OPTIONS", "*", &[], "");
        client.request("GET", "/", &[("x-do", "reply")], "");
        proxy.client().send("GET / HTTP/1.1\r\nhost: a\r\nx-do: close\r\n\r\n");
    }
    for ((name, recording), (_, guest, _)) in recordings.into_iter().zip(&filters) {
        let recorded = recording.finish();
        recorded.exact_report(&guest.build()).is_identical(name, count(name));
    }
}

#[test]
fn connections_replay_bit_for_bit() {
    let backend = Backend::start();
    let guest = Guest::logger()
        .on(On::DownstreamData, [Step::buffer(Buffer::DownstreamData), Step::property("source.address")])
        .on(
            On::UpstreamData,
            [Step::If(When::Content, vec![Step::set_buffer(Buffer::UpstreamData, 0, 1, "P")])],
        );
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: tcp\n  cluster: up\n  filters: [f]\n\
         clusters:\n  up: {{endpoints: [\"{}\"]}}\nfilters: {{f: {{module: ./f.wasm}}}}\n",
        backend.address()
    );
    let proxy = Proxy::with(&config).file("f.wasm", guest.build()).start();
    let recording = Recording::of(&proxy, "f", 3, &[]);
    for _ in 0..3 {
        let mut client = proxy.client();
        let mut upstream = backend.accept();
        client.send("ping");
        assert_eq!(upstream.exactly(4), "ping");
        upstream.send("pong");
        assert_eq!(client.exactly(4), "Pong");
        client.send("\u{0}\u{ff} not text");
        upstream.exactly(11);
        client.half_close();
        upstream.expect_orderly_end();
        upstream.half_close();
        client.expect_orderly_end();
    }
    recording.finish().exact_report(&guest.build()).is_identical("connections", 3);
}

/// Their allocators, collectors, clocks and randomness are the compilers' own.
#[test]
fn filters_in_other_languages_replay_bit_for_bit() {
    let languages = [&GO, &RUST, &RUST_WASI, &ASSEMBLYSCRIPT];
    let tours: Vec<_> =
        languages.iter().filter_map(|language| Some((language.name, language.tour()?))).collect();
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let names: Vec<String> = (0..tours.len()).map(|number| format!("tour{number}")).collect();
    let chain = format!("filters: [{}]", names.join(", "));
    let mut config = in_listener(&forwarding(&[upstream.address()], ""), &[&chain]) + "filters:\n";
    for name in &names {
        config += &format!(
            "  {name}: {{module: ./{name}.wasm, root_id: tour, config: tide, limits: {{instructions: 1G, memory: 256MiB, wall_clock: 30s}}}}\n"
        );
    }
    let start = names.iter().zip(&tours).fold(Proxy::with(&config), |start, (name, (_, tour))| {
        start.file(&format!("{name}.wasm"), tour.clone())
    });
    let proxy = start.start();
    let recordings: Vec<_> = names.iter().map(|name| Recording::of(&proxy, name, 6, &[])).collect();
    for number in 0..6 {
        let value = format!("{number}");
        let response = proxy.client().request("POST", "/", &[("x-in", &value)], "a body");
        assert_eq!(response.status(), 200);
    }
    for (recording, (name, tour)) in recordings.into_iter().zip(&tours) {
        recording.finish().exact_report(tour).is_identical(name, 6);
    }
}

/// A piece of a body, in bytes.
const BLOCK: usize = 60_000;

/// A recording whose reader has read its beginning and reads no more, when it is full: the proxy, a client, the reader.
fn a_recording_that_nobody_reads() -> (Upstream, Proxy, Client, std::net::TcpStream) {
    let upstream = Upstream::start_forgetful(|_| Answer::ok("hello"));
    let guest = Guest::new().quiet().on(On::RequestBody, [Step::buffer(Buffer::RequestBody)]);
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let proxy =
        Proxy::with(&(config + "filters: {f: {module: ./f.wasm}}\n")).file("f.wasm", guest.build()).start();
    let mut reader = std::net::TcpStream::connect(proxy.address("admin")).expect("it listens");
    let ask = "POST /recordings/f?exchanges=1000000 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    reader.write_all(ask.as_bytes()).expect("it is taken");
    let mut head = [0; 256];
    let mut seen = Vec::new();
    // Its first line comes when all workers watch.
    while !seen.windows(12).any(|window| window == b"{\"recording\"") {
        let count = reader.read(&mut head).expect("it is answered");
        assert!(count > 0, "it ends: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&head[..count]);
    }
    let before = proxy.allocated_bytes();
    const SIZE: usize = 3_300 * BLOCK;
    let mut client = proxy.client();
    client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n"));
    // Of pieces that are alike one is written.
    for number in 0..SIZE / BLOCK {
        client.send(&format!("{number:0>width$}", width = BLOCK));
    }
    assert_eq!(client.response().text(), "hello");
    let grown = proxy.allocated_bytes().saturating_sub(before) >> 20;
    assert!(grown < 128, "it grew by {grown} MiB");
    (upstream, proxy, client, reader)
}

/// Thousands of pieces, of which much waits to be written, neither hold the proxy up nor fill it.
#[test]
fn a_recording_that_nobody_reads_ends_and_the_proxy_goes_on() {
    let (_upstream, proxy, mut client, reader) = a_recording_that_nobody_reads();
    eventually("another exchange to find that it is over", || {
        client.get("/");
        let log = proxy.log();
        let is_over = |event: &serde_json::Value| {
            crate::equipment::message(event) == "the recording takes no more exchanges"
        };
        log.iter().any(is_over).then_some(())
    });
    drop(reader);
    let recording = Recording::of(&proxy, "f", 1, &[]);
    client.get("/");
    recording.finish();
}

#[test]
fn a_recording_that_nobody_reads_does_not_keep_a_proxy_from_ending() {
    let (_upstream, mut proxy, client, reader) = a_recording_that_nobody_reads();
    client.leave();
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
    drop(reader);
}
