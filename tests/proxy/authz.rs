//! The shipped authorization, with real sockets: an issuer whose keys change, a service that is asked, and what clients and
//! operators see.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::equipment::{Answer, Proxy, Start, Upstream, forwarding, in_listener, refusing_address};

const JWKS: &str = include_str!("../../filters/authz/tests/fixtures/jwks.json");
const ROTATED: &str = include_str!("../../filters/authz/tests/fixtures/jwks-rotated.json");

fn bearer(name: &str) -> String {
    let tokens = include_str!("../../filters/authz/tests/fixtures/tokens.txt");
    let found = tokens.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name);
    format!("Bearer {}", found.expect("a fixture of this name").1)
}

/// A proxy before `upstream` with this configuration of the filter, and these clusters more.
fn with_authz(upstream: &Upstream, config: &Value, clusters: &[(&str, String)]) -> Start {
    let fields = ["access_log: true", "filters: [authz]"];
    let mut text = in_listener(&forwarding(&[upstream.address()], ""), &fields);
    for (name, address) in clusters {
        text += &format!("  {name}: {{endpoints: [\"{address}\"]}}\n");
    }
    text += &format!(
        "filters:\n  authz: {{module: \"builtin:authz\", limits: {{instructions: 200M, wall_clock: 30s}}, \
         allow_on_headers_stop_iteration: true, config: {config}}}\n"
    );
    Proxy::with(&text)
}

fn get(proxy: &Proxy, path: &str, authorization: &str) -> crate::equipment::Response {
    proxy.client().request("GET", path, &[("authorization", authorization)], "")
}

/// An issuer that shows what the test says: keys, or nothing but a status.
fn issuer(shown: &Arc<Mutex<Result<&'static str, u16>>>) -> Upstream {
    let shown = shown.clone();
    Upstream::start(move |_| match *shown.lock().expect("no test panics with it") {
        Ok(jwks) => Answer::sized(200, &[("content-type", "application/json")], jwks),
        Err(status) => Answer::sized(status, &[], ""),
    })
}

fn fetching(more: Value) -> Value {
    let mut fetch = json!({"cluster": "idp", "path": "/jwks.json"});
    fetch.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let issuer = json!({"issuer": "https://idp.test", "audiences": ["api"], "fetch": fetch, "headers": {"x-user": "sub"}});
    json!({"jwt": {"issuers": [issuer]}, "allow": [{"match": {"authenticated": true}}]})
}

#[test]
fn keys_are_fetched_from_the_issuer_and_verify_tokens() {
    let (upstream, shown) = (Upstream::ok("hello"), Arc::new(Mutex::new(Ok(JWKS))));
    let idp = issuer(&shown);
    let proxy = with_authz(&upstream, &fetching(json!({})), &[("idp", idp.address().to_string())]).start();
    let response = get(&proxy, "/", &bearer("RS256"));
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    assert_eq!(upstream.requests()[0].head.field("x-user"), Some("ann"));
    assert_eq!(idp.requests()[0].head.target(), "/jwks.json");

    let refused = get(&proxy, "/", &bearer("expired"));
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.field("www-authenticate"),
        Some(r#"Bearer realm="restricted", error="invalid_token""#)
    );
    assert_eq!(upstream.requests().len(), 1);
    let line = proxy.wait_for_access_log(2).remove(1);
    assert_eq!(
        (&line["details"], &line["filter"]),
        (&json!("authz_token_expired:https://idp.test"), &json!("authz"))
    );
    let labels = [("rule", "https://idp.test"), ("reason", "token_expired")];
    proxy.wait_for_metric("wasmcustom_authz_denied_total", &labels, 1.0);
}

#[test]
fn a_rotation_is_noticed_by_the_first_token_with_a_new_key() {
    let (upstream, shown) = (Upstream::ok("hello"), Arc::new(Mutex::new(Ok(JWKS))));
    let idp = issuer(&shown);
    let config = fetching(json!({"min_interval": "0s"}));
    let proxy = with_authz(&upstream, &config, &[("idp", idp.address().to_string())]).start();
    assert_eq!(get(&proxy, "/", &bearer("RS256")).status(), 200);
    *shown.lock().expect("no test panics with it") = Ok(ROTATED);
    assert_eq!(
        get(&proxy, "/", &bearer("RS256")).status(),
        200,
        "it was verified, and the keys are still good"
    );
    assert_eq!(get(&proxy, "/", &bearer("rotated")).status(), 200);
    assert_eq!(get(&proxy, "/", &bearer("RS256")).status(), 401, "the old key is gone");
}

#[test]
fn keys_from_before_serve_while_the_issuer_is_down() {
    let (upstream, shown) = (Upstream::ok("hello"), Arc::new(Mutex::new(Ok(JWKS))));
    let idp = issuer(&shown);
    let config = fetching(json!({"refresh": "200ms", "stale_if_error": "1h"}));
    let proxy = with_authz(&upstream, &config, &[("idp", idp.address().to_string())]).start();
    assert_eq!(get(&proxy, "/", &bearer("ES256")).status(), 200);
    *shown.lock().expect("no test panics with it") = Err(500);
    proxy.wait_for_log("a fetch that failed", |event| {
        event["message"].as_str().is_some_and(|message| message.contains("no keys issuer=https://idp.test"))
    });
    assert_eq!(get(&proxy, "/", &bearer("EdDSA")).status(), 200);
}

