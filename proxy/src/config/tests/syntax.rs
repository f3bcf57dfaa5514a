//! What is told about text that is not one YAML document of a reasonable size.

use std::path::Path;

use expect_test::expect;

use super::super::load;
use super::problems;

#[test]
fn an_empty_file() {
    expect![[r#"
        error: tidegate.yaml: the file is empty
         |
         = help: it needs `listeners` at least; a first one is examples/quickstart/tidegate.yaml
    "#]]
    .assert_eq(&problems(""));
    assert_eq!(problems("# comments only\n"), problems(""));
    assert_eq!(problems("---\n"), problems(""));
    assert_eq!(problems("~"), problems(""));
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |path: &Path| {
        load(path).unwrap_err().to_string().replace(&folder.path().display().to_string(), "FOLDER")
    };
    expect![[r#"
        error: FOLDER/missing.yaml: the file cannot be read: No such file or directory (os error 2)
         |
         = help: check the name, and the folder that you are in"#]]
    .assert_eq(&shown(&folder.path().join("missing.yaml")));
    expect![[r#"
        error: FOLDER: the file cannot be read: Is a directory (os error 21)
         |
         = help: give a file: the configuration is one file"#]]
    .assert_eq(&shown(folder.path()));
    let latin = folder.path().join("latin-1.yaml");
    std::fs::write(&latin, b"a: 1\nb: caf\xe9\n").unwrap();
    expect![[r#"
        error: FOLDER/latin-1.yaml: the file is not UTF-8 text: see line 2
         |
         = help: save it as UTF-8"#]]
    .assert_eq(&shown(&latin));
}

#[test]
fn a_file_that_is_too_large() {
    let text = "#".repeat((16 << 20) + 1);
    expect![[r#"
        error: tidegate.yaml: the file is larger than 16 MiB
         |
         = help: is it the right file?
    "#]]
    .assert_eq(&problems(&text));
}

#[test]
fn tabs() {
    expect![[r#"
        error: this is not valid YAML: tabs disallowed within this context (block indentation)
         --> tidegate.yaml:2:2
          |
        2 |     - name: x
          |     ^
          |
          = help: indent with spaces: YAML does not allow tabs
    "#]]
    .assert_eq(&problems("listeners:\n\t- name: x\n"));
    expect![[r#"
        error: this is not valid YAML: while scanning a plain scalar, found a tab
         --> tidegate.yaml:2:12
          |
        2 |   address: x
          |            ^
          |
          = help: indent with spaces: YAML does not allow tabs
    "#]]
    .assert_eq(&problems("admin:\n  address: x\n\tother: y\n"));
}

#[test]
fn what_is_not_yaml() {
    expect![[r#"
        error: this is not valid YAML: illegal placement of ':' indicator
         --> tidegate.yaml:2:9
          |
        2 | clusters: {}
          |         ^
          |
          = help: a text that has `: ` in it needs quotes; otherwise look at the indentation and for brackets left open
    "#]]
    .assert_eq(&problems("listeners: [a, b\nclusters: {}\n"));
    expect![[r#"
        error: this is not valid YAML: while scanning a quoted scalar, found unexpected end of stream
         --> tidegate.yaml:1:4
          |
        1 | a: "never closed
          |    ^
          |
          = help: a quote or bracket is opened but never closed
    "#]]
    .assert_eq(&problems("a: \"never closed\n"));
    expect![[r#"
        error: this is not valid YAML: while parsing node, found unknown anchor
         --> tidegate.yaml:1:7
          |
        1 | host: *.example.com
          |       ^
          |
          = help: a text that begins with `*` or `&` needs quotes, as in "*.example.com"
    "#]]
    .assert_eq(&problems("host: *.example.com\n"));
    expect![[r#"
        error: this is not valid YAML: while parsing a block mapping, did not find expected key
         --> tidegate.yaml:1:15
          |
        1 | address: [::1]:8080
          |               ^
          |
          = help: an IPv6 address needs quotes, as in "[::1]:8080"
    "#]]
    .assert_eq(&problems("address: [::1]:8080\n"));
    expect![[r#"
        error: this is not valid YAML: mapping values are not allowed in this context
         --> tidegate.yaml:1:5
          |
        1 | a: b: c
          |     ^
          |
          = help: a text that has `: ` in it needs quotes; otherwise look at the indentation and for brackets left open
    "#]]
    .assert_eq(&problems("a: b: c\n"));
    expect![[r#"
        error: this is not valid YAML: mapping values are not allowed in this context
         --> tidegate.yaml:2:3
          |
        2 |  b: 2
          |   ^
          |
          = help: a text that has `: ` in it needs quotes; otherwise look at the indentation and for brackets left open
    "#]]
    .assert_eq(&problems("a: 1\n b: 2\n"));
    expect![[r#"
        error: this is not valid YAML: unexpected character: `@'
         --> tidegate.yaml:1:4
          |
        1 | a: @b
          |    ^
          |
          = help: a text that begins with this character needs quotes
    "#]]
    .assert_eq(&problems("a: @b\n"));
    expect![[r#"
        error: this is not valid YAML: while parsing a flow sequence, expected ',' or ']'
         --> tidegate.yaml:1:6
          |
        1 | a: [1}
          |      ^
          |
          = help: look at the indentation, and for a missing `:`, comma, bracket or quote just before this
    "#]]
    .assert_eq(&problems("a: [1}\n"));
}

#[test]
fn not_a_mapping() {
    expect![[r#"
        error: expected a mapping, found `just text`
         --> tidegate.yaml:1:1
          |
        1 | just text
          | ^^^^^^^^^
          |
          = help: its fields are `workers`, `drain_timeout`, `overload`, `locality`, `admin`, `listeners`, `filters`, `clusters`, `trusted_keys`
    "#]]
    .assert_eq(&problems("just text\n"));
    expect![[r#"
        error: expected a mapping, found a list
         --> tidegate.yaml:1:3
          |
        1 | - a
          |   ^
          |
          = help: its fields are `workers`, `drain_timeout`, `overload`, `locality`, `admin`, `listeners`, `filters`, `clusters`, `trusted_keys`
    "#]]
    .assert_eq(&problems("- a\n- b\n"));
}

#[test]
fn a_key_given_twice() {
    expect![[r#"
        error: there are no listeners
         --> tidegate.yaml:2:12
          |
        2 | listeners: []
          |            ^^
          |
          = help: without one no traffic comes in: add one

        error: `workers` is given twice
         --> tidegate.yaml:3:1
          |
        3 | workers: 2
          | ^^^^^^^
          |
          = help: keep one of the two: neither silently wins
    "#]]
    .assert_eq(&problems("workers: 1\nlisteners: []\nworkers: 2\n"));
}

#[test]
fn tags_and_second_documents_and_keys_that_are_not_text() {
    expect![[r#"
        error: YAML tags are not used here
         --> tidegate.yaml:1:12
          |
        1 | listeners: !!seq []
          |            ^^^^^^^
          |
          = help: remove the `!…` before this value

        error: there are no listeners
         --> tidegate.yaml:1:12
          |
        1 | listeners: !!seq []
          |            ^^^^^^^^
          |
          = help: without one no traffic comes in: add one
    "#]]
    .assert_eq(&problems("listeners: !!seq []\n"));
    expect![[r#"
        error: the file has a second document
         --> tidegate.yaml:2:1
          |
        2 | ---
          | ^^^
          |
          = help: keep one configuration in a file: remove this `---` and what follows
    "#]]
    .assert_eq(&problems("listeners: []\n---\nlisteners: []\n"));
    expect![[r#"
        error: a list or mapping cannot be a key
         --> tidegate.yaml:1:1
          |
        1 | [a, b]: 1
          | ^
          |
          = help: keys are plain text
    "#]]
    .assert_eq(&problems("[a, b]: 1\n"));
    expect![[r#"
        error: an alias cannot be a key
         --> tidegate.yaml:2:1
          |
        2 | *x : 2
          | ^^
          |
          = help: write the key out
    "#]]
    .assert_eq(&problems("a: &x 1\n*x : 2\n"));
    expect![[r#"
        error: unknown field `a`
         --> tidegate.yaml:1:1
          |
        1 | a: &x {b: 1}
          | ^
          |
          = help: the fields here are `workers`, `drain_timeout`, `overload`, `locality`, `admin`, `listeners`, `filters`, `clusters`, `trusted_keys`

        error: the field `listeners` is missing here
         --> tidegate.yaml:1:1
          |
        1 | a: &x {b: 1}
          | ^

        error: unknown field `<<`
         --> tidegate.yaml:2:1
          |
        2 | <<: *x
          | ^^
          |
          = help: merge keys are not part of YAML 1.2: write the fields out
    "#]]
    .assert_eq(&problems("a: &x {b: 1}\n<<: *x\n"));
    expect![[r#"
        error: this alias is inside of what it stands for
         --> tidegate.yaml:1:8
          |
        1 | a: &x [*x]
          |        ^^
          |
          = help: write the value out
    "#]]
    .assert_eq(&problems("a: &x [*x]\n"));
}

#[test]
fn numbers_that_nothing_takes() {
    expect![[r#"
        error: the field `listeners` is missing here
         --> tidegate.yaml:1:1
          |
        1 | workers: 99999999999999999999
          | ^^^^^^^

        error: the number `99999999999999999999` does not fit 64 bits
         --> tidegate.yaml:1:10
          |
        1 | workers: 99999999999999999999
          |          ^^^^^^^^^^^^^^^^^^^^
          |
          = help: put it in quotes if it is text

        error: no setting takes the number `.inf`
         --> tidegate.yaml:2:16
          |
        2 | drain_timeout: .inf
          |                ^^^^
          |
          = help: put it in quotes if it is text
    "#]]
    .assert_eq(&problems("workers: 99999999999999999999\ndrain_timeout: .inf\n"));
}

#[test]
fn nesting_without_end() {
    expect![[r#"
        error: this is not valid YAML: recursion limit exceeded
         --> tidegate.yaml:1:256
          |
        1 | ...[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[...
          |                                                                    ^
    "#]].assert_eq(&problems(&"[".repeat(100_000)));
    expect![[r#"
        error: more than 64 lists and mappings are in each other here
         --> tidegate.yaml:1:129
          |
        1 | - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -...
          |                                                                                                                                 ^
          |
          = help: no part of a configuration is this deep
    "#]].assert_eq(&problems(&"- ".repeat(100)));
    // Not deep as written, but once the aliases are.
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..100 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    expect![[r#"
        error: more than 64 lists and mappings are in each other here
          --> tidegate.yaml:64:12
           |
        64 | a63: &a63 [*a62]
           |            ^^^^
           |
           = help: no part of a configuration is this deep
    "#]]
    .assert_eq(&problems(&text));
}

#[test]
fn an_alias_bomb() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    expect![[r#"
        error: the file has more than 2000000 values once its aliases are written out
         --> tidegate.yaml:7:10
          |
        7 | a6: &a6 [*a5, *a5, *a5, *a5, *a5, *a5, *a5, *a5, *a5, *a5]
          |          ^^^
          |
          = help: use fewer aliases, or fewer entries
    "#]]
    .assert_eq(&problems(&text));
}
