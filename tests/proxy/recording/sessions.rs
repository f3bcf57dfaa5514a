//! How recordings of a running proxy begin and end.

use std::io::Write as _;
use std::net::TcpStream;

use super::{Recording, tidegate};
use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Act, Answer, Gate, Guest, On, Proxy, Start, Step, Upstream, forwarding, in_listener, message,
};

pub(in super::super) const ENDED: &str = "the recording takes no more exchanges";

pub(in super::super) fn marking(mark: &str) -> Guest {
    let guest = Guest::new().quiet().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-mark", mark)]);
    guest.on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-mark", mark)])
}

/// Filters `f`, and `g` with more of its configuration in flow style.
pub(in super::super) fn prepared(upstream: &Upstream, more: &str) -> Start {
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f, g]"]);
    let filters = format!("filters:\n  f: {{module: ./f.wasm}}\n  g: {{module: ./g.wasm{more}}}\n");
    let start = Proxy::with(&(config + &filters));
    ["f.wasm", "g.wasm"].iter().fold(start, |start, name| start.file(name, marking("1").build()))
}

pub(in super::super) fn wait_for_end(proxy: &Proxy) {
    proxy.wait_for_log(ENDED, |event| message(event) == ENDED);
}

#[test]
fn a_recording_that_cannot_be_made_is_refused_with_its_reason() {
    let upstream = Upstream::ok("hello");
    let proxy = prepared(&upstream, ", canary: {module: ./f.wasm, percent: 50}").start();
    let refused = |filter: &str, more: &[&str], why: &str| {
        let (recorded, exit) = Recording::asked_for(&proxy, filter, 1, more).end();
        assert_eq!(exit.code, Some(1), "{filter}: {}", exit.stdout);
        assert!(exit.stderr.contains(why), "{filter}: {}", exit.stderr);
        assert!(!recorded.file.exists(), "{filter}: a former recording would be lost");
    };
    refused("nobody", &[], "no chain has a filter `nobody` that runs");
    refused("g", &[], "filter `g` has a canary");
    refused("f", &["--match", "{paht: /}"], "path");
    let first = Recording::of(&proxy, "f", 1, &[]);
    refused("f", &[], "filter `f` is being recorded already");
    proxy.client().get("/");
    first.finish();
    let exit = tidegate(&["filter", "record", "f", "--admin", "127.0.0.1:1"]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("127.0.0.1:1"), "{}", exit.stderr);
    for wrong in ["exchanges=0", "exchanges=many", "secrets=show", "what=ever"] {
        let answer = proxy.ask_admin("POST", &format!("/recordings/f?{wrong}"), &[], "");
        assert_eq!(answer.status(), 400, "{wrong}");
    }
    assert_eq!(proxy.admin("/recordings/f").status(), 405);
}

#[test]
fn exchanges_that_match_are_taken_and_no_others_and_no_more_than_are_wanted() {
    let upstream = Upstream::ok("hello");
    let proxy = prepared(&upstream, "").workers(2).start();
    let recording = Recording::of(&proxy, "g", 3, &["--match", "{path: {prefix: /taken}}"]);
    let mut paths = Vec::new();
    for number in 0..6 {
        for path in [format!("/taken/{number}"), format!("/not/{number}")] {
            let response = proxy.client().get(&path);
            assert_eq!(response.head.all("x-mark"), ["1", "1"], "{path}");
            paths.push(path);
        }
    }
    let (recorded, exit) = recording.end();
    assert!(exit.stdout.contains("3 exchanges, "), "{}", exit.stdout);
    assert!(exit.stdout.contains("next: tidegate filter replay "), "{}", exit.stdout);
    recorded.exact_report(&marking("1").build()).is_identical("what was taken", 3);
    let text = String::from_utf8(recorded.bytes()).expect("it is text");
    assert_eq!(paths.iter().filter(|path| text.contains(*path)).count(), 3);
    assert!(!text.contains("/not/"));
    let metrics = proxy.metrics();
    let labels = [("filter", "g"), ("callback", "on_request_headers")];
    assert_eq!(
        metrics.sum("tidegate_filter_calls_total", &labels),
        12.0,
        "those that are recorded count too"
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_recording_and_traffic_goes_on() {
    let upstream = Upstream::ok("hello");
    let proxy = prepared(&upstream, "").start();
    let mut reader = TcpStream::connect(proxy.address("admin")).expect("it listens");
    reader.write_all(b"POST /recordings/f HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it is taken");
    proxy.wait_for_log("the recording", |event| message(event) == "a recording begins");
    let mut client = proxy.client();
    client.get("/");
    drop(reader);
    wait_for_end(&proxy);
    assert_eq!(client.get("/").head.all("x-mark"), ["1", "1"]);
    let recording = Recording::of(&proxy, "f", 1, &[]);
    client.get("/");
    recording.finish().exact_report(&marking("1").build()).is_identical("the next recording", 1);
}

#[test]
fn a_drain_ends_a_recording_with_what_was_under_way() {
    let (gate, reached) = (Gate::new(), Gate::new());
    let (held, told) = (gate.clone(), reached.clone());
    let upstream = Upstream::start(move |_| {
        Answer::default()
            .reached(&told)
            .act(Act::Await(held.clone()))
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    });
    let mut proxy = prepared(&upstream, "").start();
    let recording = Recording::of(&proxy, "f", 100, &[]);
    let mut client = proxy.client();
    client.send("GET /under-way HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(reached.pass());
    proxy.terminate();
    proxy.wait_for_log("the drain", |event| message(event).contains("drain"));
    gate.open();
    assert_eq!(client.response().text(), "hi");
    assert_eq!(proxy.wait().code, Some(0));
    let (recorded, exit) = recording.end();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("the recording is not whole: the proxy has drained"), "{}", exit.stdout);
    let report = recorded.exact_report(&marking("1").build());
    assert_eq!((report.number("exchanges"), report.number("identical")), (1, report.number("steps")));
}

#[test]
fn a_filter_that_changes_while_it_is_recorded_is_recorded_on() {
    let upstream = Upstream::ok("hello");
    let mut proxy = prepared(&upstream, "").start();
    let recording = Recording::of(&proxy, "f", 4, &[]);
    let mut client = proxy.client();
    (0..2).for_each(|_| drop(client.get("/before")));
    proxy.put("f.wasm", marking("2").build());
    assert!(proxy.reload());
    for _ in 0..2 {
        assert_eq!(proxy.client().get("/after").head.all("x-mark"), ["1", "2"]);
    }
    let report = recording.finish().report(&marking("2").build());
    assert_eq!(
        (report.number("exchanges"), report.number("different_exchanges")),
        (4, 2),
        "{:#}",
        report.json
    );
    assert_eq!(report.json["same_module"], false);
    for difference in report.json["differences"].as_array().expect("a list") {
        assert_eq!(difference["request"], "GET /before", "{difference}");
        let [recorded, replayed] = ["recorded", "replayed"].map(|side| difference[side].to_string());
        assert_eq!(recorded.replacen('1', "2", 9), replayed.replacen('1', "2", 9), "{difference}");
        assert!(recorded != replayed && replayed.contains('2'), "{difference}");
    }
}
