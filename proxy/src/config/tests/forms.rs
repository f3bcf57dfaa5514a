//! What is told about values that are of the right kind but cannot be read, or are out of range.

use expect_test::expect;

use super::{problems, valid, with_filter, with_routes};

#[test]
fn values_of_the_wrong_form() {
    expect![[r#"
        error: expected a host such as `api.example.com`, `"*.example.com"` or `api.*`, found `a.*.b`
         --> tidegate.yaml:9:18
          |
        9 |           host: [a.*.b, "*example.com", "https://x", "a:80", "*", ""]
          |                  ^^^^^
          |
          = help: one `*` only, at the beginning or at the end

        error: expected a host such as `api.example.com`, `"*.example.com"` or `api.*`, found `*example.com`
         --> tidegate.yaml:9:25
          |
        9 |           host: [a.*.b, "*example.com", "https://x", "a:80", "*", ""]
          |                         ^^^^^^^^^^^^^^
          |
          = help: `*` stands for whole labels: `*.example.com` or `api.*`

        error: expected a host such as `api.example.com`, `"*.example.com"` or `api.*`, found `https://x`
         --> tidegate.yaml:9:41
          |
        9 |           host: [a.*.b, "*example.com", "https://x", "a:80", "*", ""]
          |                                         ^^^^^^^^^^^
          |
          = help: give the host only: no scheme, no path

        error: expected a host such as `api.example.com`, `"*.example.com"` or `api.*`, found `a:80`
         --> tidegate.yaml:9:54
          |
        9 |           host: [a.*.b, "*example.com", "https://x", "a:80", "*", ""]
          |                                                      ^^^^^^
          |
          = help: hosts are compared without their port: leave the port out

        error: expected a host such as `api.example.com`, `"*.example.com"` or `api.*`, found ``
         --> tidegate.yaml:9:67
          |
        9 |           host: [a.*.b, "*example.com", "https://x", "a:80", "*", ""]
          |                                                                   ^^
          |
          = help: a host is made of letters, digits, `-` and `.`; names in other scripts are written in their `xn--` form

        error: expected a method such as `GET`, found `get`
          --> tidegate.yaml:10:20
           |
        10 |           method: [get, "B D", CONNECT, 5]
           |                    ^^^
           |
           = help: methods are written in capitals: `GET`

        error: expected a method such as `GET`, found `B D`
          --> tidegate.yaml:10:25
           |
        10 |           method: [get, "B D", CONNECT, 5]
           |                         ^^^^^

        error: `CONNECT` is never routed
          --> tidegate.yaml:10:32
           |
        10 |           method: [get, "B D", CONNECT, 5]
           |                                ^^^^^^^
           |
           = help: tidegate is not a forward proxy

        error: expected a method such as `GET`, found `5`
          --> tidegate.yaml:10:41
           |
        10 |           method: [get, "B D", CONNECT, 5]
           |                                         ^
           |
           = help: put it in quotes: "5"

        error: expected a header name such as `x-user`, found `x a`
          --> tidegate.yaml:11:21
           |
        11 |           headers: {"x a": {exact: a}, ":path": {exact: a}, x-b: {exact: 1}, x-c: 1}
           |                     ^^^^^
           |
           = help: a header name is made of letters, digits and `-`

        error: expected a header name such as `x-user`, found `:path`
          --> tidegate.yaml:11:40
           |
        11 |           headers: {"x a": {exact: a}, ":path": {exact: a}, x-b: {exact: 1}, x-c: 1}
           |                                        ^^^^^^^
           |
           = help: match it with `path`

        error: expected text, found the number 1
          --> tidegate.yaml:11:74
           |
        11 |           headers: {"x a": {exact: a}, ":path": {exact: a}, x-b: {exact: 1}, x-c: 1}
           |                                                                          ^
           |
           = help: put it in quotes: "1"

        error: expected a mapping with one of `exact`, `prefix`, `suffix`, `contains`, `regex`, `range`, `present`, `not`, found the number 1
          --> tidegate.yaml:11:83
           |
        11 |           headers: {"x a": {exact: a}, ":path": {exact: a}, x-b: {exact: 1}, x-c: 1}
           |                                                                                   ^
           |
           = help: say which, as in `{exact: 1}`

        error: expected a duration such as `250ms` or `2s`, found `1.5s`
          --> tidegate.yaml:13:18
           |
        13 |         timeout: 1.5s
           |                  ^^^^
           |
           = help: write a whole number of a smaller unit

        error: expected a header value, found `b\n`
          --> tidegate.yaml:15:33
           |
        15 |           response: {set: {x-a: "b\n", x-b: 5, x-c: "é", x-d: " e"}, remove: [":status"]}
           |                                 ^^^^^
           |
           = help: it must be printable ASCII, on one line

        error: expected a header value, found `5`
          --> tidegate.yaml:15:45
           |
        15 |           response: {set: {x-a: "b\n", x-b: 5, x-c: "é", x-d: " e"}, remove: [":status"]}
           |                                             ^
           |
           = help: put it in quotes: "5"

        error: expected a header value, found ` e`
          --> tidegate.yaml:15:63
           |
        15 |           response: {set: {x-a: "b\n", x-b: 5, x-c: "é", x-d: " e"}, remove: [":status"]}
           |                                                               ^^^^
           |
           = help: a header value has no space around it

        error: expected a header name such as `x-user`, found `:status`
          --> tidegate.yaml:15:79
           |
        15 |           response: {set: {x-a: "b\n", x-b: 5, x-c: "é", x-d: " e"}, remove: [":status"]}
           |                                                                               ^^^^^^^^^
           |
           = help: pseudo-headers are not header fields

        error: expected a status from 200 to 599, found `999`
          --> tidegate.yaml:17:28
           |
        17 |         redirect: {status: 999, scheme: ftp, host: "a/b", port: 0}
           |                            ^^^

        error: expected `http` or `https`, found `ftp`
          --> tidegate.yaml:17:41
           |
        17 |         redirect: {status: 999, scheme: ftp, host: "a/b", port: 0}
           |                                         ^^^
           |
           = help: the choices are `http`, `https`

        error: expected a host such as `www.example.com`, found `a/b`
          --> tidegate.yaml:17:52
           |
        17 |         redirect: {status: 999, scheme: ftp, host: "a/b", port: 0}
           |                                                    ^^^^^
           |
           = help: give the host only: no scheme, no path

        error: `0` is too small
          --> tidegate.yaml:17:65
           |
        17 |         redirect: {status: 999, scheme: ftp, host: "a/b", port: 0}
           |                                                                 ^
           |
           = help: the range is 1 to 65535

        error: 200 is not a redirect
          --> tidegate.yaml:19:28
           |
        19 |         redirect: {status: 200, path: {prefx: a}}
           |                            ^^^
           |
           = help: the choices are 301, 302, 303, 307 and 308

        error: unknown field `prefx`
          --> tidegate.yaml:19:40
           |
        19 |         redirect: {status: 200, path: {prefx: a}}
           |                                        ^^^^^
           |
           = help: did you mean `prefix`?

        error: expected a duration such as `250ms` or `2s`, found `5 minutes`
          --> tidegate.yaml:20:28
           |
        20 |     limits: {idle_timeout: 5 minutes, header_timeout: 99999999999999999999s, header_bytes: 64k, headers: 1e3}
           |                            ^^^^^^^^^
           |
           = help: the units are `ms`, `s`, `m` and `h`, one of them in a duration

        error: `99999999999999999999s` is too large
          --> tidegate.yaml:20:55
           |
        20 |     limits: {idle_timeout: 5 minutes, header_timeout: 99999999999999999999s, header_bytes: 64k, headers: 1e3}
           |                                                       ^^^^^^^^^^^^^^^^^^^^^

        error: expected a size such as `64KiB`, `1MiB` or `4096`, found `64k`
          --> tidegate.yaml:20:92
           |
        20 |     limits: {idle_timeout: 5 minutes, header_timeout: 99999999999999999999s, header_bytes: 64k, headers: 1e3}
           |                                                                                            ^^^
           |
           = help: write `64KiB`

        error: expected a whole number such as `500`, `20k` or `2M`, found `1000`
          --> tidegate.yaml:20:106
           |
        20 |     limits: {idle_timeout: 5 minutes, header_timeout: 99999999999999999999s, header_bytes: 64k, headers: 1e3}
           |                                                                                                          ^^^
           |
           = help: write a whole number
    "#]].assert_eq(&problems(&with_routes(
        r#"      - match:
          host: [a.*.b, "*example.com", "https://x", "a:80", "*", ""]
          method: [get, "B D", CONNECT, 5]
          headers: {"x a": {exact: a}, ":path": {exact: a}, x-b: {exact: 1}, x-c: 1}
        cluster: api
        timeout: 1.5s
        headers:
          response: {set: {x-a: "b\n", x-b: 5, x-c: "é", x-d: " e"}, remove: [":status"]}
      - match: {}
        redirect: {status: 999, scheme: ftp, host: "a/b", port: 0}
      - match: {}
        redirect: {status: 200, path: {prefx: a}}
    limits: {idle_timeout: 5 minutes, header_timeout: 99999999999999999999s, header_bytes: 64k, headers: 1e3}
"#,
    )));
}

