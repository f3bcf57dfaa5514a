//! Futures that wait, wake one another, and end before their time.

use std::time::Duration;

use tidegate_test::{Answer, Callback, Kit, Outcome, Request, Response};

use crate::{assert_no_fault, doing, guest};

const MS: Duration = Duration::from_millis(1);

fn start() -> Kit {
    guest("tasks").start()
}

/// A request that waits for the bell goes on soon after this.
#[track_caller]
fn assert_rung(kit: &Kit, ring: impl FnOnce()) {
    let waiting = kit.open(doing("bell"));
    assert!(waiting.is_waiting() && waiting.forwarded().is_none());
    ring();
    kit.advance(2 * MS);
    assert_eq!(waiting.forwarded().expect("it goes on").header("x-rung"), Some("yes"));
    assert_eq!(waiting.finish().status(), 200);
    assert_no_fault(kit);
}

#[test]
fn an_exchange_goes_on_when_another_wakes_it() {
    let kit = start();
    assert_rung(&kit, || drop(kit.send(doing("ring"))));
}

#[test]
fn an_exchange_goes_on_when_another_wakes_it_at_its_end() {
    let kit = start();
    assert_rung(&kit, || drop(kit.send(doing("ring-at-end"))));
    assert_rung(&kit, || drop(kit.send(doing("ring-by-drop"))));
    assert_rung(&kit, || drop(kit.open(doing("ring-by-drop")).cut()));
}

#[test]
fn a_lock_is_free_when_the_client_leaves_for_whom_it_was_held() {
    let kit = start();
    let first = kit.open(doing("lock"));
    let second = kit.open(doing("lock"));
    assert_eq!(kit.logs().iter().filter(|line| line.text == "has the lock").count(), 1);
    drop(first.cut());
    assert_no_fault(&kit);
    kit.advance(2 * MS);
    assert_eq!(kit.logs().iter().filter(|line| line.text == "has the lock").count(), 2);
    assert_eq!(second.finish().status(), 200);
}

#[test]
fn a_wait_that_its_own_callback_ends_does_not_pause() {
    let kit = start();
    let seen = kit.send(doing("ring-own"));
    assert_eq!((seen.forwarded().header("x-rung"), seen.duration()), (Some("yes"), Duration::ZERO));
    let seen = kit.send(Request::post("/").header("x-do", "ring-own").chunks(["a", "b"]));
    assert_eq!((seen.outcome(), seen.forwarded().body()), (Outcome::Answered, "ab".into()));
}

#[test]
fn many_who_are_woken_at_once_all_go_on_within_their_budget() {
    let kit = guest("tasks").start();
    let waiting: Vec<_> = (0..2_000).map(|_| kit.open(doing("bell"))).collect();
    let ring = kit.send(doing("ring"));
    assert_no_fault(&kit);
    assert!(
        ring.instructions_in(Callback::RequestHeaders) < 250_000,
        "{}",
        ring.instructions_in(Callback::RequestHeaders)
    );
    kit.advance(20 * MS);
    assert!(waiting.iter().all(|exchange| exchange.forwarded().is_some()));
    assert_no_fault(&kit);
}

#[test]
fn the_end_of_an_exchange_costs_the_same_however_many_wait() {
    let end = |waiting: usize| {
        let kit = start();
        let waiting: Vec<_> = (0..waiting).map(|_| kit.open(doing("bell"))).collect();
        let seen = kit.send(doing("nothing"));
        drop(waiting);
        seen.instructions_in(Callback::Delete)
    };
    assert!(end(1_000) < end(1) + 500, "{} and {}", end(1_000), end(1));
}

#[test]
fn a_task_that_wakes_itself_for_ever_does_not_hang_its_exchange() {
    let kit = start();
    let exchange = kit.open(doing("restless"));
    kit.advance(10 * MS);
    let seen = exchange.finish();
    assert_eq!(seen.outcome(), Outcome::Answered, "{seen}");
    assert_no_fault(&kit);
    assert!(seen.instructions() < 1_500_000, "{}", seen.instructions());
    let before = kit.instructions();
    kit.advance(1_000 * MS);
    assert!(kit.instructions() - before < 10_000, "it went with its exchange");
}

