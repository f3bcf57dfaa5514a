//! Files of cases that cannot be run, and none at all.

use expect_test::expect;

use super::{Workshop, sdk};

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
