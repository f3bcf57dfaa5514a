//! Modules that compilers of other languages build: each has the same small filter, the tour (`tests/languages`), and some
//! have an example of their own (`examples`).

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::tool;

/// A language, or a way of building it.
pub(crate) struct Language {
    /// How tests speak of it.
    pub(crate) name: &'static str,
    /// Its folders, in `tests/languages` where they are names alone: where it is built, and what it takes from others.
    folders: &'static [&'static str],
    /// What builds it there, and what it makes.
    script: &'static str,
    module: &'static str,
    /// What has to be there under `build`.
    compiler: &'static str,
    built: OnceLock<Option<Vec<u8>>>,
}

pub(crate) static C: Language = Language::new("C", &["c"], "bin/zig");
pub(crate) static CPP: Language = Language::new("C++", &["cpp", "c"], "bin/zig");
pub(crate) static ZIG: Language = Language::new("Zig", &["zig"], "bin/zig");
pub(crate) static GO: Language = Language::new("Go", &["go"], "bin/go");
pub(crate) static ASSEMBLYSCRIPT: Language =
    Language::new("AssemblyScript", &["assemblyscript"], "languages/assemblyscript/node_modules");
pub(crate) static ASSEMBLYSCRIPT_0_2_0: Language = Language::new(
    "AssemblyScript for ABI 0.2.0",
    &["assemblyscript-0.2.0"],
    "languages/assemblyscript-0.2.0/node_modules",
);
pub(crate) static RUST: Language =
    Language::rust("Rust", "build.sh", "target/wasm32-unknown-unknown/release/tour.wasm");
pub(crate) static RUST_WASI: Language =
    Language::rust("Rust for WASI", "build-wasi.sh", "target/wasm32-wasip1/release/tour.wasm");

pub(crate) static ALL: [&Language; 8] =
    [&C, &CPP, &ZIG, &GO, &ASSEMBLYSCRIPT, &ASSEMBLYSCRIPT_0_2_0, &RUST, &RUST_WASI];

/// The examples in other languages than Rust.
pub(crate) static EXAMPLES: [&Language; 3] = [&CORRELATION, &MAINTENANCE, &SECURITY_HEADERS];
pub(crate) static CORRELATION: Language =
    Language::example("examples/go in Go", &["examples/go"], "correlation.wasm", "bin/go");
pub(crate) static MAINTENANCE: Language =
    Language::example("examples/cpp in C++", &["examples/cpp"], "maintenance.wasm", "bin/zig");
pub(crate) static SECURITY_HEADERS: Language = Language::example(
    "examples/assemblyscript in AssemblyScript",
    &["examples/assemblyscript"],
    "security_headers.wasm",
    "languages/assemblyscript/node_modules",
);

