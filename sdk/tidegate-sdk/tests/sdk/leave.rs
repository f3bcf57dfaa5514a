//! A filter that has no more to do with an exchange, in tidegate and in hosts that cannot be told.

use std::time::Duration;

use tidegate_test::{Callback, Kit, Module, Outcome, Request, Response, Seen};

use crate::{assert_no_fault, doing};

const MS: Duration = Duration::from_millis(1);

/// The guest in a host that knows tidegate's callbacks, and in one that does not.
fn hosts() -> [Kit; 2] {
    let module = std::fs::read(guests::module("tasks")).expect("it was built");
    [module.clone(), without_merged_callbacks(module)].map(|module| {
        let kit = Kit::of(&Module::bytes("tasks", &module)).workers(1);
        kit.cluster("up", |_| Response::new(200).after(2 * MS))
            .upstream(|_| Response::new(200).body("def").after(10 * MS))
            .start()
    })
}

/// The module with those exports under names that nobody knows.
fn without_merged_callbacks(mut module: Vec<u8>) -> Vec<u8> {
    const PREFIX: &[u8] = b"tidegate_on_";
    let found: Vec<usize> =
        (0..module.len() - PREFIX.len()).filter(|at| module[*at..].starts_with(PREFIX)).collect();
    assert!(found.len() >= 3, "the module has them");
    found.into_iter().for_each(|at| module[at] = b'T');
    module
}

fn post(task: &str) -> Request {
    Request::post("/").header("x-do", task).chunks(["a", "b"])
}

#[track_caller]
fn assert_shown(seen: &Seen, shown: &[&str]) {
    let notes: Vec<_> = seen
        .logs()
        .iter()
        .filter_map(|line| line.text.strip_prefix("[tasks] sees ").map(str::to_owned))
        .collect();
    assert_eq!(notes, shown, "{seen}");
    assert_eq!((seen.status(), seen.forwarded().body()), (200, "ab".into()));
    assert_eq!(seen.body(), "def");
}

#[test]
fn a_filter_that_left_is_shown_nothing_more() {
    for kit in hosts() {
        assert_shown(&kit.send(post("leave")), &[]);
        assert_shown(&kit.send(post("leave-at-body")), &["the request's body"]);
        let is_there = || kit.logs().iter().any(|line| line.text.contains("still there"));
        assert!(!is_there(), "what it spawned is given up");
        let all = ["the request's body", "the request's body", "the response"];
        assert_shown(&kit.send(post("leave-at-response")), &all);
        assert!(is_there(), "it was until the response came");
        assert_no_fault(&kit);
    }
}

#[test]
fn what_it_remembered_is_dropped_at_once() {
    for kit in hosts() {
        for task in ["leave", "leave-at-body", "leave-at-response"] {
            let waiting = kit.open(doing("bell"));
            assert_eq!(kit.send(post(task)).status(), 200);
            kit.advance(2 * MS);
            assert!(waiting.forwarded().is_some(), "{task} rang");
            assert_eq!(waiting.finish().status(), 200);
        }
        assert_no_fault(&kit);
    }
}

#[test]
fn a_filter_that_waits_stays_until_that_is_over() {
    for kit in hosts() {
        for task in ["leave-waiting", "leave-later"] {
            let seen = kit.send(post(task));
            assert_eq!(seen.duration(), (5 + 10) * MS, "{task}");
            assert_shown(&seen, &["the request's body", "the request's body", "the response", "the end"]);
        }
        assert_no_fault(&kit);
    }
}

