//! Why a recording ends before its time, and that it says so: in its last line, and to whoever asked for it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::sessions::{ENDED, marking, prepared, wait_for_end};
use super::{Recorded, Recording};
use crate::equipment::{
    Answer, Backend, Client, Exit, Flow, Guest, On, Proxy, Start, Step, Upstream, forwarding, in_listener,
    message,
};

/// Fails the test unless this stands on the terminal, in the last line, and in what a replay says.
fn is_cut(recorded: &Recorded, exit: &Exit, reason: &str) {
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(
        exit.stdout.contains(&format!("\nthe recording is not whole: {reason}\nnext: ")),
        "{}",
        exit.stdout
    );
    let lines = recorded.lines();
    assert_eq!(lines.last().expect("it has lines")["cut"]["reason"], reason);
    assert_eq!(lines.iter().filter(|line| line["cut"].is_object()).count(), 1);
}

#[test]
fn a_recording_ends_at_the_size_that_it_may_have() {
    let upstream = Upstream::ok("hello");
    let proxy = prepared(&upstream, "").start();
    let recording = Recording::of(&proxy, "f", 10_000_000, &["--max-size", "64KiB"]);
    let mut client = proxy.client();
    while !recording.command.is_finished() {
        assert_eq!(client.get("/").head.all("x-mark"), ["1", "1"]);
    }
    let (recorded, exit) = recording.end();
    is_cut(&recorded, &exit, "it has the 64KiB that it may have");
    let longest = recorded.lines().iter().map(|line| line.to_string().len()).max().expect("it has lines");
    let size = recorded.bytes().len();
    assert!((64 << 10..(64 << 10) + 2 * longest).contains(&size), "{size}");
    let report = recorded.exact_report(&marking("1").build());
    assert_eq!((report.number("identical"), report.number("different")), (report.number("steps"), 0));
    assert!(report.number("exchanges") > 1 && report.json["cut"].is_string(), "{:#}", report.json);
    for wrong in ["0", "64KB", "2000GiB"] {
        let (_, exit) = Recording::asked_for(&proxy, "f", 1, &["--max-size", wrong]).end();
        assert!(matches!(exit.code, Some(1 | 2)), "{wrong}: {}", exit.stdout);
        assert!(exit.stderr.contains("bytes=1GiB") || exit.stderr.contains("64KiB"), "{}", exit.stderr);
    }
}

/// A text of so many bytes of which no two pieces are alike: of pieces that are, one is written.
pub(in super::super) fn distinct(len: usize) -> String {
    let mut text = String::with_capacity(len + 8);
    for number in (0..).take_while(|number| number * 8 < len) {
        text.push_str(&format!("{number:08}"));
    }
    text
}

/// Reads nothing of a recording, while more is sent than may wait to be written.
#[test]
fn a_reader_who_is_too_slow_ends_the_recording_and_neither_traffic_nor_memory_pays() {
    const BODY: usize = 4 << 20;
    let upstream = Upstream::start_forgetful(|_| Answer::ok("hello"));
    let guest = Guest::new().quiet().on(On::RequestBody, [Step::Return(0)]);
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let proxy = Proxy::with(&(config + "filters: {f: {module: ./f.wasm}}\n")).file("f.wasm", guest.build());
    let proxy = proxy.start();
    let mut reader = TcpStream::connect(proxy.address("admin")).expect("it listens");
    reader.write_all(b"POST /recordings/f HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it is taken");
    proxy.wait_for_log("the recording", |event| message(event) == "a recording begins");
    let mut client = proxy.client();
    client.get("/");
    let (before, body) = (proxy.allocated_bytes(), distinct(BODY));
    let mut sent = 0;
    while sent < 80 && !proxy.log().iter().any(|event| message(event) == ENDED) {
        assert_eq!(client.request("POST", "/", &[], &body).status(), 200);
        sent += 1;
    }
    wait_for_end(&proxy);
    let grown = proxy.allocated_bytes().saturating_sub(before);
    assert!(grown < 192 << 20, "{} MiB after {sent} requests of 4 MiB", grown >> 20);
    assert_eq!(client.get("/").status(), 200);
    let mut text = Vec::new();
    reader.read_to_end(&mut text).expect("the recording ends");
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("\n{\"cut\":{\"reason\":\"whoever takes it is too slow"), "{}", text.len());
}

#[test]
fn a_filter_that_no_chain_has_any_more_ends_its_recording_with_what_was_under_way() {
    let upstream = Upstream::ok("hello");
    let mut proxy = prepared(&upstream, "").start();
    let recording = Recording::of(&proxy, "f", 100, &[]);
    let mut client = proxy.client();
    (0..2).for_each(|_| drop(client.get("/")));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [g]"]);
    assert!(proxy.change(&(config + "filters: {g: {module: ./g.wasm}}\n")));
    let (recorded, exit) = recording.end();
    is_cut(&recorded, &exit, "no chain has the filter any more");
    let report = recorded.report(&marking("1").build());
    assert_eq!((report.number("exchanges"), report.number("different")), (2, 0), "{:#}", report.json);
    assert_eq!(proxy.client().get("/").head.all("x-mark"), ["1"]);
}

