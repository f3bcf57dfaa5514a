//! What `tidegate filter new` writes: the crate of a small filter that builds, tests and runs, with the SDK in it.
//!
//! Everything is in the binary, so that neither the network nor a clone of tidegate is needed. What is written depends
//! on the name alone. The filter itself is in `template`; the SDK is put beside it by the build script.

mod name;
mod sdk;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub use name::{BadName, Name};
pub use sdk::{Update, UpdateError, update_sdk};

/// Where a filter's crate has the SDK.
pub const SDK_FOLDER: &str = "vendor/tidegate-sdk";

/// Which SDK it is: that of the tidegate which this is part of.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file, by its path in the folder that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, with `/` between its parts.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// The template: what the files are called, and their text, in which `{{name}}` and `{{ident}}` stand for the crate's.
const TEMPLATE: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    ("Cargo.lock", include_str!("../template/Cargo.lock.in")),
    ("src/lib.rs", include_str!("../template/src/lib.rs")),
    ("cases.yaml", include_str!("../template/cases.yaml")),
    ("README.md", include_str!("../template/README.md.in")),
    (".gitignore", include_str!("../template/gitignore")),
];

/// Why a crate was not written.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is something already.
    #[error("{} is there already, and not empty: name another folder with --path", .0.display())]
    NotEmpty(PathBuf),
    /// What is there is a file.
    #[error("{} is there already, and no folder: name another one with --path", .0.display())]
    NotAFolder(PathBuf),
    /// The operating system refused.
    #[error("cannot write {}: {source}", folder.display())]
    Write {
        /// The crate's folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// All files of a new filter of this name, those of the SDK last.
pub fn files(name: &Name) -> Vec<File> {
    let fill = |text: &str| text.replace("{{name}}", name.as_str()).replace("{{ident}}", &name.ident());
    let own = TEMPLATE.iter().map(|(path, text)| match *path {
        "Cargo.lock" => File { path: (*path).to_owned(), text: in_order(&fill(text)) },
        path => File { path: path.to_owned(), text: fill(text) },
    });
    let sdk = sdk::files().map(|file| File { path: format!("{SDK_FOLDER}/{}", file.path), ..file });
    own.chain(sdk).collect()
}

/// A lock file with its packages by name, as cargo writes them: where the crate's own is depends on its name.
fn in_order(lock: &str) -> String {
    const PACKAGE: &str = "\n[[package]]\n";
    let (head, packages) = lock.split_once(PACKAGE).unwrap_or((lock, ""));
    let mut packages: Vec<&str> = packages.trim_end().split(PACKAGE).map(str::trim_end).collect();
    packages.sort_by_key(|package| package.lines().next());
    let packages = packages.iter().map(|package| format!("{PACKAGE}{package}\n"));
    [head.to_owned()].into_iter().chain(packages).collect()
}

/// Writes a new filter into `folder`, which is made where it is not there, and stays the folder that it is where it is
/// there and empty. All of it appears, or nothing does.
///
/// # Errors
///
/// The folder is not empty, or cannot be written.
pub fn create(name: &Name, folder: &Path) -> Result<Vec<File>, CreateError> {
    let not_empty = || CreateError::NotEmpty(folder.to_owned());
    let is_empty = match folder.read_dir().map(|mut entries| entries.next().is_none()) {
        Ok(false) => return Err(not_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(CreateError::NotAFolder(folder.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(CreateError::Write { folder: folder.to_owned(), source }),
        Ok(true) => true,
    };
    let files = files(name);
    let written = if is_empty { write::fill(folder, &files) } else { write::make(folder, &files) };
    match written {
        Ok(()) => Ok(files),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(not_empty()),
        Err(source) => Err(CreateError::Write { folder: folder.to_owned(), source }),
    }
}
