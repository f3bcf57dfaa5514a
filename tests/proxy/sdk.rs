//! What filters written with the SDK may count on: a guest that does what a request asks for.

use wasm_encoder::{RawSection, Section as _};

use crate::equipment::{Answer, Gate, Guest, Proxy, Upstream, eventually, forwarding, in_listener, message};

fn with_sdk(upstream: &Upstream) -> Proxy {
    with_configured_sdk(upstream, "{}")
}

fn with_configured_sdk(upstream: &Upstream, config: &str) -> Proxy {
    let fields = ["access_log: true", "filters: [sdk]"];
    let text = in_listener(&forwarding(&[upstream.address()], ""), &fields);
    let module = std::fs::read(guests::module("sdk")).expect("a module that was built can be read");
    let text = format!("{text}filters:\n  sdk: {{module: ./sdk.wasm, config: {config}}}\n");
    Proxy::with(&text).file("sdk.wasm", module).start()
}

#[test]
fn headers_cookies_and_properties_are_read_and_headers_are_changed() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    let fields = [("x-do", "headers"), ("cookie", "a=b; user=\"ann\""), ("x-set", "old"), ("x-add", "1")];
    let removed = [("x-remove", "1"), ("x-remove", "2")];
    proxy.client().request("GET", "/a?b", &[&fields[..], &removed].concat(), "");
    let head = &upstream.requests()[0].head;
    assert_eq!(head.all("x-set"), ["new"]);
    assert_eq!(head.all("x-add"), ["1", "2"]);
    assert!(head.all("x-remove").is_empty());
    let line = proxy.wait_for_access_log(1).remove(0);
    let client = line["client"].as_str().expect("an address");
    assert_eq!(head.field("x-saw"), Some(format!("GET tide.test /a?b ann {client}").as_str()));
}

#[test]
fn a_body_is_prepended_to_appended_to_and_replaced_by_the_sdk() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    for (task, body) in [("prepend", "first body"), ("append", "body last"), ("replace", "4 bytes")] {
        proxy.client().request("POST", "/", &[("x-do", task)], "body");
        let requests = upstream.requests();
        assert_eq!(requests.last().unwrap().body.clone().unwrap().text(), body, "{task}");
    }
}

#[test]
fn a_reply_has_the_status_header_body_and_details_that_it_was_given() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    let response = proxy.client().request("GET", "/", &[("x-do", "reply")], "");
    assert_eq!((response.status(), response.text().as_str()), (403, "not today"));
    assert_eq!(response.field("x-reply"), Some("yes"));
    assert!(upstream.requests().is_empty());
    assert_eq!(proxy.wait_for_access_log(1)[0]["details"], "sdk_says_no");
    proxy.wait_for_log("the end", |event| message(event) == "reply ended with 403");
}

#[test]
fn a_callout_is_sent_as_it_was_built_and_its_answer_comes_back() {
    let upstream = Upstream::start(|head| match head.target() {
        "/asked" => Answer::sized(201, &[("x-by", "auth")], "answer"),
        _ => Answer::ok("hello"),
    });
    let proxy = with_sdk(&upstream);
    for task in ["call", "call-late"] {
        assert_eq!(proxy.client().request("GET", "/", &[("x-do", task)], "").text(), "hello", "{task}");
        let [.., asked, request] = &upstream.requests()[..] else { panic!("two requests for {task}") };
        assert_eq!((asked.head.method(), asked.head.target()), ("POST", "/asked"), "{task}");
        assert_eq!((asked.head.field("host"), asked.head.field("x-asked")), (Some("asked.test"), Some("1")));
        assert_eq!(asked.body.clone().unwrap().text(), "question");
        assert_eq!(request.head.field("x-answer"), Some("201 auth answer"), "{task}");
    }
}

#[test]
fn a_callout_to_nobody_is_refused_at_once() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    let response = proxy.client().request("GET", "/", &[("x-do", "call-nobody")], "");
    assert_eq!(response.status(), 500);
    assert!(response.text().contains("did not send the callout"), "{}", response.text());
    assert!(upstream.requests().is_empty());
}

