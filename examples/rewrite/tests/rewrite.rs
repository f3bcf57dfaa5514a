//! The built filter on the real host: both directions, any division, and what a byte costs.

use serde_json::{Value, json};
use tidegate_test::{Failure, Kit, Module, Outcome, Request, Response, Setup};

fn filter(config: Value) -> Setup {
    let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter");
    Kit::of(&module).config(config).as_its_manifest_asks().limits(|limits| limits.instructions = 20_000_000)
}

fn both() -> Value {
    let json = json!([
        {"path": "user.password", "redact": "***"},
        {"path": "items.*.price", "rename": "cost"},
        {"path": "debug", "remove": true},
    ]);
    json!({"request": {"json": json}, "response": {"json": json}})
}

const DOCUMENT: &str =
    r#"{"debug":[1,2],"user":{"name":"ann","password":"s3cret"},"items":[{"price":1.5e3}]}"#;
const REWRITTEN: &str = r#"{"user":{"name":"ann","password":"***"},"items":[{"cost":1.5e3}]}"#;

fn post(body: &'static str) -> Request {
    Request::post("/").header("content-type", "application/json; charset=utf-8").body(body)
}

fn answer(body: impl Into<String>) -> Response {
    Response::new(200).header("content-type", "application/problem+json").body(body.into())
}