#[test]
fn both_directions_wait_in_every_callback() {
    let kit = start();
    let seen = kit.send(Request::post("/").header("x-do", "both").body("abc"));
    assert_eq!((seen.status(), seen.header("x-waited")), (200, Some("yes")), "{seen}");
    let body = || Response::new(200).chunks(["d", "e"]);
    guest("tasks")
        .assert_chunking_is_invisible(&Request::post("/").header("x-do", "both").body("abc"), &body());
    let request = Request::post("/").header("x-do", "trailers").chunks(["a"]).trailer("x-t", "1");
    let kit = guest("tasks").upstream(|_| Response::new(200).chunks(["b"]).trailer("x-u", "2")).start();
    let seen = kit.send(request);
    assert_eq!(seen.forwarded().trailer("x-seen"), Some("yes"));
    assert_eq!((seen.response().trailer("x-u"), seen.duration()), (Some("2"), 10 * MS));
}

#[test]
fn both_directions_wait_at_the_same_time() {
    let kit = start();
    let mut exchange = kit.open(Request::post("/").header("x-do", "both").open_ended());
    exchange.request_body("a");
    exchange.end_request();
    exchange.respond(Response::new(200).body("early"));
    assert!(exchange.received().is_none() && !exchange.forwarded().expect("its head went on").is_complete());
    let seen = exchange.finish();
    assert_eq!(
        (seen.outcome(), seen.header("x-waited"), seen.text().as_str()),
        (Outcome::Answered, Some("yes"), "early")
    );
    assert_eq!(seen.forwarded().body(), "a");
}

#[test]
fn a_direction_stays_where_one_of_its_waits_says_so() {
    let kit = start();
    let exchange = kit.open(doing("two"));
    kit.advance(10 * MS);
    assert!(exchange.forwarded().is_none(), "the first is to stay paused");
    let seen = kit.send(doing("two-then-none"));
    assert_eq!((seen.status(), seen.was_forwarded()), (403, false));
    kit.advance(10 * MS);
    assert_no_fault(&kit);
}

#[test]
fn a_reply_of_its_own_may_wait_at_its_headers() {
    let seen = start().send(doing("reply-then-wait"));
    assert_eq!((seen.status(), seen.header("x-waited"), seen.duration()), (403, Some("yes"), 5 * MS));
}

#[test]
fn what_a_future_does_after_its_reply_or_reset_does_no_harm() {
    let kit = start();
    let seen = kit.send(doing("reply-late"));
    assert_eq!((seen.status(), seen.duration(), seen.was_forwarded()), (403, 5 * MS, false));
    kit.advance(10 * MS);
    let seen = kit.send(doing("reset-late"));
    assert!(matches!(seen.outcome(), Outcome::Failed(_)), "{seen}");
    assert_eq!(kit.send(doing("nothing")).status(), 200);
    assert_no_fault(&kit);
}

#[test]
fn a_panic_in_a_future_costs_the_instance_and_not_the_next_request() {
    let kit = start();
    let seen = kit.send(doing("panic-late"));
    assert_eq!((seen.status(), seen.faults().len()), (503, 1));
    assert!(seen.logged("panicked at"));
    kit.advance(Duration::from_secs(60));
    assert_eq!(kit.send(doing("nest")).status(), 200);
}

#[test]
fn an_answer_for_which_nobody_waits_any_more_is_dropped() {
    let answer = |ms| move |_: &_| -> Answer { Response::new(200).after(ms * MS).into() };
    let kit = guest("tasks").cluster("up", answer(50)).start();
    let seen = kit.send(doing("race"));
    assert_eq!(seen.duration(), 10 * MS);
    kit.open(doing("race")).cut();
    kit.advance(100 * MS);
    assert_eq!(kit.send(doing("nothing")).status(), 200);
    assert_no_fault(&kit);
    let seen = guest("tasks").cluster("up", answer(5)).start().send(doing("race"));
    assert_eq!(seen.duration(), 5 * MS);
}

#[test]
fn every_timeout_of_a_callout_is_one() {
    let kit = guest("tasks").cluster("up", |_| Answer::never()).start();
    let seen = kit.send(doing("at-once"));
    assert_eq!((seen.forwarded().header("x-answer"), seen.duration()), (Some("504"), MS));
    let kit = guest("tasks").cluster("up", |_| Response::new(200).after(1_000 * MS)).start();
    assert_eq!(kit.send(doing("for-ever")).forwarded().header("x-answer"), Some("200"));
}

#[test]
fn a_clock_that_is_set_does_not_move_what_sleeps() {
    let kit = start();
    for days in [-1, 1] {
        let exchange = kit.open(doing("sleep"));
        let day = Duration::from_secs(86_400);
        kit.set_clock(if days < 0 { kit.now() - day } else { kit.now() + day });
        kit.advance(99 * MS);
        assert!(exchange.forwarded().is_none());
        kit.advance(MS);
        assert!(exchange.forwarded().is_some(), "{days}");
    }
}
