//! `tidegate filter inspect`, as the authors of filters run it.

use expect_test::{Expect, expect};
use regex::Regex;

use crate::equipment::{Exit, Guest, Proxy};

/// Runs it on a file with this content.
fn inspect(content: &[u8], more: &[&str]) -> Exit {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("filter.wasm");
    std::fs::write(&file, content).expect("a temporary file can be written");
    let path = file.to_str().expect("temporary folders have plain names");
    let mut exit = Proxy::with_text("").run_in(&[&["filter", "inspect", path], more].concat());
    exit.stdout = exit.stdout.replace(path, "filter.wasm");
    exit
}

/// What is said of the whole of a module, on lines that are not broken. What differs from one compiler to the next is `#`.
fn check(content: &[u8], expected: Expect) {
    let Exit { code, stdout, stderr } = inspect(content, &[]);
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    let (whole, _) = stdout.split_once("\nExports").expect("it has some");
    let whole = Regex::new(r",\n +").expect("it is one").replace_all(whole, ", ");
    let varies = r"[\d.]+ (KiB|MiB|bytes)|\d+ (functions|entries)|rustc [\d.]+ \([^)]*\)|\b\d+\.\d+\.\d+ \(SDK\)|\b[0-9a-f]{64}\b";
    expected.assert_eq(&Regex::new(varies).expect("it is one").replace_all(&whole, "#"));
    assert!(!stdout.contains("\nNotes"), "there is nothing to be said against it:\n{stdout}");
}

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(guests::module(name)).expect("it was built")
}

#[test]
fn a_filter_of_the_rust_sdk_is_recognised() {
    check(
        &guest("headers"),
        expect![[r#"
            filter.wasm will load

              SHA-256           #
              signatures        none
              size              #, of which code # in #, data #
              ABI               0.2.1
              made with         Rust, #, proxy-wasm #
              memory            # at first, no limit of its own
              allocator         malloc
              tables            #
              traps show        names of functions, no source lines
              custom sections   name (#), producers (#), target_features (#)
        "#]],
    );
}

#[cfg(feature = "builtin")]
#[test]
fn a_shipped_filter_is_recognised() {
    let module = tidegate_filter_bundle::module("fault").expect("it is shipped");
    check(
        module,
        expect![[r#"
            filter.wasm will load

              SHA-256           #
              signatures        none
              size              #, of which code # in #, data #
              ABI               0.2.1
              made with         Rust, #, proxy-wasm #, tidegate-sdk (SDK)
              memory            # at first, no limit of its own
              allocator         malloc
              tables            #
              traps show        names of functions, no source lines
              custom sections   tidegate.manifest (#), name (#), producers (#), target_features (#)

            Manifest of fault 0.1.0, which asks for
              headers.read      *
              headers.write     content-length
              body              write
              properties.read   *
              metrics           fault_*
              reply             true
        "#]],
    );
}

#[test]
fn what_the_exit_code_says_is_whether_it_loads() {
    let loads = Guest::new().build();
    assert_eq!(inspect(&loads, &[]).code, Some(0));
    assert_eq!(inspect(&loads, &["--format", "json"]).code, Some(0));
    for refused in [&b"(module)"[..], &loads[..loads.len() / 2]] {
        let exit = inspect(refused, &[]);
        assert_eq!(exit.code, Some(1));
        assert!(exit.stdout.starts_with("filter.wasm will not load\n\nProblems\n  - "), "{}", exit.stdout);
        assert_eq!(exit.stderr, "");
        assert_eq!(inspect(refused, &["--format", "json"]).code, Some(1));
    }
    assert_eq!(inspect(&loads, &["--format", "yaml"]).code, Some(2));
}

#[test]
fn json_is_one_object_for_tools() {
    let exit = inspect(&Guest::new().build(), &["--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&exit.stdout).expect("it is JSON");
    assert_eq!(report["loads"], true);
    assert_eq!(report["module"]["abi_version"], "0.2.1");
    let exit = inspect(b"\x1f\x8b\x08", &["--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&exit.stdout).expect("it is JSON");
    assert_eq!((&report["loads"], &report["problems"][0]["reason"]), (&false.into(), &"not_wasm".into()));
    assert!(report.get("module").is_none());
}

#[test]
fn a_file_that_cannot_be_read_and_one_that_has_no_end_are_an_error() {
    let run = |path: &str| Proxy::with_text("").run_in(&["filter", "inspect", path]);
    let exit = run("no/such.wasm");
    assert_eq!((exit.code, &*exit.stdout), (Some(1), ""));
    assert_eq!(exit.stderr, "error: cannot read no/such.wasm: No such file or directory (os error 2)");
    let exit = run("/dev/zero");
    assert_eq!((exit.code, &*exit.stderr), (Some(1), "error: /dev/zero is larger than 64 MiB"));
}
