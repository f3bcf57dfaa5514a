//! Filters that fail, that never end, and that see what they should not.

use expect_test::expect;

use super::{Workshop, check, sdk};

#[test]
fn a_fault_that_nobody_expects_fails_the_case_whatever_else_it_expects() {
    let cases = "on_fault: open\ncases: [{name: it panics, request: {headers: {x-do: panic}}, expect: {outcome: forwarded}}]";
    let exit = Workshop::with(&sdk(), cases).run(&["test", "filter.wasm"]);
    assert_eq!(exit.code, Some(1));
    let says = "error: the filter failed, which is not expected: trap";
    assert!(exit.stdout.contains(says) && exit.stdout.contains("as asked"), "{}", exit.stdout);
}

#[test]
fn an_exchange_that_never_ends_fails_its_case_and_shows_where_it_stands() {
    check(
        r#"cases:
  - name: nobody wakes it
    timeout: 30s
    request: {headers: {x-do: wait}}
"#,
        expect![[r#"
            cases.yaml
              ✗ nobody wakes it     # instructions

                error: the exchange does not end within 30s: the request's head is held
                 --> cases.yaml:2:11
                  |
                2 |   - name: nobody wakes it
                  |           ^^^^^^^^^^^^^^^

                the filter logged:
                  info: wait ended with

            filter.wasm: 0 passed, 1 failed"#]],
    );
}

/// Asks `up` again whenever it has answered.
const RESTLESS: &str = r#"(module
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\02\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00:method\00GET\00:path\00/\00")
  (data (i32.const 64) "up")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 65536))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func $ask
    (drop (call $call (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 40) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 4096))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $ask) (i32.const 0))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) (call $ask)))"#;

#[test]
fn a_filter_that_never_rests_while_no_time_passes_fails_its_case() {
    let cases = "clusters: {up: {status: 200}}\ncases: [{name: it rests, request: GET /}]";
    let [early, late] =
        ["request_headers", "response_headers"].map(|at| RESTLESS.replace("request_headers", at));
    for module in [early, late] {
        let module = wat::parse_str(module).expect("it is a module");
        let exit = Workshop::with(&module, cases).run(&["test", "filter.wasm"]);
        assert_eq!(exit.code, Some(1));
        let says = "error: the filter goes on and on while no time passes";
        assert!(exit.stdout.contains(says), "{}", exit.stdout);
    }
}

#[test]
fn a_fault_before_the_first_request_fails_the_case_too() {
    // It asks at its start, and fails at the answer.
    let module = RESTLESS
        .replace(
            "proxy_on_request_headers\") (param i32 i32 i32) (result i32) (call $ask) (i32.const 0)",
            "proxy_on_configure\") (param i32 i32) (result i32) (call $ask) (i32.const 1)",
        )
        .replace("(param i32 i32 i32 i32 i32) (call $ask)))", "(param i32 i32 i32 i32 i32) unreachable))");
    let module = wat::parse_str(module).expect("it is a module");
    let cases = "clusters: {up: {status: 200}}\non_fault: open\ncases: [{name: it passes, request: GET /, expect: {outcome: forwarded}}]";
    let exit = Workshop::with(&module, cases).run(&["test", "filter.wasm"]);
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    assert!(exit.stdout.contains("error: the filter failed, which is not expected: trap"), "{}", exit.stdout);
}

#[test]
fn a_refused_configuration_is_the_case_s_failure_or_what_it_is_about() {
    check(
        r#"cases:
  - name: it starts with this
    config: {teach: true}
    request: GET /
  - name: it says why
    config: {teach: true}
    config_refused: {contains: nothing like it}
  - name: it does not refuse this
    config: {learn: false}
    config_refused: {present: true}
"#,
        expect![[r#"
            cases.yaml
              ✗ it starts with this

                error: the filter does not start with this configuration
                 --> cases.yaml:2:11
                  |
                2 |   - name: it starts with this
                  |           ^^^^^^^^^^^^^^^^^^^
                  |
                  = note: configure fault in proxy_on_configure: teach: unknown field `teach`, expected `learn`
                          error: teach: unknown field `teach`, expected `learn`

              ✗ it says why

                error: the filter refused its configuration, but said nothing like this
                 --> cases.yaml:7:21
                  |
                7 |     config_refused: {contains: nothing like it}
                  |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected something with "nothing like it" in it
                  |
                  = note: configure fault in proxy_on_configure: teach: unknown field `teach`, expected `learn`
                          error: teach: unknown field `teach`, expected `learn`

              ✗ it does not refuse this

                error: the filter took its configuration
                  --> cases.yaml:10:21
                   |
                10 |     config_refused: {present: true}
                   |                     ^^^^^^^^^^^^^^^

            filter.wasm: 0 passed, 3 failed"#]],
    );
}

#[test]
fn a_filter_that_sees_where_a_network_cuts_is_found_out() {
    let (cases, module) = (
        "cases: [{name: pieces, any_chunking: true, request: {method: POST, body: abcd}}]",
        r#"(module
          (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 2)
          (data (i32.const 0) "x-piece")
          (global $heap (mut i32) (i32.const 65536))
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "proxy_on_memory_allocate") (param i32) (result i32) (global.get $heap))
          (func (export "proxy_on_context_create") (param i32 i32))
          (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (if (i32.eqz (local.get 2)) (then (drop (call $add (i32.const 2) (i32.const 0) (i32.const 7) (i32.const 0) (i32.const 7)))))
            (i32.const 0)))"#,
    );
    let module = wat::parse_str(module).expect("it is a module");
    let exit = Workshop::with(&module, cases).run(&["test", "filter.wasm"]);
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    let says = "error: what the filter does depends on how bodies are divided";
    assert!(exit.stdout.contains(says) && exit.stdout.contains("in one piece each:"), "{}", exit.stdout);
}
