//! What is written builds, is in good form whatever its name, and needs no crate that tidegate itself does not need.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect_file;
use tempfile::TempDir;
use tidegate_template::{
    CreateError, File, Name, SDK_FOLDER, Update, UpdateError, create, files, update_sdk,
};

fn name(text: &str) -> Name {
    Name::parse(text).expect("it is a name")
}

/// A new filter of this name in a folder of the test's own.
fn new(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let made = folder.path().join(text);
    create(&name(text), &made).expect("it is not there yet");
    (folder, made)
}

/// cargo in a folder, without the network and without what the cargo that runs this test says to its own children.
fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO") && name != "CARGO_HOME") {
        cargo.env_remove(name);
    }
    // One for all tests, kept: dependencies are built once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("template");
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    cargo.args(arguments);
    cargo
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{error}");
    out.into_owned()
}

/// Name and version of what a lock file has from the registry.
fn locked(lock: &str) -> BTreeSet<(String, String)> {
    let packages = lock.split("[[package]]").filter(|package| package.contains("\nchecksum = "));
    let field = |package: &str, key: &str| {
        let start = format!("{key} = \"");
        let line = package.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix('"'));
        line.expect("a package has it").to_owned()
    };
    packages.map(|package| (field(package, "name"), field(package, "version"))).collect()
}

#[test]
fn its_lock_file_is_whole_and_has_the_versions_that_the_workspace_has() {
    let workspace = std::fs::read_to_string("../../Cargo.lock").expect("the workspace has a lock file");
    let (_folder, made) = new("a-filter");
    let file = made.join("Cargo.lock");
    let shipped = std::fs::read_to_string(&file).expect("it is there");
    // From the workspace's, cargo keeps what is needed: with UPDATE_EXPECT=1 that is what is shipped.
    std::fs::write(&file, &workspace).expect("it can be replaced");
    succeed(&mut cargo(&made, &["metadata", "--format-version", "1"]));
    let pruned = std::fs::read_to_string(&file).expect("it is there");
    expect_file!["../template/Cargo.lock.in"].assert_eq(&pruned.replace("a-filter", "{{name}}"));
    assert_eq!(shipped, pruned, "cargo has nothing to change in it");
    assert!(locked(&pruned).is_subset(&locked(&workspace)), "{pruned}");
    assert!(locked(&pruned).len() > 10, "{pruned}");
}

#[test]
fn it_passes_its_own_tests_and_clippy_without_the_network_and_with_its_lock_file_as_it_is() {
    let (_folder, made) = new("a-filter");
    succeed(&mut cargo(&made, &["clippy", "--all-targets", "--locked", "--", "--deny", "warnings"]));
    let said = succeed(&mut cargo(&made, &["test", "--locked"]));
    assert!(said.contains("test result: ok. 2 passed"), "{said}");
}

#[test]
fn it_is_as_rustfmt_wants_it_with_the_shortest_and_the_longest_name() {
    for text in ["a", &"long-name-to-be-wrapped".repeat(3)[..48]] {
        let (_folder, made) = new(text);
        let file = made.join("src/lib.rs");
        succeed(Command::new("rustfmt").args(["--check", "--edition", "2024"]).arg(file));
    }
}

#[test]
fn it_is_the_same_each_time_and_has_no_place_that_was_not_filled() {
    let made = files(&name("my-filter"));
    assert_eq!(made, files(&name("my-filter")));
    for File { path, text } in made.iter().filter(|file| !file.path.starts_with(SDK_FOLDER)) {
        assert!(!text.contains("{{"), "{path}: {text}");
    }
    let source = made.iter().find(|file| file.path == "src/lib.rs").expect("it has one");
    assert!(source.text.contains("\"my_filter_passed\""), "{}", source.text);
}

#[test]
fn the_sdk_in_it_is_that_of_the_workspace() {
    let (_folder, made) = new("a-filter");
    let theirs = Path::new("../tidegate-sdk/src");
    let mut pending = vec![theirs.to_owned()];
    let mut compared = 0;
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).expect("the SDK is beside this") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let copy =
                made.join(SDK_FOLDER).join("src").join(path.strip_prefix(theirs).expect("it is in it"));
            assert_eq!(std::fs::read(&copy).ok(), std::fs::read(&path).ok(), "{}", copy.display());
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
    let manifest = std::fs::read_to_string(made.join(SDK_FOLDER).join("Cargo.toml")).expect("it has one");
    assert!(!manifest.contains("workspace") && !manifest.contains("path ="), "{manifest}");
    assert!(manifest.contains("\nlog = { version = \"0.4\", features = [\"kv_std\"] }\n"), "{manifest}");
}

