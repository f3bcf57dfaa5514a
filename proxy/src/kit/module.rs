//! The module under test: built, read or given, and compiled once a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use tidegate_build::Build;

use super::world::lock;
use crate::wasm::Engine;

/// Compiles modules, for all tests of the process.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let cache = target_folder().map(|target| target.join("tidegate-test"));
    Engine::new(cache).unwrap_or_else(|error| panic!("{error}"))
});

/// The module under test. Cheap to clone; tests of one process share it.
///
/// Every constructor panics with the reason when there is no module to be had, or when it is no filter.
#[derive(Debug, Clone)]
pub struct Module {
    name: String,
    pub(crate) compiled: crate::wasm::Module,
}

impl Module {
    /// Builds the filter whose `Cargo.toml` is in `folder` for wasm32, once a process, with cargo's `release` profile.
    /// What cargo says goes to standard error.
    ///
    /// ```no_run
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::Module;
    /// let module = Module::build(env!("CARGO_MANIFEST_DIR"));
    /// ```
    #[track_caller]
    pub fn build(folder: impl AsRef<Path>) -> Module {
        Module::build_with(folder, "release")
    }

    /// As [`build`](Module::build), with another profile, which has to be in the workspace's `Cargo.toml`: that with
    /// which the filter ships, so that costs are those of what ships.
    ///
    /// ```no_run
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::Module;
    /// let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "release-small");
    /// ```
    #[track_caller]
    pub fn build_with(folder: impl AsRef<Path>, profile: &str) -> Module {
        type Built = BTreeMap<(PathBuf, String), Result<Module, String>>;
        static BUILT: Mutex<Built> = Mutex::new(BTreeMap::new());
        let folder = folder.as_ref();
        // Held while cargo runs: tests that need the same module wait for one build.
        let mut built = lock(&BUILT);
        let module = built
            .entry((folder.to_owned(), profile.to_owned()))
            .or_insert_with(|| build(folder, profile))
            .clone();
        drop(built);
        module.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// A module that was built already, from any language.
    ///
    /// ```no_run
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::Module;
    /// let module = Module::file("build/filter.wasm");
    /// ```
    #[track_caller]
    pub fn file(path: impl AsRef<Path>) -> Module {
        let module = read(path.as_ref());
        module.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// A module's bytes. `name` is for messages.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::Module;
    /// # let bytes = wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap();
    /// let module = Module::bytes("tagger", &bytes);
    /// ```
    #[track_caller]
    pub fn bytes(name: &str, bytes: &[u8]) -> Module {
        let module = compile(name.to_owned(), bytes);
        module.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// A module that somebody else compiled.
    pub(crate) fn of(name: &str, compiled: crate::wasm::Module) -> Module {
        Module { name: name.to_owned(), compiled }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn build(folder: &Path, profile: &str) -> Result<Module, String> {
    let mut build = Build::new(folder).profile(profile);
    if let Some(target) = target_folder() {
        build = build.target_dir(target.join("wasm"));
    }
    let module = build
        .run()
        .map_err(|error| format!("the filter in {} cannot be built: {error}", folder.display()))?;
    read(&module)
}

fn read(path: &Path) -> Result<Module, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    compile(name, &bytes)
}

fn compile(name: String, bytes: &[u8]) -> Result<Module, String> {
    static COMPILED: Mutex<BTreeMap<Vec<u8>, crate::wasm::Module>> = Mutex::new(BTreeMap::new());
    // Held while it is compiled: tests that need the same module wait for one compilation.
    let mut known = lock(&COMPILED);
    let compiled = match known.get(bytes) {
        Some(compiled) => compiled.clone(),
        None => {
            let compiled = ENGINE.compile(bytes).map_err(|error| format!("{name}: {error}"))?;
            known.insert(bytes.to_vec(), compiled.clone());
            compiled
        }
    };
    Ok(Module { name, compiled })
}

/// Cargo's target folder, which the test binary is in.
fn target_folder() -> Option<PathBuf> {
    let binary = std::env::current_exe().ok()?;
    binary.ancestors().find(|parent| parent.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}
