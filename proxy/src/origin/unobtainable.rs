//! Why a module cannot be had, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FetchError, MODULE_LIMIT};
use crate::builtin;
use crate::files::{NoVersion, ReadError};

/// Why a module's bytes cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Unobtainable {
    /// `builtin:NAME` is not shipped.
    #[error("there is no built-in filter `{name}`")]
    NoBuiltin { name: String },
    /// Its file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: Arc<io::Error> },
    /// It is a folder, and which of its modules is meant cannot be said.
    #[error("{}: {error}", path.display())]
    NoVersion { path: PathBuf, error: Arc<NoVersion> },
    /// Its file is a pipe or a device, reading which may never end.
    #[error("cannot read {}: it is not a file", path.display())]
    NotAFile { path: PathBuf },
    /// Its file is larger than any filter.
    #[error("{} is larger than {} MiB", path.display(), MODULE_LIMIT >> 20)]
    TooLarge { path: PathBuf },
    /// It cannot be fetched.
    #[error("cannot fetch {name}: {error}")]
    Fetch { name: String, error: FetchError },
}

impl Unobtainable {
    pub(super) fn unread(path: &Path, error: ReadError) -> Unobtainable {
        let path = path.to_owned();
        match error {
            ReadError::Unreadable(error) => Unobtainable::Unreadable { path, error: Arc::new(error) },
            ReadError::NotAFile => Unobtainable::NotAFile { path },
            ReadError::TooLarge { .. } => Unobtainable::TooLarge { path },
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Unobtainable::NoBuiltin { .. } => format!("shipped are: {}", builtin::names().join(", ")),
            Unobtainable::NoVersion { .. } => {
                "a folder has the versions of one module, each named like `limits-1.2.0.wasm`; the newest serves"
                    .to_owned()
            }
            Unobtainable::NotAFile { .. } => "give the module's own file".to_owned(),
            Unobtainable::Unreadable { .. } => {
                "a relative path is relative to the configuration file's folder".to_owned()
            }
            Unobtainable::TooLarge { .. } => {
                "strip its debug information, or build it with `opt-level`".to_owned()
            }
            Unobtainable::Fetch { error, .. } => error.hint().to_owned(),
        }
    }

    /// Whether it may be had later, although nothing is changed here: a server does not answer.
    pub(crate) fn is_of_the_moment(&self) -> bool {
        matches!(self, Unobtainable::Fetch { error, .. } if error.is_of_the_moment())
    }
}
