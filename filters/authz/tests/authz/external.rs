//! The external service: what it is asked, and what follows from its answer.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test::{Answer, Request, Response, Setup};

use super::filter;

fn asking(more: Value) -> Setup {
    let mut external = json!({"cluster": "auth"});
    external.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    filter(json!({"external": external})).allow_on_headers_stop_iteration()
}

fn with_body(max_bytes: usize, allow_partial: bool) -> Setup {
    asking(json!({"body": {"max_bytes": max_bytes, "allow_partial": allow_partial}}))
}

#[test]
fn the_service_is_asked_and_its_headers_go_on() {
    let yes = |_: &_| Response::new(200).header("x-user", "ann").header("x-other", "1");
    let setup =
        asking(json!({"path_prefix": "/check", "headers": ["cookie"], "upstream_headers": ["x-user"]}));
    let kit = setup.cluster("auth", yes).start();
    let request =
        Request::put("/a?b").header("cookie", "c=d").header("authorization", "x").header("x-user", "root");
    let seen = kit.send(request);
    let forwarded = seen.forwarded();
    assert_eq!((forwarded.header("x-user"), forwarded.header("x-other")), (Some("ann"), None));
    assert_eq!(forwarded.headers().get_all("x-user").iter().count(), 1);
    let call = &seen.callouts()[0];
    assert_eq!((call.method.as_str(), call.target.as_str()), ("PUT", "/check/a?b"));
    assert_eq!(
        (call.header("cookie"), call.header("authorization"), call.header("x-user")),
        (Some("c=d"), None, None)
    );
    assert_eq!(kit.counter(r#"authz_external{result="allowed"}"#), 1);
}

#[test]
fn a_no_is_the_services_own() {
    let no = |_: &_| Response::new(302).header("location", "/login").header("x-why", "no").body("see /login");
    let kit = asking(json!({"client_headers": ["location"]})).cluster("auth", no).start();
    let seen = kit.send(Request::get("/"));
    assert_eq!(
        (seen.status(), seen.text().as_str(), seen.details()),
        (302, "see /login", "authz_external:auth")
    );
    assert_eq!((seen.response().header("location"), seen.response().header("x-why")), (Some("/login"), None));
    assert!(!seen.was_forwarded());
    assert_eq!(kit.counter(r#"authz_denied{rule="auth",reason="external"}"#), 1);
}

#[test]
fn a_service_that_fails_closes_or_opens_as_configured() {
    type Script = fn(&tidegate_test::Call) -> Answer;
    let failures: [Script; 3] =
        [|_| Response::new(500).into(), |_| Answer::unavailable("nobody there"), |_| Answer::never()];
    for failure in failures {
        let kit = asking(json!({"status_on_error": 502})).cluster("auth", failure).start();
        let seen = kit.send(Request::get("/"));
        assert_eq!((seen.status(), seen.details()), (502, "authz_external_failed:auth"));
        assert!(seen.logged("the external service failed cluster=auth"));
        assert!(seen.duration() <= Duration::from_millis(200));
        let kit = asking(json!({"on_error": "allow"})).cluster("auth", failure).start();
        assert_eq!(kit.send(Request::get("/")).status(), 200);
        assert_eq!(kit.counter(r#"authz_external{result="failed"}"#), 1);
    }
    let kit = asking(json!({"cluster": "nobody"})).start();
    assert_eq!(kit.send(Request::get("/")).status(), 503, "a cluster that is not there");
}

#[test]
fn rules_come_first_and_spare_the_service() {
    let config = json!({"deny": [{"match": {"path": ["/no"]}}], "external": {"cluster": "auth"}});
    let kit = filter(config).cluster("auth", |_: &_| Response::new(200)).start();
    assert_eq!(kit.send(Request::get("/no")).status(), 403);
    assert!(kit.callouts().is_empty());
    assert_eq!(kit.send(Request::get("/yes")).status(), 200);
    assert_eq!(kit.callouts().len(), 1);
}

#[test]
fn an_audit_asks_and_lets_pass() {
    let config = json!({"mode": "audit", "external": {"cluster": "auth"}});
    let kit = filter(config).cluster("auth", |_: &_| Response::new(403)).start();
    let seen = kit.send(Request::get("/"));
    assert_eq!(seen.status(), 200);
    assert_eq!(kit.counter(r#"authz_would_deny{rule="auth",reason="external"}"#), 1);
}

#[test]
fn the_service_gets_the_body_and_the_upstream_too() {
    let kit = with_body(100, false).cluster("auth", |_: &_| Response::new(200)).start();
    let seen = kit.send(Request::post("/").chunks(["one, ", "two, ", "three"]));
    assert_eq!(seen.callouts()[0].body, "one, two, three");
    assert_eq!(seen.forwarded().body(), "one, two, three");
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.status(), seen.callouts()[0].body.len()), (200, 0));
    let seen = kit.send(Request::post("/").chunks(["one"]).trailer("x-sum", "1"));
    assert_eq!(seen.callouts()[0].body, "one");
    assert_eq!(seen.forwarded().trailer("x-sum"), Some("1"));
}

#[test]
fn a_body_that_is_too_large_is_cut_or_refused() {
    let yes = |_: &_| Response::new(200);
    let seen =
        with_body(5, false).cluster("auth", yes).start().send(Request::post("/").chunks(["one, ", "two"]));
    assert_eq!((seen.status(), seen.details(), seen.callouts().len()), (413, "authz_body_too_large", 0));
    let seen =
        with_body(5, true).cluster("auth", yes).start().send(Request::post("/").chunks(["one, ", "two"]));
    assert_eq!(seen.callouts()[0].body, "one, ");
    assert_eq!(seen.forwarded().body(), "one, two");
    let seen = with_body(5, false).cluster("auth", yes).start().send(Request::post("/").body("five!"));
    assert_eq!((seen.status(), seen.callouts()[0].body.len()), (200, 5));
}

#[test]
fn a_body_that_is_never_shown_is_not_waited_for_without_end() {
    let external = json!({"cluster": "auth", "body": {"max_bytes": 10}});
    let kit = filter(json!({"external": external})).cluster("auth", |_: &_| Response::new(200)).start();
    let seen = kit.send(Request::post("/").body("x"));
    assert_eq!((seen.status(), seen.details()), (503, "authz_external_failed"));
    assert!(seen.logged("set `allow_on_headers_stop_iteration` on this filter"));
}

#[test]
fn how_bodies_are_divided_is_not_seen() {
    let (request, response) = (Request::post("/").body("to the service"), Response::new(200).body("answer"));
    for (most, allow_partial) in [(100, false), (14, false), (13, true), (3, true), (13, false)] {
        let setup = with_body(most, allow_partial).cluster("auth", |_: &_| Response::new(200));
        setup.assert_chunking_is_invisible(&request, &response);
    }
}
