//! Filters in Rust that tests and benchmarks run, one file each beside this one; this library builds them. Most tests make
//! their own modules, instruction by instruction: see `Guest` in `tests/equipment`.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tidegate_build::{Build, BuildError};

/// The built module of the guest `name`: the file `name.rs` here. Built at most once a process, and then only if it is
/// not up to date; tests that ask at the same time wait for one another.
///
/// # Panics
/// When it cannot be built, with the reason: a test that needs it cannot go on.
pub fn module(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = built.get(name) {
        return module.clone();
    }
    let module = build(name).unwrap_or_else(|error| panic!("guest {name}: {error}"));
    built.insert(name.to_owned(), module.clone());
    module
}

fn build(name: &str) -> Result<PathBuf, BuildError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    Build::new(folder).example(name).profile("filter").target_dir(target_dir(folder)).run()
}

/// The built module of the guest `name` with debug information, not optimised.
///
/// # Panics
/// When it cannot be built, with the reason.
pub fn debuggable(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Build::new(folder).example(name).profile("dev").target_dir(target_dir(folder)).run();
    built.unwrap_or_else(|error| panic!("guest {name}: {error}"))
}

/// The built module of the filter whose `Cargo.toml` is in `folder`, a project of its own, as cargo builds a release.
///
/// # Panics
/// When it cannot be built, with the reason.
pub fn release_in(folder: &Path) -> PathBuf {
    let built = Build::new(folder).locked().target_dir(target_dir(folder)).run();
    built.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The built module of the filter whose `Cargo.toml` is in `folder`, with the care of [`module`].
///
/// # Panics
/// When it cannot be built, with the reason.
pub fn build_in(folder: &Path) -> PathBuf {
    let built = Build::new(folder).profile("filter").target_dir(target_dir(folder)).run();
    built.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The built module of the example `name` of the crate in `folder`, as one builds it while one writes it.
///
/// # Panics
/// When it cannot be built, with the reason.
pub fn example_in(folder: &Path, name: &str) -> PathBuf {
    let built = Build::new(folder).example(name).profile("dev").target_dir(target_dir(folder)).run();
    built.unwrap_or_else(|error| panic!("{name} in {}: {error}", folder.display()))
}

/// Where the shipped filters are built too, so that the standard library is built once: `wasm` in the target folder
/// that this test binary is in (TARGET/PROFILE/deps/NAME).
fn target_dir(folder: &Path) -> PathBuf {
    let binary = std::env::current_exe().unwrap_or_default();
    let marked = binary.ancestors().find(|parent| parent.join("CACHEDIR.TAG").is_file());
    marked.map_or_else(|| folder.join("../../target/wasm"), |target| target.join("wasm"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_guest_is_built_and_is_a_module() {
        let module = std::fs::read(super::module("headers")).unwrap();
        assert!(module.starts_with(b"\0asm"));
    }
}
