//! How problems are told: all at once, warnings apart, no more than one would read.

use expect_test::expect;

use super::{problems, valid, with_routes};

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    expect![[r#"
        error: `0` is too small
         --> tidegate.yaml:2:10
          |
        2 | workers: 0
          |          ^
          |
          = help: the range is 1 to 1024

        error: expected a duration such as `250ms` or `2s`, found `30`
         --> tidegate.yaml:3:16
          |
        3 | drain_timeout: 30
          |                ^^
          |
          = help: add a unit: `30s` for seconds, `30ms` for milliseconds

        error: the admin listener is not on loopback
         --> tidegate.yaml:5:12
          |
        5 |   address: 0.0.0.0:9901
          |            ^^^^^^^^^^^^
          |
          = help: whoever reaches it can read the configuration: use 127.0.0.1 or "[::1]"

        error: the field `address` is missing here
         --> tidegate.yaml:7:5
          |
        7 |   - name: ingress
          |     ^^^^

        error: unknown field `adress`
         --> tidegate.yaml:8:5
          |
        8 |     adress: 0.0.0.0:8080
          |     ^^^^^^
          |
          = help: did you mean `address`?

        error: there is no filter `fault`
         --> tidegate.yaml:9:15
          |
        9 |     filters: [fault]
          |               ^^^^^
          |
          = help: did you mean `faults`?

        error: expected a mapping with one of `prefix`, `segments`, `exact`, `regex`, `template`, found `/api`
          --> tidegate.yaml:11:23
           |
        11 |       - match: {path: /api}
           |                       ^^^^
           |
           = help: say which, as in `{prefix: /api}`

        error: there is no cluster `ap`
          --> tidegate.yaml:12:18
           |
        12 |         cluster: ap
           |                  ^^
           |
           = help: did you mean `api`?

        error: expected a duration such as `250ms` or `2s`, found `fast`
          --> tidegate.yaml:13:18
           |
        13 |         timeout: fast
           |                  ^^^^

        error: unknown field `prefx`
          --> tidegate.yaml:14:24
           |
        14 |       - match: {path: {prefx: /}}
           |                        ^^^^^
           |
           = help: did you mean `prefix`?

        error: there is no cluster `web`
          --> tidegate.yaml:15:29
           |
        15 |         clusters: {api: 95, web: zero}
           |                             ^^^
           |
           = help: the clusters are `api`

        error: expected a whole number such as `500`, `20k` or `2M`, found `zero`
          --> tidegate.yaml:15:34
           |
        15 |         clusters: {api: 95, web: zero}
           |                                  ^^^^

        error: expected a size such as `64KiB`, `1MiB` or `4096`, found `16MB`
          --> tidegate.yaml:19:22
           |
        19 |     limits: {memory: 16MB}
           |                      ^^^^
           |
           = help: write `16MiB`

        error: expected an address such as `127.0.0.1:8080`, `"[::1]:8080"` or `unix:/run/web.sock`, found `localhost:9000`
          --> tidegate.yaml:22:17
           |
        22 |     endpoints: [localhost:9000]
           |                 ^^^^^^^^^^^^^^
           |
           = help: host names are not looked up: give an IP address and a port

        error: expected `round_robin`, `random`, `least_request`, `peak_ewma`, `ring_hash` or `maglev`, found `round-robin`
          --> tidegate.yaml:23:20
           |
        23 |     load_balancer: round-robin
           |                    ^^^^^^^^^^^
           |
           = help: did you mean `round_robin`?
    "#]]
    .assert_eq(&problems(
        "
workers: 0
drain_timeout: 30
admin:
  address: 0.0.0.0:9901
listeners:
  - name: ingress
    adress: 0.0.0.0:8080
    filters: [fault]
    routes:
      - match: {path: /api}
        cluster: ap
        timeout: fast
      - match: {path: {prefx: /}}
        clusters: {api: 95, web: zero}
filters:
  faults:
    module: builtin:fault
    limits: {memory: 16MB}
clusters:
  api:
    endpoints: [localhost:9000]
    load_balancer: round-robin
",
    ));
}

#[test]
fn what_is_allowed_but_likely_not_meant_is_a_warning() {
    let text = with_routes(
        "      - {match: {}, cluster: api}
      - {match: {path: {prefix: /api}}, cluster: web, rewrite: {prefix: /}}
  - {name: empty, address: 127.0.0.1:0, routes: []}
filters:
  unused: {module: builtin:fault}
",
    );
    expect![[r#"
        warning: no request comes this far: the route on line 8 takes all of them
         --> tidegate.yaml:9:9
          |
        9 |       - {match: {path: {prefix: /api}}, cluster: web, rewrite: {prefix: /}}
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: move this route before that one

        warning: `/api/x` is rewritten to `//x`
         --> tidegate.yaml:9:73
          |
        9 |       - {match: {path: {prefix: /api}}, cluster: web, rewrite: {prefix: /}}
          |                                                                         ^
          |
          = help: match `/api/`, or leave out the last `/` here

        warning: there are no routes: every request is answered 404
          --> tidegate.yaml:10:49
           |
        10 |   - {name: empty, address: 127.0.0.1:0, routes: []}
           |                                                 ^^
           |
           = help: add one, such as `{match: {}, respond: {status: 200}}`

        warning: the filter `unused` is in no chain, so it never runs
          --> tidegate.yaml:12:3
           |
        12 |   unused: {module: builtin:fault}
           |   ^^^^^^
           |
           = help: add it to a listener: `filters: [unused]`
    "#]]
    .assert_eq(&format!("{}\n", valid(&text).warnings));
}

#[test]
fn a_long_list_of_problems_is_cut_but_never_loses_that_there_are_errors() {
    let warnings: String = (0..80).map(|n| format!("  f{n}: {{module: builtin:x}}\n")).collect();
    let text = with_routes("      - {match: {}, cluster: api}\n") + "filters:\n" + &warnings;
    assert!(valid(&text).warnings.to_string().ends_with("and 30 more"));
    let told = problems(&(text + "  g: {module: 5}\n"));
    assert!(told.contains("expected a module"), "{told}");
}

#[test]
fn a_large_file_in_which_everything_is_wrong_takes_no_longer_than_a_good_one() {
    // All on one line, so that finding each one's column would take for ever.
    let text = format!("listeners: [{}]\n", "x,".repeat(50_000));
    assert!(problems(&text).ends_with("and 49950 more\n"));
    let clusters: String =
        (0..5_000).map(|n| format!("  some-long-name-of-a-cluster-{n}: {{endpoints: []}}\n")).collect();
    let routes: String = (0..5_000)
        .map(|n| format!("      - {{match: {{}}, cluster: some-long-nam-of-a-cluster-{n}}}\n"))
        .collect();
    let text = with_routes(&routes).replace("clusters:\n", &format!("clusters:\n{clusters}"));
    assert!(problems(&text).ends_with("and 4950 more\n"));
}

#[test]
fn what_is_wrong_under_an_anchor_is_told_once() {
    let text = with_routes(
        "      - &bad {match: {}, cluster: nowhere}
      - *bad
",
    );
    assert_eq!(problems(&text).matches("there is no cluster").count(), 1);
}

#[test]
fn colours_are_used_only_when_asked_for() {
    let problems = super::parse("workers: x\n", std::path::Path::new("f.yaml")).unwrap_err();
    assert!(problems.render(true).contains('\u{1b}'));
    assert!(!problems.render(false).contains('\u{1b}'));
}
