//! Guests made of text: a callback is a list of hostcalls with their arguments.
//!
//! Each result goes to a slot in the guest's memory. At the end of each callback on a stream the guest stores the
//! first pages of its memory as the property `dump`, where a test finds results and out-values.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidegate::wasm::hostcalls::{HOSTCALLS, Hostcall, Value};
use tidegate::wasm::stream::StreamRef;

/// Where results go: a word for each call, in the order in which the calls were written.
const RESULTS: u32 = 0x100;
/// Where out-values go; tests use the words from here on.
pub(crate) const OUT: i64 = 0x800;
/// Where texts go.
const TEXTS: u32 = 0x1000;
/// Where the allocator begins.
const HEAP: u32 = 0x8000;
/// How much of the memory is shown.
const DUMP_LEN: usize = 0x10000;

/// What the guest's allocator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocator {
    /// Hands out one block behind another.
    Bump,
    /// Always answers this.
    Fixed(u32),
    /// Makes the memory grow first, so that it may move.
    Growing,
    /// Calls a hostcall that it may not.
    Forbidden,
    /// Traps.
    Trapping,
}

/// One thing that a callback does.
#[derive(Debug, Clone)]
enum Step {
    Call { name: &'static str, args: Vec<i64>, slot: u32 },
    Text(String),
}

/// A guest in the making.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) marker: &'static str,
    pub(crate) allocator: Allocator,
    pub(crate) allocator_name: &'static str,
    callbacks: BTreeMap<&'static str, (Vec<Step>, u32)>,
    texts: Vec<u8>,
    more: String,
    calls: u32,
}

/// A text in the guest's memory: its pointer and its length.
pub(crate) type Text = (i64, i64);

impl Guest {
    /// One that exports no callbacks yet.
    pub(crate) fn new() -> Guest {
        Guest {
            marker: "proxy_abi_version_0_2_1",
            allocator: Allocator::Bump,
            allocator_name: "proxy_on_memory_allocate",
            callbacks: BTreeMap::new(),
            texts: Vec::new(),
            more: String::new(),
            calls: 0,
        }
    }

    /// Puts a text into the guest's memory.
    pub(crate) fn text(&mut self, text: impl AsRef<[u8]>) -> Text {
        let pointer = i64::from(TEXTS) + self.texts.len() as i64;
        self.texts.extend_from_slice(text.as_ref());
        (pointer, text.as_ref().len() as i64)
    }

    /// Lets a callback make a hostcall after those that it makes already. The result is the call's slot.
    pub(crate) fn call(&mut self, callback: &'static str, hostcall: &'static str, args: &[i64]) -> usize {
        let slot = self.calls;
        self.calls += 1;
        let step = Step::Call { name: hostcall, args: args.to_vec(), slot };
        self.steps(callback).push(step);
        slot as usize
    }

    /// Lets a callback run instructions, in WebAssembly's text. Local 0 is the context.
    pub(crate) fn code(&mut self, callback: &'static str, code: &str) -> &mut Guest {
        self.steps(callback).push(Step::Text(code.to_owned()));
        self
    }

    /// What a callback answers; 0 without this, or 1 where that means success.
    pub(crate) fn answer(&mut self, callback: &'static str, answer: u32) -> &mut Guest {
        self.steps(callback);
        self.callbacks.get_mut(callback).expect("was just made").1 = answer;
        self
    }

    /// Adds fields to the module, in WebAssembly's text.
    pub(crate) fn field(&mut self, field: &str) -> &mut Guest {
        self.more.push_str(field);
        self.more.push('\n');
        self
    }

    fn steps(&mut self, callback: &'static str) -> &mut Vec<Step> {
        let succeeds = matches!(
            callback,
            "proxy_on_vm_start" | "proxy_on_configure" | "proxy_on_done" | "tidegate_on_end"
        );
        &mut self.callbacks.entry(callback).or_insert((Vec::new(), u32::from(succeeds))).0
    }

    /// The module, as bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        let text = self.wat();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn wat(&self) -> String {
        let mut wat = String::from("(module\n");
        let mut imports = vec!["proxy_set_property"];
        for (steps, _) in self.callbacks.values() {
            for step in steps {
                if let Step::Call { name, .. } = step
                    && !imports.contains(name)
                {
                    imports.push(name);
                }
            }
        }
        for name in imports {
            wat.push_str(&import(hostcall(name)));
        }
        let _ = write!(
            wat,
            r#"(memory (export "memory") 2)
            (global $heap (mut i32) (i32.const {HEAP}))
            (data (i32.const 16) "dump")
            (data (i32.const {TEXTS}) "{}")
            (func (export "{}"))
            "#,
            escape(&self.texts),
            self.marker,
        );
        wat.push_str(&self.allocator_function());
        for (name, (steps, answer)) in &self.callbacks {
            wat.push_str(&callback_function(name, steps, *answer));
        }
        wat.push_str(&self.more);
        wat.push(')');
        wat
    }

    fn allocator_function(&self) -> String {
        let name = self.allocator_name;
        let bump = "(global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0)))";
        let body = match self.allocator {
            Allocator::Bump => bump.to_owned(),
            Allocator::Fixed(block) => format!("(i32.const {block})"),
            Allocator::Growing => format!("(drop (memory.grow (i32.const 64))) {bump}"),
            Allocator::Forbidden => {
                format!(
                    "(drop (call $proxy_set_property (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 0))) {bump}"
                )
            }
            Allocator::Trapping => "unreachable".to_owned(),
        };
        format!(r#"(func $allocate (export "{name}") (param i32) (result i32) {body})"#)
    }
}