#[test]
fn metrics_of_a_filter_are_shown_with_the_proxys_own() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    for _ in 0..2 {
        proxy.client().request("GET", "/", &[("x-do", "measure")], "");
    }
    proxy.wait_for_metric("wasmcustom_sdk_events_total", &[], 4.0);
    proxy.wait_for_metric("wasmcustom_sdk_level", &[], 7.0);
    proxy.wait_for_metric("wasmcustom_sdk_sizes_count", &[], 2.0);
    proxy.wait_for_metric("wasmcustom_sdk_sizes_sum", &[], 6.0);
    proxy.wait_for_metric("wasmcustom_sdk_kinds_total", &[("kind", "bell"), ("tone", "low")], 2.0);
    let overflow = [("kind", "_other"), ("tone", "_other")];
    proxy.wait_for_metric("wasmcustom_sdk_kinds_total", &overflow, 4.0);
}

#[test]
fn a_body_waits_for_a_future_and_then_goes_on_whole() {
    let upstream = Upstream::start(|head| match head.target() {
        "/asked" => Answer::sized(201, &[("x-by", "auth")], "answer"),
        _ => Answer::ok("hello"),
    });
    let proxy = with_sdk(&upstream);
    proxy.client().request("POST", "/", &[("x-do", "call-body")], "a body");
    let [asked, request] = &upstream.requests()[..] else { panic!("two requests") };
    assert_eq!(asked.head.target(), "/asked");
    assert_eq!(request.body.clone().unwrap().text(), "a body");
}

#[test]
fn one_exchange_wakes_another() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    let mut waiting = proxy.client();
    waiting.send("GET /waiting HTTP/1.1\r\nhost: tide.test\r\nx-do: wait\r\n\r\n");
    // It may be on either worker, and each has a bell of its own: ring until it has gone on.
    eventually("the one that waits goes on", || {
        proxy.client().request("GET", "/", &[("x-do", "wake")], "");
        upstream.requests().iter().any(|request| request.head.target() == "/waiting").then_some(())
    });
    assert_eq!(waiting.response().text(), "hello");
}

#[test]
fn work_beside_an_exchange_goes_on_while_the_exchange_does() {
    let held = Gate::new();
    let gate = held.clone();
    let upstream = Upstream::start(move |_| {
        let Answer { acts } = Answer::ok("hello");
        Answer { acts: [Answer::default().wait(&gate).acts, acts].concat() }
    });
    let proxy = with_sdk(&upstream);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: tide.test\r\nx-do: beside\r\n\r\n");
    let line = r#"beside the exchange kind=quiet note="as \"said\"""#;
    proxy.wait_for_log("the line", |event| message(event) == line);
    held.open();
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_filter_learns_in_the_background_before_it_is_asked() {
    let upstream =
        Upstream::start(|head| Answer::ok(if head.target() == "/lesson" { "wisdom" } else { "hello" }));
    let proxy = with_configured_sdk(&upstream, "{learn: true}");
    eventually("it has learned", || {
        proxy.client().request("GET", "/", &[("x-do", "learned")], "");
        let last = upstream.requests().pop().expect("it was forwarded");
        (last.head.field("x-learned") == Some("wisdom")).then_some(())
    });
}

/// Three requests, on whatever workers, use the same bucket, counter and value, which are kept by `mode`.
#[track_caller]
fn assert_cells_are_kept(proxy: &Proxy, upstream: &Upstream, mode: &str) {
    let value = "Some(Ok(\"kept\"))";
    let expected =
        ["true 1 5 true None", &format!("true 0 10 true {value}"), &format!("false 0 15 true {value}")];
    for expected in expected {
        proxy.client().request("GET", "/", &[("x-do", "cells")], "");
        let last = upstream.requests().pop().expect("it was forwarded");
        assert_eq!(last.head.field("x-cells"), Some(format!("{expected} {mode}").as_str()));
    }
}

#[test]
fn cells_are_shared_by_the_workers() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    assert_cells_are_kept(&proxy, &upstream, "Host");
}

#[test]
fn where_a_host_has_no_cells_shared_data_is_used_and_the_log_says_so_once() {
    let upstream = Upstream::ok("hello");
    let module = std::fs::read(guests::module("sdk")).expect("a module that was built can be read");
    let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [sdk]"]);
    let filters = "filters:\n  sdk: {module: ./sdk.wasm, limits: {cells: 0}}\n";
    let proxy = Proxy::with(&format!("workers: 1\n{text}{filters}")).file("sdk.wasm", module).start();
    assert_cells_are_kept(&proxy, &upstream, "SharedData");
    let warnings = proxy.log().iter().filter(|event| message(event).contains("has no tidegate.")).count();
    assert_eq!(warnings, 1);
}

