//! The choice, on machines made of folders with small scripts for programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Library, NoToolchain, Toolchain, get};
use crate::machine::{Surroundings, TARGET};

/// A machine: `own/` is what rustup installed, `usr/` what the distribution did.
struct FakeMachine {
    folder: tempfile::TempDir,
    root: bool,
}

impl FakeMachine {
    fn new() -> FakeMachine {
        FakeMachine { folder: tempfile::tempdir().unwrap(), root: false }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Written by another process: this one's open file, inherited by whatever another test starts meanwhile, would
    /// make the script "busy".
    fn script(&self, path: &str, commands: &str) {
        let file = self.path(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let script = format!("#!/bin/sh\ncd {}\n{commands}\n", self.folder.path().display());
        let write = "printf '%s' \"$2\" > \"$1\" && chmod +x \"$1\"";
        let status = Command::new("sh").args(["-c", write, "sh"]).arg(&file).arg(script).status().unwrap();
        assert!(status.success());
    }

    fn compiler(&self, prefix: &str, version: &str) {
        self.script(&format!("{prefix}/bin/cargo"), "");
        let sysroot = self.path(prefix);
        let answers = format!(
            "case $1 in --version) echo 'rustc {version} (abc)';; --print) echo '{}';; esac",
            sysroot.display()
        );
        self.script(&format!("{prefix}/bin/rustc"), &answers);
    }

    fn file(&self, path: &str, content: &str) {
        let file = self.path(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    fn library_source(&self, version: &str) {
        self.file("usr/lib/rustlib/src/rust/library/std/Cargo.toml", "");
        self.file("usr/lib/rustlib/src/rust/src/version", version);
    }

    fn linker(&self) -> PathBuf {
        self.file("own/lib/rustlib/host/bin/rust-lld", "");
        self.path("own/lib/rustlib/host/bin/rust-lld")
    }

    fn find(&self, install: bool) -> Result<Toolchain, NoToolchain> {
        let path = vec![self.path("own/bin"), self.path("usr/bin")];
        get(&Surroundings { path, system: self.path("usr"), root: self.root }, install)
    }
}

/// The standard library for the target, as rustup lays it out.
fn installed_library(prefix: &str) -> String {
    format!("{prefix}/lib/rustlib/{TARGET}/lib/libstd-0123.rlib")
}

fn used(toolchain: &Toolchain) -> &Path {
    &toolchain.rustc
}

#[test]
fn an_installed_target_is_taken_before_anything_is_built() {
    let machine = FakeMachine::new();
    machine.compiler("own", "1.95.0");
    machine.file(&installed_library("own"), "");
    machine.compiler("usr", "1.96.0");
    machine.library_source("1.96.0");
    machine.linker();
    let toolchain = machine.find(false).unwrap();
    assert_eq!(used(&toolchain), machine.path("own/bin/rustc"));
    assert_eq!(toolchain.library, Library::Installed);
}

#[test]
fn the_systems_compiler_builds_the_library_before_anything_is_downloaded() {
    let machine = FakeMachine::new();
    machine.compiler("own", "1.95.0");
    machine.script("own/bin/rustup", "touch rustup-ran; exit 1");
    machine.compiler("usr", "1.96.0");
    machine.library_source("1.96.0\n");
    let linker = machine.linker();
    let toolchain = machine.find(false).unwrap();
    assert_eq!(used(&toolchain), machine.path("usr/bin/rustc"));
    assert_eq!(toolchain.library, Library::Built { linker });
    assert!(!machine.path("rustup-ran").exists());
}

#[test]
fn a_library_of_another_version_or_a_compiler_that_is_too_old_is_no_use() {
    let machine = FakeMachine::new();
    machine.linker();
    machine.compiler("usr", "1.96.0");
    machine.library_source("1.63.0");
    assert!(machine.find(false).is_err());
    machine.compiler("usr", "1.63.0");
    assert!(machine.find(false).is_err());
}

#[test]
fn rustup_is_asked_for_the_target_when_nothing_else_is_there() {
    let machine = FakeMachine::new();
    machine.compiler("own", "1.95.0");
    let library = installed_library("own");
    let folder = Path::new(&library).parent().unwrap().display();
    machine.script(
        "own/bin/rustup",
        &format!("test \"$*\" = 'target add {TARGET}' && mkdir -p {folder} && touch {library}"),
    );
    let toolchain = machine.find(false).unwrap();
    assert_eq!(toolchain.library, Library::Installed);
}

#[test]
fn without_a_toolchain_the_error_says_what_was_tried_and_what_to_install() {
    let machine = FakeMachine::new();
    machine.compiler("own", "1.95.0");
    machine.script("own/bin/rustup", "exit 1");
    machine.script("usr/bin/apt-get", "touch apt-ran");
    let error = machine.find(true).unwrap_err().to_string();
    assert!(
        error.contains("tried: ")
            && error.contains("rustup target add wasm32-unknown-unknown: exit status: 1"),
        "{error}"
    );
    assert!(error.contains("\n  rustup target add wasm32-unknown-unknown  "), "{error}");
    let packages = "apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld";
    assert!(error.contains(&format!("\n  sudo {packages}")), "{error}");
    assert!(!machine.path("apt-ran").exists(), "only root installs packages");
}

#[test]
fn packages_are_installed_by_root_when_that_is_asked_for() {
    let mut machine = FakeMachine::new();
    machine.root = true;
    machine.linker();
    machine.compiler("own", "1.95.0");
    machine.script("usr/bin/apt-get", "echo \"$*\" >> apt-ran; test $1 = update || mv later usr/lib");
    machine.compiler("usr", "1.96.0");
    machine.file("later/rustlib/src/rust/library/std/Cargo.toml", "");

    assert!(machine.find(false).is_err(), "not asked for");
    let toolchain = machine.find(true).unwrap();
    assert_eq!(used(&toolchain), machine.path("usr/bin/rustc"));
    let ran = fs::read_to_string(machine.path("apt-ran")).unwrap();
    assert_eq!(ran, "update -q\ninstall -q -y --no-install-recommends rustc-web cargo-web rust-web-src\n");
}