#[test]
fn numbers_out_of_range() {
    expect![[r#"
        error: the weights are too large together
         --> tidegate.yaml:8:31
          |
        8 |       - {match: {}, clusters: {api: 0, web: 4294967295}}
          |                               ^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: their sum is less than 2^32

        error: `0` is too small
         --> tidegate.yaml:8:37
          |
        8 |       - {match: {}, clusters: {api: 0, web: 4294967295}}
          |                                     ^
          |
          = help: the range is 1 to 4294967295

        error: the weights are too large together
         --> tidegate.yaml:9:31
          |
        9 |       - {match: {}, clusters: {api: 4294967295, web: 1}}
          |                               ^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: their sum is less than 2^32

        error: `4KiB` is too small
          --> tidegate.yaml:10:28
           |
        10 |     limits: {header_bytes: 4KiB, idle_timeout: 48h}
           |                            ^^^^
           |
           = help: the range is 8KiB to 1MiB

        error: `48h` is too large
          --> tidegate.yaml:10:48
           |
        10 |     limits: {header_bytes: 4KiB, idle_timeout: 48h}
           |                                                ^^^
           |
           = help: the range is 1ms to 24h

        error: `0` is too small
          --> tidegate.yaml:11:19
           |
        11 |     buffer_limit: 0
           |                   ^
           |
           = help: the range is 1 to 1GiB

        error: `33` is too large
          --> tidegate.yaml:12:19
           |
        12 |     trusted_hops: 33
           |                   ^^
           |
           = help: the range is 0 to 32

        error: `1025` is too large
          --> tidegate.yaml:13:10
           |
        13 | workers: 1025
           |          ^^^^
           |
           = help: the range is 1 to 1024
    "#]]
    .assert_eq(&problems(&with_routes(
        "      - {match: {}, clusters: {api: 0, web: 4294967295}}
      - {match: {}, clusters: {api: 4294967295, web: 1}}
    limits: {header_bytes: 4KiB, idle_timeout: 48h}
    buffer_limit: 0
    trusted_hops: 33
workers: 1025
",
    )));
}

#[test]
fn addresses() {
    expect![[r#"
        error: expected an address such as `127.0.0.1:8080` or `"[::1]:8080"`, found `localhost:8080`
         --> tidegate.yaml:3:24
          |
        3 |   - {name: a, address: localhost:8080, routes: [{match: {}, respond: {}}]}
          |                        ^^^^^^^^^^^^^^
          |
          = help: host names are not looked up: give an IP address and a port

        error: expected an address such as `127.0.0.1:8080` or `"[::1]:8080"`, found `:8080`
         --> tidegate.yaml:4:24
          |
        4 |   - {name: b, address: ":8080", routes: [{match: {}, respond: {}}]}
          |                        ^^^^^^^
          |
          = help: add the IP address: `0.0.0.0:8080` for every interface

        error: expected an address such as `127.0.0.1:8080` or `"[::1]:8080"`, found `127.0.0.1`
         --> tidegate.yaml:5:24
          |
        5 |   - {name: c, address: 127.0.0.1, routes: [{match: {}, respond: {}}]}
          |                        ^^^^^^^^^
          |
          = help: add a port: `127.0.0.1:8080`

        error: expected an address such as `127.0.0.1:8080` or `"[::1]:8080"`, found `127.0.0.1:99999`
         --> tidegate.yaml:6:24
          |
        6 |   - {name: d, address: 127.0.0.1:99999, routes: [{match: {}, respond: {}}]}
          |                        ^^^^^^^^^^^^^^^
          |
          = help: a port is a number from 0 to 65535

        error: expected an address such as `127.0.0.1:8080` or `"[::1]:8080"`, found `::1:80`
         --> tidegate.yaml:7:24
          |
        7 |   - {name: e, address: "::1:80", routes: [{match: {}, respond: {}}]}
          |                        ^^^^^^^^
          |
          = help: add a port: `[::1:80]:8080`

        error: an endpoint's port cannot be 0
         --> tidegate.yaml:9:21
          |
        9 |   api: {endpoints: [127.0.0.1:0]}
          |                     ^^^^^^^^^^^
    "#]]
    .assert_eq(&problems(
        r#"
listeners:
  - {name: a, address: localhost:8080, routes: [{match: {}, respond: {}}]}
  - {name: b, address: ":8080", routes: [{match: {}, respond: {}}]}
  - {name: c, address: 127.0.0.1, routes: [{match: {}, respond: {}}]}
  - {name: d, address: 127.0.0.1:99999, routes: [{match: {}, respond: {}}]}
  - {name: e, address: "::1:80", routes: [{match: {}, respond: {}}]}
clusters:
  api: {endpoints: [127.0.0.1:0]}
"#,
    ));
}

#[test]
fn texts_that_are_too_long_or_have_control_characters() {
    for (text, told) in [
        (
            with_routes(&format!("      - {{name: {}, match: {{}}, cluster: api}}", "n".repeat(513))),
            "at most 512 bytes",
        ),
        (with_routes("      - {name: \"a\\nb\", match: {}, cluster: api}"), "a name has no line breaks"),
        (with_filter("    module: builtin:x\n    env: {A: \"b\\0c\"}"), "an environment variable has no NUL"),
        (
            with_routes(&format!(
                "      - {{match: {{}}, respond: {{body: {}}}}}",
                "b".repeat((64 << 10) + 1)
            )),
            "the body has 65537 bytes",
        ),
    ] {
        assert!(problems(&text).contains(told), "{told}: {}", problems(&text));
    }
    valid(&with_routes(&format!("      - {{name: {}, match: {{}}, cluster: api}}", "n".repeat(512))));
    valid(&with_routes(&format!("      - {{match: {{}}, respond: {{body: {}}}}}", "b".repeat(64 << 10))));
}

#[test]
fn a_message_that_quotes_a_long_text_is_cut() {
    let text = with_routes(&format!("      - {{match: {{}}, cluster: {}}}", "c".repeat(5000)));
    let told = problems(&text);
    let message = told.lines().next().unwrap_or_default();
    assert!(message.ends_with('…') && message.chars().count() < 700, "{message}");
}

#[test]
fn what_becomes_of_paths_is_one_of_a_few_words() {
    let listener =
        "    path_normalization: {normalize_path: 1, escaped_slashes: UNESCAPE_AND_FORWARD, merge: true}\n";
    expect![[r#"
        error: expected `true` or `false`, found the number 1
         --> tidegate.yaml:9:42
          |
        9 |     path_normalization: {normalize_path: 1, escaped_slashes: UNESCAPE_AND_FORWARD, merge: true}
          |                                          ^

        error: expected `keep`, `reject`, `unescape` or `redirect`, found `UNESCAPE_AND_FORWARD`
         --> tidegate.yaml:9:62
          |
        9 |     path_normalization: {normalize_path: 1, escaped_slashes: UNESCAPE_AND_FORWARD, merge: true}
          |                                                              ^^^^^^^^^^^^^^^^^^^^
          |
          = help: the choices are `keep`, `reject`, `unescape`, `redirect`

        error: unknown field `merge`
         --> tidegate.yaml:9:84
          |
        9 |     path_normalization: {normalize_path: 1, escaped_slashes: UNESCAPE_AND_FORWARD, merge: true}
          |                                                                                    ^^^^^
          |
          = help: the fields here are `normalize_path`, `merge_slashes`, `escaped_slashes`
    "#]]
    .assert_eq(&problems(&(with_routes("      - {match: {}, cluster: api}\n") + listener)));
}

#[test]
fn stages_of_memory_that_are_not_in_order_are_refused_where_they_are() {
    let text = with_routes(
        "      - {match: {}, cluster: api}\noverload: {memory: {relieve: 95%, shed: 50%}, lag: 1ms}\n",
    );
    expect![[r#"
        error: `shed` is below `relieve`, which is 95%
         --> tidegate.yaml:9:41
          |
        9 | overload: {memory: {relieve: 95%, shed: 50%}, lag: 1ms}
          |                                         ^^^
          |
          = help: give a `shed` of 95% or more: it is the later of the two

        error: `1ms` is too small
         --> tidegate.yaml:9:52
          |
        9 | overload: {memory: {relieve: 95%, shed: 50%}, lag: 1ms}
          |                                                    ^^^
          |
          = help: the range is 10ms to 1m
    "#]]
    .assert_eq(&problems(&text));
}
