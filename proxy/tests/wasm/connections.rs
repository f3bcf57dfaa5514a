//! The callbacks of TCP connections, and what hostcalls make of a connection.

use bytes::Bytes;
use tidegate::wasm::stream::{Direction, StreamRef};
use tidegate::wasm::{ConnectionStatus, ContextId, PeerType, Vm};

use crate::bench::{Bench, ROOT, connection, get};
use crate::guest::{Dump, Guest, OUT};
use crate::life_cycle::{journal, journal_of};

const CALLBACKS: [&str; 9] = [
    "proxy_on_context_create",
    "proxy_on_new_connection",
    "proxy_on_downstream_data",
    "proxy_on_upstream_data",
    "proxy_on_upstream_connection_close",
    "proxy_on_downstream_connection_close",
    "proxy_on_done",
    "proxy_on_log",
    "proxy_on_delete",
];

const DOWNSTREAM: i64 = 2;
const UPSTREAM: i64 = 3;

fn open(vm: &mut Vm, stream: &StreamRef) -> ContextId {
    let context = vm.open(ROOT, stream, 0).expect("nothing fails");
    assert_eq!(vm.on_new_connection(context).expect("nothing fails"), ConnectionStatus::Continue);
    context
}

fn show(vm: &mut Vm, stream: &StreamRef, context: ContextId, direction: Direction, data: &str) {
    let data = Bytes::copy_from_slice(data.as_bytes());
    stream.borrow_mut().stages[0].body_mut(direction).push(data);
    vm.on_data(context, direction, false).expect("nothing fails");
}

#[test]
fn a_connections_life_ends_with_close_done_log_delete() {
    let bench = Bench::new();
    let guest = journal(&CALLBACKS);
    let lines = journal_of(|| {
        let mut vm = bench.start(&guest);
        let stream = connection();
        let context = open(&mut vm, &stream);
        show(&mut vm, &stream, context, Direction::Request, "up");
        show(&mut vm, &stream, context, Direction::Response, "down");
        vm.on_upstream_close(context, PeerType::Unknown).expect("nothing fails");
        vm.close_connection(context, PeerType::Remote).expect("nothing fails");
        vm.close_connection(context, PeerType::Remote).expect("an id that is none any more is no error");
    });
    let expected = [
        "context_create 1",
        "context_create 2",
        "new_connection 2",
        "downstream_data 2",
        "upstream_data 2",
        "upstream_connection_close 2",
        "downstream_connection_close 2",
        "done 2",
        "log 2",
        "delete 2",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn callbacks_are_told_sizes_ends_and_peers() {
    let mut guest = Guest::new();
    for (callback, second) in [
        ("proxy_on_downstream_data", "(local.get 2)"),
        ("proxy_on_downstream_connection_close", "(i32.const 7)"),
    ] {
        guest.code(callback, "(i32.store (i32.const 0x800) (local.get 1))");
        guest.code(callback, &format!("(i32.store (i32.const 0x804) {second})"));
    }
    let mut vm = Bench::new().start(&guest);
    let stream = connection();
    let context = open(&mut vm, &stream);
    stream.borrow_mut().stages[0].request_body.push(Bytes::from_static(b"five."));
    vm.on_data(context, Direction::Request, true).expect("nothing fails");
    let dump = Dump::of(&stream);
    assert_eq!([dump.word(OUT), dump.word(OUT + 4)], [5, 1]);
    vm.close_connection(context, PeerType::Local).expect("nothing fails");
    assert_eq!(Dump::of(&stream).word(OUT), 1);
}

#[test]
fn any_answer_but_0_holds() {
    for answer in [1, 2, 99, u32::MAX] {
        let mut guest = Guest::new();
        guest.answer("proxy_on_new_connection", answer).answer("proxy_on_upstream_data", answer);
        let mut vm = Bench::new().start(&guest);
        let context = vm.open(ROOT, &connection(), 0).expect("nothing fails");
        let held = Ok(ConnectionStatus::StopIteration);
        assert_eq!(vm.on_new_connection(context).map_err(drop), held);
        assert_eq!(vm.on_data(context, Direction::Response, false).map_err(drop), held);
        let seen = vm.on_data(context, Direction::Request, false).map_err(drop);
        assert_eq!(seen, Ok(ConnectionStatus::Continue), "there is no callback for it");
    }
}

#[test]
fn a_connection_that_is_not_done_keeps_its_context_until_it_is() {
    let mut guest = journal(&["proxy_on_log", "proxy_on_delete"]);
    guest.answer("proxy_on_done", 0);
    guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
    guest.call("proxy_on_tick", "proxy_done", &[]);
    let lines = journal_of(|| {
        let mut vm = Bench::new().start(&guest);
        let stream = connection();
        let context = open(&mut vm, &stream);
        vm.close_connection(context, PeerType::Remote).expect("nothing fails");
        assert_eq!(vm.streams().count(), 0, "it has ended for its guest");
        vm.on_tick(ROOT).expect("nothing fails");
    });
    assert_eq!(lines, ["log 2", "delete 2"]);
}

#[test]
fn a_module_with_callbacks_in_one_is_told_of_connections_by_the_abis_own() {
    let mut guest = journal(&["proxy_on_context_create", "proxy_on_new_connection", "proxy_on_log"]);
    guest.answer("tidegate_on_request_headers", 0).answer("tidegate_on_end", 1);
    let lines = journal_of(|| {
        let mut vm = Bench::new().start(&guest);
        let context = open(&mut vm, &connection());
        vm.close_connection(context, PeerType::Remote).expect("nothing fails");
    });
    assert_eq!(lines, ["context_create 1", "context_create 2", "new_connection 2", "log 2"]);
}

#[test]
fn buffers_and_actions_are_those_of_what_the_context_is() {
    const ON: &str = "proxy_on_log";
    let mut guest = Guest::new();
    let calls: Vec<usize> = [0, 1, DOWNSTREAM, UPSTREAM]
        .into_iter()
        .map(|buffer| guest.call(ON, "proxy_get_buffer_bytes", &[buffer, 0, 9, OUT, OUT + 4]))
        .collect();
    for stream in [0, 1, DOWNSTREAM, UPSTREAM] {
        let call = guest.call(ON, "proxy_continue_stream", &[stream]);
        let close = guest.call(ON, "proxy_close_stream", &[stream]);
        assert_eq!(close, call + 1);
    }
    let seen = |stream: StreamRef| {
        for direction in [Direction::Request, Direction::Response] {
            stream.borrow_mut().stages[0].body_mut(direction).push(Bytes::from_static(b"held"));
        }
        let mut vm = Bench::new().start(&guest);
        let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
        vm.log(context).expect("nothing fails");
        let dump = Dump::of(&stream);
        let actions: Vec<String> =
            stream.borrow().actions.iter().map(|(_, action)| format!("{action:?}")).collect();
        (calls.iter().map(|call| dump.status(*call)).collect::<Vec<_>>(), actions)
    };
    let actions = ["Resume(Request)", "Close", "Resume(Response)"].map(str::to_owned).to_vec();
    assert_eq!(seen(get("/")), (vec![0, 0, 1, 1], actions.clone()));
    assert_eq!(seen(connection()), (vec![1, 1, 0, 0], actions));
}
