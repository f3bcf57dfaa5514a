//! `tidegate filter test`, as the authors of filters run it.

use expect_test::{Expect, expect};
use regex::Regex;
use serde_json::Value;

use crate::equipment::{Exit, Language, Proxy, Terminal, language};

/// A folder with files, where the command is run.
pub(super) struct Workshop(tempfile::TempDir);

impl Workshop {
    /// With a module that is called `filter.wasm`, and these cases beside it.
    pub(super) fn with(module: &[u8], cases: &str) -> Workshop {
        let shop = Workshop(tempfile::tempdir().expect("a temporary folder can be made"));
        shop.write("filter.wasm", module);
        shop.write("cases.yaml", cases);
        shop
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let file = self.0.path().join(name);
        std::fs::create_dir_all(file.parent().expect("it has a folder")).expect("a folder can be made");
        std::fs::write(file, content).expect("a temporary file can be written");
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).expect("the file is there")
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("temporary folders have plain names")
    }

    /// Runs `tidegate filter` in the folder.
    pub(super) fn run(&self, arguments: &[&str]) -> Exit {
        let first = format!("cd '{}'", self.path());
        Proxy::with_text("").after(&[], &first).run_in(&[&["filter"], arguments].concat())
    }
}

/// The guest that does what the header `x-do` says: see `tests/guests/sdk.rs` at the top.
fn sdk() -> Vec<u8> {
    std::fs::read(guests::module("sdk")).expect("it was built")
}

/// What is said of the cases, without what differs from one compiler to the next.
fn said(text: &str) -> String {
    let varies = r"[\d,]+ instructions|(?s:note: trap fault.*?\n\n)";
    Regex::new(varies).expect("it is one").replace_all(text, "# instructions").into_owned()
}

/// Runs these cases on the guest of the SDK, which have to fail, and shows what is said.
fn check(cases: &str, expected: Expect) {
    let exit = Workshop::with(&sdk(), cases).run(&["test", "filter.wasm"]);
    assert_eq!((exit.code, &*exit.stderr), (Some(1), ""), "{}", exit.stdout);
    expected.assert_eq(&said(&exit.stdout));
}

/// What every kind of expectation is met by.
const MET: &str = r#"
env: {MODE: test}
seed: 7
start_time: "2026-03-01T12:00:00Z"
clusters:
  up:
    - match: {path: /lesson}
      body: learned
    - match: {method: POST, path: {prefix: /ask}, headers: {x-asked: "1"}}
      headers: {x-by: up}
      body: answer
upstream:
  - match: {path: /echo}
    echo: true
  - match: {path: /slow}
    after: 3s
  - status: 200
    headers: {content-type: application/json, x-many: [a, b]}
    body: {json: {name: ann, age: 7}}
    trailers: {x-sum: "1"}
