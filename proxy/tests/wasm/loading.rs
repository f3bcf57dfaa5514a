//! Which modules are filters, and what is said of those that are not.

use tidegate::wasm::{AbiVersion, Callback, Engine, LoadError};

use crate::bench::ENGINE;
use crate::guest::Guest;

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const MARKER: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;
const ALLOCATOR: &str = r#"(func (export "malloc") (param i32) (result i32) (i32.const 0))"#;

fn refusal(fields: &str) -> LoadError {
    let bytes = wat::parse_str(format!("(module {fields})")).expect("it is a module");
    ENGINE.compile(&bytes).expect_err("it is not a filter")
}

#[test]
fn what_is_not_webassembly_is_called_what_it_is() {
    let table: [(&[u8], &str); 8] = [
        (b"", "the module is empty"),
        (b"<html></html>", "not a WebAssembly module but text"),
        (b"  (module)", "not a WebAssembly module but WebAssembly text (compile it with wat2wasm)"),
        (b"\x7fELF\x02\x01", "not a WebAssembly module but a native program (ELF)"),
        (b"\x1f\x8b\x08", "not a WebAssembly module but a gzip archive"),
        (b"\x00\xff\xfe", "not a WebAssembly module but something else"),
        (b"\0asm\x0d\0\x01\0", "this is a WebAssembly component"),
        (b"\0asm\x01\0\0\0\xff", "the module is not valid"),
    ];
    for (bytes, expected) in table {
        let message = ENGINE.compile(bytes).expect_err("it is no module").to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_a_filter_lacks_is_named_with_a_remedy() {
    assert!(matches!(refusal(&[MEMORY, ALLOCATOR].concat()), LoadError::NoAbiVersion));
    assert!(matches!(refusal(&[MARKER, ALLOCATOR].concat()), LoadError::NoMemory));
    assert!(matches!(refusal(&[MARKER, MEMORY].concat()), LoadError::NoAllocator));
    let imported = r#"(import "env" "memory" (memory 1))"#;
    let message =
        refusal(&[imported, MARKER, ALLOCATOR, r#"(export "memory" (memory 0))"#].concat()).to_string();
    assert!(message.starts_with("the module imports `env::memory`"), "{message}");
}

#[test]
fn an_unknown_import_is_named() {
    let import = r#"(import "env" "proxy_frobnicate" (func))"#;
    let message = refusal(&[import, MEMORY, MARKER, ALLOCATOR].concat()).to_string();
    assert!(message.starts_with("the module imports `env::proxy_frobnicate`, which is neither"), "{message}");
    let import = r#"(import "wasi_snapshot_preview1" "proxy_log" (func (param i32 i32 i32) (result i32)))"#;
    let error = refusal(&[import, MEMORY, MARKER, ALLOCATOR].concat());
    assert!(matches!(error, LoadError::UnknownImport { .. }));
}

#[test]
fn a_function_of_another_form_is_named_with_both() {
    let import = r#"(import "env" "proxy_log" (func (param i64) (result i32)))"#;
    let message = refusal(&[import, MEMORY, MARKER, ALLOCATOR].concat()).to_string();
    let expected = "the module imports `env::proxy_log` as (i64) -> i32, but it is (i32, i32, i32) -> i32";
    assert!(message.starts_with(expected), "{message}");
    let export = r#"(func (export "proxy_on_request_headers") (param i32) (result i32) (i32.const 0))"#;
    let message = refusal(&[MEMORY, MARKER, ALLOCATOR, export].concat()).to_string();
    let expected = "the module exports `proxy_on_request_headers` as (i32) -> i32, but the ABI has it as \
        (i32, i32) -> i32 or (i32, i32, i32) -> i32";
    assert_eq!(message, expected);
    let export = r#"(func (export "tidegate_on_end") (param i32 i32))"#;
    let message = refusal(&[MEMORY, MARKER, ALLOCATOR, export].concat()).to_string();
    assert!(message.starts_with("the module exports `tidegate_on_end` as (i32, i32)"), "{message}");
}

#[test]
fn the_first_marker_counts_and_an_import_may_come_twice() {
    let log = r#"(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))"#;
    let first = r#"(func (export "proxy_abi_version_0_2_0"))"#;
    let text = format!("(module {log} {log} {MEMORY} {first} {MARKER} {ALLOCATOR})");
    let module = ENGINE.compile(&wat::parse_str(text).expect("it is a module")).expect("it is a filter");
    assert_eq!(module.abi(), AbiVersion::V0_2_0);
    assert!(!module.edits_bodies());
    let mut guest = Guest::new();
    guest.call("proxy_on_response_body", "proxy_set_buffer_bytes", &[0; 5]);
    let module = ENGINE.compile(&guest.build()).expect("it is a filter");
    assert!(module.edits_bodies());
    assert!(module.handles(Callback::ResponseBody) && !module.handles(Callback::RequestBody));
}

#[test]
fn a_compiled_module_is_kept_on_disk_and_a_folder_that_cannot_be_used_is_done_without() {
    let bytes = Guest::new().build();
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let cache = folder.path().join("cache");
    Engine::new(Some(cache.clone())).expect("it starts").compile(&bytes).expect("it is a filter");
    assert!(cache.read_dir().expect("it was made").count() > 0);

    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("it is writable");
    Engine::new(Some(file.join("cache"))).expect("it starts").compile(&bytes).expect("it is a filter");
}
