//! What this machine has of a toolchain for wasm32: the facts on which the choice is made.
//!
//! It looks and changes nothing: choosing is in `toolchain`, installing in `install`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that filters are built for: no operating system, so that modules import nothing but Proxy-Wasm.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// The oldest compiler that can build this workspace (edition 2024), as (major, minor).
const OLDEST: (u32, u32) = (1, 85);

/// Where to look. The default is this process's own surroundings; tests point it at a folder of their own.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Folders searched for programs, in order.
    pub(crate) path: Vec<PathBuf>,
    /// Where the distribution's programs live: `/usr`.
    pub(crate) system: PathBuf,
    /// The user may install packages: effective user id 0.
    pub(crate) root: bool,
}

impl Surroundings {
    /// What this process runs in.
    pub(crate) fn here() -> Surroundings {
        Surroundings {
            path: env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default(),
            system: PathBuf::from("/usr"),
            root: fs::metadata("/proc/self").is_ok_and(|process| {
                use std::os::unix::fs::MetadataExt;
                process.uid() == 0
            }),
        }
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(name)).find(|file| file.is_file())
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    /// The user's own compiler: the first on `PATH`, rustup's as a rule.
    pub(crate) own: Option<Compiler>,
    /// The distribution's compiler, in `/usr/bin`.
    pub(crate) system: Option<Compiler>,
    /// `rustup`, which can add the target.
    pub(crate) rustup: Option<PathBuf>,
    /// `apt-get`, which can install the distribution's compiler.
    pub(crate) apt: Option<PathBuf>,
    /// A linker for Wasm that the system compiler can use.
    pub(crate) linker: Option<PathBuf>,
    /// See [`Surroundings::root`].
    pub(crate) root: bool,
}

/// A Rust compiler with its cargo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// The `cargo` to run.
    pub(crate) cargo: PathBuf,
    /// The `rustc` that it is to use.
    pub(crate) rustc: PathBuf,
    /// As `rustc --version` says it.
    pub(crate) version: String,
    /// The standard library for [`TARGET`] is installed.
    pub(crate) has_target: bool,
    /// The standard library's source, of the compiler's very version, is installed.
    pub(crate) has_source: bool,
    /// Its own linker for Wasm.
    pub(crate) linker: Option<PathBuf>,
}

impl Machine {
    /// Looks around. Takes some 50 ms, most of it rustup's shims starting the compilers.
    pub(crate) fn look(around: &Surroundings) -> Machine {
        let own = around.program("rustc").zip(around.program("cargo"));
        let system = (around.system.join("bin/rustc"), around.system.join("bin/cargo"));
        let own = own.and_then(|(rustc, cargo)| Compiler::look(rustc, cargo));
        let system = Compiler::look(system.0, system.1);
        let linker = own.as_ref().and_then(|own| own.linker.clone());
        let on_path = || ["rust-lld", "wasm-ld", "lld"].iter().find_map(|name| around.program(name));
        Machine {
            linker: linker.or_else(on_path),
            own,
            system,
            rustup: around.program("rustup"),
            apt: around.program("apt-get"),
            root: around.root,
        }
    }
}

impl Compiler {
    /// `None` when it is not there, does not run or is too old.
    fn look(rustc: PathBuf, cargo: PathBuf) -> Option<Compiler> {
        if !cargo.is_file() {
            return None;
        }
        let version = first_line(&rustc, "--version")?;
        let sysroot = PathBuf::from(first_line_of(&rustc, &["--print", "sysroot"])?);
        if minor_version(&version)? < OLDEST {
            return None;
        }
        let libraries = sysroot.join("lib/rustlib");
        Some(Compiler {
            cargo,
            has_target: has_standard_library(&libraries.join(TARGET).join("lib")),
            has_source: has_source(&libraries.join("src/rust"), &version),
            linker: bundled_linker(&libraries),
            version,
            rustc,
        })
    }
}

fn first_line(program: &Path, argument: &str) -> Option<String> {
    first_line_of(program, &[argument])
}

fn first_line_of(program: &Path, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

/// (major, minor) out of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn minor_version(line: &str) -> Option<(u32, u32)> {
    let mut parts = line.split_whitespace().nth(1)?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn has_standard_library(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// The source must be of the compiler's very version, because intrinsics change with every release. Distributions say
/// which it is in a file; where there is none the source came with the compiler.
fn has_source(folder: &Path, rustc_version: &str) -> bool {
    let version = fs::read_to_string(folder.join("src/version"));
    folder.join("library/std/Cargo.toml").is_file()
        && version.map_or(true, |version| rustc_version.split_whitespace().nth(1) == Some(version.trim()))
}

/// rustup's toolchains carry `rust-lld` under the host's libraries.
fn bundled_linker(libraries: &Path) -> Option<PathBuf> {
    let hosts = fs::read_dir(libraries).ok()?;
    hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|linker| linker.is_file())
}