#[test]
fn a_document_is_rewritten_in_both_directions_and_its_length_with_it() {
    let kit = filter(both()).start();
    kit.upstream(|_| answer(DOCUMENT).header("content-digest", "sha-256=:x:"));
    let seen = kit.send(post(DOCUMENT));
    assert_eq!(seen.forwarded().body(), REWRITTEN);
    assert_eq!(seen.text(), REWRITTEN);
    assert_eq!((seen.header("content-length"), seen.header("content-digest")), (None, None));
    assert_eq!(seen.forwarded().header("accept-encoding"), Some("identity"));
    assert_eq!(kit.counter(r#"rewrite_changes{direction="request"}"#), 3);
    assert_eq!(kit.counter(r#"rewrite_changes{direction="response"}"#), 3);
}

#[test]
fn how_bodies_are_divided_makes_no_difference() {
    filter(both()).assert_chunking_is_invisible(&post(DOCUMENT), &answer(DOCUMENT));
    let with_trailer = post(DOCUMENT).trailer("x-sum", "1");
    filter(both()).assert_chunking_is_invisible(&with_trailer, &answer("[]").trailer("x-sum", "2"));
}

#[test]
fn a_document_goes_on_while_it_comes() {
    let kit = filter(both()).start();
    let mut exchange = kit.open(Request::post("/").header("content-type", "application/json").open_ended());
    exchange.request_body(r#"{"user": {"pass"#);
    assert_eq!(exchange.forwarded().unwrap().body(), r#"{"user": {"#, "the name may be the one");
    exchange.request_body(r#"word": "s3"#);
    assert_eq!(exchange.forwarded().unwrap().body(), r#"{"user": {"password": "***""#);
    exchange.request_body(r#"cret", "name": "an"#);
    exchange.request_body(r#"n"}}"#);
    assert_eq!(exchange.finish().forwarded().body(), r#"{"user": {"password": "***", "name": "ann"}}"#);
}

#[test]
fn what_is_no_json_is_refused_and_nothing_of_it_is_whole() {
    let kit = filter(both()).start();
    let seen = kit.send(post("{\"a\": tru"));
    assert_eq!((seen.outcome(), seen.status(), seen.details()), (Outcome::Replied, 400, "rewrite_not_json"));
    assert!(!seen.was_forwarded() || !seen.forwarded().is_complete());
    kit.upstream(|_| answer("{\"a\": 1]"));
    let seen = kit.send(Request::get("/"));
    assert_eq!(seen.outcome(), Outcome::Failed(Failure::FilterClosed));
    assert!(seen.was_cut());
    assert_eq!(kit.counter(r#"rewrite_invalid{direction="request"}"#), 1);
    assert_eq!(kit.counter(r#"rewrite_invalid{direction="response"}"#), 1);
}

#[test]
fn what_is_no_json_may_pass_as_it_is_but_not_a_value_that_is_left_out() {
    let mut config = both();
    config["invalid"] = json!("pass");
    for text in
        ["hello", "{\"debug", "{\"a\":1, \"b", "[1,", "{\"a\":1}}", "{\"user\": {\"password\": \"x\"}} more"]
    {
        let kit = filter(config.clone()).start();
        kit.upstream(move |_| answer(text));
        let (seen, rewritten) = (kit.send(post(text)), text.replace("\"x\"", "\"***\""));
        assert_eq!(seen.text(), rewritten);
        assert_eq!(seen.forwarded().body(), rewritten);
        filter(config.clone()).assert_chunking_is_invisible(&post(text), &Response::new(200));
    }
    let kit = filter(config).start();
    kit.upstream(|_| answer("{\"user\": {\"password\": \"s3\ncret\"}}"));
    let seen = kit.send(Request::get("/"));
    assert!(seen.was_cut());
    assert!(!seen.body().windows(4).any(|part| part == b"cret"));
}

#[test]
fn other_bodies_pass_as_they_are() {
    let kit = filter(both()).start();
    let seen = kit.send(Request::post("/").header("content-type", "text/plain").body(DOCUMENT));
    assert_eq!(
        (seen.forwarded().body(), seen.forwarded().header("content-length")),
        (DOCUMENT.into(), Some("83"))
    );
    let seen = kit.send(post(DOCUMENT).header("content-encoding", "gzip"));
    assert_eq!(seen.forwarded().body(), DOCUMENT);
    assert_eq!(kit.counter(r#"rewrite_skipped{direction="request"}"#), 1);
    assert_eq!(kit.send(Request::get("/").header("content-type", "application/json")).status(), 200);
}

#[test]
fn headers_are_set_and_removed() {
    let headers = json!({"remove": ["Server"], "set": {"x-frame-options": "DENY"}});
    let kit =
        filter(json!({"response": {"headers": headers}, "request": {"headers": {"remove": ["x-debug"]}}}))
            .start();
    kit.upstream(|_| {
        Response::new(200).header("server", "x/1").header("x-frame-options", "a").header("vary", "b")
    });
    let seen = kit.send(Request::get("/").header("x-debug", "1").header("range", "bytes=0-1"));
    assert_eq!((seen.header("server"), seen.header("x-frame-options")), (None, Some("DENY")));
    assert_eq!(
        (seen.forwarded().header("x-debug"), seen.forwarded().header("range")),
        (None, Some("bytes=0-1"))
    );
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_fields_name() {
    for (config, why) in [
        (
            json!({"request": {"json": [{"path": "a..b", "remove": true}]}}),
            "request.json[0].path: `a..b` is not",
        ),
        (json!({"response": {"json": [{"path": "a"}]}}), "response.json[0]: give one of `redact`"),
        (json!({"response": {"headers": {"remove": [":status"]}}}), "response.headers: `:status` is not"),
        (json!({"reply": {}}), "unknown field `reply`"),
    ] {
        let refused = filter(config.clone()).try_start().expect_err("it is wrong");
        assert!(refused.logged(why), "{config}: {refused}");
    }
}

#[test]
fn memory_does_not_grow_with_a_document_and_what_a_byte_costs() {
    let kit = filter(both()).start();
    let member = r#"{"name": "a text of some length", "price": 12.5, "tags": [true, null]}, "#;
    let piece = member.repeat(200);
    let mut exchange = kit.open(Request::post("/").header("content-type", "application/json").open_ended());
    exchange.request_body("{\"items\": [");
    exchange.request_body(piece.clone());
    let before = kit.memory(0);
    for _ in 0..500 {
        exchange.request_body(piece.clone());
    }
    assert_eq!(kit.memory(0), before, "7 MB passed");
    exchange.request_body("0]}");
    let seen = exchange.finish();
    assert_eq!(seen.status(), 200);
    let cost = seen.instructions() / (501 * piece.len() as u64);
    println!(
        "a byte of a document: {cost}; a request without one: {}",
        kit.send(Request::get("/")).instructions()
    );
    assert!(cost < 150, "a byte costs {cost} instructions");
}
