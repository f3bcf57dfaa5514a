//! Handles: whose exchange they act on, and what comes of what a host refuses.

use std::time::Duration;

use tidegate_test::{Outcome, Response};

use crate::{assert_no_fault, doing, guest};

#[test]
fn a_handle_acts_on_its_own_exchange_wherever_it_is_used() {
    let kit = guest("tasks").start();
    let kept = kit.open(doing("keep"));
    let seen = kit.send(doing("release"));
    assert_eq!(seen.forwarded().header("x-released"), Some("no"));
    assert_eq!(kept.forwarded().expect("it was let go").header("x-released"), Some("yes"));
    assert_eq!(kept.finish().status(), 200);
}

#[test]
fn a_handle_of_an_exchange_that_is_over_does_nothing() {
    let kit = guest("tasks").start();
    kit.open(doing("keep")).cut();
    let seen = kit.send(doing("release"));
    assert_eq!((seen.status(), seen.forwarded().header("x-released")), (200, Some("no")));
    kit.open(doing("keep")).cut();
    assert_eq!(kit.send(doing("ask-for")).status(), 200);
    kit.advance(Duration::from_millis(10));
    assert_no_fault(&kit);
}

#[test]
fn work_that_is_begun_for_another_exchange_is_that_ones() {
    let second = Duration::from_secs(1);
    let kit = guest("tasks").cluster("up", move |_| Response::new(200).after(second / 2)).start();
    let kept = kit.open(doing("keep"));
    let seen = kit.send(doing("ask-for"));
    assert_eq!((seen.duration(), seen.forwarded().header("x-answer")), (Duration::ZERO, None));
    kit.advance(second);
    assert_eq!(kept.forwarded().expect("it was let go").header("x-answer"), Some("200"));
}

#[test]
fn a_reply_that_no_host_can_send_is_a_500_and_not_a_request_that_hangs() {
    let kit = guest("tasks").start();
    let seen = kit.send(doing("bad-status"));
    assert_eq!((seen.outcome(), seen.status(), seen.details()), (Outcome::Replied, 500, "nonsense"));
    assert!(seen.logged("the host refused to reply with status 99"), "{seen}");
    let seen = kit.send(doing("bad-header"));
    assert_eq!((seen.status(), seen.header("location")), (500, None), "{seen}");
}

#[test]
fn a_cookie_is_found_in_whichever_field_it_is() {
    let kit = guest("tasks").start();
    let request = |fields: &[&str]| {
        fields.iter().fold(doing("cookie"), |request, field| request.header("cookie", field))
    };
    for (fields, user) in [
        (&["a=1; user=ann"][..], "ann"),
        (&["a=1", "user=bob; b=2"], "bob"),
        (&["a=1", "user=\"cid\"", "user=dan"], "cid"),
        (&["a=1"], ""),
        (&[], ""),
    ] {
        assert_eq!(kit.send(request(fields)).forwarded().header("x-cookie"), Some(user), "{fields:?}");
    }
}

#[test]
fn a_label_has_a_length_that_is_bounded() {
    let kit = guest("tasks").start();
    let seen = kit.send(doing("label"));
    assert_eq!(seen.status(), 200);
    assert!(seen.logs().is_empty(), "{seen}");
    let name = format!("labels{{label=\"{}\"}}", "\u{e4}".repeat(64));
    assert_eq!(kit.counter(&name), 1);
}