cases:
  - name: headers are changed
    request:
      path: /items?x=1
      headers: {x-do: headers, x-add: "1", x-remove: gone, cookie: user=ann}
      client: 10.0.0.1:1000
    expect:
      outcome: forwarded
      details: via_upstream
      forwarded:
        method: GET
        path: {prefix: /items}
        headers:
          x-set: new
          x-add: ["1", {regex: "\\d"}]
          x-remove: {present: false}
          x-saw: {contains: "ann 10.0.0.1"}
          host: service.test
      response:
        status: 200
        headers: {x-many: [a, b], content-type: {suffix: json}, x-none: {not: {present: true}}}
        body: {json: {age: 7, name: ann}}
        trailers: {x-sum: "1"}
      logs: [{level: info, text: {exact: headers ended with 200}}, {contains: error, absent: true}]
      callouts: []
      duration: 0s
      memory: 4MiB
      instructions: 1M
  - name: bodies are changed, however they are divided
    any_chunking: true
    request: {method: POST, path: /echo, headers: {x-do: append}, body: {repeat: {text: abc, times: 3}}}
    expect:
      forwarded: {body: abcabcabc last}
      response: {body: {base64: YWJjYWJjYWJjIGxhc3Q=}}
  - name: a reply is the filter's own
    request: {headers: {x-do: reply}}
    expect:
      outcome: replied
      details: sdk_says_no
      forwarded: nothing
      response: {status: 403, headers: {x-reply: "yes"}, body: {regex: "not .*"}}
  - name: a service is asked
    request: {headers: {x-do: call}}
    expect:
      forwarded: {headers: {x-answer: 200 up answer}}
      callouts: [{cluster: up, method: POST, path: /asked, headers: {host: asked.test}, body: question}]
  - name: a service that does not answer is a failure of its own
    clusters: {up: {never: true}}
    request: {headers: {x-do: call}}
    expect: {forwarded: {headers: {x-answer: {prefix: "504"}}}, duration: 10s}
  - name: a service that is away
    clusters: {up: {unavailable: nobody is there}}
    request: {headers: {x-do: call}}
    expect: {forwarded: {headers: {x-answer: {prefix: "503"}}}}
  - name: metrics count over requests and workers
    workers: 2
    steps:
      - request: {headers: {x-do: measure}}
        times: 2
      - request: {headers: {x-do: measure}, worker: 1}
        expect: {metrics: {sdk_events: 6, sdk_level: 7, sdk_sizes: 3}}
      - advance: 1h
    expect: {metrics: {'sdk_kinds{kind="bell",tone="low"}': 3}}
  - name: a bucket is refilled as time passes
    steps:
      - request: {headers: {x-do: cells}}
        times: 2
        expect: {forwarded: {headers: {x-cells: {prefix: "true"}}}}
      - request: {headers: {x-do: cells}}
        expect: {forwarded: {headers: {x-cells: {prefix: "false"}}}}
      - advance: 1h
        request: {headers: {x-do: cells}}
        expect: {forwarded: {headers: {x-cells: {prefix: "true"}}}}
  - name: a panic is a fault that is expected
    request: {headers: {x-do: panic}}
    expect: {outcome: filter_fault, faults: [trap], response: {status: 503}}
  - name: a panic that lets requests pass
    on_fault: open
    request: {headers: {x-do: panic}}
    expect: {outcome: forwarded, faults: [trap]}
  - name: what the filter asked for at its start
    config: {learn: true}
    steps:
      - advance: 10ms
        expect: {callouts: [{path: /lesson}]}
      - request: {headers: {x-do: learned}}
        expect: {forwarded: {headers: {x-learned: learned}}}
  - name: an upstream takes its time
    request: GET /slow
    expect: {outcome: forwarded, duration: 3s}
  - name: a manifest that asks for less than it does
    capabilities: manifest
    request: {headers: {x-do: measure}}
    expect: {logs: {level: warn, contains: "it may not read the header `:status`"}}
  - name: a body that is too large
    buffer_limit: 8
    request: {method: POST, headers: {x-do: append}, body: "1234567890", chunk_size: 3}
    expect: {outcome: request_too_large, response: {status: 413}}
  - name: a configuration that is refused
    config: {teach: true}
    config_refused: {contains: unknown field `teach`}
"#;

#[test]
fn every_kind_of_expectation_is_met_by_what_it_names() {
    let exit = Workshop::with(&sdk(), MET).run(&["test", "filter.wasm"]);
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""), "{}", exit.stdout);
    assert!(exit.stdout.ends_with("\nfilter.wasm: 15 passed"), "{}", exit.stdout);
}

