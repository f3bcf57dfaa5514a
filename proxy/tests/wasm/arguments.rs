//! Whatever a guest passes to whatever hostcall, the host neither panics nor leaves its own bounds, and answers what the
//! hostcall's documentation says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use tidegate::wasm::hostcalls::{Family, HOSTCALLS, Hostcall, ResultForm, Value};
use tidegate::wasm::stream::Direction;
use tidegate::wasm::{CalloutResult, Fault, GrpcEvent, GuestLog, LogLevel, Module, Vm};

use crate::bench::{Bench, ENGINE, ROOT, get, respond};
use crate::documented::{ERRNOS, STATUSES, documentation};
use crate::guest::import;

/// Numbers that are likely to be at an edge of something.
fn edge() -> impl Strategy<Value = i64> {
    prop_oneof![
        0i64..12,
        Just(0x0fff_fffc),
        0x10i64..0x120,
        0xfff0i64..0x1_0010,
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        0xffff_fff0i64..=0xffff_ffff,
        any::<i64>(),
    ]
}

/// A guest that makes calls which its memory describes: a loop over (hostcall, arguments) cannot be written in
/// WebAssembly without compiling anew, so each hostcall is an export, and a test drives the guest by its configuration.
fn module(calls: &[(usize, Vec<i64>)]) -> Vec<u8> {
    let imports: String = HOSTCALLS.iter().map(import).collect();
    let body: String = calls.iter().map(|(index, args)| call(&HOSTCALLS[*index], args)).collect();
    let text = format!(
        r#"(module {imports} (memory (export "memory") 1)
        (data (i32.const 0x20) "x-twice") (data (i32.const 0x40) "\01\00\00\00\01\00\00\00\01\00\00\00a\00b\00")
        (data (i32.const 0x60) "request\00headers") (data (i32.const 0x80) "api")
        (global $heap (mut i32) (i32.const 0x200))
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32)
          (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
        (func $note (param i32 i32)
          (i32.store8 (i32.const 0x1f0) (i32.const 0x3d))
          (i32.store8 (i32.const 0x1f1) (i32.add (local.get 0) (i32.const {FIRST_CHARACTER})))
          (i32.store8 (i32.const 0x1f2) (i32.add (local.get 1) (i32.const {FIRST_CHARACTER})))
          (drop (call $proxy_log (i32.const 2) (i32.const 0x1f0) (i32.const 3))))
        (func $body {body})
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) call $body (i32.const 0))
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) call $body (i32.const 0))
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) call $body)
        (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32) call $body)
        (func (export "proxy_on_grpc_receive") (param i32 i32 i32) call $body)
        (func (export "proxy_on_grpc_close") (param i32 i32 i32) call $body)
        (func (export "proxy_on_tick") (param i32) call $body)
        (func (export "proxy_on_queue_ready") (param i32 i32) call $body)
        (func (export "proxy_on_foreign_function") (param i32 i32 i32) call $body)
        (func (export "proxy_on_log") (param i32) call $body))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn call(hostcall: &Hostcall, args: &[i64]) -> String {
    let args: Vec<String> = hostcall
        .params
        .iter()
        .zip(args)
        .map(|(param, arg)| match param {
            Value::I32 => format!("(i32.const {})", *arg as u32),
            Value::I64 => format!("(i64.const {arg})"),
        })
        .collect();
    let call = format!("(call ${} {})", hostcall.name, args.join(" "));
    if hostcall.result == ResultForm::None {
        return call;
    }
    let index = HOSTCALLS.iter().position(|known| known.name == hostcall.name).expect("it is in the table");
    format!("(call $note (i32.const {index}) {call})")
}

/// Keeps what `$note` logs: which hostcall answered what.
#[derive(Default)]
struct Answers(Mutex<BTreeSet<(usize, u32)>>);

/// Where numbers begin that are written as a character.
const FIRST_CHARACTER: u32 = 0x21;

impl GuestLog for Answers {
    fn level(&self) -> LogLevel {
        LogLevel::Trace
    }

