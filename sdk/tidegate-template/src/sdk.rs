//! The SDK that a filter's crate has in it, and its replacement by a newer one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{File, SDK_FOLDER, SDK_VERSION, write};

/// What the build script found: its manifest and its sources.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

const README: &str = include_str!("../template/sdk-README.md");

/// What editors know the files of a crate by: it belongs to the version that reads them, as the SDK does.
const SCHEMAS: [(&str, &str); 2] = [
    ("schemas/cases.json", include_str!("../../../docs/tidegate-cases.schema.json")),
    ("schemas/dev.json", include_str!("../../../docs/tidegate-dev.schema.json")),
];

/// What came of an update.
#[derive(Debug, PartialEq, Eq)]
pub enum Update {
    /// It was the same already.
    Same,
    /// It was replaced: of this version before, if that could be read.
    Replaced {
        /// The version that was there.
        from: Option<String>,
    },
}

/// Why the SDK was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The folder has no SDK that `filter new` wrote.
    #[error("there is no SDK in {}: `tidegate filter new NAME` makes a crate that has one", .0.join(SDK_FOLDER).display())]
    NotThere(PathBuf),
    /// The operating system refused.
    #[error("cannot replace {}: {source}", folder.display())]
    Write {
        /// The SDK's folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Its files, by their paths in its own folder.
pub(crate) fn files() -> impl Iterator<Item = File> {
    let readme = README.replace("{{version}}", SDK_VERSION);
    let embedded =
        EMBEDDED.iter().chain(&SCHEMAS).map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    embedded.chain([("README.md".to_owned(), readme)]).map(|(path, text)| File { path, text })
}

/// Replaces the SDK in this crate by the one that this is.
///
/// # Errors
///
/// The crate has none, or it cannot be replaced.
pub fn update_sdk(folder: &Path) -> Result<Update, UpdateError> {
    let sdk = folder.join(SDK_FOLDER);
    let manifest = fs::read_to_string(sdk.join("Cargo.toml")).unwrap_or_default();
    if value(&manifest, "name") != Some("tidegate-sdk") {
        return Err(UpdateError::NotThere(folder.to_owned()));
    }
    let files: Vec<File> = files().collect();
    let is_same = |file: &File| fs::read_to_string(sdk.join(&file.path)).is_ok_and(|text| text == file.text);
    let replaced = match files.iter().all(is_same) && count(&sdk).is_ok_and(|count| count == files.len()) {
        true => return Ok(Update::Same),
        false => write::replace(&sdk, &files),
    };
    replaced.map_err(|source| UpdateError::Write { folder: sdk, source })?;
    Ok(Update::Replaced { from: value(&manifest, "version").map(str::to_owned) })
}

/// What a line of the manifest says, `key = "value"`: it is one that the build script wrote.
fn value<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = manifest.lines().filter_map(|line| line.split_once('='));
    let (_, value) = lines.find(|(name, _)| name.trim() == key)?;
    value.trim().strip_prefix('"')?.strip_suffix('"')
}

/// How many files there are in a folder, those in its folders included.
fn count(folder: &Path) -> io::Result<usize> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        Ok(sum + if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 })
    })
}