#[test]
fn what_is_wrong_with_a_message_is_shown_where_the_file_expects_otherwise() {
    check(
        r#"upstream: {status: 200, headers: {x-many: [a, b]}, body: {json: {name: ann, tags: [1, 2]}}, trailers: {x-sum: "1"}}
cases:
  - name: the request
    request: {method: POST, path: /items, headers: {x-do: headers}, body: "one\ntwo\nthree"}
    expect:
      forwarded:
        method: GET
        path: {regex: /orders/.*}
        headers: {x-set: old, x-gone: {present: true}, x-add: {present: false}}
        body: "one\n2\nthree"
  - name: the response
    request: GET /
    expect:
      response:
        status: 201
        headers: {x-many: a, x-none: {not: {present: false}}}
        body: {json: {name: bob, tags: [1, 2, 3]}}
        trailers: {x-sum: {contains: "2"}}
  - name: none of both
    request: {headers: {x-do: reply}}
    expect: {forwarded: {path: /}, response: nothing}
  - name: sizes and bytes
    request: GET /
    expect: {response: {body: {size: 7}}}
"#,
        expect![[r#"
            cases.yaml
              ✗ the request         # instructions

                error: the method of the request differs
                 --> cases.yaml:7:17
                  |
                7 |         method: GET
                  |                 ^^^ expected GET
                  |
                  = note: found POST

                error: the path of the request differs
                 --> cases.yaml:8:15
                  |
                8 |         path: {regex: /orders/.*}
                  |               ^^^^^^^^^^^^^^^^^^^ expected what all of `/orders/.*` matches
                  |
                  = note: found "/items"

                error: the header `x-set` of the request differs
                 --> cases.yaml:9:26
                  |
                9 |         headers: {x-set: old, x-gone: {present: true}, x-add: {present: false}}
                  |                          ^^^ expected "old"
                  |
                  = note: found "new"

                error: the header `x-gone` of the request is missing
                 --> cases.yaml:9:39
                  |
                9 |         headers: {x-set: old, x-gone: {present: true}, x-add: {present: false}}
                  |                                       ^^^^^^^^^^^^^^^ expected any value
                  |
                  = note: found none

                error: the header `x-add` of the request is there
                 --> cases.yaml:9:63
                  |
                9 |         headers: {x-set: old, x-gone: {present: true}, x-add: {present: false}}
                  |                                                               ^^^^^^^^^^^^^^^^ expected none
                  |
                  = note: found "2"

                error: the body of the request differs
                  --> cases.yaml:10:15
                   |
                10 |         body: "one\n2\nthree"
                   |               ^^^^^^^^^^^^^^^ expected "one\n2\nthree"
                   |
                   = note: found "one\ntwo\nthree"
                   = note: from line 2 on:
                           - 2
                           + two

                the filter logged:
                  info: headers ended with 200

              ✗ the response        # instructions

                error: the status of the response differs
                  --> cases.yaml:15:17
                   |
                15 |         status: 201
                   |                 ^^^ expected 201
                   |
                   = note: found 200

                error: the header `x-many` of the response differs
                  --> cases.yaml:16:27
                   |
                16 |         headers: {x-many: a, x-none: {not: {present: false}}}
                   |                           ^ expected "a"
                   |
                   = note: found "a" and "b"

                error: the header `x-none` of the response is missing
                  --> cases.yaml:16:38
                   |
                16 |         headers: {x-many: a, x-none: {not: {present: false}}}
                   |                                      ^^^^^^^^^^^^^^^^^^^^^^^ expected anything but none
                   |
                   = note: found none

                error: the body of the response differs
                  --> cases.yaml:17:15
                   |
                17 |         body: {json: {name: bob, tags: [1, 2, 3]}}
                   |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected the JSON {"name":"bob","tags":[1,2,3]}
                   |
                   = note: found "{\"name\":\"ann\",\"tags\":[1,2]}"
                   = note: - .name: "bob"
                           + .name: "ann"
                           - .tags[2]: 3

                error: the trailer `x-sum` of the response differs
                  --> cases.yaml:18:27
                   |
                18 |         trailers: {x-sum: {contains: "2"}}
                   |                           ^^^^^^^^^^^^^^^ expected something with "2" in it
                   |
                   = note: found "1"

                the filter logged:
                  info:  ended with 200

              ✗ none of both        # instructions

                error: the upstream got no request
                  --> cases.yaml:21:25
                   |
                21 |     expect: {forwarded: {path: /}, response: nothing}
                   |                         ^^^^^^^^^
                   |
                   = note: the exchange was answered by the filter, sdk_says_no; the client got 403
                           the filter logged:
                             info: reply ended with 403

                error: the client got a response
                  --> cases.yaml:21:46
                   |
                21 |     expect: {forwarded: {path: /}, response: nothing}
                   |                                              ^^^^^^^ expected nothing
                   |
                   = note: found status 403

                the filter logged:
                  info: reply ended with 403

              ✗ sizes and bytes     # instructions

                error: the body of the response differs: it has 27 bytes
                  --> cases.yaml:24:31
                   |
                24 |     expect: {response: {body: {size: 7}}}
                   |                               ^^^^^^^^^ expected 7 bytes
                   |
                   = note: found "{\"name\":\"ann\",\"tags\":[1,2]}"

                the filter logged:
                  info:  ended with 200

            filter.wasm: 0 passed, 4 failed"#]],
    );
}

#[test]
fn what_is_wrong_with_an_exchange_is_shown_where_the_file_expects_otherwise() {
    check(
        r#"clusters: {up: {match: {path: /other}}}
cases:
  - name: how it ended
    request: {headers: {x-do: reply}}
    expect: {outcome: forwarded, details: other, duration: 1s, properties: {a.b: c}}
  - name: what was logged
    request: GET /
    expect:
      logs: [{level: warn, contains: ended}, {contains: ended, absent: true}, something else]
  - name: what was measured
    request: {headers: {x-do: measure}}
    expect: {metrics: {sdk_events: 3, sdk_event: 2}}
  - name: what was asked
    request: {headers: {x-do: call}}
    expect: {callouts: [{cluster: down, path: /ask}, {}]}
  - name: what it took
    request: GET /
    expect: {instructions: 10, memory: 1KiB}
  - name: faults
    request: {headers: {x-do: reply}}
    expect: {faults: [trap, memory]}
  - name: the second time
    steps:
      - request: {headers: {x-do: measure}}
        times: 3
        expect: {metrics: {sdk_events: 2}}
      - request: {headers: {x-do: panic}}
"#,
        expect![[r#"
            cases.yaml
              ✗ how it ended          # instructions

                error: the exchange ended otherwise: it was answered by the filter
                 --> cases.yaml:5:23
                  |
                5 |     expect: {outcome: forwarded, details: other, duration: 1s, properties: {a.b: c}}
                  |                       ^^^^^^^^^ expected forwarded
                  |
                  = note: found replied

                error: `details` differs
                 --> cases.yaml:5:43
                  |
                5 |     expect: {outcome: forwarded, details: other, duration: 1s, properties: {a.b: c}}
                  |                                           ^^^^^ expected "other"
                  |
                  = note: found "sdk_says_no"

                error: the exchange took another time
                 --> cases.yaml:5:60
                  |
                5 |     expect: {outcome: forwarded, details: other, duration: 1s, properties: {a.b: c}}
                  |                                                            ^^ expected 1s
                  |
                  = note: found 0s

                error: the property `a.b` is missing
                 --> cases.yaml:5:82
                  |
                5 |     expect: {outcome: forwarded, details: other, duration: 1s, properties: {a.b: c}}
                  |                                                                                  ^ expected "c"
                  |
                  = note: found nothing

                the filter logged:
                  info: reply ended with 403

              ✗ what was logged       # instructions

                error: this was not logged
                 --> cases.yaml:9:14
                  |
                9 |       logs: [{level: warn, contains: ended}, {contains: ended, absent: true}, something else]
                  |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected something with "ended" in it at level warn

                error: this was logged
                 --> cases.yaml:9:46
                  |
                9 |       logs: [{level: warn, contains: ended}, {contains: ended, absent: true}, something else]
                  |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected no such line
                  |
                  = note: found info:  ended with 200

                error: this was not logged
                 --> cases.yaml:9:79
                  |
                9 |       logs: [{level: warn, contains: ended}, {contains: ended, absent: true}, something else]
                  |                                                                               ^^^^^^^^^^^^^^ expected "something else"

                the filter logged:
                  info:  ended with 200

              ✗ what was measured    # instructions

                error: `sdk_events` differs
                  --> cases.yaml:12:36
                   |
                12 |     expect: {metrics: {sdk_events: 3, sdk_event: 2}}
                   |                                    ^ expected 3
                   |
                   = note: found 2

                error: the filter has defined no metric `sdk_event`
                  --> cases.yaml:12:50
                   |
                12 |     expect: {metrics: {sdk_events: 3, sdk_event: 2}}
                   |                                                  ^
                   |
                   = note: did you mean `sdk_events`?

                the filter logged:
                  warn: metric sdk_kinds has its 2 members: others are counted as _other
                  info: measure ended with 200

              ✗ what was asked       # instructions

                error: callout 1 goes to another cluster
                  --> cases.yaml:15:25
                   |
                15 |     expect: {callouts: [{cluster: down, path: /ask}, {}]}
                   |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected down
                   |
                   = note: found up

                error: the path of callout 1 differs
                  --> cases.yaml:15:47
                   |
                15 |     expect: {callouts: [{cluster: down, path: /ask}, {}]}
                   |                                               ^^^^ expected "/ask"
                   |
                   = note: found "/asked"

                error: the filter made another number of callouts
                  --> cases.yaml:15:24
                   |
                15 |     expect: {callouts: [{cluster: down, path: /ask}, {}]}
                   |                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected 2
                   |
                   = note: found 1
                   = note: POST /asked of up

                error: no answer here is for POST /asked
                 --> cases.yaml:1:16
                  |
                1 | clusters: {up: {match: {path: /other}}}
                  |                ^^^^^^^^^^^^^^^^^^^^^^^

                the filter logged:
                  info: call ended with 200

              ✗ what it took          # instructions

                error: the filter took more instructions than this
                  --> cases.yaml:18:28
                   |
                18 |     expect: {instructions: 10, memory: 1KiB}
                   |                            ^^ expected 10 at most
                   |
                   = note: found 4556

                error: the filter took more bytes of memory than this
                  --> cases.yaml:18:40
                   |
                18 |     expect: {instructions: 10, memory: 1KiB}
                   |                                        ^^^^ expected 1024 at most
                   |
                   = note: found 1179648

                the filter logged:
                  info:  ended with 200

              ✗ faults                # instructions

                error: the filter failed in other ways
                  --> cases.yaml:21:22
                   |
                21 |     expect: {faults: [trap, memory]}
                   |                      ^^^^^^^^^^^^^^ expected trap, memory
                   |
                   = note: found none

                the filter logged:
                  info: reply ended with 403

              ✗ the second time      # instructions

                error: `sdk_events` differs (the 2nd of 3 times)
                  --> cases.yaml:26:40
                   |
                26 |         expect: {metrics: {sdk_events: 2}}
                   |                                        ^ expected 2
                   |
                   = note: found 4

                the filter logged:
                  warn: metric sdk_kinds has its 2 members: others are counted as _other
                  info: measure ended with 200
                  info: measure ended with 200

            filter.wasm: 0 passed, 7 failed"#]],
    );
}

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

#[test]
fn everything_that_is_wrong_with_a_file_is_said_at_once_before_anything_runs() {
    let cases = r#"
requests: 3
workers: 100
upstream: {never: true}
cases:
  - name: one
    request: {path: items, worker: 1, body: a, chunks: [b]}
    expect: {outcome: forwaded, response: {path: /, headers: {x-a: {matches: b}}}, logs: [{absent: true}]}
  - name: one
    request: GET
    steps: [{times: 0}]
  - name: several
    steps: [{advance: 1s, expect: {duration: 1s}}]
    expect: {outcome: forwarded}
  - name: two
    config_refused: {regex: "("}
    expect: {faults: [boom]}
"#;
    let exit = Workshop::with(&sdk(), cases).run(&["test", "filter.wasm"]);
    assert_eq!((exit.code, &*exit.stdout), (Some(1), ""));
    expect![[r#"
        error: unknown field `requests`
         --> cases.yaml:2:1
          |
        2 | requests: 3
          | ^^^^^^^^
          |
          = help: the fields here are `cases`, `config`, `vm_config`, `vm_id`, `root_id`, `env`, `capabilities`, `limits`, `on_fault`, `allow_on_headers_stop_iteration`, `buffer_limit`, `workers` and 5 more

        error: `100` is out of range
         --> cases.yaml:3:10
          |
        3 | workers: 100
          |          ^^^
          |
          = help: the range is 1 to 64

        error: this is for `clusters`
         --> cases.yaml:4:19
          |
        4 | upstream: {never: true}
          |                   ^^^^
          |
          = help: the kit's upstream always answers: give it a `status` of 503, or `after`

        error: expected a path that begins with `/`, found `items`
         --> cases.yaml:7:21
          |
        7 |     request: {path: items, worker: 1, body: a, chunks: [b]}
          |                     ^^^^^

        error: `body` and `chunks` cannot be given together
         --> cases.yaml:7:56
          |
        7 |     request: {path: items, worker: 1, body: a, chunks: [b]}
          |                                                        ^^^
          |
          = help: leave `body` out; `chunk_size` divides a `body`

        error: expected an outcome such as `forwarded` or `replied`, found `forwaded`
         --> cases.yaml:8:23
          |
        8 |     expect: {outcome: forwaded, response: {path: /, headers: {x-a: {matches: b}}}, logs: [{absent: true}]}
          |                       ^^^^^^^^
          |
          = help: did you mean `forwarded`?

        error: a response has no `path`
         --> cases.yaml:8:50
          |
        8 |     expect: {outcome: forwaded, response: {path: /, headers: {x-a: {matches: b}}}, logs: [{absent: true}]}
          |                                                  ^

        error: unknown field `matches`
         --> cases.yaml:8:69
          |
        8 |     expect: {outcome: forwaded, response: {path: /, headers: {x-a: {matches: b}}}, logs: [{absent: true}]}
          |                                                                     ^^^^^^^
          |
          = help: the fields here are `exact`, `prefix`, `suffix`, `contains`, `regex`, `present`, `not`

        error: every line is like this
         --> cases.yaml:8:91
          |
        8 |     expect: {outcome: forwaded, response: {path: /, headers: {x-a: {matches: b}}}, logs: [{absent: true}]}
          |                                                                                           ^^^^^^^^^^^^^^
          |
          = help: say what it says, or its `level`

        error: there is a case `one` already
         --> cases.yaml:9:11
          |
        9 |   - name: one
          |           ^^^
          |
          = help: the first one is on line 6

        error: expected a method and a path such as `GET /items` or a mapping, found `GET`
          --> cases.yaml:10:14
           |
        10 |     request: GET
           |              ^^^

        error: nothing happens in this step
          --> cases.yaml:11:13
           |
        11 |     steps: [{times: 0}]
           |             ^^^^^^^^^^
           |
           = help: give it a `request` or `advance`

        error: `0` is out of range
          --> cases.yaml:11:21
           |
        11 |     steps: [{times: 0}]
           |                     ^
           |
           = help: the range is 1 to 100k

        error: this is of an exchange, and nothing is sent here
          --> cases.yaml:13:46
           |
        13 |     steps: [{advance: 1s, expect: {duration: 1s}}]
           |                                              ^^
           |
           = help: give the step a `request`

        error: this is of one exchange, and the case has several steps
          --> cases.yaml:14:23
           |
        14 |     expect: {outcome: forwarded}
           |                       ^^^^^^^^^
           |
           = help: expect it in a step

        error: this is not a regular expression: unclosed group
          --> cases.yaml:16:29
           |
        16 |     config_refused: {regex: "("}
           |                             ^^^

        error: this is never looked at
          --> cases.yaml:17:13
           |
        17 |     expect: {faults: [boom]}
           |             ^^^^^^^^^^^^^^^^
           |
           = help: a filter that refuses its configuration sees no request

        error: expected a kind of fault such as `trap`, found `boom`
          --> cases.yaml:17:23
           |
        17 |     expect: {faults: [boom]}
           |                       ^^^^
           |
           = help: the choices are `trap`, `instructions`, `wall_clock`, `memory`, `stack`, `protocol`, `allocator`, `start`, `configure`, `dead`, `missing`, `instances` and 1 more"#]].assert_eq(&exit.stderr);
}

#[test]
fn as_json_everything_that_is_said_has_a_field() {
    let cases = "cases:\n  - name: it passes\n    request: GET /\n  - name: it fails\n    request: GET /\n    expect: {outcome: replied}\n";
    let shop = Workshop::with(&sdk(), cases);
    let exit = shop.run(&["test", "filter.wasm", "--format", "json"]);
    assert_eq!(exit.code, Some(1));
    let mut report: Value = serde_json::from_str(&exit.stdout).expect("it is JSON");
    for case in report["files"][0]["cases"].as_array_mut().expect("there are some") {
        assert!(case["instructions"].as_u64().is_some_and(|count| count > 0), "{case}");
        case["instructions"] = 0.into();
    }
    expect![[r#"
        {
          "version": 1,
          "module": "filter.wasm",
          "passed": 1,
          "failed": 1,
          "left_out": 0,
          "files": [
            {
              "path": "cases.yaml",
              "cases": [
                {
                  "name": "it passes",
                  "line": 2,
                  "passed": true,
                  "instructions": 0,
                  "mismatches": [],
                  "logs": []
                },
                {
                  "name": "it fails",
                  "line": 4,
                  "passed": false,
                  "instructions": 0,
                  "mismatches": [
                    {
                      "line": 6,
                      "column": 23,
                      "message": "the exchange ended otherwise: it was answered by the upstream",
                      "expected": "replied",
                      "found": "forwarded",
                      "lines": []
                    }
                  ],
                  "logs": [
                    "info:  ended with 200"
                  ]
                }
              ]
            }
          ]
        }"#]]
    .assert_eq(&format!("{report:#}"));
    let exit = shop.run(&["test", "filter.wasm", "--format", "json", "--filter", "passes"]);
    let report: Value = serde_json::from_str(&exit.stdout).expect("it is JSON");
    let counts = ["passed", "failed", "left_out"].map(|name| report[name].as_u64());
    assert_eq!((exit.code, counts), (Some(0), [Some(1), Some(0), Some(1)]));
}

#[test]
fn a_run_is_the_same_as_the_one_before() {
    let shop = Workshop::with(&sdk(), MET);
    assert_eq!(shop.run(&["test", "filter.wasm"]).stdout, shop.run(&["test", "filter.wasm"]).stdout);
}

#[test]
fn cases_are_found_beside_the_module_and_in_a_folder_of_their_own() {
    let one = |name: &str| format!("cases: [{{name: {name}, request: GET /}}]");
    let shop = Workshop::with(&sdk(), &one("first"));
    let exit = shop.run(&["test", "filter.wasm"]);
    assert!(exit.stdout.starts_with("cases.yaml\n  ✓ first "), "{}", exit.stdout);
    shop.write("more/filter.wasm", sdk());
    for name in ["b", "a"] {
        shop.write(&format!("more/cases/{name}.yaml"), one(name));
    }
    let exit = shop.run(&["test", "more/filter.wasm"]);
    let files: Vec<&str> = exit.stdout.lines().filter(|line| line.ends_with(".yaml")).collect();
    assert_eq!(files, ["more/cases/a.yaml", "more/cases/b.yaml"]);
    let exit = shop.run(&["test", "filter.wasm", "more/cases/b.yaml"]);
    assert!(exit.stdout.starts_with("more/cases/b.yaml\n  ✓ b "), "{}", exit.stdout);
}

#[test]
fn whoever_has_no_cases_or_no_module_is_told_what_to_do() {
    let shop = Workshop::with(&sdk(), "cases: [{name: a, request: GET /}]");
    shop.write("empty/filter.wasm", "");
    shop.write("nothing.yaml", "# nothing yet\n");
    let mut text = String::new();
    for arguments in [
        &["test"][..],
        &["test", "empty/filter.wasm"],
        &["test", "empty/filter.wasm", "cases.yaml"],
        &["test", "empty"],
        &["test", "other.wasm"],
        &["test", "filter.wasm", "other.yaml"],
        &["test", "filter.wasm", "nothing.yaml"],
        &["test", "filter.wasm", "--filter", "b"],
    ] {
        let exit = shop.run(arguments);
        assert_eq!((exit.code, &*exit.stdout), (Some(1), ""), "{arguments:?}");
        text.push_str(&format!("{}\n{}\n\n", arguments.join(" "), exit.stderr));
    }
    expect![[r#"
        test
        error: there is no Cargo.toml in .: name a folder with a Rust filter, a FILE.wasm, or builtin:NAME

        test empty/filter.wasm
        error: there are no cases: neither cases.yaml nor cases/*.yaml is in empty. A first one is `cases: [{name: it passes, request: GET /, expect: {outcome: forwarded}}]`; `tidegate filter test --schema` tells editors what else there is

        test empty/filter.wasm cases.yaml
        error: empty/filter.wasm: the module is empty: was it built?
        `tidegate filter inspect empty/filter.wasm` says what is in it

        test empty
        error: there is no Cargo.toml in empty: name a folder with a Rust filter, a FILE.wasm, or builtin:NAME

        test other.wasm
        error: cannot read other.wasm: No such file or directory (os error 2)

        test filter.wasm other.yaml
        error: other.yaml: the file cannot be read: No such file or directory (os error 2)
         |
         = help: check the name, and the folder that you are in

        test filter.wasm nothing.yaml
        error: nothing.yaml: there are no cases in the file
         |
         = help: a first one: `cases: [{name: it passes, request: GET /, expect: {outcome: forwarded}}]`

        test filter.wasm --filter b
        error: no case has `b` in its name, of 1: leave --filter out to see all of them

    "#]].assert_eq(&text);
}

#[test]
fn a_rust_filter_is_built_first_and_what_cargo_says_is_on_standard_error() {
    let guard = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart/guard");
    let cases = "config: {prefix: /, header: x-name}\ncases:\n  - name: nobody is let through without a name\n    request: GET /\n    expect: {outcome: replied}\n";
    let shop = Workshop::with(b"", cases);
    let exit = shop.run(&["test", guard, "cases.yaml", "--profile", "filter", "--format", "json"]);
    let report: Value =
        serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr));
    assert_eq!((exit.code, &report["passed"]), (Some(0), &1.into()), "{report:#}");
    assert!(report["module"].as_str().is_some_and(|name| name.ends_with("guard.wasm")), "{report}");
    assert!(exit.stderr.contains("Finished `filter` profile"), "{}", exit.stderr);
    let exit = shop.run(&["test", guard, "cases.yaml", "--profile", "no-such"]);
    assert_eq!((exit.code, &*exit.stdout), (Some(1), ""));
    assert!(exit.stderr.contains("profile `no-such` is not defined"), "{}", exit.stderr);
}

#[cfg(feature = "builtin")]
const PASSWORD: &str = r#"
config: {basic: {htpasswd: "ann:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}}
cases:
  - name: a password that is right
    request: {headers: {authorization: Basic YW5uOlUqVQ==}}
    expect: {outcome: forwarded}
  - name: one that is not
    request: {headers: {authorization: Basic YW5uOlUqVg==}}
    expect: {outcome: replied, response: {status: 401}}
"#;

#[cfg(feature = "builtin")]
#[test]
fn a_shipped_filter_is_tested_with_the_limits_that_it_ships_with() {
    let shop = Workshop::with(b"", "");
    shop.write("limits.yaml", "config: {rate: 1/s, burst: 2}\ncases:\n  - name: the third is refused\n    steps:\n      - {request: GET /, times: 2, expect: {outcome: forwarded}}\n      - {request: GET /, expect: {outcome: replied, response: {status: 429}}}\n");
    let exit = shop.run(&["test", "builtin:rate-limit", "limits.yaml"]);
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""), "{}", exit.stdout);
    // A password takes more instructions than filters usually may run in a callback.
    shop.write("password.yaml", PASSWORD);
    let exit = shop.run(&["test", "builtin:authz", "password.yaml"]);
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""), "{}", exit.stdout);
    let exit = shop.run(&["test", "builtin:rate-limit"]);
    let says = "error: a shipped filter has no cases beside it: name a file, as in `tidegate filter test builtin:rate-limit cases.yaml`";
    assert_eq!((exit.code, &*exit.stderr), (Some(1), says));
    let exit = shop.run(&["test", "builtin:rates", "limits.yaml"]);
    assert!(
        exit.stderr.starts_with("error: there is no built-in filter `rates`: shipped are "),
        "{}",
        exit.stderr
    );
}

#[test]
fn modules_of_every_language_are_tested_in_the_same_way() {
    let cases = "root_id: tour\nconfig: tide\nlimits: {instructions: 20M, memory: 64MiB}\ncases:\n  - name: it starts and lets a request pass\n    request: GET /\n    expect: {outcome: forwarded}\n  - name: it refuses to have no configuration\n    config: \"\"\n    config_refused: {contains: there is no configuration}\n";
    for language in language::ALL {
        let Some(tour) = Language::tour(language) else { continue };
        let exit = Workshop::with(&tour, cases).run(&["test", "filter.wasm"]);
        assert_eq!(exit.code, Some(0), "{}: {}{}", language.name, exit.stdout, exit.stderr);
    }
}

#[test]
fn colours_are_for_terminals() {
    let shop = Workshop::with(&sdk(), "cases: [{name: a, request: GET /, expect: {outcome: replied}}]");
    let module = format!("{}/filter.wasm", shop.path());
    let exit = shop.run(&["test", "filter.wasm"]);
    assert!(!exit.stdout.contains('\u{1b}'), "{}", exit.stdout);
    let mut terminal = Terminal::start(&["filter", "test", &module], 120, 40);
    terminal.wait_for("1 failed");
    assert!(terminal.shown().contains("\u{1b}[31m✗\u{1b}[0m"), "{}", terminal.shown());
    assert_eq!(terminal.wait().code(), Some(1));
}
