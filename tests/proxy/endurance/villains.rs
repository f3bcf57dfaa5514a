//! Filters that mean harm, and filters that mean nothing at all.

use wasm_smith::{Config, Module};

use crate::equipment::{Guest, On, Step};

/// A module whose request callback does this. `$buffer` of 64 KiB is at 0; nothing of what it asks has a use.
pub(super) fn hostile(imports: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        {imports}
        (memory (export "memory") 2)
        (global $next (mut i32) (i32.const 65536))
        (data (i32.const 0) "a-name-of-some-length")
        (data (i32.const 64) "up")
        ;; four pairs: the counts, the lengths, and the texts, each with a NUL
        (data (i32.const 128) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 65536))
        (func $deeper (param i32) (result i32)
          (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
          (local $i i32)
          {body}
          (i32.const 0)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A filter that means harm: its name, its module, and the kind of fault that it comes to, if it comes to one.
pub(super) struct Villain(pub(super) &'static str, pub(super) Vec<u8>, pub(super) Option<&'static str>);

pub(super) fn villains() -> Vec<Villain> {
    let again = |call: &str| format!("(loop $again {call} (br $again))");
    let log = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let get = r#"(import "env" "proxy_get_header_map_pairs" (func $get (param i32 i32 i32) (result i32)))"#;
    let share =
        r#"(import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))"#;
    let call = r#"(import "env" "proxy_http_call"
        (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let grow =
        "(loop $again (br_if $again (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) (unreachable)";
    let many = "(loop $again
        (drop (call $call (i32.const 64) (i32.const 2) (i32.const 128) (i32.const 60) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 512)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 10000))))";
    let keys = "(i32.store (i32.const 0) (local.get $context))
        (loop $again
        (i32.store (i32.const 4) (local.get $i))
        (drop (call $share (i32.const 0) (i32.const 21) (i32.const 0) (i32.const 4096) (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))";
    vec![
        Villain("loops", hostile("", &again("")), Some("instructions")),
        Villain("recurses", hostile("", "(drop (call $deeper (i32.const 0)))"), None),
        Villain("eats-memory", hostile("", grow), Some("memory")),
        Villain("traps", hostile("", "(unreachable)"), Some("trap")),
        Villain(
            "asks-for-ever",
            hostile(get, &again("(drop (call $get (i32.const 0) (i32.const 512) (i32.const 516)))")),
            Some("instructions"),
        ),
        Villain(
            "logs-for-ever",
            hostile(log, &again("(drop (call $log (i32.const 4) (i32.const 0) (i32.const 4096)))")),
            Some("instructions"),
        ),
        Villain("calls-out", hostile(call, many), None),
        Villain("shares", hostile(share, keys), None),
        Villain("never-resumes", hostile("", "(return (i32.const 1))"), None),
        Villain("poisoned-allocator", poisoned(), Some("allocator")),
        Villain("ticks", ticking(), None),
        Villain("smithed", smithed(1, false), None),
        Villain("traps-everywhere", Guest::new().quiet().on(On::Log, [Step::Trap]).build(), Some("trap")),
    ]
}

/// Its allocator points outside of its memory, and it cannot do without.
fn poisoned() -> Vec<u8> {
    let module = r#"(module
        (import "env" "proxy_get_header_map_pairs" (func $get (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const -16))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (call $get (i32.const 0) (i32.const 512) (i32.const 516)) (then (unreachable)))
          (i32.const 0)))"#;
    wat::parse_str(module).expect("it is a module")
}

/// A storm of ticks, each of which works.
fn ticking() -> Vec<u8> {
    let guest = Guest::new().quiet().on(On::Configure, [Step::TickPeriod(1)]);
    guest.on(On::Tick, [Step::Spin(100_000)]).build()
}

/// What a module has to look like for [`smithed`] to fill it with something.
const SHAPE: &str = r#"(module
    (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes" (func (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_buffer_bytes" (func (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_pairs" (func (param i32 i32 i32) (result i32)))
    (import "env" "proxy_set_header_map_pairs" (func (param i32 i32 i32) (result i32)))
    (import "env" "proxy_remove_header_map_value" (func (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_property" (func (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_shared_data" (func (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_tick_period_milliseconds" (func (param i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func (param i32) (result i32)))
    (import "env" "proxy_send_local_response"
      (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_http_call"
      (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_continue_stream" (func (param i32) (result i32)))
    (import "env" "proxy_close_stream" (func (param i32) (result i32)))
    (import "env" "proxy_done" (func (result i32)))
    (memory (export "memory") 2)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) unreachable)
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_tick") (param i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) unreachable)
    (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) unreachable)
    (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32))
    (func (export "proxy_on_done") (param i32) (result i32) unreachable)
    (func (export "proxy_on_log") (param i32))
    (func (export "proxy_on_delete") (param i32)))"#;

/// A valid module whose functions do what the seed made them do. Most trap or loop; what they ask of the host is nonsense.
/// Of one with instructions for `bulk` memory there may be no image, and so no instance for each exchange.
pub(super) fn smithed(seed: u64, bulk: bool) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(16 << 10).collect();
    let config = Config {
        module_shape: Some(wat::parse_str(SHAPE).expect("it is a module")),
        allow_start_export: false,
        bulk_memory_enabled: bulk,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    let module = Module::new(config, &mut arbitrary::Unstructured::new(&bytes));
    module.expect("there is enough to make one of").to_bytes()
}
