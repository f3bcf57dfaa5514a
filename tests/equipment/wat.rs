//! The text of a guest's module: its memory, its imports, and the few functions that print what it sees.
//!
//! Memory: out-parameters below 256, metric slots below 512, constants from 1 KiB, the line being printed from
//! 64 KiB, and from 128 KiB the heap that the host allocates from, which every callback empties.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::hostcall::Shown;
use super::http1::from_latin1;

/// A module's text in the making.
pub(crate) struct Text {
    imports: BTreeMap<String, String>,
    data: Vec<u8>,
    speaker: String,
    quiet: bool,
}

impl Text {
    pub(crate) const OUT_POINTER: u32 = 16;
    pub(crate) const OUT_SIZE: u32 = 20;
    pub(crate) const OUT_CAS: u32 = 24;
    pub(crate) const OUT_NUMBER: u32 = 32;
    pub(crate) const HEAP: u32 = 128 * 1024;
    const CONSTANTS: u32 = 1024;

    /// An empty one. `speaker` begins each line that the guest logs.
    pub(crate) fn new(speaker: &str, quiet: bool) -> Text {
        let mut text =
            Text { imports: BTreeMap::new(), data: Vec::new(), speaker: speaker.to_owned(), quiet };
        text.import("proxy_log", "i32 i32 i32");
        text
    }

    /// Where the id of the metric in this slot is kept.
    pub(crate) fn slot(number: u32) -> u32 {
        assert!(number < 64, "there are 64 slots");
        256 + number * 4
    }

    /// A host function with these parameters and a status; its name in the text.
    pub(crate) fn import(&mut self, name: &str, parameters: &str) -> String {
        let signature = if parameters.is_empty() { String::new() } else { format!("(param {parameters})") };
        let before = self.imports.insert(name.to_owned(), signature.clone());
        assert!(before.is_none_or(|before| before == signature), "{name} is imported in two ways");
        format!("${name}")
    }

    /// A constant text: the two operands that are its place and length.
    pub(crate) fn constant(&mut self, text: &str) -> String {
        self.constant_bytes(&from_latin1(text))
    }

    /// The same for bytes.
    pub(crate) fn constant_bytes(&mut self, bytes: &[u8]) -> String {
        let at = Text::CONSTANTS as usize + self.data.len();
        self.data.extend_from_slice(bytes);
        format!("(i32.const {at}) (i32.const {})", bytes.len())
    }

    /// Does this as a guest does that is not quiet.
    pub(crate) fn aloud(&mut self, work: impl FnOnce(&mut Text)) {
        let quiet = std::mem::replace(&mut self.quiet, false);
        work(self);
        self.quiet = quiet;
    }

    /// Begins a line with this text.
    pub(crate) fn begin(&mut self, body: &mut String, what: &str) {
        if !self.quiet {
            let what = self.constant(&format!("{}{what}", self.speaker));
            let _ = writeln!(body, "(global.set $length (i32.const 0)) (call $put {what})");
        }
    }

    /// Adds ` name=VALUE` to the line, where the value is an `i32` expression.
    pub(crate) fn number(&mut self, body: &mut String, name: &str, expression: &str) {
        if !self.quiet {
            let name = self.constant(&format!(" {name}="));
            let _ = writeln!(body, "(call $put {name}) (call $put_number (i64.extend_i32_u {expression}))");
        }
    }

    /// Adds the last hostcall's status and, where it was OK, its answer.
    pub(crate) fn status(&mut self, body: &mut String, shown: Shown) {
        if self.quiet {
            return;
        }
        let space = self.constant(" ");
        let _ =
            writeln!(body, "(call $put {space}) (call $put_number (i64.extend_i32_u (global.get $status)))");
        let answer = match shown {
            Shown::Status | Shown::Pairs => return,
            Shown::Text => format!("(call $put {space}) (call $put_text {})", Text::found()),
            Shown::Size => {
                format!("(call $put {space}) (call $put_number (i64.extend_i32_u {}))", Text::size())
            }
            Shown::Number => {
                format!("(call $put {space}) (call $put_number (i64.load (i32.const {})))", Text::OUT_NUMBER)
            }
        };
        let _ = writeln!(body, "(if (i32.eqz (global.get $status)) (then {answer}))");
    }

    /// Ends the line and logs it.
    pub(crate) fn end(&mut self, body: &mut String, level: u32) {
        if !self.quiet {
            let _ = writeln!(body, "(call $flush (i32.const {level}))");
        }
    }

    /// Logs each pair of the map that the last hostcall returned, a line each.
    pub(crate) fn pairs(&mut self, body: &mut String) {
        if !self.quiet {
            let (bar, colon) = (self.constant(&format!("{}  | ", self.speaker)), self.constant(": "));
            let _ =
                writeln!(body, "(if (i32.eqz (global.get $status)) (then (call $put_pairs {bar} {colon})))");
        }
    }

    fn size() -> String {
        format!("(i32.load (i32.const {}))", Text::OUT_SIZE)
    }

    fn found() -> String {
        format!("(i32.load (i32.const {})) {}", Text::OUT_POINTER, Text::size())
    }

    /// The whole module, with these functions and globals in it.
    pub(crate) fn module(&self, fields: &str) -> String {
        assert!(self.data.len() < 60_000, "too many constants for this layout");
        let imports = self.imports.iter().map(|(name, parameters)| {
            format!("(import \"env\" \"{name}\" (func ${name} {parameters} (result i32)))\n")
        });
        let imports: String = imports.collect();
        let data: String = self.data.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let constants = Text::CONSTANTS;
        format!("(module\n{imports}{RUNTIME}{fields}(data (i32.const {constants}) \"{data}\"))\n")
    }
}

