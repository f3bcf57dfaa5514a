//! `tidegate filter new` and `build`, as one runs them who begins: in an empty folder, without the network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::equipment::{Answer, Exit, Proxy, Upstream, forwarding, in_listener, message};

/// Runs the built `tidegate` in a folder. What it starts has no network.
fn tidegate(folder: &Path, arguments: &[&str]) -> Exit {
    let binary = std::env::var("TIDEGATE_BINARY");
    let binary = binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_tidegate"));
    let mut command = Command::new(binary);
    command.current_dir(folder).args(arguments).env("CARGO_NET_OFFLINE", "true");
    let output = command.output().expect("the proxy's binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    Exit { code: output.status.code(), stderr: text(output.stderr), stdout: text(output.stdout) }
}

#[track_caller]
pub(super) fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let Exit { code, stdout, stderr } = tidegate(folder, arguments);
    assert_eq!(code, Some(0), "{arguments:?}\n{stdout}\n{stderr}");
    stdout
}

fn empty() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// A new filter, built once for all tests, and what was said.
struct Made {
    folder: TempDir,
    new: String,
    build: String,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let folder = empty();
    let new = succeed(folder.path(), &["filter", "new", "my-filter"]);
    let build = succeed(&folder.path().join("my-filter"), &["filter", "build"]);
    Made { folder, new, build }
});

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("my-filter").join(name)
    }

    fn module(&self) -> Vec<u8> {
        fs::read(self.path("target/wasm/modules/my_filter.wasm")).expect("it was built")
    }

    /// A copy of it, built as far as it is, in which this text of the source is another.
    fn with(&self, text: &str, other: &str) -> TempDir {
        let folder = empty();
        let copied = Command::new("cp").arg("-a").arg(self.path("")).arg(folder.path().join("copy")).status();
        assert!(copied.expect("there is cp").success());
        let file = folder.path().join("copy/src/lib.rs");
        let source = fs::read_to_string(&file).expect("it is text");
        assert!(source.contains(text), "{source}");
        fs::write(file, source.replacen(text, other, 1)).expect("it can be written");
        folder
    }
}

/// Serves with this module, configured as the crate's README says.
fn serve(files: &[(&str, Vec<u8>)]) -> (Proxy, Upstream) {
    let upstream = Upstream::start(|_| Answer::ok("from the service"));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [my-filter]"]);
    let page = fs::read_to_string(MADE.path("README.md")).expect("it has one");
    let (_, filters) = page.split_once("```yaml\n").expect("it shows a configuration");
    let (filters, _) = filters.split_once("```").expect("it ends");
    let config = format!("{config}\n{filters}");
    let start = Proxy::with(&config);
    let start = files.iter().fold(start, |start, (name, content)| start.file(name, content.clone()));
    (start.start(), upstream)
}

#[test]
fn two_commands_lead_to_a_filter_that_serves() {
    let made = &*MADE;
    assert!(
        made.new.starts_with("Wrote the filter `my-filter` into my-filter:\n  Cargo.toml\n"),
        "{}",
        made.new
    );
    assert!(made.new.ends_with("\nNext: cd my-filter && tidegate dev\n"), "{}", made.new);
    let (said, next) = made.build.split_once('\n').expect("it says two things");
    assert!(said.starts_with("target/wasm/modules/my_filter.wasm: "), "{said}");
    assert!(said.contains(" KiB, ABI 0.2.1, tidegate-sdk, built in "), "{said}");
    assert_eq!(next, "\nNext: tidegate filter test\n");

    let (proxy, upstream) = serve(&[("my_filter.wasm", made.module())]);
    let passed = proxy.client().get("/");
    assert_eq!((passed.status(), passed.field("x-my-filter")), (200, Some("passed")));
    let refused = proxy.client().get("/admin/users");
    assert_eq!((refused.status(), &*refused.text()), (403, "say who you are: x-team\n"));
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(proxy.metrics().sum("wasmcustom_my_filter_refused_total", &[]), 1.0);
}

