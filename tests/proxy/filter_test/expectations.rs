//! What cases expect, met and not met.

use expect_test::expect;

use super::{Workshop, check, sdk};

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
                   = note: found 4456

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
fn a_run_is_the_same_as_the_one_before() {
    let shop = Workshop::with(&sdk(), MET);
    assert_eq!(shop.run(&["test", "filter.wasm"]).stdout, shop.run(&["test", "filter.wasm"]).stdout);
}
