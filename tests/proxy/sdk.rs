//! What filters written with the SDK may count on: a guest that does what a request asks for.

use crate::equipment::{Answer, Proxy, Upstream, forwarding, in_listener};

fn with_sdk(upstream: &Upstream) -> Proxy {
    let fields = ["access_log: true", "filters: [sdk]"];
    let text = in_listener(&forwarding(&[upstream.address()], ""), &fields);
    let module = std::fs::read(guests::module("sdk")).expect("a module that was built can be read");
    Proxy::with(&format!("{text}filters:\n  sdk: {{module: ./sdk.wasm}}\n")).file("sdk.wasm", module).start()
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
    proxy.wait_for_log("the end", |event| crate::equipment::message(event) == "reply ended with 403");
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
        assert_eq!(request.head.field("x-answer"), Some("Some(201) auth answer"), "{task}");
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
}
