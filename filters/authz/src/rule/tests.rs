//! What rules apply to, and that they cannot be dodged.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::jwt::{Claims, Verified};
use crate::path::Path;

fn rules(json: Value) -> Rules {
    serde_json::from_value(json).unwrap()
}

fn facts(headers: &[(&str, &str)]) -> Facts {
    Facts::of(headers)
}

fn get(path: &str) -> Facts {
    facts(&[(":method", "GET"), (":path", path)])
}

fn by_certificate(principal: &str) -> Identity {
    Identity { principal: Some(principal.to_owned()), ..Identity::default() }
}

fn with_claims(json: Value) -> Identity {
    let claims = Rc::new(Claims::new(json.as_object().unwrap().clone(), Vec::new()));
    let token = Verified { claims, issuer: 0, generation: 0, until: Duration::MAX };
    Identity { token: Some(token), ..Identity::default() }
}

fn denies(rule: &Value, facts: &Facts) -> bool {
    rules(json!([rule])).denying(facts, &Identity::default()).is_some()
}

fn allows(rule: &Value, facts: &Facts) -> bool {
    rules(json!([rule])).allow(facts, &Identity::default())
}

#[test]
fn a_rule_applies_where_everything_in_it_holds() {
    let rule = json!({"match": {"method": ["GET", "HEAD"], "path": [{"prefix": "/a"}, "/b"], "headers": {"x-team": "ops"}}});
    let team = ("x-team", "ops");
    for (method, path, applies) in
        [("GET", "/a/c", true), ("HEAD", "/b?x", true), ("POST", "/a", false), ("GET", "/c", false)]
    {
        let facts = facts(&[(":method", method), (":path", path), team]);
        assert_eq!((denies(&rule, &facts), allows(&rule, &facts)), (applies, applies), "{method} {path}");
    }
    assert!(!denies(&rule, &get("/a")), "no header");
    assert!(denies(&json!({}), &get("/")), "no condition, every request");
}

#[test]
fn the_first_that_applies_gives_its_name_or_its_place() {
    let rules = rules(json!([{"match": {"path": ["/a"]}}, {"name": "b", "match": {"path": ["/a", "/b"]}}]));
    let name = |path| rules.denying(&get(path), &Identity::default());
    assert_eq!(name("/a").as_deref(), Some("deny[0]"));
    assert_eq!(name("/b").as_deref(), Some("b"));
    assert_eq!(name("/c"), None);
}

#[test]
fn an_exception_takes_requests_out_of_a_rule() {
    let rule =
        json!({"match": {"path": [{"prefix": "/admin"}]}, "except": {"client": ["10.0.0.0/8", "::1"]}});
    let from = |address: Option<&str>| {
        let mut facts = get("/admin");
        facts.source = address.map(|address| address.parse().unwrap());
        facts
    };
    assert!(!denies(&rule, &from(Some("10.1.2.3"))));
    assert!(!denies(&rule, &from(Some("::ffff:10.1.2.3"))), "the same client over IPv6");
    assert!(!denies(&rule, &from(Some("::1"))));
    assert!(denies(&rule, &from(Some("11.0.0.1"))));
    assert!(denies(&rule, &from(None)), "a client that is not known is not excepted");
}

#[test]
fn a_client_that_is_not_known_is_denied_and_not_allowed() {
    let rule = json!({"match": {"client": ["0.0.0.0/0"]}});
    assert!(denies(&rule, &get("/")));
    assert!(!allows(&rule, &get("/")));
}

#[test]
fn a_header_sent_twice_is_denied_if_one_value_is_and_allowed_if_all_are() {
    let rule = json!({"match": {"headers": {"x-role": "admin"}}});
    let both = facts(&[(":path", "/"), ("x-role", "user"), ("x-role", "admin")]);
    assert!(denies(&rule, &both));
    assert!(!allows(&rule, &both));
    assert!(allows(&rule, &facts(&[("x-role", "admin"), ("x-role", "admin")])));
    assert!(!allows(&rule, &get("/")), "none is not all");
    let absent = json!({"match": {"headers": {"x-role": {"present": false}}}});
    assert!(allows(&absent, &get("/")) && !allows(&absent, &both));
}

#[test]
fn identities_are_matched_by_globs() {
    let principals = rules(json!([{"match": {"principals": ["spiffe://prod/ns/*/sa/web"]}}]));
    let by = |principal: &str| principals.allow(&get("/"), &by_certificate(principal));
    assert!(by("spiffe://prod/ns/shop/sa/web"));
    assert!(!by("spiffe://prod/ns/shop/other/sa/web") && !by("spiffe://evil/ns/shop/sa/web"));

    let names = rules(json!([{"match": {"api_keys": ["ci-*"]}}, {"match": {"users": ["ann"]}}]));
    let key = |name: &str| Identity { api_key: Some(name.into()), ..Identity::default() };
    assert!(names.allow(&get("/"), &key("ci-main")));
    assert!(!names.allow(&get("/"), &key("ann")), "a key is no user");
    let ann = Identity { user: Some("ann".into()), ..Identity::default() };
    assert!(names.allow(&get("/"), &ann));
    assert!(!names.allow(&get("/"), &Identity::default()));
}

