//! What filters in other languages may count on here, beside what they do in Envoy too (`tests/differential/languages.rs`).

use serde_json::Value;

use crate::equipment::language::{ALL, ASSEMBLYSCRIPT, ASSEMBLYSCRIPT_0_2_0, GO};
use crate::equipment::{Answer, Proxy, Upstream, forwarding, in_listener, text};

/// A proxy whose only filter is the tour.
fn with_tour(upstream: &Upstream, tour: Vec<u8>) -> Proxy {
    let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [tour]"]);
    let filter =
        "filters:\n  tour: {module: ./tour.wasm, root_id: tour, config: tide, limits: {instructions: 20M}}\n";
    Proxy::with(&(text + filter)).file("tour.wasm", tour).start()
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
        collects(language.name, tour);
    }
}

fn collects(name: &str, tour: Vec<u8>) {
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let proxy = with_tour(&upstream, tour);
    let body = "b".repeat(64 << 10);
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

/// The SDK looks for its root among the streams, does not find it, and throws.
#[test]
fn a_filter_that_traps_when_it_is_told_of_its_end_does_not_spoil_the_end() {
    let Some(tour) = ASSEMBLYSCRIPT.tour() else { return };
    let upstream = Upstream::ok("hello");
    let mut proxy = with_tour(&upstream, tour);
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
