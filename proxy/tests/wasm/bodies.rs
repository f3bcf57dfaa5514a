//! Bodies and the other buffers.

use bytes::Bytes;
use tidegate::wasm::DataStatus;
use tidegate::wasm::stream::{Direction, Progress, StreamRef};

use crate::bench::{Bench, ROOT, get};
use crate::guest::{Dump, Guest, OUT};

const ON: &str = "proxy_on_request_body";
const EVERYTHING: i64 = 0xffff_ffff;
const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const INVALID_MEMORY: u32 = 6;

/// Shows the guest this request body, in two chunks.
fn on_body(guest: &Guest, body: &'static str, end: bool) -> (DataStatus, StreamRef) {
    let mut vm = Bench::new().start(guest);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    let (head, tail) = body.split_at(body.len() / 2);
    for chunk in [head, tail] {
        stream.borrow_mut().stages[0].request_body.push(Bytes::from_static(chunk.as_bytes()));
    }
    let status = vm.on_body(context, Direction::Request, end).expect("nothing fails");
    (status, stream)
}

fn body(stream: &StreamRef) -> Vec<u8> {
    let stream = stream.borrow();
    stream.stages[0].request_body.chunks().flat_map(|chunk| chunk.to_vec()).collect()
}

fn read(guest: &mut Guest, callback: &'static str, buffer: i64, start: i64, max: i64, out: i64) -> usize {
    guest.call(callback, "proxy_get_buffer_bytes", &[buffer, start, max, out, out + 4])
}

#[test]
fn a_body_is_read_in_pieces_that_are_clamped_to_it() {
    let mut guest = Guest::new();
    guest.code(ON, "(i32.store (i32.const 0x900) (local.get 1)) (i32.store (i32.const 0x904) (local.get 2))");
    let table: [(i64, i64, &str); 6] = [
        (0, EVERYTHING, "abcdef"),
        (2, 3, "cde"),
        (4, EVERYTHING, "ef"),
        (6, 1, ""),
        (7, 1, ""),
        (EVERYTHING, EVERYTHING, ""),
    ];
    let out = |i: usize| OUT + 8 * i as i64;
    let slots: Vec<usize> = table
        .iter()
        .enumerate()
        .map(|(i, (start, max, _))| read(&mut guest, ON, 0, *start, *max, out(i)))
        .collect();
    let (_, stream) = on_body(&guest, "abcdef", true);
    let dump = Dump::of(&stream);
    for (i, (_, _, expected)) in table.iter().enumerate() {
        assert_eq!((dump.status(slots[i]), dump.value(out(i))), (OK, expected.as_bytes()), "line {i}");
    }
    assert_eq!((dump.word(0x900), dump.word(0x904)), (6, 1));
}

#[test]
fn each_edit_does_what_the_abi_says_and_is_seen_at_once() {
    let table: [(i64, i64, &str); 6] = [
        (0, 0, "XYabcd"),
        (0, EVERYTHING, "XY"),
        (0, 2, "XYcd"),
        (4, 0, "abcdXY"),
        (EVERYTHING, EVERYTHING, "abcdXY"),
        (1, 2, "aXYd"),
    ];
    for (start, len, expected) in table {
        let mut guest = Guest::new();
        let text = guest.text("XY");
        let set = guest.call(ON, "proxy_set_buffer_bytes", &[0, start, len, text.0, text.1]);
        read(&mut guest, ON, 0, 0, EVERYTHING, OUT);
        guest.call(ON, "proxy_get_buffer_status", &[0, OUT + 8, OUT + 12]);
        let (_, stream) = on_body(&guest, "abcd", false);
        let dump = Dump::of(&stream);
        assert_eq!((dump.status(set), dump.value(OUT)), (OK, expected.as_bytes()));
        assert_eq!((dump.word(OUT + 8) as usize, dump.word(OUT + 12)), (expected.len(), 0));
        assert_eq!(body(&stream), expected.as_bytes());
        assert!(stream.borrow().stages[0].request_body.edited());
    }
}

