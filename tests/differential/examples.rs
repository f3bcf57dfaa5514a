//! The examples do in Envoy what they do here: the same module, the same configuration, the same requests. What Envoy has no name
//! for, such as cells and tidegate's own callbacks, they do without.

use std::path::Path;

use serde_json::json;

use super::{Action, Case, Edits, Route, Stage, Value, with_held_headers};
use crate::equipment::language::{CORRELATION, MAINTENANCE, SECURITY_HEADERS};
use crate::equipment::{Answer, Head, Language};

/// A case whose only filter is an example in Rust.
fn example(name: &'static str, config: &serde_json::Value) -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    let module = std::fs::read(guests::build_in(&folder)).expect("a module that was built can be read");
    Case::new(name).module(name, module, &config.to_string())
}

/// The same for one in another language; `None` where there is nothing to build it with.
fn example_in(name: &'static str, language: &Language, root: &str, config: &str) -> Option<Case> {
    let mut case = Case::new(name).module(name, language.tour()?, config);
    case.filters[0].root_id = root.to_owned();
    Some(case)
}

fn get(stage: &Stage, path: &str, fields: &[(&str, &str)]) {
    stage.request("GET", path, fields, "");
}

#[test]
fn who_has_a_key_here_has_it_in_envoy() {
    // Of `m` and of `b`.
    let hashes = [
        "62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a",
        "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
    ];
    let config = json!({"query": "key", "clients": [
        {"name": "mobile", "sha256": [hashes[0]], "scopes": [{"path": "/orders", "methods": ["GET"]}]},
        {"name": "batch", "sha256": [hashes[1]]},
    ]});
    example("api-keys", &config).run(|stage| {
        get(stage, "/orders", &[]);
        get(stage, "/orders", &[("x-api-key", "wrong")]);
        get(stage, "/orders/7?a=1", &[("x-api-key", "m"), ("x-client", "batch")]);
        get(stage, "/admin", &[("x-api-key", "m")]);
        get(stage, "/reports?month=5&key=b&all", &[]);
        stage.request("POST", "/reports", &[("x-api-key", "b")], "body");
    });
}

#[test]
fn what_is_refused_as_an_attack_here_is_refused_in_envoy() {
    example("waf", &json!({"rules": [{"name": "ours", "score": 5, "patterns": ["our name"]}]})).run(
        |stage| {
            get(stage, "/items?q=union+station", &[]);
            // The request's id is in the answer.
            for (path, agent) in [
                ("/items?q=1'+UNION%20%20SELECT", "curl"),
                ("/", "${jndi:ldap://x}"),
                ("/?q=Our%20%20name", "curl"),
            ] {
                let response = stage.client().request("GET", path, &[("user-agent", agent)], "");
                stage.note(&format!("{path} {agent}: {}", response.status()));
            }
            get(stage, "/", &[("user-agent", "nikto")]);
            stage.request("POST", "/", &[], "the script of the play");
            stage.request("POST", "/", &[("content-encoding", "gzip")], "packed");
        },
    );
}

fn documents(head: &Head) -> Answer {
    let json = [("content-type", "application/json")];
    match head.target() {
        "/cut" => Answer::chunked(200, &json, &["{\"user\": {\"pass", "word\": \"s3", "cret\"}}"], &[]),
        "/text" => Answer::chunked(200, &[("content-type", "text/plain")], &["{\"debug\": 1}"], &[]),
        _ => Answer::chunked(200, &json, &["[1, {\"debug\": true}]"], &[]),
    }
}

#[test]
fn what_is_rewritten_here_is_rewritten_in_envoy() {
    let rules = json!([
        {"path": "user.password", "redact": "***"},
        {"path": "items.*.price", "rename": "cost"},
        {"path": "debug", "remove": true},
    ]);
    let headers = json!({"set": {"x-seen": "yes"}, "remove": ["x-debug"]});
    let config = json!({"request": {"json": rules, "headers": headers}, "response": {"json": rules, "headers": headers}});
    example("rewrite", &config).upstream(documents).run(|stage| {
        let json = [("content-type", "application/json"), ("x-debug", "1")];
        stage.request(
            "POST",
            "/",
            &json,
            "{\"debug\": 1, \"items\": [{\"price\": 5}], \"user\": {\"password\": []}}",
        );
        stage.request("POST", "/", &[], "{\"debug\": 1}");
        get(stage, "/cut", &[]);
        get(stage, "/text", &[]);
    });
}

/// Cells are values in shared data there.
#[test]
fn what_is_stored_here_is_stored_in_envoy() {
    let answer = |head: &Head| {
        let fields = [("content-type", "text/plain"), ("cache-control", "max-age=600"), ("etag", "\"1\"")];
        match (head.target(), head.field("if-none-match")) {
            (_, Some("\"1\"")) => Answer::sized(304, &[("etag", "\"1\"")], ""),
            ("/private", _) => Answer::chunked(200, &[("cache-control", "private")], &["mine"], &[]),
            _ => Answer::chunked(200, &fields, &["hel", "lo"], &[]),
        }
    };
    example("cache", &json!({})).upstream(answer).run(|stage| {
        // How old an answer is depends on the moment, so hits are not compared word by word.
        let seen = |path, fields: &[(&str, &str)]| {
            let response = stage.client().request("GET", path, fields, "");
            let hit = response.head.field("cache-status").unwrap_or_default().contains("hit");
            stage.note(&format!("{path} {fields:?}: {} {} {hit}", response.status(), response.text()));
        };
        for path in ["/", "/", "/private", "/private"] {
            seen(path, &[]);
        }
        seen("/", &[("if-none-match", "\"1\"")]);
        seen("/", &[("cache-control", "no-cache")]);
        stage.request("POST", "/", &[], "changed");
        seen("/", &[]);
        seen("/", &[]);
    });
}