#[test]
fn claims_are_those_of_the_verified_token() {
    let rules = rules(json!([{"match": {"claims": {"groups": "ops", "scope": {"includes": "write"}}}}]));
    let allowed = |identity: &Identity| rules.allow(&get("/"), identity);
    assert!(allowed(&with_claims(json!({"groups": ["dev", "ops"], "scope": "read write"}))));
    assert!(!allowed(&with_claims(json!({"groups": ["dev"], "scope": "read write"}))));
    assert!(!allowed(&Identity::default()));
}

#[test]
fn whoever_shows_who_they_are_is_authenticated() {
    let rules = rules(json!([{"match": {"authenticated": true}}]));
    let allowed = |identity: &Identity| rules.allow(&get("/"), identity);
    assert!(rules.needs().authenticated && !rules.needs().principal);
    assert!(allowed(&with_claims(json!({}))));
    assert!(allowed(&by_certificate("spiffe://a")));
    assert!(!allowed(&Identity::default()));
}

#[test]
fn an_expression_that_fails_denies_and_does_not_allow() {
    let rule = json!({"match": {"expression": "request.headers[\"x-a\"] == \"1\""}});
    assert!(denies(&rule, &get("/")));
    assert!(!allows(&rule, &get("/")));
    let one = facts(&[("x-a", "1")]);
    assert!(denies(&rule, &one) && allows(&rule, &one));
    let other = facts(&[("x-a", "2")]);
    assert!(!denies(&rule, &other) && !allows(&rule, &other));
}

/// From published bypasses of proxies, frameworks and servers.
#[test]
fn a_path_that_services_read_differently_is_denied_if_any_does_and_allowed_if_all_do() {
    let admin = json!({"match": {"path": [{"prefix": "/admin", "ignore_case": true}]}});
    let public = json!({"match": {"path": [{"prefix": "/public/"}]}});
    for path in [
        "/public/..%2fadmin/users",
        "/public/..%5Cadmin",
        "/public/..;/admin",
        "/public/%2e%2e;x/admin",
        "/public/%252e%252e%252fadmin",
        "/public/../admin",
        "//admin",
        "/%2fadmin",
        "/;x/admin",
        "/.%2fadmin",
        "/public/..%c0%afadmin",
        "/%61dmin",
        "/%2561dmin",
        "/%41DMIN",
        "/admin%00",
        "/admin%20",
        "/ADMIN;.js",
        "/public\\..\\admin",
    ] {
        assert!(denies(&admin, &get(path)), "{path} is denied");
        assert!(!allows(&public, &get(path)), "{path} is not allowed");
    }
    assert!(allows(&public, &get("/public/a%2Fb")), "either way below /public");
    assert!(!denies(&admin, &get("/public/a%20b")));
}

#[test]
fn what_is_wrong_is_refused_with_what_was_expected() {
    for (json, message) in [
        (
            json!([{"match": {"method": ["get"]}}]),
            "`get` is not a method; expected such as `GET`, in capitals",
        ),
        (json!([{"match": {"client": ["10.0.0.0/33"]}}]), "expected an address or a range of addresses"),
        (json!([{"match": {"paths": ["/"]}}]), "unknown field `paths`"),
        (json!([{"match": {"path": [{"regex": "("}]}}]), "`(` is not a regular expression"),
        (json!([{"match": {"path": {"glob": "["}}}]), "`[` is not a glob"),
        (
            json!([{"match": {"headers": {"a": {"includes": "c"}}}}]),
            "unknown field `includes`, expected one of `exact`",
        ),
        (json!([{"match": {"claims": {"a": {"regex": "("}}}}]), "`(` is not a regular expression"),
        (json!([{"match": {"headers": {"a b": "c"}}}]), "the name of a header"),
        (json!(vec![json!({}); MOST_RULES + 1]), "1001 rules; expected at most 1000"),
    ] {
        let error = serde_json::from_value::<Rules>(json).unwrap_err().to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
}

/// Ways to write a character of a path so that some service still reads it.
fn written(c: char) -> impl Strategy<Value = String> {
    let once = format!("%{:02x}", c as u32);
    let twice = once.replace('%', "%25");
    prop_oneof![Just(c.to_string()), Just(once.clone()), Just(once.to_uppercase()), Just(twice)]
}

/// Ways to write the slash before a segment.
fn slash() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "/",
        "//",
        "/./",
        "/x/../",
        "/;/",
        "/x/..;a=b/",
        "\\",
        "%2f",
        "%5C",
        "%252F",
        "/%2e/",
        "/x/%2e%2e/",
    ])
}

proptest! {
    #[test]
    fn no_spelling_of_a_path_dodges_a_rule(
        first in slash(),
        second in slash(),
        name in "admin".chars().map(|c| written(c).boxed()).collect::<Vec<_>>(),
        end in prop_oneof![Just(""), Just(";x"), Just("?q=/public"), Just("%00"), Just("%23"), Just("/")],
    ) {
        // The target of a request begins with a slash.
        let path = format!("/{first}{}{second}users{end}", name.concat());
        let denied = json!({"match": {"path": [{"prefix": "/admin"}]}});
        prop_assert!(denies(&denied, &get(&path)), "{}", path);
        let behind_public = format!("/public/..{path}");
        let allowed = json!({"match": {"path": [{"prefix": "/public"}]}});
        prop_assert!(!allows(&allowed, &get(&behind_public)), "{}", behind_public);
    }

    #[test]
    fn no_path_is_too_odd_to_be_read(path in "[/a.%2f;\\\\?#é\u{0}5cC ]{0,40}") {
        for reading in Path::new(&path).readings() {
            prop_assert!(reading.len() <= path.len() * 3 + 1);
        }
    }
}