#[test]
fn a_new_filter_passes_its_own_cases() {
    let said = succeed(&MADE.path(""), &["filter", "test", "--format", "json"]);
    let report: Value = serde_json::from_str(&said).expect("it is JSON");
    let cases = report["files"][0]["cases"].as_array().expect("it has cases");
    assert!(!cases.is_empty() && cases.iter().all(|case| case["passed"] == true), "{report:#}");
}

#[test]
fn what_is_built_is_small_and_has_nothing_that_inspect_would_object_to() {
    let made = &*MADE;
    let module = made.module();
    assert!(module.len() < 400 << 10, "{}", module.len());
    let said = succeed(
        &made.path(""),
        &["filter", "inspect", "target/wasm/modules/my_filter.wasm", "--format", "json"],
    );
    let report: Value = serde_json::from_str(&said).expect("it is JSON");
    assert_eq!((&report["loads"], &report["notes"]), (&true.into(), &Value::Array(Vec::new())));
    assert_eq!(report["module"]["has_names"], true);
}

#[test]
fn a_build_changes_nothing_in_the_crate_but_its_target_folder() {
    let (made, fresh) = (&*MADE, empty());
    succeed(fresh.path(), &["filter", "new", "my-filter", "--path", "elsewhere/mine"]);
    let differences = Command::new("diff")
        .args(["-r", "-q", "-x", "target"])
        .arg(made.path(""))
        .arg(fresh.path().join("elsewhere/mine"))
        .output()
        .expect("there is diff");
    assert!(differences.status.success(), "{}", String::from_utf8_lossy(&differences.stdout));
}

#[test]
fn a_fault_of_a_filter_names_its_source_line() {
    let folder =
        MADE.with("let target = request.path();", "let target = request.path();\n        boom(&target);");
    let file = folder.path().join("copy/src/lib.rs");
    let source = fs::read_to_string(&file).expect("it is text");
    let source = format!(
        "{source}\n#[inline(never)]\nfn boom(target: &str) {{\n    if target == \"/boom\" {{\n        core::arch::wasm32::unreachable();\n    }}\n}}\n"
    );
    let line = source.lines().position(|line| line.contains("wasm32::unreachable")).expect("it is there") + 1;
    fs::write(file, source).expect("it can be written");
    succeed(folder.path(), &["filter", "build", "copy", "--out", "out/my_filter.wasm"]);
    let read = |name: &str| fs::read(folder.path().join("out").join(name)).expect("it was put there");
    let files = ["my_filter.wasm", "my_filter.debug.wasm"].map(|name| (name, read(name)));
    assert!(files[0].1.len() < files[1].1.len());
    let (proxy, _upstream) = serve(&files);
    assert_eq!(proxy.client().get("/boom").status(), 503);
    let place = format!("src/lib.rs:{line}");
    proxy.wait_for_log("the fault with its line", |event| {
        event.to_string().contains(&place) && !message(event).is_empty()
    });
}

#[test]
fn a_crate_that_does_not_compile_shows_what_rustc_says_and_one_line() {
    let folder = MADE.with("Next::Continue", "Next::Go");
    let Exit { code, stdout, stderr } = tidegate(folder.path(), &["filter", "build", "copy"]);
    assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
    let at = stderr.find("error[E0599]: no variant or associated item named `Go`").expect("rustc's message");
    assert!(stderr[at..].contains("--> src/lib.rs:"), "{stderr}");
    let (_, ours) = stderr.rsplit_once("error: could not compile `my-filter`").expect("cargo's last word");
    let ours: Vec<_> = ours.lines().skip(1).collect();
    assert_eq!(
        ours,
        ["error: cargo could not build copy for wasm32-unknown-unknown (its messages are above)"]
    );
    assert!(!stderr.contains('\u{1b}'), "there is no terminal: {stderr}");
}

