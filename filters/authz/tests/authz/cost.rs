//! What the filter costs, in instructions: the same in every run, for one module.

use serde_json::json;
use tidegate_test::{Kit, Request, Seen};

use super::{JWKS, KEY, KEY_SHA256, bearer, filter, tokens};

/// A request as a browser sends it.
fn request() -> Request {
    Request::get("/items/7?page=2")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-US,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br")
        .header("cookie", "theme=dark; session=0123456789abcdef")
}

/// The second of two like it: what the first set up is there.
fn second(kit: &Kit, request: impl Fn() -> Request) -> Seen {
    assert_eq!(kit.send(request()).status(), 200);
    let seen = kit.send(request());
    assert_eq!(seen.status(), 200);
    seen
}

#[test]
fn a_decision_by_path_and_api_key_is_cheap() {
    let kit = filter(json!({
        "api_keys": {"keys": [{"name": "ci", "sha256": KEY_SHA256}]},
        "deny": [{"match": {"path": [{"prefix": "/admin"}]}}],
        "allow": [{"match": {"path": [{"prefix": "/items"}], "api_keys": ["ci"]}}],
    }))
    .start();
    let all = second(&kit, || request().header("x-api-key", KEY)).instructions();
    println!("by path and API key: {all}");
    assert!(all <= 6_500, "{all}");
}

#[test]
fn a_token_that_was_verified_costs_a_look_up() {
    let kit = filter(tokens(json!({"jwks": JWKS}))).start();
    let request = || request().header("authorization", bearer("RS256"));
    let first = kit.send(request());
    let all = second(&kit, request).instructions();
    println!("token, first: {}, again: {all}", first.instructions());
    assert!(all <= 10_500, "{all}");
}

/// A callback has a budget, of two million without a word in the configuration.
#[test]
fn a_signature_costs_what_the_documentation_says() {
    let kit = filter(tokens(json!({"jwks": JWKS}))).start();
    for (name, bound) in [
        ("RS256", 20_000_000),
        ("PS512", 20_000_000),
        ("ES256", 30_000_000),
        ("ES384", 100_000_000),
        ("EdDSA", 20_000_000),
    ] {
        let seen = kit.send(Request::get("/").header("authorization", bearer(name)));
        println!("{name}: {}", seen.instructions());
        assert_eq!(seen.status(), 200, "{name}");
        assert!(seen.instructions() <= bound, "{name}: {}", seen.instructions());
    }
}

#[test]
fn a_regular_expression_is_compiled_for_the_first_request_only() {
    let expression = |with: &str| {
        let rule = json!({"match": {"expression": format!("request.headers['user-agent']{with}")}});
        filter(json!({"allow": [rule]})).start()
    };
    let compared = second(&expression(".startsWith('Mozilla/')"), request).instructions();
    let matched = second(&expression(".matches('^Mozilla/[0-9.]+ [(](X11|Macintosh|Windows)')"), request);
    let more = matched.instructions().saturating_sub(compared);
    println!("matches: {more} instructions more than startsWith");
    assert!(more <= 20_000, "{more}");
}

#[test]
fn an_expression_costs_what_the_documentation_says() {
    let rule =
        json!({"match": {"expression": "request.method == 'GET' && request.path.startsWith('/items')"}});
    let kit = filter(json!({"allow": [rule]})).start();
    let all = second(&kit, request).instructions();
    println!("an expression: {all}, memory {}", kit.memory(0));
    assert!(all <= 200_000, "{all}");
}