#[test]
fn an_empty_last_piece_is_a_body_and_what_is_not_there_is_not_found() {
    let mut guest = Guest::new();
    let text = guest.text("end");
    let slots = [
        read(&mut guest, ON, 0, 0, 10, OUT),
        guest.call(ON, "proxy_set_buffer_bytes", &[0, 0, 0, text.0, text.1]),
        read(&mut guest, ON, 1, 0, 10, OUT),
        guest.call(ON, "proxy_set_buffer_bytes", &[1, 0, 0, text.0, text.1]),
        read(&mut guest, ON, 2, 0, 10, OUT),
        read(&mut guest, ON, 4, 0, 10, OUT),
        read(&mut guest, ON, 8, 0, 10, OUT),
        read(&mut guest, ON, 9, 0, 10, OUT),
        guest.call(ON, "proxy_set_buffer_bytes", &[7, 0, 0, text.0, text.1]),
        guest.call(ON, "proxy_set_buffer_bytes", &[0, 0, 0, 0xffff_fff0, 100]),
        guest.call(ON, "proxy_get_buffer_bytes", &[0, 0, 1, 0xffff_fff0, OUT]),
        guest.call(ON, "proxy_get_buffer_status", &[0, OUT, 0xffff_fff0]),
    ];
    let (_, stream) = on_body(&guest, "", true);
    let expected = [
        OK,
        OK,
        NOT_FOUND,
        NOT_FOUND,
        NOT_FOUND,
        NOT_FOUND,
        NOT_FOUND,
        BAD_ARGUMENT,
        BAD_ARGUMENT,
        INVALID_MEMORY,
        INVALID_MEMORY,
        INVALID_MEMORY,
    ];
    assert_eq!(Dump::of(&stream).statuses(slots), expected);
    assert_eq!(body(&stream), b"end");
}

#[test]
fn a_held_body_can_be_reached_from_elsewhere_and_a_finished_one_not_changed() {
    let mut guest = Guest::new();
    let early = read(&mut guest, "proxy_on_request_headers", 0, 0, 10, OUT);
    guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
    let held = read(&mut guest, "proxy_on_tick", 0, 0, 10, OUT);
    let text = guest.text("!");
    let set = guest.call("proxy_on_tick", "proxy_set_buffer_bytes", &[0, EVERYTHING, 0, text.0, text.1]);
    let mut vm = Bench::new().start(&guest);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, false).expect("nothing fails");
    assert_eq!(Dump::of(&stream).status(early), NOT_FOUND);
    stream.borrow_mut().stages[0].request_body.push(Bytes::from_static(b"held"));
    vm.on_tick(ROOT).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses([held, set]), [OK, OK]);
    assert_eq!(body(&stream), b"held!");
    stream.borrow_mut().request_progress = Progress::Done;
    vm.on_tick(ROOT).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses([held, set]), [OK, BAD_ARGUMENT]);
}

#[test]
fn a_body_that_is_held_does_not_grow_beyond_the_limit_from_elsewhere() {
    let mut guest = Guest::new();
    let text = guest.text("!!");
    guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
    let append = |guest: &mut Guest, start| {
        guest.call("proxy_on_tick", "proxy_set_buffer_bytes", &[0, start, 1, text.0, text.1])
    };
    let sets = [EVERYTHING, EVERYTHING, 0, EVERYTHING].map(|start| append(&mut guest, start));
    let mut vm = Bench::new().start(&guest);
    let stream = get("/");
    stream.borrow_mut().buffer_limit = 7;
    vm.open(ROOT, &stream, 0).expect("nothing fails");
    stream.borrow_mut().stages[0].request_body.push(Bytes::from_static(b"held"));
    vm.on_tick(ROOT).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses(sets), [OK, BAD_ARGUMENT, OK, BAD_ARGUMENT]);
    assert_eq!(body(&stream), b"!!eld!!", "one byte more by what was replaced, and then there is no room");
}

#[test]
fn each_answer_to_a_body_means_what_the_abi_says() {
    let table = [
        (0, DataStatus::Continue),
        (1, DataStatus::StopIterationAndBuffer),
        (2, DataStatus::StopIterationAndWatermark),
        (3, DataStatus::StopIterationNoBuffer),
        (4, DataStatus::StopIterationNoBuffer),
    ];
    for (answer, expected) in table {
        let mut guest = Guest::new();
        guest.answer(ON, answer);
        assert_eq!(on_body(&guest, "a", false).0, expected);
    }
}

#[test]
fn both_configurations_are_buffers_and_in_0_1_0_there_is_a_call() {
    let mut guest = Guest::new();
    guest.marker = "proxy_abi_version_0_1_0";
    guest.code("proxy_on_configure", "(i32.store (i32.const 0x880) (local.get 1))");
    guest.call("proxy_on_vm_start", "proxy_get_configuration", &[OUT, OUT + 4]);
    guest.call("proxy_on_configure", "proxy_get_configuration", &[OUT + 8, OUT + 12]);
    read(&mut guest, "proxy_on_configure", 6, 0, EVERYTHING, OUT + 16);
    read(&mut guest, "proxy_on_configure", 7, 0, EVERYTHING, OUT + 24);
    read(&mut guest, "proxy_on_request_headers", 7, 2, 6, OUT + 32);
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    let plugin = &b"{\"plugin\": 1}"[..];
    assert_eq!(dump.word(0x880) as usize, plugin.len());
    let values: Vec<&[u8]> = (0..5).map(|i| dump.value(OUT + 8 * i)).collect();
    assert_eq!(values, [b"vm", plugin, b"vm", plugin, b"plugin"]);
}
