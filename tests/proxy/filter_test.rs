//! `tidegate filter test`, as the authors of filters run it.

mod bad_files;
mod expectations;
mod failures;

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