    fn line(&self, _: &str, _: LogLevel, line: &str) {
        // The hostcalls at hand log too.
        let [b'=', index, status] = line.as_bytes() else { return };
        let number = |character: &u8| u32::from(*character).saturating_sub(FIRST_CHARACTER);
        let answer = (number(index) as usize, number(status));
        self.0.lock().expect("no test panics here").insert(answer);
    }

    fn dropped(&self, _: &str, _: u64) {}

    fn fault(&self, _: &str, _: &Fault) {}
}

/// Goes through an exchange; faults are the guest's own business.
fn exercise(vm: &mut Vm) {
    let stream = get("/");
    let Ok(context) = vm.open(ROOT, &stream, 0) else { return };
    let _ = vm.on_headers(context, Direction::Request, false);
    respond(&stream, 200, &[("a", "b")]);
    stream.borrow_mut().stages[0].response_body.push(Bytes::from_static(b"some body"));
    let _ = vm.on_body(context, Direction::Response, true);
    let _ = vm.on_http_call_response(4, CalloutResult::TimedOut);
    for token in [5, 6, 9, 10] {
        let _ = vm.on_grpc(token, GrpcEvent::InitialMetadata(None, HeaderMap::new()));
        let _ = vm.on_grpc(token, GrpcEvent::Message(Bytes::from_static(b"message")));
        let _ = vm.on_grpc(token, GrpcEvent::Close { status: 1, message: String::new() });
    }
    let _ = vm.on_tick(ROOT);
    let _ = vm.on_queue_ready(ROOT);
    let _ = vm.on_foreign_function(ROOT, 7, Bytes::from_static(b"arguments"));
    let _ = vm.close(context);
    // Of those that ended meanwhile the pipeline would have heard.
    assert!(vm.take_effects().len() <= 10, "four callouts, as many anew, a tick, a watch over queues");
    assert!(stream.borrow().actions.len() <= 4, "two resumptions, a close, a reply");
}

fn start(bytes: &[u8], answers: &Arc<Answers>) -> Vm {
    let mut bench = Bench::new();
    bench.filter.limits.log_bytes = usize::MAX;
    bench.services.log = answers.clone();
    let module: Module = ENGINE.compile(bytes).expect("it is a filter");
    tidegate::wasm::Plugin::new(bench.filter.into(), module)
        .start(bench.services)
        .expect("it does nothing yet")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_arguments_to_any_hostcall_make_the_host_panic(
        args in prop::collection::vec(prop::collection::vec(edge(), 12), HOSTCALLS.len() * 2)
    ) {
        // Every hostcall is called twice; those that stop a guest would hide the others.
        let stops = |name: &str| matches!(name, "abort" | "proc_exit");
        let calls: Vec<(usize, Vec<i64>)> = args
            .into_iter()
            .enumerate()
            .map(|(i, args)| (i % HOSTCALLS.len(), args))
            .filter(|(index, _)| !stops(HOSTCALLS[*index].name))
            .collect();
        let answers = Arc::default();
        exercise(&mut start(&module(&calls), &answers));
        check_answers(&answers);
    }
}

/// A hostcall answers with what its documentation lists, and with nothing else.
fn check_answers(answers: &Answers) {
    let answers = answers.0.lock().expect("no test panics here");
    assert!(!answers.is_empty(), "the guest notes what it is answered");
    for (index, status) in answers.iter().filter(|(_, status)| *status != 0) {
        let hostcall = &HOSTCALLS[*index];
        if matches!(hostcall.name, "pthread_equal") {
            continue; // its result is no status
        }
        let names = if hostcall.family == Family::Wasi { ERRNOS } else { STATUSES };
        let name = names.iter().find(|(_, number)| number == status).map(|(name, _)| *name);
        let documented = documentation(hostcall.function).statuses;
        assert!(
            documented.iter().any(|(documented, _)| Some(documented.as_str()) == name),
            "{} answered {status} ({name:?}), which its documentation does not list",
            hostcall.name
        );
    }
}
