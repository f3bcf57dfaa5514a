//! Whatever a guest passes to whatever hostcall, the host neither panics nor leaves its own bounds.

use bytes::Bytes;
use proptest::prelude::*;
use tidegate::wasm::hostcalls::{HOSTCALLS, Hostcall, ResultForm, Value};
use tidegate::wasm::stream::Direction;
use tidegate::wasm::{CalloutResult, Module, Vm};

use crate::bench::{Bench, ENGINE, ROOT, get, respond};
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
        (func $body {body})
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) call $body (i32.const 0))
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) call $body (i32.const 0))
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) call $body)
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
    if hostcall.result == ResultForm::None { call } else { format!("(drop {call})") }
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
    let _ = vm.on_tick(ROOT);
    let _ = vm.on_queue_ready(ROOT);
    let _ = vm.on_foreign_function(ROOT, 7, Bytes::from_static(b"arguments"));
    let _ = vm.close(context);
    assert!(vm.take_effects().len() <= 6, "four callouts, a tick, a watch over queues");
    assert!(stream.borrow().actions.len() <= 4, "two resumptions, a close, a reply");
}

fn start(bytes: &[u8]) -> Vm {
    let bench = Bench::new();
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
        exercise(&mut start(&module(&calls)));
    }
}
