//! A guest's environment may have variables of the proxy's own.

use std::path::Path;

use expect_test::expect;

use super::super::{Loaded, Problems, effective, parse};
use super::with_filter;

fn parsed(env: &str) -> Result<Loaded, Problems> {
    parse(&with_filter(&format!("    module: builtin:x\n    env: {env}\n")), Path::new("tidegate.yaml"))
}

#[test]
fn a_variable_of_the_proxys_own_is_read_and_not_shown() {
    // Cargo sets this one for every test.
    let config = parsed("{A: plain, B: {from_env: CARGO_PKG_NAME}}").unwrap_or_else(|p| panic!("{p}")).config;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(config.filters[0].env, [pair("A", "plain"), pair("B", "tidegate")]);
    let shown = effective(&config)["filters"]["f"]["env"].to_string();
    assert_eq!(shown, r#"{"A":"plain","B":{"from_env":"CARGO_PKG_NAME"}}"#);
}

#[test]
fn one_that_is_not_set_is_a_mistake() {
    let problems = |env| parsed(env).expect_err("this is wrong").render(false) + "\n";
    expect![[r#"
        error: the environment variable `NO_SUCH_VARIABLE` is not set
         --> tidegate.yaml:6:25
          |
        6 |     env: {A: {from_env: NO_SUCH_VARIABLE}, B: {from_env: "a\0="}}
          |                         ^^^^^^^^^^^^^^^^
          |
          = help: set it where tidegate is started, or give the filter a text

        error: the environment variable `a\0=` is not set
         --> tidegate.yaml:6:58
          |
        6 |     env: {A: {from_env: NO_SUCH_VARIABLE}, B: {from_env: "a\0="}}
          |                                                          ^^^^^^
          |
          = help: set it where tidegate is started, or give the filter a text
    "#]]
    .assert_eq(&problems("{A: {from_env: NO_SUCH_VARIABLE}, B: {from_env: \"a\\0=\"}}"));
    expect![[r#"
        error: unknown field `from_file`
         --> tidegate.yaml:6:15
          |
        6 |     env: {A: {from_file: x}, B: {}, C: [x], D: {from_env: 5}}
          |               ^^^^^^^^^
          |
          = help: the fields here are `from_env`

        error: missing field `from_env`
         --> tidegate.yaml:6:33
          |
        6 |     env: {A: {from_file: x}, B: {}, C: [x], D: {from_env: 5}}
          |                                 ^^

        error: expected text or `{from_env: NAME}`, found a list
         --> tidegate.yaml:6:40
          |
        6 |     env: {A: {from_file: x}, B: {}, C: [x], D: {from_env: 5}}
          |                                        ^^^

        error: expected text, found the number 5
         --> tidegate.yaml:6:59
          |
        6 |     env: {A: {from_file: x}, B: {}, C: [x], D: {from_env: 5}}
          |                                                           ^
          |
          = help: put it in quotes: "5"
    "#]]
    .assert_eq(&problems("{A: {from_file: x}, B: {}, C: [x], D: {from_env: 5}}"));
}
