//! Filters that were built with the SDK do in Envoy what they do here: futures that wait, ask and sleep.

use super::Case;
use crate::equipment::{Answer, Head};

fn up(head: &Head) -> Answer {
    match head.target() {
        "/asked" => Answer::sized(200, &[("x-by", "up")], "an answer"),
        _ => Answer::chunked(200, &[], &["hello"], &[]),
    }
}

#[test]
fn a_filter_asks_from_exchanges_and_timers() {
    Case::new("sdk asks").upstream(up).sdk("sdk", "").run(|stage| {
        for task in ["call", "call-late", "call-nobody", "reply"] {
            stage.request("GET", "/", &[("x-do", task)], "");
        }
    });
}

#[test]
fn a_filter_waits_asks_and_sleeps_in_the_background() {
    Case::new("sdk background").upstream(up).sdk("tasks", "").run(|stage| {
        stage.request("GET", "/", &[("x-do", "background")], "");
        stage.request("GET", "/", &[("x-do", "background")], "");
    });
}

#[test]
fn a_filter_waits_in_every_callback() {
    Case::new("sdk waits").sdk("tasks", "").run(|stage| {
        for task in
            ["sleep", "nest", "ring-own", "two-then-none", "reply-then-wait", "reply-late", "restless"]
        {
            stage.request("GET", "/", &[("x-do", task)], "");
        }
        for task in ["both", "ring-own", "sleep"] {
            stage.request("POST", "/", &[("x-do", task)], "body");
        }
    });
}

/// Of two exchanges that go on at the same time the upstream may see either first, so one of them never does, or is over.
#[test]
fn exchanges_wake_and_release_one_another() {
    Case::new("sdk wakes").sdk("tasks", "").run(|stage| {
        for (waits, wakes) in [
            ("bell", "ring-and-reply"),
            ("bell", "ring-at-end"),
            ("bell", "ring-by-drop"),
            ("keep", "release-and-reply"),
        ] {
            let mut waiting = stage.client();
            waiting
                .send(&format!("GET /{waits}-{wakes} HTTP/1.1\r\nhost: tide.test\r\nx-do: {waits}\r\n\r\n"));
            stage.wait_for_guest(&format!("/{waits}-{wakes} waits"));
            stage.request("GET", &format!("/{wakes}"), &[("x-do", wakes)], "");
            stage.record(&waiting.response());
        }
    });
}

#[test]
fn a_reply_that_cannot_be_sent_is_a_500() {
    Case::new("sdk replies").sdk("tasks", "").run(|stage| {
        stage.request("GET", "/", &[("x-do", "bad-header")], "");
    });
}
