//! Exchanges step by step, and what becomes of messages on their way.

use std::time::Duration;

use tidegate_test::{Failure, Outcome, Request, Response};

use crate::guest::{failure, guest, sdk};

#[test]
fn pieces_go_through_as_they_come() {
    let kit = guest("marker").start();
    let mut exchange = kit.open(Request::post("/").open_ended());
    exchange.request_body("ab");
    exchange.request_body("c");
    let forwarded = exchange.forwarded().expect("its head went on");
    assert_eq!((forwarded.chunks().concat(), forwarded.is_complete()), (b"ab|c|".to_vec(), false));
    exchange.end_request_with(&[("x-sum", "3")]);
    assert_eq!(exchange.forwarded().expect("it went on").trailer("x-sum"), Some("3"));
    exchange.respond(Response::new(200).open_ended());
    exchange.response_body("d");
    assert_eq!(exchange.received().expect("its head went on").body(), "d");
    exchange.end_response_with(&[("x-t", "u")]);
    assert!(!exchange.is_waiting());
    let seen = exchange.finish();
    assert_eq!((seen.outcome(), seen.response().trailer("x-t")), (Outcome::Answered, Some("u")));
}

#[test]
fn a_body_that_is_held_goes_on_when_it_is_whole() {
    let kit = sdk().start();
    let mut exchange = kit.open(Request::post("/").header("x-do", "append").open_ended());
    exchange.request_body("ab");
    assert_eq!(exchange.forwarded().expect("its head goes on").body(), "");
    exchange.end_request();
    assert_eq!(exchange.forwarded().expect("it is whole").body(), "ab last");
}

#[test]
fn an_upstream_may_answer_before_it_has_the_whole_request() {
    let kit = sdk().start();
    let mut exchange = kit.open(Request::post("/").open_ended());
    exchange.respond(Response::new(409).body("no"));
    let seen = exchange.finish();
    assert_eq!((seen.status(), seen.text().as_str()), (409, "no"));
    assert!(!seen.forwarded().is_complete());
}

#[test]
fn a_client_that_leaves_is_told_to_the_filter() {
    let kit = sdk().start();
    let seen = kit.open(Request::get("/").header("x-do", "nothing")).cut();
    assert_eq!(seen.outcome(), Outcome::Left);
    assert!(seen.logged("nothing ended with "), "{seen}");
    drop(kit.open(Request::get("/").header("x-do", "dropped")));
    assert!(kit.logged("dropped ended with "));
}

#[test]
fn a_filters_own_answer_has_its_details_and_nothing_is_forwarded() {
    let seen = sdk().start().send(Request::get("/").header("x-do", "reply"));
    assert_eq!((seen.outcome(), seen.status(), seen.details()), (Outcome::Replied, 403, "sdk_says_no"));
    assert_eq!((seen.header("x-reply"), seen.header("content-type")), (Some("yes"), Some("text/plain")));
    assert!(!seen.was_forwarded() && seen.text() == "not today");
}

#[test]
fn a_grpc_client_gets_a_filters_answer_in_its_own_form() {
    let request = Request::post("/").header("x-do", "reply").header("content-type", "application/grpc");
    let seen = sdk().start().send(request);
    assert_eq!((seen.status(), seen.header("grpc-status"), seen.body().len()), (200, Some("7"), 0));
}

#[test]
fn more_of_a_body_than_may_be_held_is_refused() {
    let kit = sdk().buffer_limit(8).start();
    let seen = kit.send(Request::post("/").header("x-do", "append").chunks(["12345", "67890", "1"]));
    assert_eq!((seen.outcome(), seen.status()), (Outcome::Failed(Failure::RequestTooLarge), 413));
}

#[test]
fn a_head_request_gets_the_length_of_a_body_and_none_of_it() {
    let kit = sdk().start();
    kit.upstream(|_| Response::new(200).body("12345"));
    let seen = kit.send(Request::head("/"));
    assert_eq!((seen.header("content-length"), seen.body().len()), (Some("5"), 0));
}