#[test]
fn a_folder_with_something_in_it_is_left_alone_and_an_empty_one_is_used() {
    let (folder, made) = new("a-filter");
    let before = std::fs::read(made.join("Cargo.toml")).expect("it is there");
    let again = create(&name("another"), &made);
    assert!(matches!(again, Err(CreateError::NotEmpty(there)) if there == made));
    assert_eq!(std::fs::read(made.join("Cargo.toml")).expect("it is still there"), before);

    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("it can be written");
    assert!(matches!(create(&name("another"), &file), Err(CreateError::NotAFolder(_))));

    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).expect("it can be made");
    std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let before = std::fs::metadata(&empty).expect("it is there");
    create(&name("another"), &empty).expect("there is nothing in it");
    let after = std::fs::metadata(&empty).expect("it is there");
    assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()), "somebody may stand in it");
    let made: BTreeSet<_> =
        std::fs::read_dir(&empty).expect("it can be read").flatten().map(|entry| entry.file_name()).collect();
    let files = files(&name("another"));
    let expected = files.iter().map(|file| file.path.split('/').next().unwrap_or_default().into());
    assert_eq!(made, expected.collect());
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).expect("it can be read").flatten().collect();
    left.sort_by_key(std::fs::DirEntry::file_name);
    let left: Vec<_> = left.iter().map(std::fs::DirEntry::file_name).collect();
    assert_eq!(left, ["a-filter", "empty", "file"], "nothing half-made is left");
}

#[test]
fn an_older_sdk_is_replaced_and_the_same_one_is_left() {
    let (folder, made) = new("a-filter");
    assert_eq!(update_sdk(&made).expect("it has one"), Update::Same);

    let sdk = made.join(SDK_FOLDER);
    let manifest = std::fs::read_to_string(sdk.join("Cargo.toml")).expect("it has one");
    std::fs::write(sdk.join("Cargo.toml"), manifest.replace("version = \"0.1.0\"", "version = \"0.0.9\""))
        .expect("it can be changed");
    assert_eq!(update_sdk(&made).expect("it has one"), Update::Replaced { from: Some("0.0.9".to_owned()) });
    assert_eq!(update_sdk(&made).expect("it has one"), Update::Same);

    std::fs::write(sdk.join("src/gone.rs"), "").expect("it can be written");
    assert_eq!(update_sdk(&made).expect("it has one"), Update::Replaced { from: Some("0.1.0".to_owned()) });
    assert!(!sdk.join("src/gone.rs").exists());
    let left: Vec<_> = std::fs::read_dir(made.join("vendor")).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    assert!(matches!(update_sdk(folder.path()), Err(UpdateError::NotThere(_))));
}

#[test]
fn a_name_that_no_crate_can_have_is_refused_with_one_that_it_can() {
    for (bad, suggestion) in [
        ("My Filter", Some("my-filter")),
        ("filters/guard", Some("guard")),
        ("../guard/", Some("guard")),
        ("2fast", Some("filter-2fast")),
        ("-guard", Some("guard")),
        ("_guard", Some("guard")),
        ("wächter", Some("w-chter")),
        ("serde", Some("serde-filter")),
        ("serde_json", Some("serde_json-filter")),
        ("async", Some("async-filter")),
        ("test", Some("test-filter")),
        ("", None),
        ("…", None),
        ("\u{1b}[31m", Some("31m-filter")),
    ] {
        let refused = Name::parse(bad).expect_err(bad);
        if bad == "\u{1b}[31m" {
            assert!(!refused.to_string().contains('\u{1b}'), "{refused:?}");
            continue;
        }
        assert_eq!(refused.suggestion.as_deref(), suggestion, "{bad}: {refused}");
        assert!(refused.suggestion.is_none_or(|name| Name::parse(&name).is_ok()), "{bad}");
    }
    let long = "a".repeat(49);
    assert_eq!(Name::parse(&long).expect_err("it is too long").suggestion, Some("a".repeat(48)));
    for good in ["guard", "a", "my-filter", "my_filter2"] {
        assert_eq!(name(good).as_str(), good);
    }
    assert_eq!(name("my-filter").ident(), "my_filter");
}
