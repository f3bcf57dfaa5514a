//! What a million keys take: a process of its own, because its memory is what is measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate::config::model::{Filter, FilterLimits, ModuleSource};
use tidegate::wasm::{Engine, Plugin, Services};

const MIB: usize = 1 << 20;
/// How much the cells may have.
const LIMIT: usize = 16 * MIB;
/// Of memory, on the machines that this runs on.
const PAGE: usize = 4096;
/// How many keys one callback uses, and how many callbacks there are.
const KEYS: u64 = 10_000;
const CALLBACKS: u64 = 100;

/// Takes a token from so many buckets in each callback, every one of a key that was never used before: 32 bytes, the
/// first 8 of them a number that goes on counting.
const GUEST: &str = r#"(module
    (import "env" "proxy_call_foreign_function"
        (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "tidegate.bucket.take")
    ;; cost 1, burst 10, tokens 1, interval an hour in nanoseconds, then the key
    (data (i32.const 64) "\01\00\00\00\0a\00\00\00\01\00\00\00\00\a0\b8\30\46\03\00\00")
    (global $next (mut i64) (i64.const 0))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_tick") (param i32)
        (local $left i32)
        (local.set $left (i32.const 10000))
        (loop $again
            (global.set $next (i64.add (global.get $next) (i64.const 1)))
            (i64.store (i32.const 84) (i64.mul (global.get $next) (i64.const -7046029254386353131)))
            (if (call $call (i32.const 0) (i32.const 20) (i32.const 64) (i32.const 52) (i32.const 0) (i32.const 0))
                (then unreachable))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;

fn filter() -> Filter {
    let limits = FilterLimits {
        instructions: 1_000_000_000,
        wall_clock: Duration::from_secs(600),
        cells: LIMIT,
        ..FilterLimits::default()
    };
    Filter { limits, ..Filter::new("many", ModuleSource::File(PathBuf::from("many.wasm"))) }
}

/// What of this process is in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * PAGE
}

#[test]
fn a_million_keys_take_no_more_than_their_limit() {
    let engine = Engine::new(None).expect("this machine can compile");
    let module = engine.compile(&wat::parse_str(GUEST).expect("it is a module")).expect("it is a filter");
    let services = Services::new();
    let mut vm = Plugin::new(Arc::new(filter()), module).start(services.clone()).expect("it starts");

    let before = resident();
    for _ in 0..CALLBACKS {
        vm.on_tick(vm.first_root()).unwrap_or_else(|fault| panic!("{fault}"));
    }
    let taken = resident().saturating_sub(before);

    let [(_, usage)] = &services.shared_data.cells()[..] else { panic!("one vm_id has cells") };
    println!("{usage:?} of {} keys, {:.1} MiB taken", KEYS * CALLBACKS, taken as f64 / MIB as f64);
    assert_eq!(usage.cells + usage.evicted, KEYS * CALLBACKS, "every key was counted");
    assert!(usage.bytes <= LIMIT as u64);
    assert!(usage.bytes >= LIMIT as u64 * 9 / 10, "the limit is used: {usage:?}");
    assert!(taken <= LIMIT, "{taken} bytes were taken, and {LIMIT} were allowed");
}
