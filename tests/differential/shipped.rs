//! The shipped filters do in Envoy what they do here.

use super::{Action, Case, Route, Value};

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
