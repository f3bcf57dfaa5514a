//! Time, randomness, logs, shared data, costs: all of them the same in every run.

use std::time::{Duration, SystemTime};

use tidegate_test::{Callback, Kit, LogLevel, Request};

use crate::guest::{guest, sdk};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn ticks(kit: &Kit) -> usize {
    kit.logs().iter().filter(|line| line.text == "tick").count()
}

#[test]
fn time_passes_when_it_is_told_to_and_ticks_come_in_it() {
    let kit = guest("witness").start();
    assert_eq!((kit.elapsed(), ticks(&kit)), (ms(0), 0));
    kit.advance(ms(99));
    assert_eq!((kit.elapsed(), ticks(&kit)), (ms(99), 0));
    kit.advance(ms(1));
    assert_eq!((kit.elapsed(), ticks(&kit)), (ms(100), 1));
    kit.advance(ms(1000));
    assert_eq!((kit.elapsed(), ticks(&kit)), (ms(1100), 11));
    kit.advance(Duration::from_secs(3600));
    assert_eq!(ticks(&kit), 11 + 3600 * 10);
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    assert_eq!(kit.now(), start + ms(1100) + Duration::from_secs(3600));
}

#[test]
fn a_kit_begins_when_it_is_told_to() {
    let birth = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let kit = guest("witness").start_time(birth).start();
    assert_eq!(kit.now(), birth);
}

#[test]
fn randomness_is_the_seeds_and_a_workers_own() {
    let letters = |seed, worker| {
        let kit = guest("witness").seed(seed).workers(2).start();
        kit.send(Request::get("/").on_worker(worker)).logs()[0].text.clone()
    };
    assert_eq!(letters(1, 0), letters(1, 0));
    assert_ne!(letters(1, 0), letters(9, 0));
    assert_ne!(letters(1, 0), letters(1, 1));
}

#[test]
fn what_is_below_the_log_level_is_not_logged() {
    let kit = guest("witness").log_level(LogLevel::Info).start();
    assert_eq!(kit.send(Request::get("/")).logs(), []);
    kit.advance(ms(100));
    assert_eq!(kit.logs().len(), 1);
    assert_eq!(kit.logs()[0].to_string(), "info: tick");
}

#[test]
fn workers_share_their_data_and_the_test_sees_it() {
    let kit = guest("witness").workers(2).start();
    assert_eq!(kit.shared_data("seen"), None);
    assert_eq!(kit.send(Request::get("/")).forwarded().header("x-seen"), None);
    assert_eq!(kit.shared_data("seen").as_deref(), Some(&b"yes"[..]));
    assert_eq!(kit.send(Request::get("/").on_worker(1)).forwarded().header("x-seen"), Some("yes"));
    kit.set_shared_data("seen", "otherwise");
    assert_eq!(kit.send(Request::get("/")).forwarded().header("x-seen"), Some("otherwise"));
}

#[test]
fn a_host_has_cells_unless_the_test_takes_them_away() {
    assert!(guest("witness").start().send(Request::get("/")).logged("tidegate.kv.get"));
    assert!(
        !guest("witness")
            .limits(|limits| limits.cells = 0)
            .start()
            .send(Request::get("/"))
            .logged("tidegate.kv.get")
    );
}

#[test]
fn a_client_has_the_identity_that_the_test_gives_it() {
    let kit = guest("witness").start();
    let seen = kit.send(Request::get("/").identity("spiffe://test/ann"));
    assert_eq!(seen.forwarded().header("x-identity"), Some("spiffe://test/ann"));
    assert_eq!(kit.send(Request::get("/")).forwarded().header("x-identity"), None);
}

#[test]
fn what_the_filter_stores_on_an_exchange_is_seen() {
    let seen = guest("witness").start().send(Request::get("/").property(&["before", "us"], "1"));
    assert_eq!(seen.property(&["before", "us"]), Some(&b"1"[..]));
    assert_eq!((seen.property(&["noted"]), seen.property(&["other"])), (Some(&b"yes"[..]), None));
}

#[test]
fn metrics_say_what_the_filter_measured() {
    let kit = sdk().workers(2).start();
    for worker in [0, 1] {
        kit.send(Request::get("/").header("x-do", "measure").on_worker(worker));
    }
    assert_eq!((kit.counter("sdk_events"), kit.gauge("sdk_level")), (4, 7));
    let sizes = kit.histogram("sdk_sizes");
    assert_eq!((sizes.count, sizes.sum, sizes.up_to(1), sizes.up_to(5)), (2, 6, 0, 2));
}

#[test]
fn an_exchange_costs_the_same_in_every_run() {
    let cost = || {
        let kit = sdk().start();
        let seen = kit.send(Request::post("/").header("x-do", "append").body("abc"));
        let body = seen.instructions_in(Callback::RequestBody);
        assert!(body > 0 && body < seen.instructions());
        (kit.instructions(), seen.instructions(), body, seen.calls(Callback::RequestBody))
    };
    let first = cost();
    assert_eq!(first.3, 1);
    for _ in 0..3 {
        assert_eq!(cost(), first);
    }
}

#[test]
fn an_instance_ends_with_its_kit() {
    let kit = guest("witness").start();
    assert_eq!(kit.memory(0), 2 << 16);
    kit.stop();
    kit.advance(ms(1000));
    assert_eq!((ticks(&kit), kit.memory(0)), (0, 0));
}
