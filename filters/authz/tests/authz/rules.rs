//! Rules, and what the client and the operator are told.

use serde_json::json;
use tidegate_test::{Outcome, Request};

use super::{KEY, KEY_SHA256, filter};

#[test]
fn without_a_configuration_everything_passes() {
    assert_eq!(filter(json!({})).start().send(Request::get("/")).outcome(), Outcome::Answered);
}

#[test]
fn a_deny_rule_answers_in_the_upstreams_place_and_says_why_to_the_operator_alone() {
    let kit =
        filter(json!({"deny": [{"name": "no-admin", "match": {"path": [{"prefix": "/admin"}]}}]})).start();
    let seen = kit.send(Request::get("/admin/users?key=secret"));
    assert_eq!((seen.status(), seen.text().as_str()), (403, "forbidden\n"));
    assert!(!seen.was_forwarded());
    assert_eq!(seen.details(), "authz_rule:no-admin");
    assert!(seen.logged("denied rule=no-admin reason=rule method=GET path=/admin/users"));
    assert!(!seen.logged("secret"), "the query is not logged");
    assert!(seen.response().header("www-authenticate").is_none());
    assert_eq!(kit.counter(r#"authz_denied{rule="no-admin",reason="rule"}"#), 1);
    assert_eq!(kit.send(Request::get("/")).status(), 200);
    assert_eq!(kit.counter("authz_allowed"), 1);
}

#[test]
fn deny_rules_come_before_allow_rules_and_what_is_not_allowed_is_denied() {
    let kit = filter(json!({
        "deny": [{"match": {"path": ["/a/secret"]}}],
        "allow": [{"match": {"path": [{"prefix": "/a/"}], "method": ["GET"]}}],
    }))
    .start();
    let status = |method, path| kit.send(Request::new(method, path)).status();
    assert_eq!(status("GET", "/a/b"), 200);
    assert_eq!(status("GET", "/a/secret"), 403);
    assert_eq!(status("POST", "/a/b"), 403);
    assert_eq!(status("GET", "/b"), 403);
    assert_eq!(kit.counter(r#"authz_denied{rule="-",reason="no_rule"}"#), 2);
}

#[test]
fn a_glob_ignores_case_where_that_is_said() {
    let rule = json!({"match": {"path": {"glob": "/Admin/**", "ignore_case": true}}});
    let kit = filter(json!({"deny": [rule, {"match": {"path": {"glob": "/Users/*"}}}]})).start();
    let status = |path| kit.send(Request::get(path)).status();
    assert_eq!((status("/aDMIN/users/ann"), status("/administrator")), (403, 200));
    assert_eq!((status("/Users/ann"), status("/users/ann")), (403, 200));
}

#[test]
fn client_addresses_are_those_of_the_connection() {
    let kit = filter(json!({"allow": [{"match": {"client": ["10.0.0.0/8", "2001:db8::/32"]}}]})).start();
    let status = |address| kit.send(Request::get("/").client(address)).status();
    assert_eq!(status("10.9.8.7:1234"), 200);
    assert_eq!(status("[2001:db8::1]:1234"), 200);
    assert_eq!(status("192.0.2.1:1234"), 403);
}

#[test]
fn an_expression_decides() {
    let rule = json!({"match": {"expression": "request.method == 'GET' && source.address.startsWith('10.') \
                                               && request.headers['x-team'].matches('^(ops|dev)$')"}});
    let kit = filter(json!({"allow": [rule]})).start();
    let request = || Request::get("/").client("10.0.0.1:1");
    assert_eq!(kit.send(request().header("x-team", "ops")).status(), 200);
    assert_eq!(kit.send(request().header("x-team", "sales")).status(), 403);
    assert_eq!(kit.send(request()).status(), 403, "no header, no answer, not allowed");
    assert!(kit.faults().is_empty());
}

#[test]
fn an_audit_denies_nothing_and_says_what_it_would_have_done() {
    let kit = filter(json!({
        "mode": "audit",
        "api_keys": {"keys": [{"name": "ci", "sha256": KEY_SHA256}], "header": "x-client"},
        "deny": [{"name": "no-admin", "match": {"path": ["/admin"]}}],
    }))
    .start();
    let seen = kit.send(Request::get("/admin").header("x-client", "forged"));
    assert_eq!(seen.status(), 200);
    assert!(seen.logged("would deny rule=no-admin reason=rule"));
    assert_eq!(kit.counter(r#"authz_would_deny{rule="no-admin",reason="rule"}"#), 1);
    assert!(seen.forwarded().header("x-client").is_none(), "forged all the same");
    let bad = kit.send(Request::get("/").header("x-api-key", "wrong"));
    assert_eq!(bad.status(), 200);
    assert!(bad.logged("reason=api_key"));
    let good = kit.send(Request::get("/").header("x-api-key", KEY));
    assert_eq!(good.forwarded().header("x-client"), Some("ci"));
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_field_value_and_what_was_expected() {
    for (config, said) in [
        (json!({"mode": "log"}), "mode: unknown variant `log`, expected `enforce` or `audit`"),
        (
            json!({"deny": [{"match": {"client": ["10.0.0.0/33"]}}]}),
            "deny[0].match.client[0]: invalid value: string \"10.0.0.0/33\", expected an address or a range",
        ),
        (
            json!({"allow": [{"match": {"expression": "requst.path == ''"}}]}),
            "allow[0].match.expression: `requst.path == ''` speaks of `requst`",
        ),
        (
            json!({"allow": [{"match": {"path": [{"regex": "("}]}}]}),
            "allow[0].match.path[0].regex: `(` is not a regular expression",
        ),
        (json!({"realm": "a\"b"}), "realm: `a\\\"b` cannot be named in a challenge"),
        (
            json!({"api_keys": {"keys": [{"name": "ci", "sha256": "let-me-in"}]}}),
            "api_keys.keys[0].sha256: a text of 9 bytes; expected a SHA-256",
        ),
        (
            json!({"basic": {"htpasswd": "ann:$apr1$x$y"}}),
            "basic.htpasswd: line 1: the hash of `ann` is of the kind apr1",
        ),
        (
            json!({"external": {"cluster": "a", "timeout": "soon"}}),
            "external.timeout: invalid value: string \"soon\", expected a duration",
        ),
        (
            json!({"jwt": {"issuers": [{"issuer": "a", "audiences": ["b"], "jwks": {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}}]}}),
            "jwt.issuers[0]: jwks: keys[0]: an RSA key of 17 bits; expected 2048 to 8192",
        ),
    ] {
        let refused = filter(config).try_start().expect_err("it is wrong");
        assert!(refused.logged(said), "{said}: {refused}");
    }
}
