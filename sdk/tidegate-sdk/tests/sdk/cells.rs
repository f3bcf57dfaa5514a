//! Cells in a host that has none.

use std::time::Duration;

use tidegate_test::{Kit, Request, Setup};

use crate::{assert_no_fault, doing, guest};

/// The guest without the host's cells.
fn without_cells() -> Setup {
    guest("sdk").limits(|limits| limits.cells = 0)
}

#[track_caller]
fn assert_said(kit: &Kit, worker: usize, said: &str) {
    let seen = kit.send(doing("cells").on_worker(worker));
    assert_eq!(seen.forwarded().header("x-cells"), Some(said));
}

#[test]
fn they_are_shared_by_the_workers_and_each_says_once_that_it_does_without() {
    let kit = without_cells().workers(2).start();
    assert_said(&kit, 0, "true 1 5 true None SharedData");
    assert_said(&kit, 1, "true 0 10 true Some(Ok(\"kept\")) SharedData");
    assert_said(&kit, 0, "false 0 15 true Some(Ok(\"kept\")) SharedData");
    let warned = kit.logs().iter().filter(|line| line.text.contains("has no tidegate.bucket.take")).count();
    assert_eq!(warned, 2);
}

#[test]
fn what_another_filter_wrote_in_their_place_does_no_harm() {
    let kit = without_cells().start();
    let bucket_for_ever = [&b"b"[..], &u64::MAX.to_le_bytes()].concat();
    for hostile in [&b"x"[..], b"b", b"bbbbbbb", b"c\0", b"v", &[0xff; 1000], &bucket_for_ever] {
        for key in ["sdk\0bucket", "sdk\0counter", "sdk\0value"] {
            kit.set_shared_data(key, hostile);
        }
        assert_eq!(kit.send(doing("cells")).status(), 200);
    }
    let seen = kit.send(doing("cells"));
    let error = "the key has a cell of another kind, or a number is out of range";
    assert_eq!(seen.forwarded().header("x-cells"), Some(error), "a counter's key has a bucket");
    kit.set_shared_data("sdk\0counter", "");
    kit.set_shared_data("sdk\0value", "");
    kit.advance(Duration::from_secs(3600));
    assert_eq!(kit.send(Request::get("/")).status(), 200);
    assert_no_fault(&kit);
}

#[test]
fn a_bucket_recovers_when_the_clock_was_set_back() {
    let kit = without_cells().start();
    for said in ["true 1 5 true None SharedData", "true 0 10 true Some(Ok(\"kept\")) SharedData"] {
        assert_said(&kit, 0, said);
    }
    let hour = Duration::from_secs(3600);
    kit.set_clock(kit.now() - 1000 * hour);
    kit.send(doing("cells"));
    kit.advance(hour + Duration::from_secs(1));
    let seen = kit.send(doing("cells"));
    assert!(seen.forwarded().header("x-cells").is_some_and(|said| said.starts_with("true 0 ")), "{seen}");
}