/// Printing, the allocator, and the ways to misbehave.
const RUNTIME: &str = r#"
(memory (export "memory") 4)
(global $heap (mut i32) (i32.const 131072))
(global $length (mut i32) (i32.const 0))
(global $status (mut i32) (i32.const 0))
(global $stream (mut i32) (i32.const 0))
(func (export "_initialize"))

;; Bump allocation, aligned to 8; grows memory when it must.
(func $allocate (export "proxy_on_memory_allocate") (param $size i32) (result i32)
  (local $at i32) (local $end i32)
  (local.set $at (global.get $heap))
  (local.set $end (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7)) (i32.const -8)))
  (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (then
    (if (i32.eq (i32.const -1) (memory.grow
        (i32.add (i32.const 1) (i32.shr_u (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
                                          (i32.const 16)))))
      (then (return (i32.const 0))))))
  (global.set $heap (local.get $end))
  (local.get $at))

(func $put (param $at i32) (param $size i32)
  (memory.copy (i32.add (i32.const 65536) (global.get $length)) (local.get $at) (local.get $size))
  (global.set $length (i32.add (global.get $length) (local.get $size))))

(func $put_byte (param $byte i32)
  (i32.store8 (i32.add (i32.const 65536) (global.get $length)) (local.get $byte))
  (global.set $length (i32.add (global.get $length) (i32.const 1))))

(func $put_number (param $number i64)
  (if (i64.ge_u (local.get $number) (i64.const 10))
    (then (call $put_number (i64.div_u (local.get $number) (i64.const 10)))))
  (call $put_byte (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))))))

(func $put_digit (param $digit i32)
  (call $put_byte (i32.add (local.get $digit)
    (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $digit) (i32.const 10))))))

;; At most 4,000 bytes; what does not print is shown as \xx.
(func $put_text (param $at i32) (param $size i32)
  (local $end i32) (local $byte i32)
  (if (i32.gt_u (local.get $size) (i32.const 4000)) (then (local.set $size (i32.const 4000))))
  (local.set $end (i32.add (local.get $at) (local.get $size)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
    (local.set $byte (i32.load8_u (local.get $at)))
    (if (i32.and (i32.ge_u (local.get $byte) (i32.const 32)) (i32.lt_u (local.get $byte) (i32.const 127)))
      (then (call $put_byte (local.get $byte)))
      (else
        (call $put_byte (i32.const 92))
        (call $put_digit (i32.shr_u (local.get $byte) (i32.const 4)))
        (call $put_digit (i32.and (local.get $byte) (i32.const 15)))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next))))

(func $flush (param $level i32)
  (drop (call $proxy_log (local.get $level) (i32.const 65536) (global.get $length))))

;; The map at OUT_POINTER: a line for each pair.
(func $put_pairs (param $bar i32) (param $bar_size i32) (param $colon i32) (param $colon_size i32)
  (local $sizes i32) (local $at i32) (local $count i32)
  (if (i32.eqz (i32.load (i32.const 20))) (then (return)))
  (local.set $sizes (i32.load (i32.const 16)))
  (local.set $count (i32.load (local.get $sizes)))
  (local.set $sizes (i32.add (local.get $sizes) (i32.const 4)))
  (local.set $at (i32.add (local.get $sizes) (i32.mul (local.get $count) (i32.const 8))))
  (block $done (loop $next
    (br_if $done (i32.eqz (local.get $count)))
    (global.set $length (i32.const 0))
    (call $put (local.get $bar) (local.get $bar_size))
    (call $put_text (local.get $at) (i32.load (local.get $sizes)))
    (local.set $at (i32.add (i32.add (local.get $at) (i32.load (local.get $sizes))) (i32.const 1)))
    (call $put (local.get $colon) (local.get $colon_size))
    (call $put_text (local.get $at) (i32.load offset=4 (local.get $sizes)))
    (local.set $at (i32.add (i32.add (local.get $at) (i32.load offset=4 (local.get $sizes))) (i32.const 1)))
    (call $flush (i32.const 2))
    (local.set $sizes (i32.add (local.get $sizes) (i32.const 8)))
    (local.set $count (i32.sub (local.get $count) (i32.const 1)))
    (br $next))))

;; Whether the last hostcall succeeded and found these bytes.
(func $found_is (param $at i32) (param $size i32) (result i32)
  (local $found i32)
  (if (global.get $status) (then (return (i32.const 0))))
  (if (i32.ne (i32.load (i32.const 20)) (local.get $size)) (then (return (i32.const 0))))
  (local.set $found (i32.load (i32.const 16)))
  (block $same (loop $next
    (br_if $same (i32.eqz (local.get $size)))
    (local.set $size (i32.sub (local.get $size) (i32.const 1)))
    (if (i32.ne (i32.load8_u (i32.add (local.get $found) (local.get $size)))
                (i32.load8_u (i32.add (local.get $at) (local.get $size))))
      (then (return (i32.const 0))))
    (br $next)))
  (i32.const 1))

(func $spin (param $rounds i32)
  (block $done (loop $next
    (br_if $done (i32.eqz (local.get $rounds)))
    (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
    (br $next))))

(func $eat_memory
  (loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
  (unreachable))

(func $recurse (param $depth i32) (result i32)
  (i32.add (i32.const 1) (call $recurse (i32.add (local.get $depth) (i32.const 1)))))
"#;
