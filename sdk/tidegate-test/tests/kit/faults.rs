//! Filters that fail.

use std::time::Duration;

use tidegate_test::{Failure, FaultKind, Outcome, Request, Response};

use crate::guest::{failure, guest};

fn with_body() -> Request {
    Request::post("/").body("x")
}

#[test]
fn a_trap_is_answered_503_and_said() {
    let kit = guest("fragile").start();
    let seen = kit.send(with_body());
    assert_eq!((seen.outcome(), seen.status()), (Outcome::Fault(FaultKind::Trap), 503));
    assert_eq!(seen.details(), "wasm_fail_stream:trap");
    assert!(!seen.was_forwarded() && !seen.was_cut());
    assert_eq!(seen.faults()[0].callback, "proxy_on_request_body");
    assert!(seen.to_string().contains("trap fault in proxy_on_request_body"), "{seen}");
}

#[test]
fn a_filter_that_is_open_on_faults_lets_the_exchange_pass_and_the_fault_is_still_seen() {
    let kit = guest("fragile").open_on_fault().start();
    let seen = kit.send(with_body());
    assert_eq!((seen.outcome(), seen.status()), (Outcome::Answered, 200));
    assert_eq!(seen.forwarded().body(), "x");
    assert_eq!((seen.faults().len(), kit.faults().len()), (1, 1));
}

#[test]
fn a_filter_that_failed_is_made_anew_when_its_backoff_is_over() {
    let kit = guest("fragile").start();
    let kinds = |_| kit.send(with_body()).outcome();
    let [first, second] = [1, 2].map(kinds);
    assert_eq!(first, Outcome::Fault(FaultKind::Trap));
    assert_eq!(second, Outcome::Fault(FaultKind::Trap), "it is made anew at once the first time");
    assert_eq!((kit.faults().len(), kit.send(with_body()).faults().len()), (2, 0), "then there is a backoff");
    kit.advance(Duration::from_millis(1500));
    assert_eq!(kit.send(with_body()).faults().len(), 1);
}

#[test]
fn a_budget_of_instructions_holds() {
    let kit = guest("fragile").limits(|limits| limits.instructions = 10_000).start();
    kit.upstream(|_| Response::new(200).body("y"));
    let seen = kit.send(Request::post("/").trailer("x-t", "1")); // neither ends with its head nor has a body
    assert_eq!(seen.outcome(), Outcome::Fault(FaultKind::Instructions));
    assert_eq!(seen.instructions_in(tidegate_test::Callback::ResponseBody), 10_000);
}

#[test]
fn an_exchange_that_never_ends_is_said_to_with_where_it_stands() {
    let kit = guest("fragile").patience(Duration::from_secs(30)).start();
    let said = failure(|| drop(kit.send(Request::get("/"))));
    assert_eq!(said, "the exchange does not end within 30s: the request's head is held");
}

#[test]
fn a_seen_without_what_is_asked_for_says_how_the_exchange_ended() {
    let kit = guest("fragile").patience(Duration::from_secs(30)).start();
    let seen = kit.open(Request::get("/")).cut();
    let said = failure(|| _ = seen.status());
    assert_eq!(said, "the client got no response: the exchange was left by the client, client_left");
    assert!(failure(|| _ = seen.forwarded()).starts_with("nothing was sent to the upstream: "));
    assert!(matches!(seen.outcome(), Outcome::Left) && Failure::ClientLeft.status().is_none());
}
