//! The shipped filters do in Envoy what they do here.

use super::render_envoy;
use super::{Action, Case, Route, Value};
use crate::equipment::{Envoy, Upstream};
use crate::proxy::rate_limit::{RUSHED, assert_admitted};

const HALVES: &str = r#"{"cookie": {"name": "who"}, "experiments": [{"name": "checkout", "subject": ["header:x-user"],
    "response_header": "x-variant", "variants": [{"name": "control", "weight": 50},
    {"name": "blue", "weight": 50, "cluster": "blue", "headers": {"x-theme": "blue"}}]}]}"#;

/// Two clusters, of which the filter may name one.
fn split(name: &'static str, config: &str) -> Case {
    let chosen = Route {
        headers: vec![("x-ab-cluster".to_owned(), Value::Present(true))],
        action: Some(Action::ClusterHeader("x-ab-cluster".to_owned(), vec!["blue".to_owned()])),
        ..Route::default()
    };
    let case = Case::new(name).shipped("ab-route", config).route(chosen).route(Route::default());
    case.cluster("blue", |_| crate::equipment::Answer::chunked(200, &[], &["blue"], &[]))
}

#[test]
fn a_user_gets_the_variant_and_the_cluster_that_it_gets_in_envoy() {
    split("experiment", HALVES).run(|stage| {
        for user in ["ann", "bob", "cid", "dan", "eve", "fay"] {
            stage.request("GET", "/", &[("x-user", user)], "");
        }
        stage.request("GET", "/", &[("x-user", "ann"), ("x-ab-cluster", "blue"), ("x-theme", "mine")], "");
        stage.request("GET", "/", &[("cookie", "who=7")], "");
    });
}

#[test]
fn a_request_is_copied_as_in_envoy() {
    let config = r#"{"experiments": [{"name": "rewrite", "without_subject": "chance",
        "variants": [{"name": "all", "weight": 1, "shadow": {"cluster": "blue"}}]}]}"#;
    split("shadow", config).run(|stage| {
        stage.request("POST", "/buy?x=1", &[("x-user", "ann")], "apples");
        stage.upstream("blue").wait_for(1);
    });
}

#[test]
fn a_limit_refuses_what_it_refuses_in_envoy() {
    let config = r#"{"rules": [{"name": "user", "key": ["header:x-user"], "rate": "2/h"},
        {"name": "posts", "match": {"method": "POST"}, "rate": "1/h", "algorithm": "sliding_window"}]}"#;
    Case::new("limit").shipped("rate-limit", config).run(|stage| {
        // How long to wait depends on the moment, so the answers are not compared word by word.
        let status = |method, user| {
            let fields = [("x-user", user), ("content-length", "0")];
            stage.client().request(method, "/", &fields, "").status()
        };
        let statuses = [("GET", "ann"), ("GET", "ann"), ("GET", "ann"), ("POST", "bob"), ("POST", "bob")]
            .map(|(method, user)| status(method, user));
        assert_eq!(statuses, [200, 200, 429, 200, 429]);
    });
}

#[test]
fn two_workers_of_envoy_count_together_nearly_exactly() {
    if !Envoy::is_installed() {
        return;
    }
    let case = Case::new("rush").shipped("rate-limit", RUSHED);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("0.wasm"), &case.filters[0].module)
        .expect("a temporary file can be written");
    let upstream = Upstream::ok("hello");
    let bootstrap = render_envoy::bootstrap(&case, &[("up".to_owned(), upstream.address())], folder.path());
    let envoy = Envoy::start_with(folder, &bootstrap, 2);
    assert_admitted(envoy.address("in"), 0.05);
    let said = |(_, line): &(String, String)| line.contains("has no tidegate.bucket.take");
    // Which worker takes a connection is the kernel's choice: one may have had none.
    let count = envoy.guest_log().iter().filter(|line| said(line)).count();
    assert!((1..=2).contains(&count), "each worker says so once: {count}");
}

#[test]
fn an_abort_is_what_it_is_in_envoy() {
    let config = r#"{"abort": {"grpc_status": 14, "body": "try again"}, "when": "'x-chaos' in request.headers",
        "match": {"client": ["127.0.0.0/8"], "cluster": {"exact": "up"}}}"#;
    Case::new("abort").shipped("fault", config).run(|stage| {
        stage.request("GET", "/", &[("x-chaos", "1")], "");
        let grpc = [("x-chaos", "1"), ("content-type", "application/grpc")];
        stage.request("POST", "/pkg.Service/Call", &grpc, "");
        stage.request("GET", "/", &[], "");
    });
}

#[test]
fn a_delayed_request_goes_on_whole_as_in_envoy() {
    let config = r#"{"delay": {"fixed": "50ms"}, "allow_headers": true}"#;
    Case::new("delay").shipped("fault", config).run(|stage| {
        stage.request("POST", "/", &[], "body");
        stage.request("GET", "/", &[("x-envoy-fault-abort-grpc-request", "5")], "");
    });
}

#[test]
fn a_truncated_response_is_what_it_is_in_envoy() {
    let config = r#"{"truncate": {"after": 8}, "rate_limit": {"limit_kbps": 1}}"#;
    let case = Case::new("truncate").shipped("fault", config);
    case.upstream(|_| crate::equipment::Answer::chunked(200, &[], &["hello ", "world"], &[])).run(|stage| {
        stage.get("/");
    });
}

/// A token, a key, a password, paths that are spelled in odd ways, and the external service.
#[test]
fn who_may_do_what_here_may_do_it_in_envoy() {
    let jwks = include_str!("../../filters/authz/tests/fixtures/jwks.json");
    let tokens = include_str!("../../filters/authz/tests/fixtures/tokens.txt");
    let token = |name: &str| {
        let found = tokens.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name);
        format!("Bearer {}", found.expect("a fixture of this name").1)
    };
    let config = serde_json::json!({
        "jwt": {"issuers": [{"issuer": "https://idp.test", "audiences": ["api"], "jwks": jwks, "headers": {"x-user": "sub"}}]},
        "api_keys": {"keys": [{"name": "ci", "sha256": "a3ee786b5707c27d42570785081ec17f5c7db9262a01366af362a1aa61a420b9"}], "header": "x-client"},
        "basic": {"htpasswd": "eve:{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=\n"},
        "deny": [{"match": {"path": {"prefix": "/admin"}}}],
        "allow": [{"match": {"authenticated": true}}, {"match": {"expression": "request.path == '/open'"}}],
    });
    Case::new("authz").shipped("authz", &config.to_string()).run(|stage| {
        for (path, authorization) in [
            ("/", ""),
            ("/open", ""),
            ("/open", token("EdDSA").as_str()),
            ("/", token("EdDSA").as_str()),
            ("/", token("RS256").as_str()),
            ("/", token("ES256").as_str()),
            ("/", token("expired").as_str()),
            ("/", token("rotated").as_str()),
            ("/", "Basic ZXZlOndvbmRlcmxhbmQ="),
            ("/", "Basic ZXZlOnNvbWV0aGluZw=="),
            ("/admin", token("EdDSA").as_str()),
            ("/a;b/../admin", token("EdDSA").as_str()),
        ] {
            stage.request("GET", path, &[("authorization", authorization), ("x-user", "forged")], "");
        }
        stage.request("GET", "/", &[("x-api-key", "let-me-in"), ("x-client", "forged")], "");
        stage.request("GET", "/", &[("x-api-key", "let-me-out")], "");
    });
}