#[test]
fn a_client_is_where_it_is_in_envoy() {
    let config =
        json!({"data": "127.0.0.0/8,DE\n127.0.0.2/32,US\n", "regions": {"us": ["US"], "eu": ["DE"]}});
    let eu = Route {
        headers: vec![("x-geo-region".to_owned(), Value::Exact("us".to_owned()))],
        action: Some(Action::Cluster("america".to_owned())),
        ..Route::default()
    };
    let case = example("geo", &config).route(eu).route(Route::default());
    case.cluster("america", |_| Answer::chunked(200, &[], &["america"], &[])).run(|stage| {
        get(stage, "/", &[("x-geo-country", "DE"), ("x-geo-region", "eu")]);
    });
}

#[test]
fn what_a_client_may_spend_it_may_spend_in_envoy() {
    let config = json!({"client": "header:x-client", "budget": {"burst": 10, "refill": 1, "every": 3600}, "in_flight": 100,
        "costs": [{"path": "/reports", "cost": 4}]});
    let answer = |head: &Head| match head.target() {
        "/reports?failing" => Answer::chunked(503, &[], &["failed"], &[]),
        _ => Answer::chunked(200, &[("x-cost", "3")], &["hello"], &[]),
    };
    example("cost-admission", &config).upstream(answer).run(|stage| {
        let mut statuses = Vec::new();
        for path in ["/reports?failing", "/reports", "/reports", "/reports", "/reports?failing"] {
            statuses.push(stage.client().request("GET", path, &[("x-client", "ann")], "").status());
        }
        stage.note(&format!("{statuses:?}"));
        assert_eq!(statuses, [503, 200, 200, 200, 429]);
    });
}

/// What a signature is depends on the moment, so it is taken away after it was verified, further on in the chain.
#[test]
fn what_is_signed_is_verified_in_envoy() {
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let config = |mode: &str| json!({"mode": mode, "keys": {"a": secret}, "key": "a"});
    let verify = example("signing", &config("verify"));
    let mut case = example("signing", &config("sign"));
    case.filters[0].name = "sign".to_owned();
    case.filters[0] = with_held_headers(case.filters[0].clone());
    case.filters.extend(verify.filters);
    let unsigned = ["signature", "signature-input"].map(str::to_owned).to_vec();
    let route = Route { request_edits: Edits { remove: unsigned, ..Edits::default() }, ..Route::default() };
    case.route(route).run(|stage| {
        for (method, body) in [("GET", ""), ("POST", "two apples")] {
            let response = stage.client().request(method, "/orders?x=1", &[], body);
            stage.note(&format!("{method}: {} {}", response.status(), response.text()));
            assert_eq!(response.status(), 200);
        }
    });
}

#[test]
fn a_filter_in_go() {
    let Some(case) = example_in("go", &CORRELATION, "", "{\"header\": \"x-correlation-id\"}") else { return };
    // One that is made here is another in each run.
    case.run(|stage| {
        get(stage, "/orders?secret=1", &[("x-correlation-id", "from-the-app-7")]);
        stage.request("POST", "/orders", &[("x-correlation-id", "a.b")], "body");
    });
}

#[test]
fn a_filter_in_cpp() {
    let config = "state on\nretry-after 30\nmessage \"Soon\" & <here>\nallow-path /healthz\nallow-header x-operator me\n";
    let Some(case) = example_in("cpp", &MAINTENANCE, "", config) else { return };
    case.run(|stage| {
        get(stage, "/healthz", &[]);
        get(stage, "/healthz/db?x", &[]);
        get(stage, "/healthzz", &[]);
        get(stage, "/", &[("x-operator", "me")]);
        get(stage, "/", &[("x-operator", "you")]);
        get(stage, "/", &[("accept", "text/html")]);
        get(stage, "/", &[("accept", "application/json")]);
        stage.request("POST", "/pkg.Service/Call", &[("content-type", "application/grpc")], "");
    });
}

#[test]
fn a_filter_in_assemblyscript() {
    let config = "x-frame-options: DENY\n?content-security-policy: default-src 'self'\nhttps strict-transport-security: max-age=9\n-x-secret\n";
    let Some(case) = example_in("assemblyscript", &SECURITY_HEADERS, "security-headers", config) else {
        return;
    };
    let answer = |head: &Head| match head.target() {
        "/policy" => Answer::chunked(200, &[("content-security-policy", "default-src 'none'")], &["a"], &[]),
        _ => Answer::chunked(200, &[("x-secret", "1"), ("x-frame-options", "SAMEORIGIN")], &["b"], &[]),
    };
    case.upstream(answer).run(|stage| {
        get(stage, "/policy", &[]);
        get(stage, "/", &[]);
    });
}