#[test]
fn a_filter_that_is_given_a_canary_ends_its_recording() {
    let upstream = Upstream::ok("hello");
    let mut proxy = prepared(&upstream, "").start();
    let recording = Recording::of(&proxy, "g", 100, &[]);
    proxy.client().get("/");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f, g]"]);
    let canary = "canary: {module: ./f.wasm, percent: 50}";
    let filters = format!("filters: {{f: {{module: ./f.wasm}}, g: {{module: ./g.wasm, {canary}}}}}\n");
    assert!(proxy.change(&(config + &filters)));
    let (recorded, exit) = recording.end();
    is_cut(&recorded, &exit, "filter `g` has a canary: it is recorded when that is over");
}

/// Each instance ends once, behind its last step.
pub(in super::super) fn instances_end(lines: &[Value]) -> usize {
    let (mut begun, mut gone) = (Vec::new(), Vec::new());
    for line in lines {
        if let Some(instance) = line["instance"]["instance"].as_u64() {
            begun.push(instance);
        }
        if let Some(instance) = line["gone"]["instance"].as_u64() {
            gone.push(instance);
        }
        if let Some(instance) = line["step"]["instance"].as_u64() {
            assert!(begun.contains(&instance) && !gone.contains(&instance), "{line}");
        }
    }
    gone.sort_unstable();
    assert_eq!(begun, gone);
    gone.len()
}

#[test]
fn each_instance_of_a_recording_ends_in_it() {
    let upstream = Upstream::ok("hello");
    let mut proxy = prepared(&upstream, ", isolation: exchange").start();
    let (shared, own) =
        (Recording::of(&proxy, "f", 4, &[]), Recording::of(&proxy, "g", 4, &["--secrets", "keep"]));
    (0..2).for_each(|_| drop(proxy.client().get("/")));
    proxy.put("f.wasm", marking("2").build());
    assert!(proxy.reload());
    (0..2).for_each(|_| drop(proxy.client().get("/")));
    assert_eq!(instances_end(&shared.finish().lines()), 2);
    let own = own.finish();
    assert!(instances_end(&own.lines()) >= 4, "one for each exchange");
    own.exact_report(&marking("1").build()).is_identical("an instance for each exchange", 4);
}

#[test]
fn a_cluster_that_moves_while_it_is_recorded_is_replayed_where_it_was() {
    let (here, there) = (Upstream::ok("here"), Upstream::ok("there"));
    let guest = Guest::new()
        .quiet()
        .on(On::RequestHeaders, [Step::callout("up", "/ask", 60_000), Step::Return(1)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Request)]);
    let config = |upstream: &Upstream| {
        in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"])
            + "filters: {f: {module: ./f.wasm}}\n"
    };
    let mut proxy = Proxy::with(&config(&here)).file("f.wasm", guest.build()).start();
    let recording = Recording::of(&proxy, "f", 4, &[]);
    (0..2).for_each(|_| assert_eq!(proxy.client().get("/").text(), "here"));
    assert!(proxy.change(&config(&there)));
    (0..2).for_each(|_| assert_eq!(proxy.client().get("/").text(), "there"));
    let recorded = recording.finish();
    recorded.exact_report(&guest.build()).is_identical("before and after", 4);
    let moved = |line: &&Value| line["step"]["did"]["op"]["clusters"].is_object();
    let moves = recorded.lines().iter().filter(moved).map(Value::to_string).collect::<String>();
    assert!(moves.contains(&there.address().to_string()), "{moves}");
}

/// Filter `f` on the TCP listener `raw`, and on the listener `in` for HTTP, if that is there.
fn on_tcp(backend: &Backend, http: Option<&Upstream>) -> Start {
    let raw = "- {name: raw, address: 127.0.0.1:0, protocol: tcp, cluster: back, filters: [f]}\n";
    let back = format!("back: {{endpoints: [\"{}\"]}}", backend.address());
    let config = match http {
        None => format!("listeners:\n{raw}clusters:\n  {back}\n"),
        Some(upstream) => in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"])
            .replace("clusters:\n", &format!("{raw}clusters:\n  {back}\n")),
    };
    let guest = Guest::new().quiet().on(On::NewConnection, []).on(On::RequestHeaders, []);
    Proxy::with(&(config + "filters: {f: {module: ./f.wasm}}\n")).file("f.wasm", guest.build())
}

#[test]
fn a_connection_has_no_request_that_could_match() {
    const ANY: [&str; 2] = ["--match", "{path: {prefix: /}}"];
    let (backend, upstream) = (Backend::start(), Upstream::ok("hello"));
    let proxy = on_tcp(&backend, None).start();
    let (_, exit) = Recording::asked_for(&proxy, "f", 1, &ANY).end();
    assert_eq!(exit.code, Some(1));
    assert!(
        exit.stderr.contains("connections have no request to match: leave the match out"),
        "{}",
        exit.stderr
    );

    let proxy = on_tcp(&backend, Some(&upstream)).start();
    let recording = Recording::of(&proxy, "f", 1, &ANY);
    let mut raw = Client::connect(proxy.address("raw"));
    let mut far = backend.accept();
    raw.send("ping");
    assert_eq!(far.exactly(4), "ping");
    proxy.client().get("/a-request");
    let text = String::from_utf8(recording.finish().bytes()).expect("it is text");
    assert!(text.contains("/a-request") && !text.contains("new_connection"), "{text}");
}
