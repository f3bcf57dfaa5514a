//! Chooses a toolchain for wasm32, and gets one when there is none and that is allowed.
//!
//! The choice is a pure function of what the machine has. Nothing is installed without being asked for, except the
//! target of the user's own rustup toolchain, which changes nothing else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::{Compiler, Machine, Surroundings, TARGET};

/// How long `rustup target add` may take: about 30 MB are downloaded.
const ADD_TARGET_LIMIT: Duration = Duration::from_secs(120);

/// Debian's recent compiler ("for the web browsers"), with the source of its standard library.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler and what it needs to build for wasm32. Its `Display` says in one line what was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    pub(crate) library: Library,
    version: String,
    note: &'static str,
}

/// Where the standard library for wasm32 comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Library {
    /// It is installed.
    Installed,
    /// It is built from the compiler's own source, with `linker` as that compiler has none for Wasm.
    Built { linker: PathBuf },
}

/// There is no toolchain for wasm32; its `Display` says what to install.
#[derive(Debug, thiserror::Error)]
#[error("no Rust toolchain for {TARGET} on this machine{tried}\n{remedies}", tried = Tried(.tried), remedies = Remedies(.remedies))]
pub struct NoToolchain {
    /// What was tried and why it failed.
    tried: Vec<String>,
    /// What the user can do; any one of them is enough.
    remedies: Vec<String>,
}

/// What to do, given what the machine has.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Use(Toolchain),
    AddTarget { rustup: PathBuf },
    InstallPackages { apt: PathBuf, linker: bool },
    Nothing,
}

impl Toolchain {
    /// A toolchain that is there, or that `rustup target add` makes usable. Installs nothing else.
    pub fn find() -> Result<Toolchain, NoToolchain> {
        get(&Surroundings::here(), false)
    }

    /// As [`Toolchain::find`], and installs the distribution's packages where the user may do that (root on Debian).
    pub fn install() -> Result<Toolchain, NoToolchain> {
        get(&Surroundings::here(), true)
    }

    fn installed(compiler: &Compiler, note: &'static str) -> Toolchain {
        Toolchain {
            cargo: compiler.cargo.clone(),
            rustc: compiler.rustc.clone(),
            library: Library::Installed,
            version: compiler.version.clone(),
            note,
        }
    }

    fn with_library_source(compiler: &Compiler, linker: &Path) -> Toolchain {
        Toolchain {
            library: Library::Built { linker: linker.to_owned() },
            ..Toolchain::installed(compiler, "builds the standard library itself")
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.version, self.rustc.display(), self.note)
    }
}

/// Takes one step after another until there is a toolchain or nothing is left to try.
fn get(around: &Surroundings, install: bool) -> Result<Toolchain, NoToolchain> {
    let mut tried = Vec::new();
    let (mut may_add, mut may_install) = (true, install);
    loop {
        let machine = Machine::look(around);
        let step = match choose(&machine, may_add, may_install) {
            Choice::Use(toolchain) => return Ok(toolchain),
            Choice::AddTarget { rustup } => {
                may_add = false;
                add_target(&rustup)
            }
            Choice::InstallPackages { apt, linker } => {
                may_install = false;
                install_packages(&apt, linker)
            }
            Choice::Nothing => return Err(NoToolchain { tried, remedies: remedies(&machine) }),
        };
        tried.extend(step.err());
    }
}

/// What is there comes first, then what changes least.
fn choose(machine: &Machine, may_add: bool, may_install: bool) -> Choice {
    let compilers = [&machine.own, &machine.system];
    if let Some(ready) = compilers.into_iter().flatten().find(|compiler| compiler.has_target) {
        return Choice::Use(Toolchain::installed(ready, "has the target installed"));
    }
    let source = machine.system.as_ref().filter(|system| system.has_source);
    if let Some((system, linker)) = source.zip(machine.linker.as_ref()) {
        return Choice::Use(Toolchain::with_library_source(system, linker));
    }
    match (&machine.rustup, &machine.apt) {
        (Some(rustup), _) if may_add && machine.own.is_some() => Choice::AddTarget { rustup: rustup.clone() },
        (_, Some(apt)) if may_install && machine.root => {
            Choice::InstallPackages { apt: apt.clone(), linker: machine.linker.is_none() }
        }
        _ => Choice::Nothing,
    }
}

fn remedies(machine: &Machine) -> Vec<String> {
    let mut remedies = vec![match machine.rustup {
        Some(_) => format!("rustup target add {TARGET}        (needs the network)"),
        None => format!("install rustup (https://rustup.rs), then: rustup target add {TARGET}"),
    }];
    if machine.apt.is_some() {
        let sudo = if machine.root { "" } else { "sudo " };
        let lld = if machine.linker.is_none() { " lld" } else { "" };
        let packages = DEBIAN_PACKAGES.join(" ");
        remedies.push(format!("{sudo}apt-get install --no-install-recommends {packages}{lld}"));
    }
    remedies
}

fn add_target(rustup: &Path) -> Result<(), String> {
    // Which toolchain: the one that `rustc` means here. rustup tells the programs that it starts by a variable.
    let mut command = Command::new(rustup);
    command.args(["target", "add", TARGET]);
    run(command, ADD_TARGET_LIMIT)
}

fn install_packages(apt: &Path, linker: bool) -> Result<(), String> {
    let limit = Duration::from_secs(600);
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new(apt);
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt_get(&["update", "-q"]), limit)?;
    let mut install = apt_get(&["install", "-q", "-y", "--no-install-recommends"]);
    install.args(DEBIAN_PACKAGES).args(linker.then_some("lld"));
    run(install, limit)
}

/// Runs a command with its messages on standard error (standard output is for our own results).
fn run(mut command: Command, limit: Duration) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    eprintln!("tidegate-build: running {shown}");
    command.stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr()));
    let mut child = command.spawn().map_err(|error| format!("{shown}: {error}"))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{shown}: {status}")),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{shown}: not done after {} s", limit.as_secs()));
            }
            Err(error) => return Err(format!("{shown}: {error}")),
        }
    }
}

struct Tried<'a>(&'a [String]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "\n  tried: {step}"))
    }
}

struct Remedies<'a>(&'a [String]);

impl fmt::Display for Remedies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("install one, by any of:")?;
        self.0.iter().try_for_each(|remedy| write!(f, "\n  {remedy}"))
    }
}

#[cfg(test)]
mod tests;
