//! What a witness is told, and what a replay makes of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::recording::Line;
use tidegate::recording::replay::{Played, Player};
use tidegate::wasm::stream::Direction;
use tidegate::wasm::witness::{Beginning, Op, Step, Witness};

use crate::bench::{Bench, ENGINE, ROOT, get};
use crate::guest::Guest;

/// Keeps what it is told.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<Line>>,
    given_up: Mutex<Vec<&'static str>>,
}

impl Notes {
    fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.lines.lock().expect("no test panics here"))
    }

    fn add(&self, line: Line) {
        self.lines.lock().expect("no test panics here").push(line);
    }
}

impl Witness for Notes {
    fn begin(&self, beginning: Beginning) -> u64 {
        self.add(Line::Instance { instance: 1, given: Box::new(beginning) });
        1
    }

    fn see(&self, instance: u64, step: Step) {
        self.add(Line::Step { instance, did: Box::new(step) });
    }

    fn give_up(&self, _: u64, reason: &'static str) {
        self.given_up.lock().expect("no test panics here").push(reason);
    }
}

fn watched() -> (Bench, Arc<Notes>) {
    let (mut bench, notes) = (Bench::new(), Arc::new(Notes::default()));
    bench.services.witness = Some(notes.clone());
    (bench, notes)
}

/// A module that logs nothing and shows nothing of its memory.
fn module(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_exchange_that_the_proxy_gave_up_is_given_up_in_a_replay() {
    let (bench, notes) = watched();
    let mut guest = Guest::new();
    guest.answer("proxy_on_done", 0).answer("proxy_on_delete", 0).answer("proxy_on_request_headers", 0);
    let mut vm = bench.start(&guest);
    for _ in 0..2 {
        let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
        vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        vm.release(context).expect("nothing fails");
    }
    bench.clock.advance(Duration::from_secs(61));
    vm.on_tick(ROOT).expect("nothing fails");
    let lines = notes.take();
    let gives_up =
        |line: &Line| matches!(line, Line::Step { did, .. } if matches!(did.op, Op::GiveUp { .. }));
    assert_eq!(lines.iter().filter(|line| gives_up(line)).count(), 1, "{lines:#?}");

    let mut player = Player::new(ENGINE.compile(&guest.build()).expect("it compiles"));
    let mut steps = 0;
    for line in lines {
        let Some(Played { recorded, replayed, .. }) = player.play(line).expect("it can be played") else {
            continue;
        };
        let replayed = replayed.expect("it is played");
        let callbacks = |step: &Step| -> Vec<String> {
            step.calls.iter().map(|call| format!("{} {}", call.callback, call.instructions)).collect()
        };
        assert_eq!(callbacks(&recorded), callbacks(&replayed), "{:?}", recorded.op);
        assert_eq!(
            (&recorded.streams, &recorded.end),
            (&replayed.streams, &replayed.end),
            "{:?}",
            recorded.op
        );
        if matches!(recorded.op, Op::GiveUp { .. }) {
            assert_eq!(recorded.calls.len(), 2, "both are deleted");
        }
        steps += 1;
    }
    assert!(steps > 6, "{steps}");
}

/// What it says is copied before the host refuses it, and costs it the same whatever its length.
#[test]
fn a_guest_that_says_more_than_a_step_may_hold_is_watched_no_longer_and_goes_on() {
    let guest = |calls: u32| {
        module(&format!(
            r#"(module
                (import "env" "proxy_set_buffer_bytes"
                    (func $set (param i32 i32 i32 i32 i32) (result i32)))
                (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 129)
                (func (export "proxy_abi_version_0_2_1"))
                (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))
                (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $i i32)
                    (loop $again
                        ;; There is no such buffer.
                        (drop (call $set (i32.const 99) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 8388608)))
                        ;; What is not in the memory is not copied.
                        (drop (call $get (i32.const 16) (i32.const 2147483647) (i32.const 0) (i32.const 4) (i32.const 8)))
                        (local.set $i (i32.add (local.get $i) (i32.const 1)))
                        (br_if $again (i32.lt_u (local.get $i) (i32.const {calls}))))
                    (i32.const 0)))"#
        ))
    };
    for (calls, is_too_much) in [(15, false), (16, true), (2_000, true)] {
        let (bench, notes) = watched();
        let mut filter = bench.filter.clone();
        filter.limits.instructions = 10_000_000;
        let plugin = tidegate::wasm::Plugin::new(
            Arc::new(filter),
            ENGINE.compile(&guest(calls)).expect("it compiles"),
        );
        let mut vm = plugin.start(bench.services.clone()).unwrap_or_else(|fault| panic!("{fault}"));
        notes.take();
        let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
        vm.on_headers(context, Direction::Request, true).expect("the guest does not notice");
        vm.log(context).expect("nothing fails");
        vm.release(context).expect("nothing fails");
        let given_up = notes.given_up.lock().expect("no test panics here").clone();
        assert_eq!(given_up.len(), usize::from(is_too_much), "{calls}: {given_up:?}");
        let heads =
            |line: &Line| matches!(line, Line::Step { did, .. } if matches!(did.op, Op::Headers { .. }));
        let lines = notes.take();
        assert_eq!(lines.iter().any(heads), !is_too_much, "{calls}");
        let expected = if is_too_much { lines.len() == 1 } else { lines.len() > 2 };
        assert!(expected, "{calls}: nothing is told after it: {lines:#?}");
    }
}
