//! Builds as a tool sees them that builds again at each save: what is watched, what is said, and how one is given up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;

use tempfile::TempDir;
use tidegate_build::{Build, BuildError, Messages, Toolchain};

static TOOLCHAIN: LazyLock<Toolchain> =
    LazyLock::new(|| Toolchain::find().unwrap_or_else(|error| panic!("{error}")));

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it has a folder")).expect("a folder can be made");
        fs::write(file, text).expect("a temporary file can be written");
    }
    folder
}

fn manifest(name: &str, more: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{more}")
}

fn whole(path: &Path) -> PathBuf {
    path.canonicalize().expect("it is there")
}

#[test]
fn the_sources_are_those_of_the_crate_and_of_what_it_is_built_from() {
    let one = "[dependencies]\npart = {path = \"../part\"}\n[dev-dependencies]\nkit = {path = \"../kit\"}\n";
    let files = [
        ("one/Cargo.toml", manifest("one", one)),
        ("one/src/lib.rs", String::new()),
        ("part/Cargo.toml", manifest("part", "[build-dependencies]\nmaker = {path = \"../maker\"}\n")),
        ("part/src/lib.rs", String::new()),
        ("part/build.rs", "fn main() {}".to_owned()),
        ("maker/Cargo.toml", manifest("maker", "")),
        ("maker/src/lib.rs", String::new()),
        ("kit/Cargo.toml", manifest("kit", "")),
        ("kit/src/lib.rs", String::new()),
    ];
    let folder = folder(&files.each_ref().map(|(name, text)| (*name, &**text)));
    let root = whole(folder.path());
    let sources = Build::new(root.join("one")).sources(&TOOLCHAIN).expect("cargo can say");
    let watched: BTreeSet<_> = sources.folders().map(Path::to_owned).collect();
    assert_eq!(watched, ["maker", "one", "part"].map(|name| root.join(name)).into());
    assert_eq!(sources.shared_folders().count(), 0, "what is shared is in a crate's folder");
    for concerned in
        ["one/src/lib.rs", "one/src/new.rs", "one/Cargo.lock", "part/build.rs", "maker/Cargo.toml"]
    {
        assert!(sources.concern(&root.join(concerned)), "{concerned}");
    }
    for other in
        ["kit/src/lib.rs", "one/target/x", "one/.git/index", "one/src/.lib.rs.swp", "one/src/lib.rs~", "x"]
    {
        assert!(!sources.concern(&root.join(other)), "{other}");
    }
}

