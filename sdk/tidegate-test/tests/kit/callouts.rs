//! Services that filters call.

use std::time::Duration;

use tidegate_test::{Answer, Outcome, Request, Response};

use crate::guest::{failure, guest, sdk};

const SECOND: Duration = Duration::from_secs(1);

fn call() -> Request {
    Request::get("/").header("x-do", "call")
}

#[test]
fn a_call_is_seen_and_answered_after_its_time() {
    let answer = || Response::new(201).header("x-by", "up").chunks(["an ", "answer"]).after(2 * SECOND);
    let kit = sdk().cluster("up", move |_| answer()).start();
    let seen = kit.send(call());
    assert_eq!(seen.forwarded().header("x-answer"), Some("201 up an answer"));
    assert_eq!(seen.duration(), 2 * SECOND);
    let [call] = seen.callouts() else { panic!("there was one call: {:?}", seen.callouts()) };
    assert_eq!((call.cluster.as_str(), call.method.as_str(), call.target.as_str()), ("up", "POST", "/asked"));
    assert_eq!((call.header("host"), call.header("x-asked")), (Some("asked.test"), Some("1")));
    assert_eq!((&call.body[..], call.timeout), (&b"question"[..], Some(10 * SECOND)));
    assert_eq!(kit.callouts().len(), 1);
}

#[test]
fn an_exchange_waits_for_the_answer_and_goes_on_with_it() {
    let kit = sdk().cluster("up", |_| Response::new(200).after(SECOND)).start();
    let exchange = kit.open(call());
    kit.advance(SECOND - Duration::from_millis(1));
    assert!(exchange.is_waiting() && exchange.forwarded().is_none());
    kit.advance(Duration::from_millis(1));
    assert!(exchange.forwarded().is_some());
    assert_eq!(exchange.finish().status(), 200);
}

#[test]
fn a_call_without_an_answer_ends_with_its_time_limit() {
    for answer in [|| Answer::never(), || Response::new(200).after(10 * SECOND).into()] {
        let seen = sdk().cluster("up", move |_| answer()).start().send(call());
        assert_eq!(seen.forwarded().header("x-answer"), Some("504  upstream request timeout"));
        assert_eq!(seen.duration(), 10 * SECOND);
    }
}

#[test]
fn a_service_that_is_down_or_breaks_off_is_seen_as_in_the_proxy() {
    let down = sdk().cluster("up", |_| Answer::unavailable("no endpoint")).start();
    assert_eq!(down.send(call()).forwarded().header("x-answer"), Some("503  no healthy upstream"));
    let broken = sdk().cluster("up", |_| Response::new(200).body("ab").cut()).start();
    let seen = broken.send(call());
    assert_eq!((seen.outcome(), seen.status()), (Outcome::Replied, 500), "{seen}");
}

#[test]
fn a_cluster_that_the_kit_has_not_is_refused() {
    let seen = sdk().cluster("up", |_| Response::new(200)).start().send(call().header("x-do", "ignored"));
    assert_eq!(seen.outcome(), Outcome::Answered);
    let seen = sdk().start().send(call());
    assert_eq!((seen.status(), seen.callouts().len()), (500, 0));
}

#[test]
fn two_calls_are_answered_in_the_order_of_their_times() {
    let after = |ms| move |_: &_| Response::new(200).after(Duration::from_millis(ms));
    for (a, b, order) in [(1, 2, ["a", "b"]), (2, 1, ["b", "a"]), (0, 0, ["a", "b"])] {
        let seen =
            guest("racer").cluster("a", after(a)).cluster("b", after(b)).start().send(Request::get("/"));
        let values: Vec<_> = seen.forwarded().headers().get_all("x-order").iter().collect();
        assert_eq!(values, order);
    }
}

#[test]
fn a_panic_in_a_script_ends_the_test() {
    let kit = sdk().cluster("up", |_| -> Response { panic!("not this one") }).start();
    assert_eq!(failure(|| drop(kit.send(call()))), "not this one");
    let kit = sdk().upstream(|request| panic!("{} was not expected", request.target())).start();
    assert_eq!(failure(|| drop(kit.send(Request::get("/x")))), "/x was not expected");
}