#[test]
fn an_upstream_that_breaks_off_cuts_the_client_off() {
    let kit = sdk().start();
    kit.upstream(|_| Response::new(200).chunks(["12345"]).cut());
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.outcome(), seen.text().as_str()), (Outcome::Failed(Failure::UpstreamBodyCut), "12345"));
    assert!(seen.was_cut());
}

#[test]
fn what_speaks_of_a_connection_is_seen_by_no_filter_and_not_passed_on() {
    let kit = guest("witness").start();
    kit.upstream(|_| Response::new(200).header("keep-alive", "timeout=5"));
    let seen = kit.send(Request::get("/").header("connection", "x-hop").header("x-hop", "1"));
    assert_eq!((seen.forwarded().header("x-hop"), seen.header("keep-alive")), (None, None));
    let seen = kit.send(Request::get("/").header("keep-alive", "timeout=5"));
    assert_eq!(seen.forwarded().header("keep-alive"), None);
    assert!(!kit.logged("hop"), "{seen}");
}

#[test]
fn a_filter_does_not_speak_of_connections_either() {
    let seen = guest("marker").start().send(Request::get("/"));
    assert_eq!((seen.forwarded().header("x-mark"), seen.forwarded().header("keep-alive")), (Some("|"), None));
    assert_eq!((seen.header("x-mark"), seen.header("keep-alive")), (Some("|"), None));
}

#[test]
fn a_length_that_was_announced_is_passed_on_before_the_body_is_there() {
    let kit = sdk().start();
    let mut exchange = kit.open(Request::post("/").header("content-length", "6").open_ended());
    exchange.request_body("abc");
    let forwarded = exchange.forwarded().expect("the first of it is there");
    assert_eq!((forwarded.header("content-length"), &forwarded.body()[..]), (Some("6"), &b"abc"[..]));
    exchange.request_body("def");
    exchange.end_request();
    assert_eq!(exchange.finish().forwarded().body(), "abcdef");
}

#[test]
fn a_head_says_the_length_of_a_body_that_came_with_one_and_that_nobody_changed() {
    let kit = sdk().start();
    let seen = kit.send(Request::post("/").body("abc"));
    assert_eq!(seen.forwarded().header("content-length"), Some("3"));
    let seen = kit.send(Request::post("/").header("x-do", "append").body("abc"));
    assert_eq!(
        (seen.forwarded().header("content-length"), &seen.forwarded().body()[..]),
        (None, &b"abc last"[..])
    );
    let seen = kit.send(Request::post("/").chunks(["abc"]));
    assert_eq!(seen.forwarded().header("content-length"), None);
}

#[test]
fn the_upstream_takes_its_time() {
    let kit = sdk().start();
    kit.upstream(|_| Response::new(200).after(Duration::from_secs(3)));
    assert_eq!(kit.send(Request::get("/")).duration(), Duration::from_secs(3));
}

#[test]
fn several_exchanges_are_under_way_at_once() {
    let kit = sdk().workers(2).start();
    let first = kit.open(Request::get("/1"));
    let second = kit.open(Request::get("/2").on_worker(1));
    assert_eq!(second.finish().forwarded().target(), "/2");
    assert_eq!(first.finish().forwarded().target(), "/1");
    let said = failure(|| drop(kit.open(Request::get("/").on_worker(2))));
    assert_eq!(said, "there is no worker 2: the kit has 2");
}

#[test]
fn a_message_that_has_ended_takes_no_more() {
    let kit = sdk().start();
    let mut exchange = kit.open(Request::post("/").body("x"));
    let said = failure(|| exchange.request_body("y"));
    assert_eq!(said, "the request has ended: make it `open_ended` to give it step by step");
    exchange.respond(Response::new(204));
    assert!(failure(|| exchange.response_body("z")).starts_with("the response has ended: "));
    assert_eq!(failure(|| exchange.respond(Response::new(200))), "the upstream has answered already");
}
