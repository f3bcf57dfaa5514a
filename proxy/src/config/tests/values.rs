//! What valid files come out as.

use std::path::Path;

use expect_test::{expect, expect_file};
use proptest::prelude::*;

use super::super::model::{Action, ModuleSource, PathMatch, PathRewrite, ValueMatch};
use super::super::{Finding, Part, effective, parse};
use super::{EVERYTHING, valid, with_filter, with_routes};

/// The shortest file that is any use.
const MINIMAL: &str = "
listeners:
  - name: ingress
    address: 127.0.0.1:8080
    routes:
      - {match: {}, cluster: api}
clusters:
  api: {endpoints: [127.0.0.1:9001]}
";

fn shown(text: &str) -> String {
    serde_json::to_string_pretty(&effective(&valid(text).config)).unwrap() + "\n"
}

fn some_template() -> impl Strategy<Value = String> {
    let segment = prop_oneof!["[ab.]{0,2}", Just("*".into()), Just("{x}".into())];
    let rest = prop::option::of(prop::sample::select(vec!["/**", "/{y=**}"]));
    (prop::collection::vec(segment, 1..4), rest).prop_map(|(segments, rest)| {
        let text: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        text.replacen("{x}", "{x1}", 1).replacen("{x}", "{x2}", 1) + rest.unwrap_or_default()
    })
}

proptest! {
    #[test]
    fn a_template_matches_what_its_expression_does(
        template in some_template(),
        paths in prop::collection::vec("(/[ab.]{0,2}){0,4}", 20),
    ) {
        let text = with_routes(&format!("      - {{match: {{path: {{template: \"{template}\"}}}}, cluster: api}}\n"));
        let loaded = valid(&text);
        let PathMatch::Template(template) = &loaded.config.listeners[0].routes[0].matches.path else { panic!() };
        for path in paths.iter().map(String::as_str).chain(["*", ""]) {
            prop_assert_eq!(template.matches(path), template.regex.is_match(path), "{} {}", template.source, path);
        }
    }
}

#[test]
fn every_setting_comes_out_as_it_was_written() {
    expect_file!["everything.effective.json"].assert_eq(&shown(EVERYTHING));
    assert!(valid(EVERYTHING).warnings.is_empty(), "{}", valid(EVERYTHING).warnings);
}

