//! Keys that are fetched: at the start, again, after a rotation, and not at all.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test::{Answer, Kit, Request, Response, Setup};

use super::{JWKS, ROTATED, bearer, filter, tokens};

/// What the issuer answers with, for a test to change.
type Shown = Rc<RefCell<Result<&'static str, u16>>>;

fn fetching(more: Value) -> Setup {
    let mut fetch = json!({"cluster": "idp", "path": "/jwks.json"});
    fetch.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    filter(tokens(json!({"fetch": fetch})))
}

fn with_issuer(more: Value) -> (Kit, Shown) {
    let shown: Shown = Rc::new(RefCell::new(Ok(JWKS)));
    let theirs = shown.clone();
    let answer = move |_: &_| match *theirs.borrow() {
        Ok(jwks) => Response::new(200).body(jwks),
        Err(status) => Response::new(status),
    };
    (fetching(more).cluster("idp", answer).start(), shown)
}

fn get(name: &str) -> Request {
    Request::get("/").header("authorization", bearer(name))
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn keys_are_fetched_before_anyone_asks_and_again_when_their_time_is_over() {
    let (kit, _) = with_issuer(json!({"refresh": "5m", "authority": "idp.test"}));
    kit.advance(s(1));
    let calls = kit.callouts();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].target.as_str(), calls[0].header("host")), ("/jwks.json", Some("idp.test")));
    let seen = kit.send(get("RS256"));
    assert_eq!((seen.status(), seen.duration(), seen.callouts().len()), (200, s(0), 0));
    kit.advance(s(290));
    assert_eq!(kit.callouts().len(), 1);
    kit.advance(s(11));
    assert_eq!(kit.callouts().len(), 2);
    assert!(kit.logged("new keys issuer=https://idp.test"));
    assert_eq!(kit.counter(r#"authz_key_fetches{issuer="https://idp.test",result="unchanged"}"#), 1);
}

#[test]
fn a_request_that_comes_before_the_keys_waits_for_them() {
    let slow = |_: &_| Response::new(200).body(JWKS).after(s(2));
    let kit = fetching(json!({})).cluster("idp", slow).start();
    let (first, second) = (kit.open(get("RS256")), kit.open(get("ES256")));
    assert!(first.is_waiting() && second.is_waiting());
    kit.advance(s(3));
    assert_eq!((first.finish().status(), second.finish().status()), (200, 200));
    assert_eq!(kit.callouts().len(), 1, "both waited for one");
}

#[test]
fn a_token_with_a_new_key_has_the_keys_fetched_once_and_the_old_key_is_gone() {
    let (kit, shown) = with_issuer(json!({"min_interval": "30s"}));
    kit.advance(s(1));
    assert_eq!(kit.send(get("RS256")).status(), 200);
    *shown.borrow_mut() = Ok(ROTATED);

    let too_soon = kit.send(get("rotated"));
    assert_eq!((too_soon.status(), too_soon.details()), (401, "authz_token_key:https://idp.test"));
    kit.advance(s(30));
    let waited = kit.send(get("rotated"));
    assert_eq!((waited.status(), kit.callouts().len()), (200, 2));
    let old = kit.send(get("RS256"));
    assert_eq!(
        (old.status(), old.details()),
        (401, "authz_token_key:https://idp.test"),
        "also where it was remembered"
    );
    for _ in 0..10 {
        kit.send(get("RS256"));
    }
    assert_eq!(kit.callouts().len(), 2, "nobody can have the issuer asked at will");
}

#[test]
fn a_token_that_waits_for_a_key_when_its_client_leaves_disturbs_nobody() {
    let slow = |_: &_| Response::new(200).body(JWKS).after(s(2));
    let kit = fetching(json!({})).cluster("idp", slow).start();
    kit.open(get("RS256")).cut();
    kit.advance(s(3));
    assert_eq!(kit.send(get("RS256")).status(), 200);
    assert!(kit.faults().is_empty());
}

#[test]
fn keys_from_before_serve_while_the_issuer_fails_and_not_for_ever() {
    let (kit, shown) = with_issuer(json!({"refresh": "5m", "stale_if_error": "1h"}));
    kit.advance(s(1));
    *shown.borrow_mut() = Err(500);
    kit.advance(s(3000));
    assert_eq!(kit.send(get("RS256")).status(), 200);
    assert!(kit.logged("no keys issuer=https://idp.test cluster=idp problem=\"status 500; expected 200\""));
    kit.advance(s(1000));
    let seen = kit.send(get("RS256"));
    assert_eq!((seen.status(), seen.details()), (503, "authz_keys_unavailable:https://idp.test"));
    *shown.borrow_mut() = Ok(JWKS);
    kit.advance(s(61));
    assert_eq!(kit.send(get("RS256")).status(), 200);
}

#[test]
fn an_issuer_that_never_answers_costs_a_request_its_timeout_and_the_next_nothing() {
    let kit = fetching(json!({"timeout": "2s"})).cluster("idp", |_: &_| Answer::never()).start();
    let first = kit.send(get("RS256"));
    assert_eq!((first.status(), first.details()), (503, "authz_keys_unavailable:https://idp.test"));
    assert!(first.duration() <= s(3), "{:?}", first.duration());
    assert_eq!(kit.send(Request::get("/")).details(), "authz_no_credentials", "no token, no keys needed");
}

#[test]
fn what_is_no_key_set_leaves_the_keys_in_place() {
    let (kit, shown) = with_issuer(json!({"refresh": "1m"}));
    kit.advance(s(1));
    for wrong in [
        "",
        "<html>",
        "{\"keys\": []}",
        "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
    ] {
        *shown.borrow_mut() = Ok(wrong);
        kit.advance(s(120));
        assert_eq!(kit.send(get("RS256")).status(), 200, "{wrong}");
    }
}

#[test]
fn each_worker_has_its_own_keys() {
    let slow = |_: &_| Response::new(200).body(JWKS);
    let kit = fetching(json!({})).cluster("idp", slow).workers(2).start();
    for worker in [0, 1] {
        assert_eq!(kit.send(get("RS256").on_worker(worker)).status(), 200);
    }
    assert_eq!(kit.callouts().len(), 2);
}
