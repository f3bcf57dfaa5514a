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
              reply             yes
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
fn of_a_file_that_breaks_off_only_what_is_there_is_shown() {
    let whole = guest("headers");
    let text = inspect(&whole[..whole.len() / 2], &[]).stdout;
    let size =
        Regex::new(r"  size +[\d.]+ KiB, not readable to its end: what follows is of the part before\n");
    assert!(size.expect("it is one").is_match(&text), "{text}");
    for absent in ["made with", "custom sections", "traps show"] {
        assert!(!text.contains(absent), "it may be in the other part:\n{text}");
    }
    assert!(text.contains("  memory  ") && text.contains("proxy_on_request_headers"), "{text}");
    let cut = inspect(&whole[..whole.len() / 2], &["--format", "json"]).stdout;
    let cut: serde_json::Value = serde_json::from_str(&cut).expect("it is JSON");
    assert_eq!(cut["module"]["is_whole"], false);
    let number = |value: &serde_json::Value| value.as_u64().expect("it is a number");
    assert!(number(&cut["module"]["code_size"]) < number(&cut["size"]), "{cut}");
}

#[cfg(feature = "builtin")]
#[test]
fn a_shipped_filter_is_named_as_in_a_configuration() {
    let run = |name: &str| Proxy::with_text("").run_in(&["filter", "inspect", name]);
    let exit = run("builtin:authz");
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""));
    assert!(exit.stdout.starts_with("builtin:authz will load\n"), "{}", exit.stdout);
    assert!(exit.stdout.contains("\nManifest of authz "), "{}", exit.stdout);
    let exit = run("builtin:auth");
    let says = "error: there is no built-in filter `auth`: shipped are ";
    assert!(exit.code == Some(1) && exit.stderr.starts_with(says), "{}", exit.stderr);
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
    assert_eq!(
        exit.stderr,
        "error: cannot read no/such.wasm: No such file or directory (os error 2); `tidegate filter build` makes the module of a crate"
    );
    let exit = run("/dev/zero");
    assert_eq!((exit.code, &*exit.stderr), (Some(1), "error: /dev/zero is larger than 64 MiB"));
}