#[test]
fn a_module_that_will_not_load_is_said_to_be_that_when_it_is_built() {
    let folder = empty();
    fs::create_dir(folder.path().join("src")).expect("a folder can be made");
    let manifest = "[package]\nname = \"odd\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    fs::write(folder.path().join("Cargo.toml"), manifest).expect("it can be written");
    let source = "unsafe extern \"C\" { fn no_such_call(); }\n\
        #[unsafe(no_mangle)]\nextern \"C\" fn proxy_abi_version_0_2_1() { unsafe { no_such_call() } }\n";
    fs::write(folder.path().join("src/lib.rs"), source).expect("it can be written");
    let Exit { code, stdout, .. } = tidegate(folder.path(), &["filter", "build"]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("target/wasm/modules/odd.wasm: "), "{stdout}");
    assert!(stdout.contains(", will not load, built in ") && stdout.contains("no_such_call"), "{stdout}");
    assert!(stdout.ends_with("\nNext: tidegate filter inspect target/wasm/modules/odd.wasm\n"), "{stdout}");

    let Exit { code, stdout, .. } = tidegate(folder.path(), &["filter", "build", "--format", "json"]);
    let outcome: Value = serde_json::from_str(&stdout).expect("it is JSON");
    assert_eq!(
        (code, &outcome["report"]["loads"], &outcome["profile"]),
        (Some(1), &false.into(), &"release".into())
    );
    assert!(
        outcome["module"].as_str().is_some_and(|path| path.ends_with("/target/wasm/modules/odd.wasm")),
        "{outcome}"
    );
}

#[test]
fn what_cannot_be_made_or_built_is_refused_with_what_to_do() {
    let folder = empty();
    let here = folder.path();
    fs::create_dir(here.join("full")).expect("a folder can be made");
    fs::write(here.join("full/precious"), "").expect("it can be written");
    fs::create_dir(here.join("crate")).expect("a folder can be made");
    fs::write(here.join("crate/Cargo.toml"), "").expect("it can be written");
    for (arguments, code, says) in [
        (&["new", "My Filter"][..], 2, "try `tidegate filter new my-filter`"),
        (
            &["new", "filters/guard"],
            2,
            "--path FOLDER says where the crate is written; try `tidegate filter new guard`",
        ),
        (&["new", "async"], 2, "try `tidegate filter new async-filter`"),
        (
            &["new", "full"],
            1,
            "error: full is there already, and not empty: name another folder with --path\n",
        ),
        (
            &["build"],
            1,
            "there is no Cargo.toml in .: name the folder of a filter's crate, or make one with `tidegate filter new NAME`\n",
        ),
        (&["build", "full"], 1, "there is no Cargo.toml in full"),
        (&["inspect", "crate"], 1, "crate is a crate: `tidegate filter build crate` makes its module\n"),
        (
            &["sign", "--key", "k.pem", "m.wasm"],
            1,
            "`openssl genpkey -algorithm ed25519 -out k.pem` makes a key\n",
        ),
        (
            &["update-sdk"],
            1,
            "there is no SDK in ./vendor/tidegate-sdk: `tidegate filter new NAME` makes a crate that has one\n",
        ),
    ] {
        let exit = tidegate(here, &[&["filter"], arguments].concat());
        assert_eq!((exit.code, &*exit.stdout), (Some(code), ""), "{arguments:?}: {}", exit.stderr);
        assert!(exit.stderr.contains(says), "{arguments:?}: {}", exit.stderr);
    }
    let left = fs::read_dir(here).expect("it can be read").flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["crate", "full"]);
}

#[test]
fn an_sdk_that_was_changed_is_brought_back() {
    let folder = empty();
    succeed(folder.path(), &["filter", "new", "guard"]);
    let said = succeed(folder.path(), &["filter", "update-sdk", "guard"]);
    assert_eq!(said, "guard/vendor/tidegate-sdk is the SDK of tidegate 0.1.0 already\n");
    let file = folder.path().join("guard/vendor/tidegate-sdk/src/lib.rs");
    let before = fs::read(&file).expect("it is there");
    fs::write(&file, "").expect("it can be written");
    let said = succeed(folder.path(), &["filter", "update-sdk", "guard"]);
    assert_eq!(
        said,
        "guard/vendor/tidegate-sdk is the SDK of tidegate 0.1.0 now\n\nNext: tidegate filter build guard\n"
    );
    assert_eq!(fs::read(&file).expect("it is there"), before);
}
