//! What is said of a module before anybody runs it, and that it is what loading does.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidegate::inspect::Report;
use tidegate::wasm::Outline;

use crate::bench::ENGINE;
use crate::guest::Guest;

const LEAST: &str = r#"(memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 0))"#;

fn module(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields})")).expect("it is a module")
}

fn report(fields: &str) -> Report {
    Report::of(&ENGINE, &module(fields))
}

fn check_text(fields: &str, expected: Expect) {
    expected.assert_eq(&(report(fields).text("filter.wasm") + "\n"));
}

/// The reasons of a module's notes.
fn notes(fields: &str) -> Vec<&'static str> {
    report(&[fields, LEAST].concat())
        .notes
        .iter()
        .map(|note| note.reason)
        .filter(|r| *r != "no_names")
        .collect()
}

#[test]
fn a_filter_that_loads_is_shown_as_a_whole() {
    check_text(
        r#"
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (import "env" "proxy_continue_stream" (func (param i32) (result i32)))
        (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2 4) (table 3 funcref) (global (export "__heap_base") i32 (i32.const 8))
        (func (export "proxy_abi_version_0_2_0"))
        (func (export "_initialize"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_request_metadata") (param i32 i32) (result i32) (i32.const 0))
        (func (export "tidegate_on_end") (param i32) (result i32) (i32.const 1))
        (data (i32.const 8) "/registry/src/proxy-wasm-0.2.5/src/lib.rs")
        (@producers (language "Rust" "") (processed-by "rustc" "1.95.0"))"#,
        expect![[r#"
            filter.wasm will load

              SHA-256           903e8c967e34ae4f21f817b53aaba9c08d0c9140dad45f15b3ec085a350318ba
              signatures        none
              size              551 bytes, of which code 34 bytes in 8 functions, data 47 bytes
              ABI               0.2.0
              made with         Rust, rustc 1.95.0, proxy-wasm 0.2.5 (SDK), tidegate-sdk (SDK)
              memory            128.0 KiB at first, 256.0 KiB at most
              allocator         proxy_on_memory_allocate
              tables            3 entries
              traps show        names of functions, no source lines
              custom sections   producers (44 bytes), name (8 bytes)

            Exports, which the host calls
              life cycle        proxy_on_context_create
              HTTP              proxy_on_request_headers (without end_of_stream), proxy_on_response_headers,
                                proxy_on_request_metadata (not called here)
              tidegate's own    tidegate_on_end
              allocator         proxy_on_memory_allocate
              other             memory, __heap_base, proxy_abi_version_0_2_0, _initialize

            Imports, which the host has to offer
              log               proxy_log
              streams           proxy_continue_stream (0.2.0)
              WASI              fd_write
        "#]],
    );
}

#[test]
fn a_module_that_does_not_load_is_told_every_reason() {
    check_text(
        r#"
        (import "env" "proxy_log" (func (param i64)))
        (import "env" "proxy_frobnicate" (func))
        (import "env" "table" (table 200000 funcref))
        (func (export "proxy_on_tick"))
        (func (export "proxy_on_requests_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#,
        expect![[r#"
            filter.wasm will not load

            Problems
              - the module is not a Proxy-Wasm filter: it exports no ABI version (`proxy_abi_version_0_2_1` or
                another); with the Rust SDK this needs crate-type "cdylib" and `proxy_wasm::main!`
              - the module exports no 32-bit memory of its own named `memory`; have the linker export it
              - the module imports `env::proxy_log` as (i64), but it is (i32, i32, i32) -> i32; was it built for
                this ABI?
              - the module imports `env::proxy_frobnicate`, which is neither a Proxy-Wasm nor a WASI preview 1
                function
              - the module imports `env::table`, which is neither a Proxy-Wasm nor a WASI preview 1 function
              - the module exports `proxy_on_tick` as (), but the ABI has it as (i32)
              - the module exports no allocator (`proxy_on_memory_allocate` or `malloc`); have the linker export
                one
              - the module has 200000 entries in a table, and a filter may have 100000

              SHA-256           4be0ad36bee1d24c7bae3d1b371de6864a69c3f7ed3982de043b8a2842baa04e
              signatures        none
              size              146 bytes, of which code 8 bytes in 2 functions, data 0 bytes
              ABI               no version named
              made with         nothing that is recognised
              memory            none
              allocator         none
              tables            200000 entries
              traps show        neither names of functions nor source lines
              custom sections   none

            Exports, which the host calls
              services          proxy_on_tick
              other             proxy_on_requests_headers

            Imports, which the host has to offer
              log               proxy_log
              not offered       env::proxy_frobnicate, env::table

            Notes
              - it exports `proxy_on_requests_headers`, which no host calls; is `proxy_on_request_headers`
                meant?
              - it has no names of functions: a trap is shown with their numbers alone
        "#]],
    );
}

#[test]
fn what_is_no_module_has_a_reason_and_a_size_and_nothing_else() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty"),
        (b"(module)", "not_wasm"),
        (b"\x7fELF\x02\x01", "not_wasm"),
        (b"\x1f\x8b\x08", "not_wasm"),
        (b"\0asm\x0d\0\x01\0", "component"),
        (b"\0asm\x01\0\0\0\xff", "invalid"),
    ];
    for (bytes, reason) in cases {
        let report = Report::of(&ENGINE, bytes);
        assert_eq!((report.loads, report.problems[0].reason), (false, reason), "{bytes:?}");
        assert_eq!((report.size, report.module.is_some()), (bytes.len(), reason == "invalid"));
        assert!(report.text("x").starts_with("x will not load\n\nProblems\n  - "));
    }
}

#[test]
fn what_tools_read_is_all_of_it() {
    let fields = r#"
        (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "env" "abort" (func (param i32 i32 i32 i32)))
        (memory (export "memory") 1 300)
        (func (export "proxy_abi_version_0_1_0")) (func (export "proxy_abi_version_0_2_0"))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#;
    let json = serde_json::to_string_pretty(&report(fields)).expect("it can be written");
    expect![[r#"
        {
          "loads": false,
          "problems": [
            {
              "reason": "no_allocator",
              "message": "the module exports no allocator (`proxy_on_memory_allocate` or `malloc`); have the linker export one"
            }
          ],
          "notes": [
            {
              "reason": "several_versions",
              "message": "it names several versions of the ABI; the first counts, which is 0.1.0"
            },
            {
              "reason": "marker_and_callbacks_differ",
              "message": "it names version 0.1.0, but its headers callbacks take `end_of_stream`, as from 0.2.0 on: they are called as they are exported, and a header that is not there is empty, as in 0.1.0"
            },
            {
              "reason": "no_names",
              "message": "it has no names of functions: a trap is shown with their numbers alone"
            }
          ],
          "size": 177,
          "sha256": "ec4019d76a766c84e13aef15090c46893ee5ad49c464ad1999c5b2c035050830",
          "signatures": 0,
          "module": {
            "is_whole": true,
            "abi_version": "0.1.0",
            "abi_markers": [
              "0.1.0",
              "0.2.0"
            ],
            "made_with": [
              {
                "kind": "language",
                "name": "AssemblyScript"
              }
            ],
            "code_size": 11,
            "data_size": 0,
            "functions": 3,
            "has_names": false,
            "has_debug_info": false,
            "memories": [
              {
                "initial": 65536,
                "maximum": 19660800
              }
            ],
            "tables": [],
            "allocator": null,
            "exports": [
              {
                "name": "memory",
                "kind": "memory"
              },
              {
                "name": "proxy_abi_version_0_1_0",
                "kind": "function",
                "type": "()"
              },
              {
                "name": "proxy_abi_version_0_2_0",
                "kind": "function",
                "type": "()"
              },
              {
                "name": "proxy_on_request_headers",
                "kind": "function",
                "type": "(i32, i32, i32) -> i32",
                "group": "HTTP",
                "called": true
              }
            ],
            "imports": [
              {
                "module": "env",
                "name": "proxy_log",
                "type": "(i32, i32, i32) -> i32",
                "family": "log",
                "since": "0.1.0"
              },
              {
                "module": "env",
                "name": "abort",
                "type": "(i32, i32, i32, i32)",
                "family": "tool chain",
                "since": null
              }
            ],
            "custom_sections": []
          }
        }"#]]
    .assert_eq(&json);
}

#[test]
fn what_an_author_may_not_have_meant_is_noted() {
    let tick = r#"(func (export "proxy_on_tick") (param i32))"#;
    let call =
        |name: &str, params: &str| format!(r#"(import "env" "{name}" (func (param {params}) (result i32)))"#);
    let wasi = |name: &str, params: &str| {
        format!(r#"(import "wasi_snapshot_preview1" "{name}" (func (param {params}) (result i32)))"#)
    };
    let cases: [(String, &[&str]); 11] = [
        (tick.to_owned(), &[]),
        (String::new(), &["no_callbacks"]),
        (call("proxy_set_tick_period_milliseconds", "i32"), &["no_callbacks", "callback_missing"]),
        (call("proxy_set_tick_period_milliseconds", "i32") + tick, &[]),
        (call("proxy_http_call", &["i32"; 10].join(" ")) + tick, &["callback_missing"]),
        (format!(r#"(func (export "proxy_on_tock") (param i32)) {tick}"#), &["unknown_callback"]),
        (wasi("fd_write", "i32 i32 i32 i32") + tick, &["no_initialize"]),
        (wasi("fd_read", "i32 i32 i32 i32") + tick + r#"(func (export "_start"))"#, &["no_files"]),
        (wasi("fd_write", "i32 i32 i32 i32") + tick + "(func $f) (start $f)", &[]),
        (
            format!(
                r#"(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0)) {tick}"#
            ),
            &["several_allocators"],
        ),
        (format!(r#"(@custom ".debug_info" "{}") {tick}"#, "x".repeat(1000)), &["debug_info"]),
    ];
    for (fields, expected) in cases {
        assert_eq!(notes(&fields), expected, "{fields}");
    }
    let large = LEAST.replace("\"memory\") 1)", "\"memory\") 257)");
    let report = report(&[tick, &large].concat());
    assert_eq!((report.loads, report.notes[0].reason), (true, "memory_limit"));
}

#[test]
fn a_language_is_known_by_what_it_leaves() {
    let made_with = |fields: &str| {
        let report = report(fields);
        let tools = report.module.expect("it is a module").made_with.into_iter();
        tools.map(|tool| (tool.kind, tool.name, tool.version)).collect::<Vec<_>>()
    };
    let tool = |kind, name: &str, version: Option<&str>| (kind, name.to_owned(), version.map(str::to_owned));
    let data = |text: &str| format!("(memory 1) (data (i32.const 0) \"{text}\")");
    assert_eq!(made_with("(@custom \"go:buildid\" \"x\")"), [tool("language", "Go", None)]);
    assert_eq!(
        made_with(&format!(
            "(@producers (processed-by \"Go cmd/compile\" \"go1.27\") (language \"Go\" \"go1.27\")) {}",
            data("github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm")
        )),
        [
            tool("language", "Go", Some("go1.27")),
            tool("tool", "Go cmd/compile", Some("go1.27")),
            tool("sdk", "proxy-wasm-go-sdk", None)
        ]
    );
    let utf16: String = "~lib/@solo-io/proxy-runtime/x".chars().map(|c| format!("{c}\\00")).collect();
    assert_eq!(
        made_with(&data(&utf16)),
        [tool("language", "AssemblyScript", None), tool("sdk", "@solo-io/proxy-runtime", None)]
    );
    assert_eq!(
        made_with(r#"(import "env" "emscripten_notify_memory_growth" (func (param i32)))"#),
        [tool("tool", "Emscripten", None)]
    );
    assert_eq!(made_with(r#"(func (export "asyncify_start_unwind"))"#), [tool("tool", "TinyGo", None)]);
    assert_eq!(made_with(""), []);
}

#[test]
fn a_name_that_a_terminal_would_obey_is_shown_and_not_obeyed() {
    let name = r"\1b[2J\0a";
    let text = report(&format!(
        r#"(import "{name}" "{name}" (func)) (func (export "{name}")) (@custom "{name}" "")
           (@producers (language "{name}" "{name}")) {LEAST}"#
    ))
    .text("\u{1b}[2Jfile");
    assert!(text.contains(r"\u{1b}[2J\n") && text.starts_with(r"\u{1b}[2Jfile will not load"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_module_of_more_than_any_has_is_refused_before_it_takes_memory() {
    // A million and one empty custom sections.
    let mut bytes = module(LEAST);
    bytes.extend([0u8, 1, 0].repeat(1_000_001));
    let report = Report::of(&ENGINE, &bytes);
    assert_eq!((report.loads, report.problems[0].reason), (false, "invalid"));
    assert!(report.text("x").len() < 10_000);
}

/// Loading and inspecting say the same of it: that is the same code, as long as nobody writes it twice.
fn check_agreement(bytes: &[u8]) {
    let report = Report::of(&ENGINE, bytes);
    match ENGINE.compile(bytes) {
        Ok(module) => {
            assert!(report.loads && report.problems.is_empty());
            let outline = Outline::read(bytes).expect("it has loaded");
            assert_eq!(outline.markers().next(), Some(module.abi()));
        }
        Err(error) => {
            assert!(!report.loads);
            assert_eq!(report.problems[0].message, error.to_string());
            assert_eq!(report.problems[0].reason, error.reason());
        }
    }
    assert!(report.text("x").contains(if report.loads { "x will load" } else { "x will not load" }));
}

fn sample() -> Vec<u8> {
    let mut guest = Guest::new();
    guest.call("proxy_on_request_headers", "proxy_get_header_map_pairs", &[0; 3]);
    guest.call("proxy_on_tick", "proxy_increment_metric", &[0; 2]);
    guest.build()
}

#[test]
fn a_module_that_breaks_off_anywhere_is_refused_as_it_is_inspected() {
    let whole = sample();
    check_agreement(&whole);
    for len in 0..whole.len() {
        check_agreement(&whole[..len]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_module_with_wrong_bytes_in_it_is_refused_as_it_is_inspected(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut bytes = sample();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        check_agreement(&bytes);
    }
}