#[test]
fn an_issuer_that_was_never_there_is_503_and_not_the_clients_fault() {
    let (upstream, (nobody, _socket)) = (Upstream::ok("hello"), refusing_address());
    let proxy = with_authz(&upstream, &fetching(json!({})), &[("idp", nobody.to_string())]).start();
    assert_eq!(get(&proxy, "/", &bearer("RS256")).status(), 503);
    assert_eq!(proxy.wait_for_access_log(1)[0]["details"], "authz_keys_unavailable:https://idp.test");
    assert_eq!(proxy.client().get("/").status(), 401);
    assert!(upstream.requests().is_empty());
}

#[test]
fn the_external_service_gets_the_request_with_its_body_and_decides() {
    let upstream = Upstream::ok("hello");
    let auth = Upstream::start(|head| match head.field("x-token") {
        Some("good") => Answer::sized(200, &[("x-user", "ann")], "").read_body(),
        _ => Answer::sized(401, &[("www-authenticate", "Custom")], "who are you?").read_body(),
    });
    let external = json!({"cluster": "auth", "headers": ["x-token"], "upstream_headers": ["x-user"], "path_prefix": "/check",
                          "body": {"max_bytes": 1000}, "timeout": "10s"});
    let config = json!({"external": external});
    let proxy = with_authz(&upstream, &config, &[("auth", auth.address().to_string())]).start();
    let fields = [("x-token", "good"), ("x-user", "root")];
    let response = proxy.client().request("POST", "/a?b", &fields, "the body");
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    let asked = auth.requests().remove(0);
    assert_eq!((asked.head.method(), asked.head.target()), ("POST", "/check/a?b"));
    assert_eq!(asked.body.expect("it was read").text(), "the body");
    let forwarded = upstream.requests().remove(0);
    assert_eq!(forwarded.head.all("x-user"), ["ann"]);
    assert_eq!(forwarded.body.expect("it was read").text(), "the body");

    let refused = proxy.client().get("/");
    assert_eq!((refused.status(), refused.text().as_str()), (401, "who are you?"));
    assert_eq!(refused.field("www-authenticate"), Some("Custom"));
    assert_eq!(proxy.wait_for_access_log(2)[1]["details"], "authz_external:auth");
}

#[test]
fn a_service_that_is_not_there_closes_or_opens() {
    let (upstream, (nobody, _socket)) = (Upstream::ok("hello"), refusing_address());
    for (on_error, status) in [("deny", 503), ("allow", 200)] {
        let config = json!({"external": {"cluster": "auth", "on_error": on_error, "timeout": "5s"}});
        let proxy = with_authz(&upstream, &config, &[("auth", nobody.to_string())]).start();
        assert_eq!(proxy.client().get("/").status(), status, "{on_error}");
    }
}

/// What the proxy cleans and what it keeps, together with what the filter makes of that.
#[test]
fn no_spelling_of_a_path_gets_past_the_proxy_and_the_filter() {
    let upstream = Upstream::ok("hello");
    let config = json!({
        "deny": [{"match": {"path": {"prefix": "/admin", "ignore_case": true}}}],
        "allow": [{"match": {"path": [{"prefix": "/public/"}, {"prefix": "/admin"}]}}],
    });
    let proxy = with_authz(&upstream, &config, &[]).start();
    for path in [
        "/admin",
        "/ADMIN",
        "//admin",
        "/./admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/%61dmin",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public/..;/admin",
        "/public/..;a=b/admin",
        "/;/admin",
        "/public/%252e%252e%252fadmin",
        "/public/..%c0%afadmin",
        "/public\\..\\admin",
        "/public/..%2f..%2fetc",
    ] {
        let status = proxy.client().get(path).status();
        assert!([400, 403].contains(&status), "{path} gave {status}");
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(proxy.client().get("/public/a").status(), 200);
}

#[test]
fn keys_and_users_are_taken_from_files_and_a_mistake_in_one_is_found_by_check() {
    let upstream = Upstream::ok("hello");
    let config = json!({
        "jwt": {"issuers": [{"issuer": "https://idp.test", "audiences": ["api"], "jwks": {"from_file": "./jwks.json"}}]},
        "basic": {"htpasswd": {"from_file": "./users"}},
        "allow": [{"match": {"authenticated": true}}],
    });
    let users = "eve:{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=\n";
    let start = || with_authz(&upstream, &config, &[]).file("jwks.json", JWKS);
    let proxy = start().file("users", users).start();
    assert_eq!(get(&proxy, "/", &bearer("EdDSA")).status(), 200);
    assert_eq!(get(&proxy, "/", "Basic ZXZlOndvbmRlcmxhbmQ=").status(), 200);
    assert_eq!(get(&proxy, "/", "Basic ZXZlOnNvbWV0aGluZw==").status(), 401);

    let checked = start().file("users", "eve:wonderland\n").run("check");
    assert_ne!(checked.code, Some(0));
    let said = "basic.htpasswd: line 1: the hash of `eve` is a password in plain text";
    assert!(checked.stderr.contains(said), "{}", checked.stderr);
    assert!(!checked.stderr.contains("wonderland"), "{}", checked.stderr);
}