impl Language {
    const fn example(
        name: &'static str,
        folders: &'static [&'static str],
        module: &'static str,
        compiler: &'static str,
    ) -> Language {
        Language { name, folders, script: "build.sh", module, compiler, built: OnceLock::new() }
    }

    /// Where it is built, from the project's root, and the name of the file that is made there.
    pub(crate) fn place(&self) -> (&'static str, &'static str) {
        (self.folders[0], self.module)
    }

    const fn new(name: &'static str, folders: &'static [&'static str], compiler: &'static str) -> Language {
        let (script, module) = ("build.sh", "tour.wasm");
        Language { name, folders, script, module, compiler, built: OnceLock::new() }
    }

    const fn rust(name: &'static str, script: &'static str, module: &'static str) -> Language {
        let (folders, compiler) = (&["rust"], "languages/rustup-home");
        Language { name, folders, script, module, compiler, built: OnceLock::new() }
    }

    /// The built module, which is the tour but for examples; `None`, after saying so loudly, where there is nothing to build it with. Built at most once for
    /// the same sources; tests that ask at the same time wait for one another.
    ///
    /// # Panics
    /// When it cannot be built, with what the compiler said: a test that needs it cannot go on.
    pub(crate) fn tour(&self) -> Option<Vec<u8>> {
        let find = || {
            if self.is_rust()
                && let Ok(why) = fs::read_to_string(build_folder().join("languages/no-rust"))
            {
                return self.rust_without_rustup(why.trim());
            }
            let compiler = build_folder().join(self.compiler);
            tool::is_installed(&format!("a compiler for {}", self.name), &compiler, "languages.sh")
                .then(|| self.build_or_reuse())
        };
        self.built.get_or_init(find).clone()
    }

    fn is_rust(&self) -> bool {
        self.folders == ["rust"]
    }

    /// A machine that cannot get Rust's own libraries for wasm32 can build that of `wasm32-unknown-unknown`, as it does
    /// for all filters here. There is none for WASI then, which no setting makes a failure: nothing could mend it.
    fn rust_without_rustup(&self, why: &str) -> Option<Vec<u8>> {
        if self.script == "build.sh" {
            let module = guests::release_in(&sources("rust"));
            return Some(fs::read(module).expect("a module that was built can be read"));
        }
        eprintln!("SKIPPED: {}: {why}, so nothing was tested with it", self.name);
        None
    }

    fn build_or_reuse(&self) -> Vec<u8> {
        let modules = build_folder().join("languages/modules");
        let name = self.name.replace('/', "-");
        let module = modules.join(format!("{name}-{:016x}.wasm", self.content()));
        if let Ok(there) = fs::read(&module) {
            return there;
        }
        let folder = tempfile::tempdir_in(build_folder().join("languages")).expect("a folder can be made");
        let built = self.build(folder.path());
        fs::create_dir_all(&modules).expect("a folder can be made");
        // Moved into place whole: another test process may be reading.
        let part = folder.path().join("part");
        fs::write(&part, &built).and_then(|()| fs::rename(&part, &module)).expect("a module can be kept");
        built
    }

    /// What the module depends on.
    fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut files: Vec<PathBuf> =
            self.folders.iter().flat_map(|folder| files(&sources(folder))).collect();
        files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/setup/requirements-languages.txt"));
        files.sort();
        for file in files {
            file.file_name().hash(&mut hasher);
            fs::read(&file).expect("a source can be read").hash(&mut hasher);
        }
        self.script.hash(&mut hasher);
        hasher.finish()
    }

    /// Runs the script in a copy of the sources. Whatever compilers keep is kept under `build`.
    fn build(&self, folder: &Path) -> Vec<u8> {
        for name in self.folders {
            let copy = folder.join(name);
            fs::create_dir_all(&copy).expect("a folder can be made");
            for file in files(&sources(name)) {
                fs::copy(&file, copy.join(file.file_name().unwrap_or_default()))
                    .expect("a source can be copied");
            }
        }
        let (here, build) = (folder.join(self.folders[0]), build_folder());
        if self.compiler.ends_with("node_modules") {
            let modules = build.join(self.compiler);
            std::os::unix::fs::symlink(modules, here.join("node_modules")).expect("a link can be made");
        }
        let mut command = Command::new("sh");
        command.args(["-e", self.script]).current_dir(&here);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_build(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.env("PATH", programs(&build));
        command.envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "-trimpath")]);
        let caches = [
            ("GOCACHE", "go"),
            ("GOPATH", "go-path"),
            ("ZIG_GLOBAL_CACHE_DIR", "zig"),
            ("ZIG_LOCAL_CACHE_DIR", "zig"),
            ("npm_config_cache", "npm"),
            ("XDG_CONFIG_HOME", "config"), // where Go counts what it was used for
        ];
        command.envs(caches.map(|(variable, name)| (variable, build.join("languages/cache").join(name))));
        let home = fs::read_to_string(build.join("languages/rustup-home")).unwrap_or_default();
        if !home.is_empty() {
            command.env("RUSTUP_HOME", home).env_remove("RUSTUP_TOOLCHAIN");
        }
        let output = command.output().expect("there is a shell");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{} cannot be built:\n{}", self.name, said.concat());
        fs::read(here.join(self.module)).unwrap_or_else(|error| panic!("{}: {error}", self.module))
    }
}

fn build_folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the project is where it was built").join("build")
}

fn sources(folder: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if folder.contains('/') { root.join(folder) } else { root.join("tests/languages").join(folder) }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the sources are where the tests were built");
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    // Not what somebody has built there.
    let is_source = |path: &PathBuf| path.is_file() && path.extension().is_none_or(|kind| kind != "wasm");
    paths.filter(is_source).collect()
}

/// The installed compilers come before those that the machine has.
fn programs(build: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [build.join("bin")].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).expect("the project's folder has a plain name")
}

/// What the build of this test was told would reach into another cargo's.
fn is_of_this_build(name: &str) -> bool {
    let kept = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    (name.starts_with("CARGO") || name.starts_with("RUST")) && !kept.contains(&name)
}