#[test]
fn properties_have_types() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    proxy.client().request("GET", "/?q=a%20b", &[("x-do", "properties")], "");
    let head = &upstream.requests()[0].head;
    let saw = head.field("x-saw").expect("it tells");
    assert_eq!(
        saw,
        "(Some(127.0.0.1), Some(127.0.0.1)) (Some(\"route-0\"), Some(\"up\"), None) Some(\"HTTP/1.1\") true Some(\"a b\") 3"
    );
}

#[test]
fn a_panic_is_logged_with_its_place_and_costs_no_other_exchange() {
    let upstream = Upstream::ok("hello");
    let proxy = with_sdk(&upstream);
    assert_eq!(proxy.client().request("GET", "/", &[("x-do", "panic")], "").status(), 503);
    proxy.wait_for_log("the panic", |event| {
        let message = message(event);
        message.starts_with("panicked at") && message.contains("sdk.rs:") && message.ends_with(" as asked")
    });
}

/// A module's bytes without its custom sections.
fn stripped(module: &[u8]) -> Vec<u8> {
    let mut stripped = module[..8].to_vec(); // the magic and the version
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        let Some((id, range)) = payload.expect("it is a module").as_section() else { continue };
        if id != 0 {
            RawSection { id, data: &module[range] }.append_to(&mut stripped);
        }
    }
    stripped
}

#[test]
fn a_fault_of_a_stripped_module_has_source_lines_where_its_debug_information_lies_beside_it() {
    let upstream = Upstream::ok("hello");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [sdk]"]);
    let config = config + "filters:\n  sdk: {module: ./sdk.wasm}\n";
    let whole = std::fs::read(guests::debuggable("sdk")).expect("a module that was built can be read");
    let module = stripped(&whole);
    assert!(module.len() < whole.len() / 2, "most of it is debug information");
    for (beside, has_lines) in [(None, false), (Some("sdk.debug.wasm"), true)] {
        let mut start = Proxy::with(&config).file("sdk.wasm", module.clone());
        if let Some(name) = beside {
            start = start.file(name, whole.clone());
        }
        let proxy = start.start();
        assert_eq!(proxy.client().request("GET", "/", &[("x-do", "panic")], "").status(), 503);
        let fault = proxy.wait_for_log("the fault", |event| event["fault"] == "trap");
        assert_eq!(message(&fault).contains("sdk.rs:"), has_lines, "{}", message(&fault));
    }
}

#[test]
fn what_a_filter_answers_and_leaves_is_not_shown_to_the_filters_behind_it() {
    let upstream = Upstream::ok("hello");
    let fields = ["filters: [before, tasks, behind]"];
    let text = in_listener(&forwarding(&[upstream.address()], ""), &fields) + "filters:\n";
    let text = ["before", "tasks", "behind"]
        .iter()
        .fold(text, |text, name| text + &format!("  {name}: {{module: ./{name}.wasm}}\n"));
    let tasks = std::fs::read(guests::module("tasks")).expect("a module that was built can be read");
    let logger = || Guest::logger().build();
    let start = Proxy::with(&text).file("tasks.wasm", tasks);
    let proxy = start.file("before.wasm", logger()).file("behind.wasm", logger()).start();
    let shown = |filter: &str, callback: &str| {
        let log = proxy.guest_log();
        log.iter().filter(|(name, line)| name == filter && line.starts_with(callback)).count()
    };

    assert_eq!(proxy.client().request("GET", "/", &[("x-do", "leave-replied")], "").status(), 403);
    assert_eq!((shown("before", "request_headers"), shown("behind", "request_headers")), (1, 0));
    assert!(upstream.requests().is_empty());

    let replied = [("x-do", "leave-replied-at-response")];
    assert_eq!(proxy.client().request("GET", "/", &replied, "").status(), 403);
    assert_eq!(shown("behind", "response_headers"), 1, "the service's");
    assert_eq!(
        shown("before", "response_headers"),
        1,
        "the first reply: one to a response goes out directly"
    );
}
