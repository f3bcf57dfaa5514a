//! What `tidegate dev` asks of cargo and when, what it watches for that, and what is left of builds that were given up.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Dev, command, running_in};
use crate::equipment::{eventually, tool};

/// A cargo that notes what it is asked and then, unless it is to fail or to wait before it, does that.
const CARGO: &str = r#"#!/bin/sh
here=${0%/*}
case "$*" in
    *--no-deps*) what=explain ;;
    metadata*) what=metadata ;;
    *) what=build ;;
esac
echo $$ >> "$here/$what"
if [ -p "$here/$what.wait" ]; then read -r _ < "$here/$what.wait"; fi
if [ -e "$here/$what.fail" ]; then exit 101; fi
PATH=${PATH#*:} exec cargo "$@"
"#;

/// A workspace with a crate that is built with that cargo. It does not compile: what cargo is asked is of interest here.
struct Shop(TempDir);

impl Shop {
    fn new() -> Shop {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let shop = Shop(folder);
        shop.put("Cargo.toml", "[workspace]\nmembers = [\"shop\"]\nresolver = \"3\"\n");
        shop.put("shop/Cargo.toml", "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        shop.put("shop/src/lib.rs", "not Rust\n");
        shop.put("docs/deep/page.md", "");
        shop.put("bin/cargo", CARGO);
        fs::set_permissions(shop.path("bin/cargo"), fs::Permissions::from_mode(0o755)).expect("it is ours");
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().expect("it has a folder")).expect("a folder can be made");
        fs::write(file, text).expect("it can be written");
    }

    /// From now on cargo waits before it does this, until it is let go on.
    fn hold(&self, what: &str) {
        let pipe = self.path(&format!("bin/{what}.wait"));
        rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("a pipe can be made");
    }

    /// Lets one that waits before this go on.
    fn let_go(&self, what: &str) {
        fs::write(self.path(&format!("bin/{what}.wait")), "\n").expect("somebody waits");
    }

    /// The processes that were asked this so far.
    fn asked(&self, what: &str) -> Vec<u32> {
        let ids = fs::read_to_string(self.path("bin").join(what)).unwrap_or_default();
        ids.lines().filter_map(|id| id.parse().ok()).collect()
    }

    /// Waits until it was asked this so many times; the last process of them.
    fn wait_for(&self, what: &str, times: usize) -> u32 {
        eventually(what, || self.asked(what).get(times - 1).copied())
    }

    fn dev(&self) -> Dev {
        self.dev_by(command(&self.path("shop")))
    }

    fn dev_by(&self, mut command: Command) -> Dev {
        let path = std::env::var("PATH").expect("there is a PATH");
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        Dev::run(command, &["--listen", "127.0.0.1:0", "--format", "json"])
    }
}

impl Drop for Shop {
    /// Lets all that still wait go on: a test that fails leaves none behind.
    fn drop(&mut self) {
        for what in ["metadata", "explain", "build"] {
            let pipe = self.path(&format!("bin/{what}.wait"));
            if let Ok(pipe) = rustix::fs::open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                let _ = rustix::io::write(pipe, b"\n"); // whoever reads nothing goes on, too
            }
        }
    }
}

/// Waits until a process has ended. Whoever inherits it may not have asked for its end yet: then it is a zombie.
fn wait_for_end(id: u32) {
    eventually("its end", || {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        (status.is_empty() || status.contains("State:\tZ") || status.contains("State:\tX")).then_some(())
    });
}

#[test]
fn what_is_heard_of_a_build_that_was_given_up_does_nothing_to_the_next() {
    let shop = Shop::new();
    shop.put("bin/build.fail", "");
    shop.hold("explain");
    let dev = shop.dev();
    // The first build has failed, and why is still looked for.
    let explaining = shop.wait_for("explain", 1);
    fs::remove_file(shop.path("bin/build.fail")).expect("it is there");
    shop.hold("build");
    shop.put("shop/src/lib.rs", "one\n");
    let second = shop.wait_for("build", 2);
    shop.let_go("explain");
    // Whoever started it knows that it has ended.
    eventually("the explanation", || (!Path::new(&format!("/proc/{explaining}")).exists()).then_some(()));
    shop.put("shop/src/lib.rs", "two\n");
    let third = shop.wait_for("build", 3);
    wait_for_end(second);
    dev.interrupt();
    wait_for_end(third);
    let said = dev.process.stdout.text();
    assert!(!said.contains("build_failed"), "the first was given up: {said}");
}

#[test]
fn cargo_is_asked_for_the_sources_where_they_may_be_others_and_can_be_given_up_meanwhile() {
    let shop = Shop::new();
    let dev = shop.dev();
    let failed = |times: usize| {
        eventually("builds that failed", || {
            (dev.process.stdout.text().matches("build_failed").count() >= times).then_some(())
        });
    };
    failed(1);
    assert_eq!(shop.asked("metadata").len(), 1);
    shop.put("shop/src/lib.rs", "nor this\n");
    failed(2);
    assert_eq!((shop.asked("metadata").len(), shop.asked("build").len()), (1, 2));
    let manifest = fs::read_to_string(shop.path("shop/Cargo.toml")).expect("it is there");
    shop.put("shop/Cargo.toml", &manifest.replace("0.1.0", "0.2.0"));
    shop.wait_for("metadata", 2);
    failed(3);
    // Another cargo may have the lock that this one waits for.
    shop.hold("metadata");
    shop.put("shop/Cargo.toml", &manifest);
    let asking = *shop.asked("metadata").last().expect("it was asked");
    let waiting =
        eventually("the question", || shop.asked("metadata").last().copied().filter(|id| *id != asking));
    dev.end_by(Signal::TERM);
    wait_for_end(waiting);
    let left = running_in(&shop.path("").display().to_string(), &["cwd", "exe"], dev.process.id());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn of_a_workspace_its_own_files_are_watched_and_not_all_that_is_in_it() {
    let shop = Shop::new();
    let dev = shop.dev();
    dev.event("build_failed");
    let watched = watched_by(dev.process.id());
    let is_watched = |name: &str| {
        let folder = fs::metadata(shop.path(name)).expect("it is there");
        watched.contains(&format!("{:x}", folder.ino()))
    };
    for (folder, expected) in [
        ("", true),
        ("shop", true),
        ("shop/src", true),
        ("docs", false),
        ("docs/deep", false),
        ("bin", false),
    ] {
        assert_eq!(is_watched(folder), expected, "{folder:?}: {watched:?}");
    }
    let before = shop.asked("build").len();
    shop.put("Cargo.toml", "[workspace]\nmembers = [\"shop\"]\nresolver = \"2\"\n");
    shop.wait_for("build", before + 1);
    dev.interrupt();
}

/// The inodes that a process watches, in hexadecimal.
fn watched_by(id: u32) -> HashSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{id}/fdinfo")).expect("it runs").flatten();
    let infos = descriptors.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let lines: Vec<String> =
        infos.flat_map(|info| info.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let watches = lines.iter().filter(|line| line.starts_with("inotify "));
    watches.filter_map(|line| Some(line.split_once("ino:")?.1.split(' ').next()?.to_owned())).collect()
}

#[test]
fn sources_that_the_system_does_not_let_it_watch_are_said_with_what_to_do() {
    if !tool::is_installed("unshare", Path::new("/usr/bin/unshare"), "packages.sh") {
        return;
    }
    let shop = Shop::new();
    // One for the folder with the settings, which is the crate's; none for what is in it.
    let program = command(Path::new("/")).get_program().to_owned();
    let mut limited = Command::new("unshare");
    limited.args(["--user", "--map-root-user", "sh", "-c"]);
    limited.arg("echo 1 > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"").arg(program);
    limited.current_dir(shop.path("shop")).env("CARGO_NET_OFFLINE", "true").env("TMPDIR", shop.path(""));
    let dev = shop.dev_by(limited);
    dev.event("build_failed");
    let said = dev.process.stderr.text();
    assert!(said.contains("a folder of sources cannot be watched"), "{said}");
    assert!(said.contains("raise fs.inotify.max_user_watches"), "{said}");
    dev.interrupt();
}
