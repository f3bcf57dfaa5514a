//! Runs cargo for wasm32 and says where the module is.
//!
//! It may itself run under cargo (in a build script or a test), so nothing of an outer cargo's environment reaches the
//! inner one, and the inner one has a target folder of its own: sharing the outer's would wait for its lock for ever.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::finish::{finish, without_debug_info};
use crate::machine::TARGET;
use crate::running::{Asking, Messages, Running};
use crate::sources::{self, Crate, Sources};
use crate::toolchain::{Library, NoToolchain, Toolchain};

/// What to build, and where. Debug information, optimisation and the like are the profile's.
#[derive(Debug, Clone)]
pub struct Build {
    folder: PathBuf,
    example: Option<String>,
    profile: String,
    target_dir: Option<PathBuf>,
    locked: bool,
    separates_debug_info: bool,
    messages: Messages,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to build it with.
    #[error(transparent)]
    NoToolchain(#[from] NoToolchain),
    /// cargo could not be started.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The cargo that was to run.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// cargo failed; it has said why on standard error, or in `messages`.
    #[error("cargo could not build {} for {TARGET}{}", folder.display(), if messages.is_empty() { " (its messages are above)" } else { "" })]
    Failed {
        /// The crate.
        folder: PathBuf,
        /// What cargo said, where that is captured.
        messages: String,
    },
    /// It was cancelled.
    #[error("the build of {} was cancelled", folder.display())]
    Cancelled {
        /// The crate.
        folder: PathBuf,
    },
    /// The folder is that of a workspace.
    #[error("{} is a workspace: name the folder of one of its crates{}", folder.display(), listed(members))]
    Workspace {
        /// The workspace.
        folder: PathBuf,
        /// Folders of crates in it that have a library.
        members: Vec<PathBuf>,
    },
    /// cargo could not say what the crate is made of; this is what it said.
    #[error("cargo cannot say what {} is made of: {message}", folder.display())]
    Unknown {
        /// The crate.
        folder: PathBuf,
        /// What it said.
        message: String,
    },
    /// The module could not be read or put in its place.
    #[error("cannot finish {}: {source}", linked.display())]
    Write {
        /// What cargo made.
        linked: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The crate has no library, of which a module could be made.
    #[error("{} makes no Wasm module: it needs a library (src/lib.rs) or a cdylib example", folder.display())]
    NoModule {
        /// The crate.
        folder: PathBuf,
    },
}

impl Build {
    /// The filter whose `Cargo.toml` is in `folder`, with cargo's `release` profile.
    pub fn new(folder: impl Into<PathBuf>) -> Build {
        let (example, profile) = (None, "release".to_owned());
        Build {
            folder: folder.into(),
            example,
            profile,
            target_dir: None,
            locked: false,
            separates_debug_info: false,
            messages: Messages::Inherited,
        }
    }

    /// Build this example of the crate (`crate-type = ["cdylib"]`) instead of its library.
    pub fn example(mut self, name: &str) -> Build {
        self.example = Some(name.to_owned());
        self
    }

    /// Build with this profile; it has to be in the workspace's manifest.
    pub fn profile(mut self, name: &str) -> Build {
        self.profile = name.to_owned();
        self
    }

    /// Put everything here; without it in `wasm` under cargo's own target folder. Sharing one saves building the
    /// standard library and the dependencies again.
    pub fn target_dir(mut self, folder: impl Into<PathBuf>) -> Build {
        self.target_dir = Some(folder.into());
        self
    }

    /// Refuse to change `Cargo.lock`.
    pub fn locked(mut self) -> Build {
        self.locked = true;
        self
    }

    /// Take the debug information out of the module, and put the module with it beside, as `NAME.debug.wasm`, which the
    /// proxy looks into for the source lines of a fault. The module is then as small as one without.
    pub fn separate_debug_info(mut self) -> Build {
        self.separates_debug_info = true;
        self
    }

    /// Where cargo's messages go. Without it to standard error.
    pub fn messages(mut self, messages: Messages) -> Build {
        self.messages = messages;
        self
    }

    /// Builds with the toolchain that [`Toolchain::find`] gives; returns the module's path. Seconds for a first build of
    /// small filters, a second when nothing changed.
    pub fn run(&self) -> Result<PathBuf, BuildError> {
        self.run_with(&Toolchain::find()?)
    }

    /// As [`Build::run`], with a toolchain that is already known.
    pub fn run_with(&self, toolchain: &Toolchain) -> Result<PathBuf, BuildError> {
        Running::start(self, toolchain, self.command(toolchain), false)?.wait().map(|built| built.module)
    }

    /// Begins a build that can be cancelled while it is waited for. What it starts is a process group of its own, which
    /// a Ctrl-C on the terminal does not reach: who starts it sees to its end.
    pub fn start(&self, toolchain: &Toolchain) -> Result<Running, BuildError> {
        Running::start(self, toolchain, self.command(toolchain), true)
    }

    /// The files whose change means that the module has to be built again, as cargo knows them. Asking takes a tenth of
    /// a second, or as long as cargo takes to find dependencies that it has not seen before.
    pub fn sources(&self, toolchain: &Toolchain) -> Result<Sources, BuildError> {
        self.ask(toolchain, false)?.wait()
    }

    /// Begins to ask for [`Build::sources`], so that it can be cancelled while the answer is waited for. As with
    /// [`Build::start`], a Ctrl-C on the terminal does not reach what it starts.
    pub fn start_sources(&self, toolchain: &Toolchain) -> Result<Asking, BuildError> {
        self.ask(toolchain, true)
    }

    fn ask(&self, toolchain: &Toolchain, has_own_group: bool) -> Result<Asking, BuildError> {
        let mut cargo = self.cargo(toolchain);
        cargo.args(["metadata", "--format-version", "1"]);
        Asking::start(self, toolchain, cargo, has_own_group)
    }

    /// The sources that cargo's metadata names.
    pub(crate) fn sources_in(&self, metadata: &serde_json::Value) -> Sources {
        let built = [self.target_folder(), workspace_of(&self.folder).join("target")];
        Sources::read(metadata, &self.folder, built.into())
    }

    /// Why a build failed, where that is not in the code.
    pub(crate) fn explain(&self, toolchain: &Toolchain) -> Option<BuildError> {
        let mut cargo = self.cargo(toolchain);
        cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
        let metadata = sources::metadata(cargo, &self.folder).ok()?;
        let folder = self.folder.clone();
        match Crate::look(&metadata, &self.folder) {
            Crate::Workspace { members } => Some(BuildError::Workspace { folder, members }),
            Crate::Package { has_library: false } if self.example.is_none() => {
                Some(BuildError::NoModule { folder })
            }
            Crate::Package { .. } => None,
        }
    }

    /// The crate's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// See [`Build::messages`].
    pub(crate) fn where_messages_go(&self) -> Messages {
        self.messages
    }

    /// Puts the finished module beside cargo's own output, whose file is cargo's to rewrite.
    pub(crate) fn finish(&self, linked: &Path) -> io::Result<PathBuf> {
        let whole = fs::read(linked)?;
        let whole = finish(&whole).unwrap_or(whole);
        let folder = self.target_folder().join("modules");
        fs::create_dir_all(&folder)?;
        let path = folder.join(linked.file_name().unwrap_or_default());
        let beside = path.with_extension("debug.wasm");
        match self.separates_debug_info.then(|| without_debug_info(&whole)).flatten() {
            Some(module) => {
                put(&beside, &whole)?;
                put(&path, &module)?;
            }
            None => {
                // It would be another module's.
                if let Err(error) = fs::remove_file(&beside)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(error);
                }
                put(&path, &whole)?;
            }
        }
        Ok(path)
    }

    /// cargo in the crate's folder, with nothing of an outer one.
    fn cargo(&self, toolchain: &Toolchain) -> Command {
        let mut cargo = Command::new(&toolchain.cargo);
        for (name, _) in env::vars_os().filter(|(name, _)| is_of_an_outer_build(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        cargo.current_dir(&self.folder).env("RUSTC", &toolchain.rustc);
        cargo
    }

    fn command(&self, toolchain: &Toolchain) -> Command {
        let mut cargo = self.cargo(toolchain);
        // The crate's other types would be built too, and link-time optimisation would need every dependency once more.
        cargo.args(["rustc", "--crate-type", "cdylib", "--target", TARGET, "--profile", &self.profile]);
        cargo.arg("--message-format=json-render-diagnostics").arg("--target-dir").arg(self.target_folder());
        match &self.example {
            Some(example) => cargo.args(["--example", example]),
            None => cargo.arg("--lib"),
        };
        if self.locked {
            cargo.arg("--locked");
        }
        let mut flags = remapped_paths(toolchain);
        if let Library::Built { linker } = &toolchain.library {
            // Building the library is not stable yet; this compiler is asked to allow it all the same.
            cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            flags.push("-Clinker-flavor=wasm-ld".into());
            // rustup's shims would answer for `rustc` and bring their own libraries.
            cargo.env("PATH", system_programs_first()).env_remove("LD_LIBRARY_PATH");
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join(std::ffi::OsStr::new("\x1f")));
        cargo
    }

    fn target_folder(&self) -> PathBuf {
        self.target_dir.clone().unwrap_or_else(|| workspace_of(&self.folder).join("target").join("wasm"))
    }
}

/// Writes a file; left untouched when it would stay the same, so that nobody who watches it wakes for nothing.
fn put(path: &Path, module: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == module) {
        return Ok(());
    }
    // Moved into place whole: builds may run at the same time, and others may be reading.
    let part = path.with_extension(format!("{}.part", std::process::id()));
    fs::write(&part, module)?;
    fs::rename(&part, path)
}

/// The nearest folder upwards with a `Cargo.lock`, which is where cargo keeps it: the workspace's; else the crate's.
fn workspace_of(folder: &Path) -> PathBuf {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().find(|parent| parent.join("Cargo.lock").is_file()).unwrap_or(&folder).to_owned()
}

/// Settings that an outer cargo, or the user for native builds, made: they would reach into the module. What says how
/// to reach registries, how to print, and the job server stay.
fn is_of_an_outer_build(name: &str) -> bool {
    const KEPT: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "CARGO_BUILD_JOBS",
    ];
    const DROPPED: [&str; 4] = ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTDOC"];
    DROPPED.iter().any(|prefix| name.starts_with(prefix))
        && !KEPT.iter().any(|prefix| name.starts_with(prefix))
}

/// Panic messages carry source paths: without this a module would tell where it was built, and differ for it.
fn remapped_paths(toolchain: &Toolchain) -> Vec<OsString> {
    let home = |name: &str, default: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(default)))
    };
    let mut flags = Vec::new();
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    if let Some(cargo_home) = home("CARGO_HOME", ".cargo") {
        remap(&cargo_home.join("registry/src"), "/registry");
    }
    if let Library::Built { .. } = toolchain.library {
        remap(Path::new("/usr/lib/rustlib/src/rust"), "/rust");
    }
    flags
}

fn system_programs_first() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = ["/usr/bin", "/bin"].into_iter().map(PathBuf::from).chain(env::split_paths(&path));
    env::join_paths(folders).unwrap_or(path)
}

/// Folders for a message, each on a line.
fn listed(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| format!("\n  {}", folder.display())).collect()
}
