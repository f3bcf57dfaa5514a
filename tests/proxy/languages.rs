//! What filters in other languages may count on here, beside what they do in Envoy too (`tests/differential/languages.rs`).

use serde_json::Value;

use crate::equipment::language::{ALL, ASSEMBLYSCRIPT, ASSEMBLYSCRIPT_0_2_0, GO};
use crate::equipment::{Answer, Language, Proxy, Upstream, forwarding, in_listener, message, text};

/// A proxy whose only filter is the tour, with more of its configuration in flow style.
fn with_tour(upstream: &Upstream, tour: Vec<u8>, more: &str) -> Proxy {
    let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [tour]"]);
    let filter = format!("filters:\n  tour: {{module: ./tour.wasm, root_id: tour, config: tide{more}}}\n");
    Proxy::with(&(text + &filter)).file("tour.wasm", tour).start()
}

/// The limits that the book has for a language, for bodies of 64 KiB.
fn limits(language: &Language) -> String {
    let book = include_str!("../../docs/src/writing-filters.md");
    let (_, section) = book.split_once("### What it needs of the limits").expect("it has this section");
    let name = language.name.split(' ').next().unwrap_or_default();
    let mut rows = section.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let row = rows.find(|row| row.len() == 6 && row[1].split(", ").any(|named| named == name));
    let row = row.unwrap_or_else(|| panic!("the book has nothing on {name}"));
    format!(", {}", row[3].trim_matches('`'))
}

/// As large as the book's.
fn body() -> String {
    "b".repeat(64 << 10)
}

#[test]
fn a_configuration_that_a_filter_refuses_is_refused_with_its_reason_in_every_language() {
    let upstream = Upstream::ok("hello");
    for language in ALL {
        let Some(tour) = language.tour() else { continue };
        let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [tour]"]);
        let filter = "filters:\n  tour: {module: ./tour.wasm, root_id: tour}\n";
        let exit = Proxy::with(&(text + filter)).file("tour.wasm", tour).run("check");
        assert_eq!(exit.code, Some(1), "{}: {}", language.name, exit.stderr);
        let why = "[tour] there is no configuration";
        assert!(exit.stderr.contains(why), "{}: {}", language.name, exit.stderr);
    }
}

/// Go collects garbage, AssemblyScript too: what the host has written must outlive that, and go afterwards.
#[test]
fn a_filter_with_a_garbage_collector_neither_loses_nor_keeps_what_it_was_given() {
    for language in [&GO, &ASSEMBLYSCRIPT, &ASSEMBLYSCRIPT_0_2_0] {
        let Some(tour) = language.tour() else { continue };
        collects(language, tour);
    }
}

fn collects(language: &Language, tour: Vec<u8>) {
    let (name, body) = (language.name, body());
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let proxy = with_tour(&upstream, tour, &limits(language));
    let mut client = proxy.client();
    // More than its memory may be in all, each way.
    for exchange in 0..400 {
        let value = format!("{exchange}");
        let response = client.request("POST", "/", &[("x-in", &value)], &body);
        assert_eq!((response.status(), response.text().as_str()), (200, "hello and tide"), "{name}");
    }
    for (exchange, request) in upstream.requests().iter().enumerate() {
        let expected = format!("tide({exchange})");
        assert_eq!(request.head.field("x-out"), Some(expected.as_str()), "{name}");
        let changed = request.body.as_ref().expect("it has one").text();
        assert_eq!(changed, format!("tide: {}", body.to_uppercase()), "{name}");
    }
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0, "{name}");
}

#[test]
fn what_the_book_says_that_a_large_body_takes_is_enough_in_every_language() {
    for language in ALL {
        let Some(tour) = language.tour() else { continue };
        let upstream = Upstream::start(|_| Answer::ok("hello"));
        let proxy = with_tour(&upstream, tour, &limits(language));
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_eq!(
                client.request("POST", "/", &[], &body()).text(),
                "hello and tide",
                "{}",
                language.name
            );
        }
        assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0, "{}", language.name);
    }
}

#[test]
fn a_large_body_is_too_much_for_the_default_limits_and_the_log_says_which() {
    for language in [&GO, &ASSEMBLYSCRIPT, &ASSEMBLYSCRIPT_0_2_0] {
        let Some(tour) = language.tour() else { continue };
        let upstream = Upstream::ok("hello");
        let proxy = with_tour(&upstream, tour, "");
        assert_eq!(proxy.client().request("POST", "/", &[], &body()).status(), 503, "{}", language.name);
        proxy.wait_for_log("the fault", |event| {
            text(event, "callback") == "proxy_on_request_body"
                && message(event).contains("`limits.instructions: 2M`")
        });
    }
}

/// The SDK looks for its root among the streams, does not find it, and throws.
#[test]
fn a_filter_that_traps_when_it_is_told_of_its_end_does_not_spoil_the_end() {
    let Some(tour) = ASSEMBLYSCRIPT.tour() else { return };
    let upstream = Upstream::ok("hello");
    let mut proxy = with_tour(&upstream, tour, "");
    assert_eq!(proxy.client().get("/").status(), 200);
    proxy.terminate();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let log = proxy.log();
    let of_tour = |event: &&Value| text(event, "filter") == "tour" && !text(event, "fault").is_empty();
    let faults: Vec<_> =
        log.iter().filter(of_tour).map(|event| (text(event, "fault"), text(event, "callback"))).collect();
    assert_eq!(faults, [("trap".to_owned(), "proxy_on_done".to_owned())]);
}