#[test]
fn defaults_are_filled_in() {
    expect![[r#"
        {
          "drain_timeout": "30s",
          "listeners": [
            {
              "name": "ingress",
              "address": "127.0.0.1:8080",
              "protocol": "http",
              "filters": [],
              "access_log": false,
              "buffer_limit": "1MiB",
              "proxy_protocol": false,
              "grpc_web": false,
              "h2c_upgrade": false,
              "upgrades": [
                "websocket"
              ],
              "trusted_hops": 0,
              "path_normalization": {
                "normalize_path": true,
                "merge_slashes": true,
                "escaped_slashes": "keep"
              },
              "http2": {
                "max_concurrent_streams": 1024,
                "initial_stream_window_size": "256KiB",
                "initial_connection_window_size": "1MiB"
              },
              "limits": {
                "connections": 10000,
                "header_bytes": "60KiB",
                "headers": 100,
                "header_timeout": "10s",
                "detection_timeout": "10s",
                "stream_idle_timeout": "5m",
                "idle_timeout": "1h"
              },
              "routes": [
                {
                  "name": "route-0",
                  "match": {},
                  "cluster": "api",
                  "timeout": "15s",
                  "headers": {
                    "request": {
                      "remove": [],
                      "set": {},
                      "add": {}
                    },
                    "response": {
                      "remove": [],
                      "set": {},
                      "add": {}
                    }
                  }
                }
              ]
            }
          ],
          "filters": {},
          "clusters": {
            "api": {
              "endpoints": [
                "127.0.0.1:9001"
              ],
              "protocol": "http1",
              "load_balancer": "round_robin",
              "panic_threshold": "50%",
              "overprovisioning": "1.4x",
              "connect_timeout": "5s",
              "idle_timeout": "1m",
              "idle_connections": 128,
              "header_bytes": "60KiB",
              "http2": {
                "max_concurrent_streams": 1024,
                "initial_stream_window_size": "256KiB",
                "initial_connection_window_size": "1MiB"
              },
              "breakers": {
                "connections": 1024,
                "connections_per_endpoint": 1024,
                "pending": 1024,
                "requests": 1024
              }
            }
          }
        }
    "#]]
    .assert_eq(&shown(MINIMAL));
}

#[test]
fn the_effective_configuration_is_a_configuration_that_means_the_same() {
    for text in [EVERYTHING, MINIMAL] {
        let once = shown(text);
        assert_eq!(shown(&once), once);
    }
}

#[test]
fn a_timeout_of_zero_is_none() {
    let route = |timeout| {
        let text = with_routes(&format!("      - {{match: {{}}, cluster: api, timeout: {timeout}}}\n"));
        valid(&text).config.listeners[0].routes[0].timeout
    };
    assert_eq!(route("0s"), None);
    assert_eq!(route("1s"), Some(std::time::Duration::from_secs(1)));
}

#[test]
fn yaml_anchors_stand_for_what_they_name() {
    let text = MINIMAL.replace("{match: {}, cluster: api}", "&all {match: {}, cluster: api}")
        + "  web: &web {endpoints: []}\n  w2: *web\n";
    assert_eq!(valid(&text).config.clusters[2].endpoints, []);
}

#[test]
fn regular_expressions_match_from_end_to_end() {
    let config = valid(&with_routes(
        r#"      - {match: {path: {regex: "/a|/b"}, query: {q: {regex: "(?x) 1 | 2 # one or two"}}}, cluster: api}"#,
    ))
    .config;
    let matches = &config.listeners[0].routes[0].matches;
    let PathMatch::Regex(path) = &matches.path else { panic!("{matches:?}") };
    let ValueMatch::Regex(value) = &matches.query[0].1 else { panic!("{matches:?}") };
    assert!(path.is_match("/a") && path.is_match("/b"));
    assert!(!path.is_match("/ab") && !path.is_match("/x/b") && !path.is_match("/a\n"));
    assert!(value.is_match("1") && !value.is_match("12"));
}

#[test]
fn a_backslash_before_a_digit_is_a_group_in_a_substitution() {
    let config = valid(&with_routes(
        "      - match: {}\n        cluster: api\n        rewrite: {regex: {pattern: '^/(\\d)x', substitution: '/\\1x'}}\n",
    ))
    .config;
    let Action::Forward(forward) = &config.listeners[0].routes[0].action else { panic!() };
    let Some(PathRewrite::Regex { pattern, substitution }) = &forward.path else { panic!() };
    assert_eq!(pattern.replace_all("/7xy", substitution.as_str()), "/7xy");
}

#[test]
fn a_mapping_is_handed_to_a_filter_as_json_in_its_own_order_and_text_as_it_is() {
    let config = |fields: &str| {
        valid(&with_filter(&format!("    module: builtin:x\n{fields}"))).config.filters[0].config.clone()
    };
    assert_eq!(
        config("    config: {z: 1, a: {n: 1.50, t: yes, 200: ok}}\n"),
        r#"{"z":1,"a":{"n":1.5,"t":"yes","200":"ok"}}"#
    );
    assert_eq!(config("    config: '{ \"z\":1 }'\n"), r#"{ "z":1 }"#);
    assert_eq!(config("    config: |\n      two\n      lines\n"), "two\nlines\n");
    assert_eq!(config("    config: 42\n"), "42");
    assert_eq!(config("    config: [1, x]\n"), r#"[1,"x"]"#);
    assert_eq!(config("    config:\n"), "");
    assert_eq!(config("    config: ''\n"), "");
    assert_eq!(config(""), "");
}

#[test]
fn a_module_is_looked_for_beside_the_configuration() {
    let text = with_filter("    module: filters/my.wasm\n");
    let config = parse(&text, Path::new("/etc/tidegate/tidegate.yaml")).unwrap().config;
    assert_eq!(config.filters[0].module, ModuleSource::File("/etc/tidegate/filters/my.wasm".into()));
}

#[test]
fn what_turns_out_wrong_later_is_shown_at_its_place() {
    let loaded = valid(EVERYTHING);
    let blame = |part, message: &str| {
        let hint = Some("a remedy".to_owned());
        loaded.blame([Finding { part, message: message.to_owned(), hint }]).to_string()
    };
    expect![[r#"
        error: the address is in use
          --> tidegate.yaml:88:29
           |
        88 |   - {name: second, address: 127.0.0.1:0, routes: [{match: {}, cluster: api}]}
           |                             ^^^^^^^^^^^
           |
           = help: a remedy"#]]
    .assert_eq(&blame(Part::ListenerAddress(1), "the address is in use"));
    expect![[r#"
        error: there is no such file
           --> tidegate.yaml:116:13
            |
        116 |     module: ./limits.wasm
            |             ^^^^^^^^^^^^^
            |
            = help: a remedy"#]]
    .assert_eq(&blame(Part::FilterModule(1), "there is no such file"));
    expect![[r#"
        error: the filter rejects its configuration
          --> tidegate.yaml:93:13
           |
        93 |     config: {z: {status: 503, percent: 10.5}, a: [1, -2, null, true, "x"]}
           |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: a remedy"#]]
    .assert_eq(&blame(Part::FilterConfig(0), "the filter rejects its configuration"));
    expect![[r#"
        error: the address is in use
          --> tidegate.yaml:10:18
           |
        10 | admin: {address: "[::1]:9901"}
           |                  ^^^^^^^^^^^^
           |
           = help: a remedy"#]]
    .assert_eq(&blame(Part::AdminAddress, "the address is in use"));
}
