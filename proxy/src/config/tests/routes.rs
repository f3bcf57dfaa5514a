//! What is told about routes that make no sense.

use expect_test::expect;

use super::{problems, valid, with_routes};

#[test]
fn a_route_has_one_action_and_nothing_beside_it_that_does_nothing() {
    expect![[r#"
        error: `cluster` and `respond` cannot be given together
         --> tidegate.yaml:8:9
          |
        8 |       - {name: two, match: {path: {exact: /a}}, cluster: api, respond: {}}
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: a route has one of `cluster`, `clusters`, `cluster_header`, `redirect` and `respond`

        error: this route does nothing with its requests
         --> tidegate.yaml:9:9
          |
        9 |       - {name: none, match: {path: {exact: /b}}}
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: give one of `cluster`, `clusters`, `cluster_header`, `redirect` and `respond`

        error: a response with status 204 has no body
          --> tidegate.yaml:11:38
           |
        11 |         respond: {status: 204, body: x}
           |                                      ^
           |
           = help: remove the body, or choose another status

        error: `timeout` has no effect beside `respond`: the request is not sent on
          --> tidegate.yaml:12:18
           |
        12 |         timeout: 2s
           |                  ^^
           |
           = help: remove `timeout`

        error: `rewrite` has no effect beside `respond`: the request is not sent on
          --> tidegate.yaml:13:18
           |
        13 |         rewrite: {prefix: /}
           |                  ^^^^^^^^^^^
           |
           = help: remove `rewrite`

        error: `headers.request` has no effect beside `respond`: the request is not sent on
          --> tidegate.yaml:14:28
           |
        14 |         headers: {request: {set: {a: b}}, response: {set: {a: b}}}
           |                            ^^^^^^^^^^^^^
           |
           = help: remove `headers.request`

        error: this redirect leads back to itself
          --> tidegate.yaml:15:48
           |
        15 |       - {match: {path: {exact: /d}}, redirect: {status: 302}}
           |                                                ^^^^^^^^^^^^^
           |
           = help: give at least one of `scheme`, `host`, `port`, `path` and `strip_query`
    "#]]
    .assert_eq(&problems(&with_routes(
        "      - {name: two, match: {path: {exact: /a}}, cluster: api, respond: {}}
      - {name: none, match: {path: {exact: /b}}}
      - match: {path: {exact: /c}}
        respond: {status: 204, body: x}
        timeout: 2s
        rewrite: {prefix: /}
        headers: {request: {set: {a: b}}, response: {set: {a: b}}}
      - {match: {path: {exact: /d}}, redirect: {status: 302}}
",
    )));
}

#[test]
fn paths_and_what_they_are_rewritten_to() {
    expect![[r#"
        error: the path `api` does not begin with `/`
         --> tidegate.yaml:8:33
          |
        8 |       - {match: {path: {prefix: api}}, cluster: api}
          |                                 ^^^
          |
          = help: write `/api`

        error: a path has no `?` or `#` in it
         --> tidegate.yaml:9:32
          |
        9 |       - {match: {path: {exact: "/a?b"}}, cluster: api}
          |                                ^^^^^^
          |
          = help: the path is compared without its query: match that with `query`

        error: `ü` cannot be in a path as it is
          --> tidegate.yaml:10:32
           |
        10 |       - {match: {path: {exact: /über}}, cluster: api}
           |                                ^^^^^
           |
           = help: write it percent-encoded: `%C3%BC`

        error: this is not a regular expression: unclosed group
          --> tidegate.yaml:11:32
           |
        11 |       - {match: {path: {regex: "/(a"}}, cluster: api}
           |                                ^^^^^

        error: this is not a regular expression: unopened group
          --> tidegate.yaml:12:32
           |
        12 |       - {match: {path: {regex: "a)|(b"}}, cluster: api}
           |                                ^^^^^^^

        error: this regular expression is too large once compiled
          --> tidegate.yaml:13:32
           |
        13 |       - {match: {path: {regex: "(a{1000}){1000}"}}, cluster: api}
           |                                ^^^^^^^^^^^^^^^^^
           |
           = help: make it shorter, or lower its repetition counts

        error: there is no prefix to replace: the route does not match one
          --> tidegate.yaml:14:60
           |
        14 |       - {match: {host: x}, cluster: api, rewrite: {prefix: /v1}}
           |                                                            ^^^
           |
           = help: match the path with `path: {prefix: …}` or `{exact: …}`

        error: `prefix` and `regex` cannot be given together
          --> tidegate.yaml:15:71
           |
        15 |       - {match: {path: {prefix: /a}}, cluster: api, rewrite: {prefix: /v1, regex: {pattern: a, substitution: b}}}
           |                                                                       ^^^
           |
           = help: keep one of them

        error: the pattern has no group `2`
          --> tidegate.yaml:16:101
           |
        16 |       - {match: {path: {prefix: /b}}, cluster: api, rewrite: {regex: {pattern: "(a)", substitution: '/\2/$1x'}}}
           |                                                                                                     ^^^^^^^^^
           |
           = help: `\1` or `${1}` is the first group, `${name}` a named one, `$$` a dollar sign

        error: the pattern has no group `1x`
          --> tidegate.yaml:16:101
           |
        16 |       - {match: {path: {prefix: /b}}, cluster: api, rewrite: {regex: {pattern: "(a)", substitution: '/\2/$1x'}}}
           |                                                                                                     ^^^^^^^^^
           |
           = help: `\1` or `${1}` is the first group, `${name}` a named one, `$$` a dollar sign

        error: there is no prefix to replace: the route does not match one
          --> tidegate.yaml:17:67
           |
        17 |       - {match: {path: {regex: "/.*"}}, redirect: {path: {prefix: x}}}
           |                                                                   ^
           |
           = help: match the path with `path: {prefix: …}` or `{exact: …}`

        error: the path `x` does not begin with `/`
          --> tidegate.yaml:17:67
           |
        17 |       - {match: {path: {regex: "/.*"}}, redirect: {path: {prefix: x}}}
           |                                                                   ^
           |
           = help: write `/x`

        error: `exact` and `prefix` cannot be given together
          --> tidegate.yaml:18:36
           |
        18 |       - {match: {path: {exact: /a, prefix: /b}}, cluster: api}
           |                                    ^^^^^^
           |
           = help: keep one of `prefix`, `segments`, `exact`, `regex`, `template`

        error: expected one of `prefix`, `segments`, `exact`, `regex`, `template`, found none
          --> tidegate.yaml:19:24
           |
        19 |       - {match: {path: {}, headers: {x-a: {contains: ""}}}, cluster: api}
           |                        ^^

        error: an empty text is in every value
          --> tidegate.yaml:19:54
           |
        19 |       - {match: {path: {}, headers: {x-a: {contains: ""}}}, cluster: api}
           |                                                      ^^
           |
           = help: to ask for any value, write `{present: true}`

        error: an empty list matches nothing
          --> tidegate.yaml:20:24
           |
        20 |       - {match: {host: [], path: }, cluster: api}
           |                        ^^
           |
           = help: leave the line out to match everything

        error: expected a mapping with one of `prefix`, `segments`, `exact`, `regex`, `template`, found nothing
          --> tidegate.yaml:20:28
           |
        20 |       - {match: {host: [], path: }, cluster: api}
           |                            ^^^^
           |
           = help: give it a value, or leave the line out
    "#]].assert_eq(&problems(&with_routes(
        r#"      - {match: {path: {prefix: api}}, cluster: api}
      - {match: {path: {exact: "/a?b"}}, cluster: api}
      - {match: {path: {exact: /über}}, cluster: api}
      - {match: {path: {regex: "/(a"}}, cluster: api}
      - {match: {path: {regex: "a)|(b"}}, cluster: api}
      - {match: {path: {regex: "(a{1000}){1000}"}}, cluster: api}
      - {match: {host: x}, cluster: api, rewrite: {prefix: /v1}}
      - {match: {path: {prefix: /a}}, cluster: api, rewrite: {prefix: /v1, regex: {pattern: a, substitution: b}}}
      - {match: {path: {prefix: /b}}, cluster: api, rewrite: {regex: {pattern: "(a)", substitution: '/\2/$1x'}}}
      - {match: {path: {regex: "/.*"}}, redirect: {path: {prefix: x}}}
      - {match: {path: {exact: /a, prefix: /b}}, cluster: api}
      - {match: {path: {}, headers: {x-a: {contains: ""}}}, cluster: api}
      - {match: {host: [], path: }, cluster: api}
"#,
    )));
}

#[test]
fn headers_that_are_the_proxys_own() {
    expect![[r#"
        error: `host` cannot be edited here
          --> tidegate.yaml:11:27
           |
        11 |           request: {set: {Host: x, Connection: close}, remove: [content-length]}
           |                           ^^^^
           |
           = help: use `rewrite: {host: …}` of the route

        error: `connection` is the proxy's own and cannot be edited
          --> tidegate.yaml:11:36
           |
        11 |           request: {set: {Host: x, Connection: close}, remove: [content-length]}
           |                                    ^^^^^^^^^^
           |
           = help: it belongs to one connection, or frames the message: each side has its own

        error: `content-length` is the proxy's own and cannot be edited
          --> tidegate.yaml:11:65
           |
        11 |           request: {set: {Host: x, Connection: close}, remove: [content-length]}
           |                                                                 ^^^^^^^^^^^^^^
           |
           = help: it belongs to one connection, or frames the message: each side has its own

        error: `transfer-encoding` is the proxy's own and cannot be edited
          --> tidegate.yaml:12:28
           |
        12 |           response: {add: {transfer-encoding: chunked}, set: {a: b, A: c}}
           |                            ^^^^^^^^^^^^^^^^^
           |
           = help: it belongs to one connection, or frames the message: each side has its own

        error: `a` is given twice
          --> tidegate.yaml:12:69
           |
        12 |           response: {add: {transfer-encoding: chunked}, set: {a: b, A: c}}
           |                                                                     ^
           |
           = help: the first one is on line 12
    "#]]
    .assert_eq(&problems(&with_routes(
        "      - match: {}
        cluster: api
        headers:
          request: {set: {Host: x, Connection: close}, remove: [content-length]}
          response: {add: {transfer-encoding: chunked}, set: {a: b, A: c}}
",
    )));
}

#[test]
fn a_path_that_is_not_in_normal_form_is_one_that_no_request_has() {
    let routes = "      - {match: {path: {exact: /a//b}}, cluster: api}
      - {match: {path: {prefix: /%61%2f}}, cluster: api}
      - {match: {path: {exact: /100%}}, cluster: api}
      - {match: {path: {prefix: /.}}, cluster: api}
      - {match: {path: {regex: /a//b}}, cluster: api}
";
    expect![[r#"
        warning: no request has a path like `/a//b`
         --> tidegate.yaml:8:32
          |
        8 |       - {match: {path: {exact: /a//b}}, cluster: api}
          |                                ^^^^^
          |
          = help: paths are normalised first: write `/a/b`

        warning: no request has a path like `/%61%2f`
         --> tidegate.yaml:9:33
          |
        9 |       - {match: {path: {prefix: /%61%2f}}, cluster: api}
          |                                 ^^^^^^^
          |
          = help: paths are normalised first: write `/a%2F`

        warning: no request has a path like `/100%`
          --> tidegate.yaml:10:32
           |
        10 |       - {match: {path: {exact: /100%}}, cluster: api}
           |                                ^^^^^
           |
           = help: such a path is answered 400: see `path_normalization`
    "#]]
    .assert_eq(&format!("{}\n", valid(&with_routes(routes)).warnings.render(false)));
    let as_they_come = "    path_normalization: {normalize_path: false, merge_slashes: false}\n";
    assert!(valid(&(with_routes(routes) + as_they_come)).warnings.is_empty());
}

#[test]
fn a_header_may_name_clusters_that_there_are() {
    expect![[r#"
        error: expected a mapping, found `x-cluster`
         --> tidegate.yaml:8:55
          |
        8 |       - {match: {path: {prefix: /a}}, cluster_header: x-cluster}
          |                                                       ^^^^^^^^^
          |
          = help: its fields are `name`, `allow`

        error: the field `allow` is missing here
         --> tidegate.yaml:9:55
          |
        9 |       - {match: {path: {prefix: /b}}, cluster_header: {name: x-cluster}}
          |                                                       ^^^^^^^^^^^^^^^^^
          |
          = help: list the clusters that it may name: whoever sets the header chooses among them

        error: the field `name` is missing here
          --> tidegate.yaml:10:55
           |
        10 |       - {match: {path: {prefix: /c}}, cluster_header: {allow: [api]}}
           |                                                       ^^^^^^^^^^^^^^

        error: expected a header name such as `x-user`, found `x cluster`
          --> tidegate.yaml:11:62
           |
        11 |       - {match: {path: {prefix: /d}}, cluster_header: {name: x cluster, allow: []}}
           |                                                              ^^^^^^^^^
           |
           = help: a header name is made of letters, digits and `-`

        error: `allow` names no cluster
          --> tidegate.yaml:11:80
           |
        11 |       - {match: {path: {prefix: /d}}, cluster_header: {name: x cluster, allow: []}}
           |                                                                                ^^

        error: there is no cluster `apy`
          --> tidegate.yaml:12:86
           |
        12 |       - {match: {path: {prefix: /e}}, cluster_header: {name: x-cluster, allow: [api, apy, api]}}
           |                                                                                      ^^^
           |
           = help: did you mean `api`?

        error: `api` is given twice
          --> tidegate.yaml:12:91
           |
        12 |       - {match: {path: {prefix: /e}}, cluster_header: {name: x-cluster, allow: [api, apy, api]}}
           |                                                                                           ^^^
           |
           = help: the first one is on line 12

        error: `cluster` and `cluster_header` cannot be given together
          --> tidegate.yaml:13:9
           |
        13 |       - {match: {path: {prefix: /f}}, cluster_header: {name: x-cluster, allow: [api]}, cluster: api}
           |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: a route has one of `cluster`, `clusters`, `cluster_header`, `redirect` and `respond`
    "#]].assert_eq(&problems(&with_routes(
        "      - {match: {path: {prefix: /a}}, cluster_header: x-cluster}
      - {match: {path: {prefix: /b}}, cluster_header: {name: x-cluster}}
      - {match: {path: {prefix: /c}}, cluster_header: {allow: [api]}}
      - {match: {path: {prefix: /d}}, cluster_header: {name: x cluster, allow: []}}
      - {match: {path: {prefix: /e}}, cluster_header: {name: x-cluster, allow: [api, apy, api]}}
      - {match: {path: {prefix: /f}}, cluster_header: {name: x-cluster, allow: [api]}, cluster: api}
",
    )));
}

#[test]
fn templates_and_operators_that_cannot_be() {
    expect![[r#"
        error: nothing can come behind `**`
         --> tidegate.yaml:8:35
          |
        8 |       - {match: {path: {template: /a/**/b}}, cluster: api}
          |                                   ^^^^^^^
          |
          = help: `**` is all that is left of a path: it comes last

        error: `x` is in this template twice
         --> tidegate.yaml:9:35
          |
        9 |       - {match: {path: {template: "/a/{x}/{x}"}}, cluster: api}
          |                                   ^^^^^^^^^^^^

        error: `{1x}` is no part of a path template
          --> tidegate.yaml:10:35
           |
        10 |       - {match: {path: {template: "/a/{1x}"}}, cluster: api}
           |                                   ^^^^^^^^^
           |
           = help: write `{name}` for one segment, `{name=**}` for the rest, or `*` and `**` where no name is needed

        error: `b{x}` is no part of a path template
          --> tidegate.yaml:11:35
           |
        11 |       - {match: {path: {template: "/a/b{x}"}}, cluster: api}
           |                                   ^^^^^^^^^
           |
           = help: write `{name}` for one segment, `{name=**}` for the rest, or `*` and `**` where no name is needed

        error: there is no such variable
          --> tidegate.yaml:12:67
           |
        12 |       - {match: {path: {template: "/a/{x}"}}, rewrite: {template: "/{y}"}, cluster: api}
           |                                                                   ^^^^^^
           |
           = help: the route's template has `{x}`

        error: there are no variables: the route matches no template
          --> tidegate.yaml:13:59
           |
        13 |       - {match: {path: {prefix: /a}}, rewrite: {template: "/{y}"}, cluster: api}
           |                                                           ^^^^^^
           |
           = help: match the path with `path: {template: …}`

        error: `regex` and `template` cannot be given together
          --> tidegate.yaml:14:78
           |
        14 |       - {match: {path: {template: "/a/{x}"}}, rewrite: {template: /b, regex: {pattern: a, substitution: b}}, cluster: api}
           |                                                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: keep one of them

        error: `%UPSTREAM_HOST%` is not known yet where this field is made
          --> tidegate.yaml:15:54
           |
        15 |       - {match: {path: {exact: /h}}, rewrite: {host: "%UPSTREAM_HOST%"}, cluster: api}
           |                                                      ^^^^^^^^^^^^^^^^^
           |
           = help: the operators that are known in header fields are in the book, under "Header fields"

        error: expected a host such as `other.example.com` or `other.example.com:8080`, found `a b%%`
          --> tidegate.yaml:16:54
           |
        16 |       - {match: {path: {exact: /h}}, rewrite: {host: "a b%%"}, cluster: api}
           |                                                      ^^^^^^^
           |
           = help: a host is made of letters, digits, `-` and `.`; names in other scripts are written in their `xn--` form

        error: a `%` begins an operator here, and no other ends it
          --> tidegate.yaml:20:32
           |
        20 |           request: {set: {x-a: 50%, x-b: "%RESPONSE_CODE%", x-c: "%NOPE%"}}
           |                                ^^^
           |
           = help: the operators are in the book, under "Header fields"; a percent sign that is meant is written `%%`

        error: `%RESPONSE_CODE%` is not known yet where this field is made
          --> tidegate.yaml:20:42
           |
        20 |           request: {set: {x-a: 50%, x-b: "%RESPONSE_CODE%", x-c: "%NOPE%"}}
           |                                          ^^^^^^^^^^^^^^^^^
           |
           = help: the operators that are known in header fields are in the book, under "Header fields"

        error: there is no operator `%NOPE%`
          --> tidegate.yaml:20:66
           |
        20 |           request: {set: {x-a: 50%, x-b: "%RESPONSE_CODE%", x-c: "%NOPE%"}}
           |                                                                  ^^^^^^^^
           |
           = help: the operators are in the book, under "Header fields"; a percent sign that is meant is written `%%`

        error: `%LOCAL_REPLY_BODY%` is not known yet where this field is made
          --> tidegate.yaml:21:33
           |
        21 |           response: {set: {x-a: "%LOCAL_REPLY_BODY%", x-b: "%REQ(x-y)", x-c: "%RESPONSE_CODE%"}}
           |                                 ^^^^^^^^^^^^^^^^^^^^
           |
           = help: the operators that are known in header fields are in the book, under "Header fields"

        error: a `%` begins an operator here, and no other ends it
          --> tidegate.yaml:21:60
           |
        21 |           response: {set: {x-a: "%LOCAL_REPLY_BODY%", x-b: "%REQ(x-y)", x-c: "%RESPONSE_CODE%"}}
           |                                                            ^^^^^^^^^^^
           |
           = help: the operators are in the book, under "Header fields"; a percent sign that is meant is written `%%`
    "#]].assert_eq(&problems(&with_routes(
        "      - {match: {path: {template: /a/**/b}}, cluster: api}
      - {match: {path: {template: \"/a/{x}/{x}\"}}, cluster: api}
      - {match: {path: {template: \"/a/{1x}\"}}, cluster: api}
      - {match: {path: {template: \"/a/b{x}\"}}, cluster: api}
      - {match: {path: {template: \"/a/{x}\"}}, rewrite: {template: \"/{y}\"}, cluster: api}
      - {match: {path: {prefix: /a}}, rewrite: {template: \"/{y}\"}, cluster: api}
      - {match: {path: {template: \"/a/{x}\"}}, rewrite: {template: /b, regex: {pattern: a, substitution: b}}, cluster: api}
      - {match: {path: {exact: /h}}, rewrite: {host: \"%UPSTREAM_HOST%\"}, cluster: api}
      - {match: {path: {exact: /h}}, rewrite: {host: \"a b%%\"}, cluster: api}
      - match: {path: {exact: /e}}
        cluster: api
        headers:
          request: {set: {x-a: 50%, x-b: \"%RESPONSE_CODE%\", x-c: \"%NOPE%\"}}
          response: {set: {x-a: \"%LOCAL_REPLY_BODY%\", x-b: \"%REQ(x-y)\", x-c: \"%RESPONSE_CODE%\"}}
",
    )));
}

#[test]
fn a_chain_that_is_chosen_too_early_is_warned_of() {
    let text = with_routes(
        "      - {match: {claims: {groups: {exact: dev}}}, filters: [], cluster: api}
      - {match: {}, cluster: api}
",
    );
    expect![[r#"
        warning: this chain is chosen before a filter has left what the route matches
         --> tidegate.yaml:8:60
          |
        8 |       - {match: {claims: {groups: {exact: dev}}}, filters: [], cluster: api}
          |                                                            ^^
          |
          = help: say what is different of the listener's chain instead: `filters: {NAME: {config: …}}`, `{NAME: off}`
    "#]].assert_eq(&format!("{}\n", valid(&text).warnings));
}
