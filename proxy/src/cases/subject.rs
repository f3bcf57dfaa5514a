//! The module that is tried: a file, a shipped filter, or a crate that is built first.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidegate_build::{Build, BuildError};

use crate::builtin;
use crate::config::model::ModuleSource;
use crate::kit::Module;
use crate::origin;
use crate::wasm::{Engine, LoadError, debug_info};

/// What module is meant, before it is built or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A file.
    File(PathBuf),
    /// The crate in this folder, which is built.
    Folder(PathBuf),
    /// A filter that is shipped, by its name.
    Builtin(String),
}

/// Why there is no module to try.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// There is nothing of this name.
    #[error("cannot read {path}", path = path.display())]
    Unreadable {
        /// What was named.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is there and cannot be read: which, and why.
    #[error("{0}")]
    Unread(String),
    /// It is a folder in which there is no crate.
    #[error(
        "there is no Cargo.toml in {path}: name a folder with a Rust filter, a FILE.wasm, or builtin:NAME",
        path = path.display()
    )]
    NoCrate {
        /// The folder.
        path: PathBuf,
    },
    /// No shipped filter is called so.
    #[error("there is no built-in filter `{name}`: shipped are {names}", names = builtin::names().join(", "))]
    NotShipped {
        /// What it was called.
        name: String,
    },
    /// The crate cannot be built; cargo has said why.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The module is no filter.
    #[error("{name}: {why}\n`tidegate filter inspect {name}` says what is in it")]
    Load {
        /// What was named.
        name: String,
        /// Why not.
        why: LoadError,
    },
}

/// A module's bytes, and what it is called.
#[derive(Debug, Clone)]
pub struct Code {
    /// What it is called in messages: its path, or `builtin:NAME`.
    pub name: String,
    /// It, as it ships.
    pub bytes: Cow<'static, [u8]>,
    /// The file beside it with its debug information.
    debug: Option<Bytes>,
}

impl Subject {
    /// What is meant by an argument.
    ///
    /// # Errors
    /// There is nothing of this name, or a folder without a crate.
    pub fn named(path: &Path) -> Result<Subject, SubjectError> {
        if let Some(name) = path.to_str().and_then(|text| text.strip_prefix("builtin:")) {
            return Ok(Subject::Builtin(name.to_owned()));
        }
        let unreadable = |source| SubjectError::Unreadable { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Ok(Subject::File(path.to_owned()));
        }
        match path.join("Cargo.toml").is_file() {
            true => Ok(Subject::Folder(path.to_owned())),
            false => Err(SubjectError::NoCrate { path: path.to_owned() }),
        }
    }

    /// Where its cases are unless somebody says: `cases.yaml` in its folder, or every `cases/*.yaml` there, in the order of
    /// their names.
    pub fn usual_cases(&self) -> Vec<PathBuf> {
        let folder = match self {
            Subject::Builtin(_) => return Vec::new(),
            Subject::Folder(folder) => folder.clone(),
            Subject::File(file) => super::model::folder_of(file),
        };
        let folder = folder.strip_prefix(".").map(Path::to_owned).unwrap_or(folder);
        let one = folder.join("cases.yaml");
        if one.is_file() {
            return vec![one];
        }
        let entries = std::fs::read_dir(folder.join("cases")).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path());
        let is_yaml = |file: &PathBuf| file.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let mut files: Vec<_> = files.filter(is_yaml).collect();
        files.sort();
        files
    }

    /// Builds or reads it. What cargo says goes to standard error.
    ///
    /// # Errors
    /// It cannot be built, read, or is not shipped.
    pub fn code(&self, profile: &str) -> Result<Code, SubjectError> {
        match self {
            Subject::Builtin(name) => match builtin::module(name) {
                Some(bytes) => Ok(Code { name: format!("builtin:{name}"), bytes: bytes.into(), debug: None }),
                None => Err(SubjectError::NotShipped { name: name.clone() }),
            },
            Subject::File(file) => read(file),
            // As `filter build` makes it: what is tried is what ships, and lies there afterwards.
            Subject::Folder(folder) => {
                read(&from_here(&Build::new(folder).profile(profile).separate_debug_info().run()?))
            }
        }
    }

    /// As the configuration would say where it is.
    pub(super) fn source(&self) -> ModuleSource {
        match self {
            Subject::Builtin(name) => ModuleSource::Builtin(name.clone()),
            Subject::File(path) | Subject::Folder(path) => ModuleSource::File(path.clone()),
        }
    }
}

/// A path from the current folder where it lies below it: as one would type it.
pub(crate) fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here.canonicalize().ok()?).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned())
}

fn read(path: &Path) -> Result<Code, SubjectError> {
    let bytes = origin::read_named(path).map_err(|error| SubjectError::Unread(error.to_string()))?;
    let debug = origin::debug_information(path, &bytes);
    Ok(Code { name: path.display().to_string(), bytes: bytes.into(), debug })
}

impl Code {
    /// Compiles it for the kit.
    ///
    /// # Errors
    /// It is no filter.
    pub fn compile(&self, engine: &Engine) -> Result<Module, SubjectError> {
        let stem = Path::new(&self.name).file_stem().unwrap_or_default().to_string_lossy();
        // As the proxy does: faults have source lines then.
        let explained = self.debug.as_ref().and_then(|debug| debug_info::join(&self.bytes, debug));
        let compiled = engine.compile(explained.as_deref().unwrap_or(&self.bytes));
        let compiled = compiled.map_err(|why| SubjectError::Load { name: self.name.clone(), why })?;
        Ok(Module::of(&stem, compiled))
    }
}
