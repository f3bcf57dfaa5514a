//! What filters in other languages may count on here, beside what they do in Envoy too (`tests/differential/languages.rs`).

use crate::equipment::language::{ALL, ASSEMBLYSCRIPT, ASSEMBLYSCRIPT_0_2_0, GO, Language};
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
    for language in ALL {
        let Some(tour) = language.tour() else { continue };
        let text = in_listener(&forwarding(&["127.0.0.1:9".parse().unwrap()], ""), &["filters: [tour]"]);
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
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let proxy = with_tour(&upstream, tour);
    let body = "b".repeat(64 << 10);
    let mut client = proxy.client();
    // More than its memory may be in all, each way.
    for exchange in 0..400 {
        let value = format!("{exchange}");
        let response = client.request("POST", "/", &[("x-in", &value)], &body);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, "hello and tide"),
            "{}",
            language.name
        );
    }
    for (exchange, request) in upstream.requests().iter().enumerate() {
        assert_eq!(
            request.head.field("x-out"),
            Some(format!("tide({exchange})").as_str()),
            "{}",
            language.name
        );
        let changed = request.body.as_ref().expect("it has one").text();
        assert_eq!(changed, format!("tide: {}", body.to_uppercase()), "{}", language.name);
    }
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_filter_faults_total", &[]), 0.0, "{}", language.name);
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
    let faults: Vec<_> =
        log.iter().filter(|event| text(event, "filter") == "tour" && text(event, "fault") != "").collect();
    println!("{}", exit.stderr);
    assert_eq!(faults.len(), 1, "{faults:#?}");
}
