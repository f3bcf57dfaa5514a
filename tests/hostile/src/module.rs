//! The guest: an interpreter of scripts, with every hostcall imported.
//!
//! Memory: at 0x20, 0x40, 0x60, 0x80 and 0xa0 texts and pairs that are well-formed, so that arguments can be right too; at
//! 0xe0 a `GrpcService` of 7 bytes, at 0x100 a queue's name;
//! from 0x400 whatever it is told to write; from the third page the script, which it copies out of its configuration; from
//! the seventh page the blocks of its allocator.

use std::fmt::Write as _;

use tidegate::wasm::hostcalls::{HOSTCALLS, Hostcall, ResultForm, Value};

use crate::script::{MAX_ARGUMENTS, On, is_an_end};

/// Where the script is.
const SCRIPT: usize = 0x2_0000;
/// How long a call is in it: a callback, a hostcall, and the arguments.
const CALL: usize = (2 + MAX_ARGUMENTS) * 8;

/// The module's bytes.
pub(crate) fn build() -> Vec<u8> {
    let mut text = String::from("(module\n");
    for hostcall in HOSTCALLS {
        import(&mut text, hostcall);
    }
    text.push_str(RUNTIME);
    for (index, hostcall) in HOSTCALLS.iter().enumerate() {
        thunk(&mut text, index, hostcall);
    }
    let thunks: String = (0..HOSTCALLS.len()).map(|index| format!(" $thunk{index}")).collect();
    let _ = writeln!(text, "(table $thunks {} funcref) (elem (i32.const 0){thunks})", HOSTCALLS.len());
    let first = SCRIPT + 24;
    let _ = writeln!(
        text,
        r#"(func $play (param $on i32)
          (local $at i32) (local $left i32)
          (local.set $at (i32.const {first}))
          (local.set $left (i32.load (i32.const {})))
          (block $end (loop $next
            (br_if $end (i32.eqz (local.get $left)))
            (if (i32.eq (i32.load (local.get $at)) (local.get $on)) (then
              (call_indirect $thunks (type $thunk)
                (i32.add (local.get $at) (i32.const 16)) (i32.load offset=8 (local.get $at)))))
            (local.set $at (i32.add (local.get $at) (i32.const {CALL})))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $next))))"#,
        SCRIPT + 16,
    );
    for (index, on) in On::ALL.iter().enumerate() {
        let (name, parameters, answers) = on.shape();
        let parameters = " i32".repeat(parameters);
        let (result, answer) = if answers { ("(result i32)", "(global.get $answer)") } else { ("", "") };
        let _ = writeln!(
            text,
            "(func (export \"{name}\") (param{parameters}) {result} (call $play (i32.const {index})) {answer})"
        );
    }
    text.push(')');
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn import(text: &mut String, hostcall: &Hostcall) {
    let parameters: String = hostcall.params.iter().map(|param| format!(" {}", type_name(*param))).collect();
    let result = if hostcall.result == ResultForm::None { "" } else { "(result i32)" };
    let (module, name) = (hostcall.modules[0], hostcall.name);
    let _ = writeln!(text, "(import \"{module}\" \"{name}\" (func ${name} (param{parameters}) {result}))");
}

/// A function that calls a hostcall with the arguments at a place. Those that end the guest are left out: they would hide
/// the rest.
fn thunk(text: &mut String, index: usize, hostcall: &Hostcall) {
    let _ = write!(text, "(func $thunk{index} (type $thunk) ");
    if !is_an_end(hostcall) {
        let arguments: String = hostcall
            .params
            .iter()
            .enumerate()
            .map(|(at, param)| format!(" ({}.load offset={} (local.get 0))", type_name(*param), at * 8))
            .collect();
        let call = format!("(call ${}{arguments})", hostcall.name);
        let _ = if hostcall.result == ResultForm::None {
            write!(text, "{call}")
        } else {
            write!(text, "(drop {call})")
        };
    }
    text.push_str(")\n");
}

fn type_name(value: Value) -> &'static str {
    match value {
        Value::I32 => "i32",
        Value::I64 => "i64",
    }
}

const RUNTIME: &str = r#"
(type $thunk (func (param i32)))
(memory (export "memory") 8)
(data (i32.const 0x20) "x-twice")
(data (i32.const 0x40) "\01\00\00\00\01\00\00\00\01\00\00\00a\00b\00")
(data (i32.const 0x60) "request\00headers")
(data (i32.const 0x80) "api")
(data (i32.const 0xa0) "\02\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00:method\00GET\00:path\00/\00")
(data (i32.const 0xe0) "\0a\05\0a\03api")
(data (i32.const 0x100) "jobs")
(global $heap (mut i32) (i32.const 0x60000))
(global $mode (mut i32) (i32.const 0))
(global $answer (mut i32) (i32.const 1))
(func (export "proxy_abi_version_0_2_1"))
(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))

(func (export "proxy_on_configure") (param i32 i32) (result i32)
  (drop (call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 0x400) (i32.const 0x404)))
  (memory.copy (i32.const 0x20000) (i32.load (i32.const 0x400)) (i32.load (i32.const 0x404)))
  (global.set $mode (i32.load (i32.const 0x20000)))
  (global.set $answer (i32.load (i32.const 0x20008)))
  (i32.const 1))

(func $bump (param $size i32) (result i32)
  (local $at i32)
  (local.set $at (global.get $heap))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (block $there (loop $more
    (br_if $there (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
    (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1))))
    (return (i32.const 0))))
  (local.get $at))

(func $recurse (param i32) (result i32)
  (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))

(func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
  (block $trapping (block $forbidden (block $logging (block $looping (block $recursing
  (block $same (block $outside (block $across (block $zero (block $bumping
    (br_table $bumping $zero $across $outside $same $recursing $looping $logging $forbidden $trapping
      (global.get $mode)))
    (return (call $bump (local.get $size))))
    (return (i32.const 0)))
    (return (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))))
    (return (i32.const 0xfffffff0)))
    (return (i32.const 0x60000)))
    (return (call $recurse (local.get $size))))
    (loop $forever (br $forever)))
    (drop (call $proxy_log (i32.const 2) (i32.const 0x20) (i32.const 7)))
    (return (call $bump (local.get $size))))
    (drop (call $proxy_set_tick_period_milliseconds (i32.const 1)))
    (return (call $bump (local.get $size))))
  (unreachable))
"#;