#[test]
fn the_sources_of_a_workspaces_member_have_the_workspaces_manifest() {
    let folder = folder(&[
        ("Cargo.toml", "[workspace]\nmembers = [\"one\", \"other\"]\nresolver = \"3\"\n"),
        ("one/Cargo.toml", &manifest("one", "")),
        ("one/src/lib.rs", ""),
        ("other/Cargo.toml", &manifest("other", "")),
        ("other/src/main.rs", "fn main() {}"),
    ]);
    let root = whole(folder.path());
    let sources = Build::new(root.join("one")).sources(&TOOLCHAIN).expect("cargo can say");
    assert!(sources.concern(&root.join("Cargo.toml")) && sources.concern(&root.join("Cargo.lock")));
    assert!(!sources.concern(&root.join("other/src/main.rs")));
    // What else is in the workspace is not watched: it may be a whole repository.
    assert_eq!(sources.folders().collect::<Vec<_>>(), [root.join("one")]);
    assert_eq!(sources.shared_folders().collect::<Vec<_>>(), [&*root]);
    for (file, depends) in [("Cargo.lock", true), ("one/Cargo.toml", true), ("one/src/lib.rs", false)] {
        assert_eq!(sources.depend_on(&root.join(file)), depends, "{file}");
    }

    // And it is said which of its crates could be meant.
    match Build::new(&root).run_with(&TOOLCHAIN) {
        Err(BuildError::Workspace { members, .. }) => assert_eq!(members, [root.join("one")]),
        other => panic!("{other:?}"),
    }
    match Build::new(root.join("other")).run_with(&TOOLCHAIN) {
        Err(BuildError::NoModule { folder }) => assert_eq!(folder, root.join("other")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_rustc_says_is_captured_with_its_place_and_with_colours_where_they_are_wanted() {
    let folder = folder(&[
        ("Cargo.toml", &manifest("broken", "")),
        ("src/lib.rs", "pub fn one() -> u8 {\n    \"two\"\n}\n"),
    ]);
    let build = |colours| Build::new(folder.path()).messages(Messages::Captured { colours });
    for colours in [false, true] {
        match build(colours).start(&TOOLCHAIN).expect("cargo starts").wait() {
            Err(BuildError::Failed { messages, .. }) => {
                assert!(messages.contains("src/lib.rs:2:5"), "{messages}");
                assert_eq!(messages.contains('\u{1b}'), colours, "{messages}");
            }
            other => panic!("{other:?}"),
        }
    }
    fs::write(folder.path().join("src/lib.rs"), "fn unused() {}\n").expect("it can be written");
    let built = build(false).start(&TOOLCHAIN).expect("cargo starts").wait().expect("it builds");
    assert!(built.messages.contains("function `unused` is never used"), "{}", built.messages);
    assert!(fs::read(&built.module).is_ok_and(|module| module.starts_with(b"\0asm")));
}

#[test]
fn a_build_that_is_cancelled_ends_at_once_with_all_that_it_started() {
    let folder = folder(&[
        ("Cargo.toml", &manifest("slow", "")),
        ("src/lib.rs", ""),
        // It says that it runs, and never ends.
        (
            "build.rs",
            "fn main() {\n    std::fs::write(\"part\", std::process::id().to_string()).unwrap();\n    \
             std::fs::rename(\"part\", \"running\").unwrap();\n    loop { std::thread::park(); }\n}\n",
        ),
    ]);
    let build = Build::new(folder.path()).messages(Messages::Captured { colours: false });
    let running = build.start(&TOOLCHAIN).expect("cargo starts");
    let cancel = running.cancel();
    let waiting = thread::spawn(|| running.wait());
    let marker = folder.path().join("running");
    let id = loop {
        match fs::read_to_string(&marker) {
            Ok(id) => break id,
            Err(_) => thread::yield_now(),
        }
        assert!(!waiting.is_finished(), "{:?}", waiting.join());
    };
    cancel.now();
    let ended = waiting.join().expect("it does not panic");
    assert!(matches!(ended, Err(BuildError::Cancelled { .. })), "{ended:?}");
    // Whoever inherits it may not have asked for its end yet: then it is a zombie.
    let is_gone = || {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ") || status.contains("State:\tX")
    };
    while !is_gone() {
        thread::yield_now();
    }
    cancel.now();
}

#[test]
fn debug_information_is_put_beside_the_module_and_goes_when_there_is_none_any_more() {
    let lines = "[profile.release]\ndebug = \"line-tables-only\"\n";
    let folder = folder(&[
        ("Cargo.toml", &manifest("small", lines)),
        ("src/lib.rs", "#[unsafe(no_mangle)]\nextern \"C\" fn one(x: u32) -> u32 { x + 1 }\n"),
    ]);
    let build = Build::new(folder.path());
    let whole = fs::read(build.run_with(&TOOLCHAIN).expect("it builds")).expect("it can be read");
    let module = build.clone().separate_debug_info().run_with(&TOOLCHAIN).expect("it builds");
    let beside = module.with_extension("debug.wasm");
    assert_eq!(fs::read(&beside).expect("it is there"), whole);
    let stripped = fs::read(&module).expect("it can be read");
    assert!(stripped.len() < whole.len(), "{} of {}", stripped.len(), whole.len());
    assert_eq!(build.run_with(&TOOLCHAIN).expect("it builds"), module);
    assert!(!beside.exists());
}
