//! Which callbacks come when, with which numbers.

use std::time::Duration;

use tidegate::wasm::stream::{Direction, StreamAction};
use tidegate::wasm::{Callback, Effect, FaultKind, HeadersStatus};

use crate::bench::{Bench, ROOT, get, logged};
use crate::guest::{Dump, Guest, OUT};

const STREAM_CALLBACKS: [&str; 5] = [
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
];

/// A guest that logs a letter and its context's digit in each of these callbacks.
pub(crate) fn journal(callbacks: &[&'static str]) -> Guest {
    let mut guest = Guest::new();
    for callback in callbacks {
        let line = guest.text(format!("{callback} 0"));
        let digit = line.0 + line.1 - 1;
        guest.code(
            callback,
            &format!("(i32.store8 (i32.const {digit}) (i32.add (i32.const 48) (local.get 0)))"),
        );
        guest.call(callback, "proxy_log", &[2, line.0, line.1]);
    }
    guest
}

pub(crate) fn journal_of(run: impl FnOnce()) -> Vec<String> {
    let lines = logged(run);
    lines
        .iter()
        .filter_map(|line| Some(line.split_once("proxy_on_")?.1.split(" filter").next()?.to_owned()))
        .collect()
}

#[test]
fn a_root_is_created_started_and_configured_in_this_order() {
    let guest = journal(&["proxy_on_configure", "proxy_on_vm_start", "proxy_on_context_create"]);
    let lines = journal_of(|| drop(Bench::new().start(&guest)));
    assert_eq!(lines, ["context_create 1", "vm_start 1", "configure 1"]);
}

#[test]
fn streams_are_numbered_from_2_and_end_with_log_done_delete() {
    let bench = Bench::new();
    let mut guest = journal(&STREAM_CALLBACKS);
    guest.code("proxy_on_context_create", "(i32.store (i32.const 0x800) (local.get 1))");
    let lines = journal_of(|| {
        let mut vm = bench.start(&guest);
        let (first, second) = (get("/"), get("/"));
        let one = vm.open(ROOT, &first, 0).expect("nothing fails");
        assert_eq!(Dump::of(&first).word(OUT), 1, "its parent is the root");
        let two = vm.open(ROOT, &second, 0).expect("nothing fails");
        assert_eq!((one, two), (2, 3));
        vm.on_headers(two, Direction::Request, true).expect("nothing fails");
        vm.close(one).expect("nothing fails");
        vm.close(two).expect("nothing fails");
        vm.close(two).expect("closing twice is no error");
        assert_eq!(vm.streams().count(), 0);
        assert_eq!(vm.open(ROOT, &first, 0).expect("nothing fails"), 4, "a number is not used again");
    });
    let expected = [
        "context_create 1",
        "context_create 2",
        "context_create 3",
        "request_headers 3",
        "log 2",
        "done 2",
        "delete 2",
        "log 3",
        "done 3",
        "delete 3",
        "context_create 4",
    ];
    assert_eq!(lines, expected);
}

/// The callbacks of a guest that has tidegate's own, and the ABI's in case they are called.
const MERGED: [&str; 8] = [
    "tidegate_on_request_headers",
    "tidegate_on_response_headers",
    "tidegate_on_end",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
    "proxy_on_log",
    "proxy_on_delete",
];

/// As [`journal_of`], with tidegate's own callbacks in full.
fn merged_journal_of(run: impl FnOnce()) -> Vec<String> {
    let lines = logged(run);
    let own = |line: &str| {
        let start =
            line.find("tidegate_on_").or_else(|| line.find("proxy_on_").map(|at| at + "proxy_on_".len()))?;
        Some(line[start..].split(" filter").next()?.to_owned())
    };
    lines.iter().filter_map(|line| own(line)).collect()
}

#[test]
fn a_callback_that_does_the_work_of_several_is_called_in_their_place() {
    let mut guest = journal(&MERGED);
    guest.code("tidegate_on_request_headers", "(i32.store (i32.const 0x800) (local.get 1))");
    let lines = merged_journal_of(|| {
        let bench = Bench::new();
        let mut vm = bench.start(&guest);
        let stream = get("/");
        let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
        vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        assert_eq!(Dump::of(&stream).word(OUT), 1, "its parent is the root");
        vm.on_headers(context, Direction::Response, true).expect("nothing fails");
        vm.close(context).expect("nothing fails");
        vm.release(context).expect("it is over");
        assert_eq!(vm.streams().count(), 0);
        let counted = [Callback::ContextCreate, Callback::RequestHeaders, Callback::Log, Callback::Delete];
        assert_eq!(counted.map(|callback| bench.services.usage.calls(callback)), [1, 1, 1, 0]);
    });
    let expected = [
        "context_create 1",
        "tidegate_on_request_headers 2",
        "tidegate_on_response_headers 2",
        "tidegate_on_end 2",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_context_that_the_request_headers_do_not_begin_is_created_first() {
    let lines = merged_journal_of(|| {
        let mut vm = Bench::new().start(&journal(&MERGED));
        let streams = [get("/"), get("/")];
        let [unseen, late] = [0, 1].map(|which| vm.open(ROOT, &streams[which], 0).expect("nothing fails"));
        vm.close(unseen).expect("nothing fails");
        vm.on_headers(late, Direction::Response, true).expect("nothing fails");
        vm.on_headers(late, Direction::Request, true).expect("nothing fails");
    });
    let expected = [
        "context_create 1",
        "context_create 2",
        "tidegate_on_end 2",
        "context_create 3",
        "tidegate_on_response_headers 3",
        "request_headers 3",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_guest_that_says_it_left_an_exchange_hears_no_more_of_it() {
    for callback in ["tidegate_on_request_headers", "tidegate_on_response_headers"] {
        let mut guest = journal(&MERGED);
        guest.answer(callback, 0x100);
        let mut last = None;
        let lines = merged_journal_of(|| {
            let mut vm = Bench::new().start(&guest);
            let stream = get("/");
            let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
            for direction in [Direction::Request, Direction::Response] {
                if last != Some(HeadersStatus::Leave) {
                    last = Some(vm.on_headers(context, direction, true).expect("nothing fails"));
                }
            }
            assert_eq!(vm.streams().count(), 0);
            vm.close(context).expect("it is over");
        });
        assert_eq!(last, Some(HeadersStatus::Leave));
        assert_eq!(lines.last().map(String::as_str), Some(&*format!("{callback} 2")));
    }
    let mut guest = journal(&["proxy_on_request_headers"]);
    guest.answer("proxy_on_request_headers", 0x100);
    let mut vm = Bench::new().start(&guest);
    let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
    let status = vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(status, HeadersStatus::StopAllIterationAndWatermark, "the ABI's callback has no such answer");
}

#[test]
fn a_stream_that_is_not_done_at_its_one_end_lives_until_proxy_done() {
    let mut guest = journal(&MERGED);
    guest.answer("tidegate_on_end", 0);
    guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
    guest.call("proxy_on_tick", "proxy_done", &[]);
    let lines = merged_journal_of(|| {
        let mut vm = Bench::new().start(&guest);
        let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
        vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        vm.log(context).expect("nothing fails");
        vm.release(context).expect("it was asked already");
        assert_eq!(vm.streams().count(), 0, "the pipeline is done with it");
        vm.on_tick(ROOT).expect("nothing fails");
        vm.on_tick(ROOT).expect("the context is gone, which is no fault");
    });
    let expected = ["context_create 1", "tidegate_on_request_headers 2", "tidegate_on_end 2", "delete 2"];
    assert_eq!(lines, expected);
}

#[test]
fn many_streams_are_open_at_once_and_none_is_taken_for_another() {
    let mut guest = Guest::new();
    guest.code("proxy_on_request_headers", "(i32.store (i32.const 0x800) (local.get 0))");
    let mut vm = Bench::new().start(&guest);
    let streams: Vec<_> = (0..300).map(|_| get("/")).collect();
    let contexts: Vec<_> =
        streams.iter().map(|stream| vm.open(ROOT, stream, 0).expect("nothing fails")).collect();
    assert_eq!(contexts, (2..302).collect::<Vec<_>>());
    for (stream, context) in streams.iter().zip(contexts) {
        vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        assert_eq!(Dump::of(stream).word(OUT), context);
        vm.close(context).expect("nothing fails");
    }
    assert_eq!(vm.streams().count(), 0);
}

#[test]
fn what_a_guest_does_not_export_is_not_entered() {
    let bench = Bench::new();
    let mut vm = bench.start(&Guest::new());
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    let status = vm.on_headers(context, Direction::Request, false).expect("nothing fails");
    assert_eq!(status, HeadersStatus::Continue);
    vm.close(context).expect("nothing fails");
    assert!(!vm.handles(Callback::RequestHeaders));
    assert!(Callback::ALL.iter().all(|callback| bench.services.usage.calls(*callback) == 0));
}

#[test]
fn a_filter_that_refuses_to_start_or_its_configuration_is_a_fault_of_its_own() {
    for (callback, kind) in
        [("proxy_on_vm_start", FaultKind::Start), ("proxy_on_configure", FaultKind::Configure)]
    {
        let bench = Bench::new();
        let mut guest = Guest::new();
        guest.answer(callback, 0);
        let fault = bench.try_start(&guest).expect_err("it refuses");
        assert_eq!((fault.kind, fault.callback), (kind, callback));
        assert_eq!(bench.services.usage.faults(kind), 1);
    }
}

#[test]
fn initialize_and_main_run_before_any_context_and_may_only_log() {
    let mut guest = journal(&["proxy_on_context_create"]);
    let line = guest.text("proxy_on_initialize");
    guest.call("_initialize", "proxy_log", &[2, line.0, line.1]);
    let line = guest.text("proxy_on_main");
    guest.call("main", "proxy_log", &[2, line.0, line.1]);
    guest.field(r#"(func (export "_start") unreachable)"#);
    let lines = journal_of(|| drop(Bench::new().start(&guest)));
    assert_eq!(lines, ["initialize", "main", "context_create 1"]);

    let mut guest = Guest::new();
    guest.call("_start", "proxy_set_tick_period_milliseconds", &[1]);
    let fault = Bench::new().try_start(&guest).expect_err("there is no context yet");
    assert_eq!((fault.kind, fault.callback), (FaultKind::Protocol, "start"));
    assert!(
        fault.message.starts_with(
            "proxy_set_tick_period_milliseconds may not be called before the root context was created"
        ),
        "{}",
        fault.message
    );
}

#[test]
fn headers_callbacks_are_bound_by_their_arity_whatever_the_marker_says() {
    for marker in ["proxy_abi_version_0_1_0", "proxy_abi_version_0_2_0", "proxy_abi_version_0_2_100"] {
        let mut three = Guest::new();
        three.marker = marker;
        three.code(
            "proxy_on_request_headers",
            "(i32.store (i32.const 0x800) (local.get 1)) (i32.store (i32.const 0x804) (local.get 2))",
        );
        let (_, _, dump) = Bench::new().on_request_headers(&three);
        assert_eq!((dump.word(OUT), dump.word(OUT + 4)), (7, 1), "4 pseudo-headers, 3 fields, the end");

        let mut two = Guest::new();
        two.marker = marker;
        two.field(r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32) (local.get 1))"#);
        let mut vm = Bench::new().start(&two);
        let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
        let status = vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        assert_eq!(
            status,
            HeadersStatus::StopAllIterationAndWatermark,
            "7 is unknown, so it stops everything"
        );
    }
}

#[test]
fn each_answer_to_headers_means_what_the_abi_says() {
    use HeadersStatus::*;
    let table = [
        (0, Continue, Continue),
        (1, StopAllIterationAndWatermark, StopIteration),
        (2, Continue, Continue),
        (3, StopAllIterationAndBuffer, StopAllIterationAndBuffer),
        (4, StopAllIterationAndWatermark, StopAllIterationAndWatermark),
        (99, StopAllIterationAndWatermark, StopAllIterationAndWatermark),
    ];
    for (answer, usual, lone) in table {
        for (flag, marker, expected) in [
            (false, "proxy_abi_version_0_2_1", usual),
            (true, "proxy_abi_version_0_2_1", lone),
            (false, "proxy_abi_version_0_2_100", lone),
        ] {
            let mut bench = Bench::new();
            bench.filter.allow_on_headers_stop_iteration = flag;
            let mut guest = Guest::new();
            guest.marker = marker;
            guest.answer("proxy_on_request_headers", answer);
            let mut vm = bench.start(&guest);
            let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
            let status = vm.on_headers(context, Direction::Request, true).expect("nothing fails");
            assert_eq!(status, expected, "answer {answer}, flag {flag}, {marker}");
        }
    }
}

#[test]
fn a_stream_that_is_not_done_lives_until_proxy_done_and_is_deleted_once() {
    for (callback, line) in [("proxy_on_done", "done 2"), ("tidegate_on_end", "tidegate_on_end 2")] {
        let mut guest = journal(&[callback, "proxy_on_delete"]);
        guest.answer(callback, 0);
        guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
        let done = guest.call("proxy_on_tick", "proxy_done", &[]);
        let again = guest.call("proxy_on_delete", "proxy_done", &[]);
        let stream = get("/");
        let lines = merged_journal_of(|| {
            let mut vm = Bench::new().start(&guest);
            let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
            vm.close(context).expect("nothing fails");
            assert_eq!(vm.streams().count(), 0, "the pipeline is done with it");
            vm.on_tick(ROOT).expect("nothing fails");
            vm.on_tick(ROOT).expect("the context is gone, which is no fault");
        });
        assert_eq!(lines, [line, "delete 2"]);
        assert_eq!(Dump::of(&stream).statuses([done, again]), [0, 1]);
    }
}

#[test]
fn a_stream_that_is_never_done_is_deleted_after_a_minute() {
    let bench = Bench::new();
    let mut guest = journal(&["proxy_on_delete"]);
    guest.answer("proxy_on_done", 0);
    let mut vm = bench.start(&guest);
    let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
    vm.close(context).expect("nothing fails");
    assert!(journal_of(|| vm.on_tick(ROOT).expect("nothing fails")).is_empty());
    bench.clock.advance(Duration::from_secs(61));
    assert_eq!(journal_of(|| vm.on_tick(ROOT).expect("nothing fails")), ["delete 2"]);
}

#[test]
fn a_root_that_is_not_done_goes_when_it_says_so() {
    let mut guest = journal(&["proxy_on_done", "proxy_on_delete"]);
    guest.answer("proxy_on_done", 0);
    guest.call("proxy_on_tick", "proxy_done", &[]);
    let lines = journal_of(|| {
        let mut vm = Bench::new().start(&guest);
        vm.on_tick(ROOT).expect("nothing waits yet");
        vm.shutdown(ROOT).expect("nothing fails");
        assert!(!vm.has_gone(ROOT));
        vm.on_tick(ROOT).expect("nothing fails");
        assert!(vm.has_gone(ROOT));
    });
    assert_eq!(lines, ["done 1", "delete 1"]);
}

#[test]
fn a_proof_leaves_no_trace() {
    let bench = Bench::new();
    let mut guest = Guest::new();
    let name = guest.text("a_metric");
    guest.call("proxy_on_configure", "proxy_define_metric", &[0, name.0, name.1, OUT]);
    guest.call("proxy_on_configure", "proxy_set_shared_data", &[name.0, name.1, name.0, name.1, 0]);
    guest.call("proxy_on_configure", "proxy_set_tick_period_milliseconds", &[5]);
    bench.plugin(&guest).prove(&bench.services).expect("it starts");
    assert!(bench.services.metrics.collect().is_empty());
    assert_eq!(bench.services.usage.calls(Callback::Configure), 0);

    let mut vm = bench.start(&guest);
    assert_eq!(bench.services.metrics.collect().len(), 1);
    let effects = vm.take_effects();
    assert!(
        matches!(effects[..], [(ROOT, Effect::SetTick(Some(period)))] if period == Duration::from_millis(5))
    );
    assert!(vm.take_effects().is_empty());
}

#[test]
fn a_guest_acts_on_another_context_until_its_callback_returns() {
    let mut guest = Guest::new();
    let unknown = guest.call("proxy_on_tick", "proxy_set_effective_context", &[77]);
    guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
    guest.call("proxy_on_tick", "proxy_continue_stream", &[0]);
    let stream = get("/");
    let mut vm = Bench::new().start(&guest);
    vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_tick(ROOT).expect("nothing fails");
    vm.on_tick(ROOT).expect("nothing fails");
    assert_eq!(Dump::of(&stream).status(unknown), 2);
    let actions = &stream.borrow().actions;
    assert_eq!(actions.len(), 1, "resuming twice is resuming once");
    assert!(matches!(actions[0], (0, StreamAction::Resume(Direction::Request))));
}

#[test]
fn a_stream_that_is_late_and_done_at_once_is_deleted_once() {
    let bench = Bench::new();
    let mut guest = journal(&["proxy_on_delete"]);
    guest.answer("proxy_on_done", 0);
    for context in [2, 3] {
        guest.call("proxy_on_delete", "proxy_set_effective_context", &[context]);
        guest.call("proxy_on_delete", "proxy_done", &[]);
    }
    let mut vm = bench.start(&guest);
    for _ in 0..2 {
        let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
        vm.close(context).expect("nothing fails");
    }
    bench.clock.advance(Duration::from_secs(61));
    let lines = journal_of(|| {
        vm.on_tick(ROOT).expect("nothing fails");
        vm.on_tick(ROOT).expect("nothing fails");
    });
    assert_eq!(lines, ["delete 2", "delete 3"]);
}
