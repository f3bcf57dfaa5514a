//! The built filter on the real host: who gets through, what goes on, and what it costs.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tidegate_test::{Kit, Module, Outcome, Request, Seen, Setup};

fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn filter(config: Value) -> Setup {
    Kit::of(&Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter")).config(config).as_its_manifest_asks()
}

/// A client for everything, with two keys, and one that reads orders.
fn clients() -> Value {
    json!({
        "query": "key",
        "clients": [
            {"name": "backend", "sha256": [hash("b-old"), hash("b-new").to_uppercase()]},
            {"name": "mobile", "sha256": [hash("m")], "scopes": [
                {"path": "/orders", "methods": ["GET"]}, {"path": "/carts/"}]},
        ],
    })
}

fn with_key(key: &str, request: Request) -> Request {
    request.header("x-api-key", key)
}

#[track_caller]
fn assert_refused(seen: &Seen, status: u16, details: &str) {
    assert_eq!((seen.outcome(), seen.status(), seen.details()), (Outcome::Replied, status, details));
    assert!(!seen.was_forwarded());
}

#[test]
fn a_client_is_known_by_any_of_its_keys_and_the_service_sees_its_name_and_no_key() {
    let kit = filter(clients()).start();
    for key in ["b-old", "b-new"] {
        let seen = kit.send(with_key(key, Request::get("/a?x=1").header("x-client", "root")));
        let names: Vec<_> = seen.forwarded().headers().get_all("x-client").iter().collect();
        assert_eq!(names, ["backend"], "what the client said of itself is gone");
        assert_eq!(seen.forwarded().header("x-api-key"), None);
        assert_eq!(seen.forwarded().target(), "/a?x=1");
    }
    assert_eq!(kit.counter(r#"api_keys_requests{client="backend",outcome="allowed"}"#), 2);
}

#[test]
fn a_key_in_the_query_is_taken_out_of_it_and_the_rest_stays_as_it_was() {
    let kit = filter(clients()).start();
    let seen = kit.send(Request::get("/a?x=%41&key=b-new&y=+&k%65y=b-old"));
    assert_eq!(seen.forwarded().target(), "/a?x=%41&y=+");
    assert_eq!(seen.forwarded().header("x-client"), Some("backend"));
    assert_eq!(kit.send(Request::get("/a?key=b-new")).forwarded().target(), "/a");
    // Not in the query unless that is asked for.
    let kit = filter(json!({"clients": [{"name": "b", "sha256": [hash("b")]}]})).start();
    assert_refused(&kit.send(Request::get("/a?key=b")), 401, "api_keys_missing");
}

#[test]
fn who_is_not_known_is_told_what_is_wanted_and_not_why() {
    let kit = filter(clients()).start();
    let missing = kit.send(Request::get("/"));
    assert_refused(&missing, 401, "api_keys_missing");
    let long = "x".repeat(600);
    for key in ["", "b-ol", "b-old ", &hash("b-old"), &long] {
        let seen = kit.send(with_key(key, Request::get("/")));
        assert_eq!(seen.status(), 401, "{key}");
        assert_eq!(seen.header("www-authenticate"), Some(r#"ApiKey realm="api""#));
        assert_eq!(seen.text(), missing.text(), "nothing tells a wrong key from none");
        assert!(key.is_empty() || seen.logs().iter().all(|line| !line.text.contains(key.trim())));
    }
    assert_eq!(kit.counter(r#"api_keys_requests{client="",outcome="unknown"}"#), 4);
    assert!(kit.logged("client_address=192.0.2.1"));
}

#[test]
fn a_client_with_scopes_may_call_what_is_in_them() {
    let kit = filter(clients()).start();
    for (method, path) in
        [("GET", "/orders"), ("GET", "/orders/7?full=1"), ("POST", "/carts/2"), ("GET", "/carts")]
    {
        assert_eq!(kit.send(with_key("m", Request::new(method, path))).status(), 200, "{method} {path}");
    }
    for (method, path) in [
        ("POST", "/orders"),
        ("GET", "/orders-of-others"),
        ("GET", "/"),
        ("GET", "/orders/../admin"),
        ("GET", "/orders/%2E%2e/admin"),
        ("GET", "/orders/..%2fadmin"),
        ("GET", "/orders/..;x=1/admin"),
        ("GET", "/orders/%252e%252e/admin"),
    ] {
        assert_refused(&kit.send(with_key("m", Request::new(method, path))), 403, "api_keys_out_of_scope");
    }
    assert_eq!(kit.counter(r#"api_keys_requests{client="mobile",outcome="out_of_scope"}"#), 8);
    assert_eq!(
        kit.send(with_key("b-old", Request::get("/orders/../admin"))).status(),
        200,
        "it has no scopes"
    );
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_fields_name_and_without_what_may_be_a_key() {
    for (config, why) in [
        (json!({"clients": []}), "clients: they have 0 keys together; expected 1 to 256"),
        (
            json!({"clients": [{"name": "a", "sha256": ["let-me-in"]}]}),
            "clients[0].sha256[0]: expected the key's SHA-256 as 64 hexadecimal digits, found 9 bytes",
        ),
        (
            json!({"clients": [{"name": "a", "sha256": [hash("a")], "scopes": [{"path": "orders"}]}]}),
            "clients[0].scopes[0].path: `orders` does not begin with `/`",
        ),
        (json!({"clients": [{"name": "", "sha256": []}]}), "clients[0].name: a text of visible characters"),
        (json!({"clients": [], "realm": "a\"b"}), "realm: a text without quotes"),
        (json!({"client": []}), "unknown field `client`"),
    ] {
        let refused = filter(config.clone()).try_start().expect_err("it is wrong");
        assert!(refused.logged(why), "{config}: {refused}");
        assert!(!refused.to_string().contains("let-me-in"), "{refused}");
    }
}

#[test]
fn what_a_request_costs() {
    let kit = filter(clients()).start();
    kit.send(with_key("m", Request::get("/orders/7"))); // the first of a metric's label defines it
    let seen = kit.send(with_key("m", Request::get("/orders/7")));
    println!("an allowed request: {}", seen.instructions());
    assert!(seen.instructions() < 20_000, "a request costs {} instructions", seen.instructions());
}