#[test]
fn tidegate_enters_it_no_more_than_it_must() {
    let [kit, other] = hosts();
    let entries = |seen: Seen| -> Vec<(Callback, u64)> {
        let calls = Callback::ALL.iter().map(|callback| (*callback, seen.calls(*callback)));
        calls.filter(|(callback, calls)| *calls > 0 && *callback != Callback::Tick).collect()
    };
    assert_eq!(entries(kit.send(post("leave"))), [(Callback::RequestHeaders, 1)]);
    let stays = [
        (Callback::RequestHeaders, 1),
        (Callback::RequestBody, 2),
        (Callback::ResponseHeaders, 1),
        (Callback::ResponseBody, 1),
        (Callback::Log, 1),
    ];
    assert_eq!(entries(kit.send(post("stay"))), stays);
    assert_eq!(entries(kit.send(post("leave-at-response"))), [&stays[..2], &stays[2..3]].concat());
    let all: u64 = entries(other.send(post("leave"))).iter().map(|(_, calls)| calls).sum();
    assert_eq!(all, 9, "another host calls all of the ABI's");
}

#[test]
fn a_callout_of_a_request_that_has_just_begun_is_answered() {
    for kit in hosts() {
        let exchanges = [kit.open(doing("race")), kit.open(doing("race"))];
        kit.advance(2 * MS);
        for exchange in exchanges {
            assert!(exchange.forwarded().is_some(), "the answer came before the sleep was over");
            assert_eq!(exchange.finish().status(), 200);
        }
        let left = kit.open(doing("for-ever"));
        drop(left.cut());
        kit.advance(10 * MS);
        assert_eq!(kit.send(doing("at-once")).status(), 200);
        assert_no_fault(&kit);
    }
}

#[test]
fn a_filter_may_reply_and_leave() {
    for kit in hosts() {
        for task in ["leave-replied", "leave-replied-at-response"] {
            let seen = kit.send(post(task));
            assert_eq!((seen.outcome(), seen.status()), (Outcome::Replied, 403), "{seen}");
        }
        assert_no_fault(&kit);
    }
}

#[test]
fn what_a_filter_held_goes_on_when_it_leaves() {
    let [kit, _] = hosts();
    let mut exchange = kit.open(post("leave-holding").open_ended());
    assert_eq!(exchange.forwarded().expect("its head went on").body(), "");
    exchange.respond(Response::new(200).open_ended());
    assert_eq!(exchange.forwarded().expect("its head went on").body(), "ab");
    exchange.request_body("c");
    assert_eq!(exchange.forwarded().expect("its head went on").body(), "abc");
    assert_eq!(exchange.finish().status(), 200);
    assert_no_fault(&kit);
}

#[test]
fn a_wait_of_the_request_is_not_cut_short_by_leaving_at_the_response() {
    for kit in hosts() {
        let mut exchange = kit.open(post("leave-holding-on").open_ended());
        exchange.respond(Response::new(200).open_ended());
        assert_eq!(exchange.forwarded().expect("its head went on").body(), "");
        kit.advance(6 * MS);
        assert_eq!(exchange.forwarded().expect("its head went on").body(), "ab");
        assert_eq!(exchange.finish().status(), 200);
        assert_no_fault(&kit);
    }
}

#[test]
fn a_request_that_waits_has_not_gone_on() {
    for kit in hosts() {
        for task in ["leave-waiting", "leave-later"] {
            let exchange = kit.open(doing(task));
            assert!(exchange.is_waiting() && exchange.forwarded().is_none(), "{task}");
            kit.advance(5 * MS);
            assert!(exchange.forwarded().is_some(), "{task}");
            assert_eq!(exchange.finish().status(), 200);
        }
    }
}

#[test]
fn what_is_begun_for_an_exchange_after_the_filter_left_ends_with_it() {
    for kit in hosts() {
        let left = kit.open(post("leave-keeping"));
        let waiting = kit.open(doing("bell"));
        assert_eq!(kit.send(doing("settle-for")).status(), 200);
        kit.advance(2 * MS);
        assert!(waiting.forwarded().is_none(), "the exchange is not over");
        assert_eq!(left.finish().status(), 200);
        kit.advance(2 * MS);
        assert!(waiting.forwarded().is_some(), "the work was given up");
        assert_eq!(waiting.finish().status(), 200);
        assert_no_fault(&kit);
    }
}
