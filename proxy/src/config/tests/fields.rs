//! What is told about fields that are unknown, missing, of the wrong kind, or name what is not there.

use expect_test::expect;

use super::{problems, valid, with_filter, with_routes};

#[test]
fn unknown_fields_are_refused_at_every_level() {
    let text = with_routes(
        "      - nam: x
        match: {paths: {prefix: /}, query: {v: {exacly: x}}}
        rewrite: {prefix: /, tls: true}
        headers: {requests: {}, request: {sett: {}}}
        cluster: api
      - match: {}
        redirect: {path: /x, code: 301}
      - match: {}
        respond: {status: 200, text: hello}
    limits: {conections: 1}
admin: {address: 127.0.0.1:0, allow_remote: true}
filters:
  f: {module: builtin:x, configuration: {}, limits: {cpu: 1}}
worker: 2
",
    );
    expect![[r#"
        error: unknown field `health`
         --> tidegate.yaml:3:24
          |
        3 |   web: {endpoints: [], health: x}
          |                        ^^^^^^
          |
          = help: the fields here are `endpoints`, `protocol`, `tls`, `load_balancer`, `panic_threshold`, `overprovisioning`, `localities`, `slow_start`, `subsets`, `affinity`, `connect_timeout`, `idle_timeout` and 7 more

        error: unknown field `nam`
         --> tidegate.yaml:8:9
          |
        8 |       - nam: x
          |         ^^^
          |
          = help: did you mean `name`?

        error: unknown field `paths`
         --> tidegate.yaml:9:17
          |
        9 |         match: {paths: {prefix: /}, query: {v: {exacly: x}}}
          |                 ^^^^^
          |
          = help: did you mean `path`?

        error: unknown field `exacly`
         --> tidegate.yaml:9:49
          |
        9 |         match: {paths: {prefix: /}, query: {v: {exacly: x}}}
          |                                                 ^^^^^^
          |
          = help: did you mean `exact`?

        error: there is no prefix to replace: the route does not match one
          --> tidegate.yaml:10:27
           |
        10 |         rewrite: {prefix: /, tls: true}
           |                           ^
           |
           = help: match the path with `path: {prefix: …}` or `{exact: …}`

        error: unknown field `tls`
          --> tidegate.yaml:10:30
           |
        10 |         rewrite: {prefix: /, tls: true}
           |                              ^^^
           |
           = help: the fields here are `prefix`, `regex`, `template`, `host`

        error: unknown field `requests`
          --> tidegate.yaml:11:19
           |
        11 |         headers: {requests: {}, request: {sett: {}}}
           |                   ^^^^^^^^
           |
           = help: did you mean `request`?

        error: unknown field `sett`
          --> tidegate.yaml:11:43
           |
        11 |         headers: {requests: {}, request: {sett: {}}}
           |                                           ^^^^
           |
           = help: did you mean `set`?

        error: unknown field `code`
          --> tidegate.yaml:14:30
           |
        14 |         redirect: {path: /x, code: 301}
           |                              ^^^^
           |
           = help: the fields here are `status`, `scheme`, `host`, `port`, `path`, `strip_query`

        error: unknown field `text`
          --> tidegate.yaml:16:32
           |
        16 |         respond: {status: 200, text: hello}
           |                                ^^^^
           |
           = help: the fields here are `status`, `body`, `file`, `headers`

        error: unknown field `conections`
          --> tidegate.yaml:17:14
           |
        17 |     limits: {conections: 1}
           |              ^^^^^^^^^^
           |
           = help: did you mean `connections`?

        error: unknown field `allow_remote`
          --> tidegate.yaml:18:31
           |
        18 | admin: {address: 127.0.0.1:0, allow_remote: true}
           |                               ^^^^^^^^^^^^
           |
           = help: the fields here are `address`

        error: unknown field `configuration`
          --> tidegate.yaml:20:26
           |
        20 |   f: {module: builtin:x, configuration: {}, limits: {cpu: 1}}
           |                          ^^^^^^^^^^^^^
           |
           = help: the fields here are `module`, `config`, `vm_id`, `vm_config`, `root_id`, `env`, `capabilities`, `limits`, `isolation`, `recycle`, `on_fault`, `reload` and 4 more

        error: unknown field `cpu`
          --> tidegate.yaml:20:54
           |
        20 |   f: {module: builtin:x, configuration: {}, limits: {cpu: 1}}
           |                                                      ^^^
           |
           = help: the fields here are `instructions`, `instructions_per_second`, `wall_clock`, `memory`, `instances`, `callouts`, `log_bytes`, `shared_data`, `queue`, `cells`, `metrics`

        error: unknown field `worker`
          --> tidegate.yaml:21:1
           |
        21 | worker: 2
           | ^^^^^^
           |
           = help: did you mean `workers`?
    "#]]
        .assert_eq(&problems(&text.replace("endpoints: [127.0.0.1:9002]", "endpoints: [], health: x")));
}

#[test]
fn required_fields_are_asked_for() {
    expect![[r#"
        error: the field `name` is missing here
         --> tidegate.yaml:3:5
          |
        3 |   - filters: []
          |     ^^^^^^^

        error: the field `address` is missing here
         --> tidegate.yaml:3:5
          |
        3 |   - filters: []
          |     ^^^^^^^

        error: the field `routes` is missing here
         --> tidegate.yaml:3:5
          |
        3 |   - filters: []
          |     ^^^^^^^

        error: the field `match` is missing here
         --> tidegate.yaml:7:9
          |
        7 |       - name: nothing
          |         ^^^^
          |
          = help: say which requests: `match: {path: {prefix: /}}`

        error: this route does nothing with its requests
         --> tidegate.yaml:7:9
          |
        7 |       - name: nothing
          |         ^^^^
          |
          = help: give one of `cluster`, `clusters`, `cluster_header`, `redirect` and `respond`

        error: the field `pattern` is missing here
          --> tidegate.yaml:10:26
           |
        10 |         rewrite: {regex: {}}
           |                          ^^

        error: the field `substitution` is missing here
          --> tidegate.yaml:10:26
           |
        10 |         rewrite: {regex: {}}
           |                          ^^

        error: the field `address` is missing here
          --> tidegate.yaml:11:8
           |
        11 | admin: {}
           |        ^^

        error: the field `module` is missing here
          --> tidegate.yaml:13:3
           |
        13 |   f: {}
           |   ^

        error: the field `endpoints` is missing here
          --> tidegate.yaml:15:3
           |
        15 |   api: {}
           |   ^^^
    "#]]
    .assert_eq(&problems(
        "
listeners:
  - filters: []
  - name: second
    address: 127.0.0.1:0
    routes:
      - name: nothing
      - match: {}
        cluster: api
        rewrite: {regex: {}}
admin: {}
filters:
  f: {}
clusters:
  api: {}
",
    ));
}

#[test]
fn values_of_the_wrong_kind() {
    expect![[r#"
        error: expected text, found the number 5
         --> tidegate.yaml:3:11
          |
        3 |   - name: 5
          |           ^
          |
          = help: put it in quotes: "5"

        error: expected an address such as `127.0.0.1:8080`, `"[::1]:8080"` or `unix:/run/web.sock`, found `8080`
         --> tidegate.yaml:4:14
          |
        4 |     address: 8080
          |              ^^^^
          |
          = help: add the IP address: `127.0.0.1:8080`

        error: expected `true` or `false`, found `yes`
         --> tidegate.yaml:5:17
          |
        5 |     access_log: yes
          |                 ^^^

        error: expected a list, found `faults`
         --> tidegate.yaml:6:14
          |
        6 |     filters: faults
          |              ^^^^^^
          |
          = help: a list of one is written `[value]`

        error: expected a size such as `64KiB`, `1MiB` or `4096`, found `1.5`
         --> tidegate.yaml:7:19
          |
        7 |     buffer_limit: 1.5
          |                   ^^^
          |
          = help: write a whole number of bytes, `KiB`, `MiB` or `GiB`

        error: expected a whole number such as `500`, `20k` or `2M`, found `-1`
         --> tidegate.yaml:8:19
          |
        8 |     trusted_hops: -1
          |                   ^^

        error: expected a mapping, found a list
         --> tidegate.yaml:9:13
          |
        9 |     limits: [connections]
          |             ^^^^^^^^^^^^^
          |
          = help: its fields are `connections`, `header_bytes`, `headers`, `header_timeout`, `detection_timeout`, `stream_idle_timeout`, `idle_timeout`

        error: expected a list, found a mapping
          --> tidegate.yaml:11:7
           |
        11 |       match: {}
           |       ^^^^^
           |
           = help: each item of a list begins with `- `

        error: expected text, found nothing
          --> tidegate.yaml:12:5
           |
        12 |   - name:
           |     ^^^^
           |
           = help: an empty text is `""`

        error: expected an address such as `127.0.0.1:8080`, `"[::1]:8080"` or `unix:/run/web.sock`, found a list
          --> tidegate.yaml:13:14
           |
        13 |     address: [127.0.0.1:8080]
           |              ^^^^^^^^^^^^^^^^

        error: expected a list, found nothing
          --> tidegate.yaml:14:5
           |
        14 |     routes:
           |     ^^^^^^
           |
           = help: an empty list is `[]`

        error: expected a mapping, found `a string`
          --> tidegate.yaml:15:5
           |
        15 |   - a string
           |     ^^^^^^^^
           |
           = help: its fields are `name`, `address`, `socket_mode`, `protocol`, `tls`, `server_names`, `proxy_protocol`, `send_proxy_protocol`, `filters`, `require_signature_by`, `access_log`, `buffer_limit`, `cors`, `compression`, `grpc_web`, `decompression`, `error_pages`, `trusted_hops`, `path_normalization`, `h2c_upgrade`, `upgrades`, `http2`, `limits`, `routes`, `cluster`, `clusters`

        error: expected a mapping, found a list
          --> tidegate.yaml:17:5
           |
        17 |   - faults
           |     ^^^^^^
           |
           = help: each entry is written `name: value`

        error: expected a mapping, found `127.0.0.1:9000`
          --> tidegate.yaml:19:8
           |
        19 |   api: 127.0.0.1:9000
           |        ^^^^^^^^^^^^^^
           |
           = help: its fields are `endpoints`, `protocol`, `tls`, `load_balancer`, `panic_threshold`, `overprovisioning`, `localities`, `slow_start`, `subsets`, `affinity`, `connect_timeout`, `idle_timeout`, `idle_connections`, `header_bytes`, `http2`, `outlier_detection`, `breakers`, `adaptive_concurrency`, `health_check`
    "#]]
    .assert_eq(&problems(
        r#"
listeners:
  - name: 5
    address: 8080
    access_log: yes
    filters: faults
    buffer_limit: 1.5
    trusted_hops: -1
    limits: [connections]
    routes:
      match: {}
  - name:
    address: [127.0.0.1:8080]
    routes:
  - a string
filters:
  - faults
clusters:
  api: 127.0.0.1:9000
"#,
    ));
}

#[test]
fn names_that_are_there_twice_or_not_at_all() {
    expect![[r#"
        error: there is no filter `two`
         --> tidegate.yaml:5:20
          |
        5 |     filters: [one, two, one]
          |                    ^^^
          |
          = help: the filters are `one`, ``

        error: the filter `one` is in this chain twice
         --> tidegate.yaml:5:25
          |
        5 |     filters: [one, two, one]
          |                         ^^^
          |
          = help: the first one is on line 5

        error: there is no cluster `apii`
         --> tidegate.yaml:7:59
          |
        7 |       - {name: same, match: {path: {exact: /a}}, cluster: apii}
          |                                                           ^^^^
          |
          = help: did you mean `api`?

        error: two routes have the name `same`
         --> tidegate.yaml:8:16
          |
        8 |       - {name: same, match: {path: {exact: /b}}, clusters: {api: 1, other: 1}}
          |                ^^^^
          |
          = help: the first one is on line 7

        error: there is no cluster `other`
         --> tidegate.yaml:8:69
          |
        8 |       - {name: same, match: {path: {exact: /b}}, clusters: {api: 1, other: 1}}
          |                                                                     ^^^^^
          |
          = help: the clusters are `api`

        error: `clusters` names no cluster
         --> tidegate.yaml:9:63
          |
        9 |       - {name: route-3, match: {path: {exact: /c}}, clusters: {}}
          |                                                               ^^

        error: two routes have the name `route-3`
          --> tidegate.yaml:10:9
           |
        10 |       - {match: {path: {exact: /d}}, cluster: api}
           |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: the first one is on line 9

        error: `x-a` is given twice
          --> tidegate.yaml:11:45
           |
        11 |       - {match: {headers: {x-a: {exact: a}, X-A: {exact: b}}}, cluster: api, headers: {request: {remove: [a, A]}}}
           |                                             ^^^
           |
           = help: the first one is on line 11

        error: `a` is removed twice
          --> tidegate.yaml:11:110
           |
        11 |       - {match: {headers: {x-a: {exact: a}, X-A: {exact: b}}}, cluster: api, headers: {request: {remove: [a, A]}}}
           |                                                                                                              ^
           |
           = help: the first one is on line 11

        error: two listeners have the name `a`
          --> tidegate.yaml:12:11
           |
        12 |   - name: a
           |           ^
           |
           = help: the first one is on line 3

        error: two listeners have the address 127.0.0.1:8080
          --> tidegate.yaml:13:14
           |
        13 |     address: 127.0.0.1:8080
           |              ^^^^^^^^^^^^^^
           |
           = help: the first one is on line 4

        error: a name cannot be empty
          --> tidegate.yaml:17:3
           |
        17 |   "": {module: builtin:x}
           |   ^^

        error: the listener `a` has this address
          --> tidegate.yaml:20:18
           |
        20 | admin: {address: 127.0.0.1:8080}
           |                  ^^^^^^^^^^^^^^
           |
           = help: choose another port
    "#]].assert_eq(&problems(
        r#"
listeners:
  - name: a
    address: 127.0.0.1:8080
    filters: [one, two, one]
    routes:
      - {name: same, match: {path: {exact: /a}}, cluster: apii}
      - {name: same, match: {path: {exact: /b}}, clusters: {api: 1, other: 1}}
      - {name: route-3, match: {path: {exact: /c}}, clusters: {}}
      - {match: {path: {exact: /d}}, cluster: api}
      - {match: {headers: {x-a: {exact: a}, X-A: {exact: b}}}, cluster: api, headers: {request: {remove: [a, A]}}}
  - name: a
    address: 127.0.0.1:8080
    routes: []
filters:
  one: {module: builtin:x}
  "": {module: builtin:x}
clusters:
  api: {endpoints: []}
admin: {address: 127.0.0.1:8080}
"#,
    ));
}

#[test]
fn filters() {
    expect![[r#"
        error: expected a module such as `builtin:fault`, `./my.wasm`, `https://host/my.wasm` or `oci://registry/my-filter:1.0`, found `builtin:`
         --> tidegate.yaml:5:13
          |
        5 |     module: "builtin:"
          |             ^^^^^^^^^^
          |
          = help: name the built-in filter: `builtin:fault`

        error: `.nan` is not a number
         --> tidegate.yaml:6:17
          |
        6 |     config: {a: .nan}
          |                 ^^^^
          |
          = help: put it in quotes if it is text

        error: `A=B` cannot be the name of an environment variable
         --> tidegate.yaml:7:11
          |
        7 |     env: {"A=B": x, C: 5}
          |           ^^^^^
          |
          = help: a name is not empty and has no `=` in it

        error: expected text or `{from_env: NAME}`, found the number 5
         --> tidegate.yaml:7:24
          |
        7 |     env: {"A=B": x, C: 5}
          |                        ^
          |
          = help: put it in quotes: "5"

        error: expected `closed` or `open`, found `opne`
         --> tidegate.yaml:8:15
          |
        8 |     on_fault: opne
          |               ^^^^
          |
          = help: did you mean `open`?

        error: `10` is too small
         --> tidegate.yaml:9:28
          |
        9 |     limits: {instructions: 10, wall_clock: 2m, memory: 5GiB}
          |                            ^^
          |
          = help: the range is 1k to 1000G

        error: `2m` is too large
         --> tidegate.yaml:9:44
          |
        9 |     limits: {instructions: 10, wall_clock: 2m, memory: 5GiB}
          |                                            ^^
          |
          = help: the range is 1ms to 1m

        error: `5GiB` is too large
         --> tidegate.yaml:9:56
          |
        9 |     limits: {instructions: 10, wall_clock: 2m, memory: 5GiB}
          |                                                        ^^^^
          |
          = help: the range is 64KiB to 4GiB
    "#]]
    .assert_eq(&problems(&with_filter(
        r#"    module: "builtin:"
    config: {a: .nan}
    env: {"A=B": x, C: 5}
    on_fault: opne
    limits: {instructions: 10, wall_clock: 2m, memory: 5GiB}
"#,
    )));
    expect![[r#"
        error: expected a module such as `builtin:fault`, `./my.wasm`, `https://host/my.wasm` or `oci://registry/my-filter:1.0`, found `ftp://example.com/x.wasm`
         --> tidegate.yaml:5:13
          |
        5 |     module: ftp://example.com/x.wasm
          |             ^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: a module is fetched by `https://`, `http://` or `oci://`
    "#]]
    .assert_eq(&problems(&with_filter("    module: ftp://example.com/x.wasm\n")));
}

#[test]
fn a_number_of_requests_that_no_instance_will_see_is_warned_of() {
    let warnings = |more: &str| {
        let text = with_filter(&format!("    module: builtin:x\n    isolation: exchange\n{more}"));
        valid(&text).warnings.render(false)
    };
    assert_eq!(warnings("    recycle: {memory: 12MiB, after: 6h}\n"), "");
    expect![[r#"
        warning: `requests` recycles nothing with `isolation: exchange`
         --> tidegate.yaml:7:14
          |
        7 |     recycle: {requests: 10}
          |              ^^^^^^^^^^^^^^
          |
          = help: exchanges have new instances anyway: leave it out; `memory` and `after` replace the one for the background
    "#]].assert_eq(&(warnings("    recycle: {requests: 10}\n") + "\n"));
}