/// A hostcall of the table.
pub(crate) fn hostcall(name: &str) -> &'static Hostcall {
    HOSTCALLS.iter().find(|hostcall| hostcall.name == name).unwrap_or_else(|| panic!("no hostcall {name}"))
}

/// An import of a hostcall, named like it.
pub(crate) fn import(hostcall: &Hostcall) -> String {
    let params: Vec<&str> = hostcall.params.iter().map(type_name).collect();
    let result = if returns(hostcall) { "(result i32)" } else { "" };
    let (module, name) = (hostcall.modules[0], hostcall.name);
    format!("(import \"{module}\" \"{name}\" (func ${name} (param {}) {result}))\n", params.join(" "))
}

fn returns(hostcall: &Hostcall) -> bool {
    !matches!(hostcall.result, tidegate::wasm::hostcalls::ResultForm::None)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::I32 => "i32",
        Value::I64 => "i64",
    }
}

fn call_text(name: &str, args: &[i64], slot: u32) -> String {
    let hostcall = hostcall(name);
    assert_eq!(hostcall.params.len(), args.len(), "the arguments of {name}");
    let args: Vec<String> = hostcall
        .params
        .iter()
        .zip(args)
        .map(|(param, arg)| match param {
            Value::I32 => format!("(i32.const {})", *arg as u32),
            Value::I64 => format!("(i64.const {arg})"),
        })
        .collect();
    let call = format!("(call ${name} {})", args.join(" "));
    match returns(hostcall) {
        true => format!("(i32.store (i32.const {}) {call})\n", RESULTS + slot * 4),
        false => format!("{call}\n"),
    }
}

/// How many parameters a callback has, and whether it has a result.
fn signature(callback: &str) -> (usize, bool) {
    match callback {
        "_initialize" | "_start" => (0, false),
        "main" => (2, true),
        "proxy_on_context_create" => (2, false),
        "proxy_on_vm_start" | "proxy_on_configure" => (2, true),
        "proxy_on_request_headers" | "proxy_on_response_headers" => (3, true),
        "proxy_on_request_body" | "proxy_on_response_body" => (3, true),
        "proxy_on_request_trailers" | "proxy_on_response_trailers" => (2, true),
        "proxy_on_http_call_response" => (5, false),
        "proxy_on_queue_ready" => (2, false),
        "proxy_on_foreign_function" => (3, false),
        "proxy_on_tick" | "proxy_on_log" | "proxy_on_delete" => (1, false),
        "proxy_on_done" => (1, true),
        "tidegate_on_request_headers" => (4, true),
        "tidegate_on_response_headers" => (3, true),
        "tidegate_on_end" => (1, true),
        other => panic!("no callback {other}"),
    }
}

fn callback_function(name: &str, steps: &[Step], answer: u32) -> String {
    let (params, result) = signature(name);
    let mut text = format!("(func (export \"{name}\")");
    for _ in 0..params {
        text.push_str(" (param i32)");
    }
    if result {
        text.push_str(" (result i32)");
    }
    text.push('\n');
    for step in steps {
        match step {
            Step::Call { name, args, slot } => text.push_str(&call_text(name, args, *slot)),
            Step::Text(code) => text.push_str(code),
        }
    }
    let shows = !matches!(name, "_initialize" | "_start" | "main");
    if shows {
        let _ = write!(
            text,
            "(drop (call $proxy_set_property (i32.const 16) (i32.const 4) (i32.const 0) (i32.const {DUMP_LEN})))"
        );
    }
    if result {
        let _ = write!(text, "(i32.const {answer})");
    }
    text.push_str(")\n");
    text
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// The guest's memory at the end of its last callback on a stream.
pub(crate) struct Dump(Vec<u8>);

impl Dump {
    pub(crate) fn of(stream: &StreamRef) -> Dump {
        let stream = stream.borrow();
        Dump(stream.properties.get(&b"dump"[..]).expect("a callback on this stream has returned").to_vec())
    }

    /// What a call returned.
    pub(crate) fn status(&self, slot: usize) -> u32 {
        self.word(i64::from(RESULTS) + slot as i64 * 4)
    }

    /// What every call returned.
    pub(crate) fn statuses<const N: usize>(&self, slots: [usize; N]) -> [u32; N] {
        slots.map(|slot| self.status(slot))
    }

    pub(crate) fn word(&self, address: i64) -> u32 {
        let start = address as usize;
        u32::from_le_bytes(self.0[start..start + 4].try_into().expect("four bytes"))
    }

    pub(crate) fn double_word(&self, address: i64) -> u64 {
        let start = address as usize;
        u64::from_le_bytes(self.0[start..start + 8].try_into().expect("eight bytes"))
    }

    /// The value whose pointer and length are at this address.
    pub(crate) fn value(&self, address: i64) -> &[u8] {
        let (pointer, len) = (self.word(address) as usize, self.word(address + 4) as usize);
        &self.0[pointer..pointer + len]
    }

    /// That value, as a serialised map.
    pub(crate) fn pairs(&self, address: i64) -> Vec<(String, String)> {
        read_pairs(self.value(address))
    }
}

/// Reads a serialised map, written independently of the host's own code.
pub(crate) fn read_pairs(bytes: &[u8]) -> Vec<(String, String)> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let count = number(0);
    let mut at = 4 + count * 8;
    let mut text = |len: usize| {
        let text = String::from_utf8(bytes[at..at + len].to_vec()).expect("tests use text");
        assert_eq!(bytes[at + len], 0);
        at += len + 1;
        text
    };
    let pairs = (0..count).map(|i| (text(number(4 + i * 8)), text(number(8 + i * 8)))).collect();
    assert_eq!(at, bytes.len());
    pairs
}

/// Serialises a map, written independently of the host's own code.
pub(crate) fn write_pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    bytes
}
