//! Folders of modules: which of several versions serves.
//!
//! The version is in the file's name, `NAME-VERSION.wasm`, in the order of Semantic Versioning 2.0.0 (section 11). Times
//! of files say nothing: copying a folder or restoring a backup changes them, and two machines would differ.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use semver::{BuildMetadata, Prerelease, Version};

/// Entries of a folder that are looked at, modules or not.
const MAX_ENTRIES: usize = 10_000;

/// Why a folder has no module that could be said to be the newest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoVersion {
    /// Its names cannot be read.
    #[error("the folder cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is no folder of modules but something else.
    #[error("there are more than {MAX_ENTRIES} entries in the folder")]
    TooMany,
    /// No name in it ends in `.wasm`.
    #[error("there is no module in the folder: no file whose name ends in `.wasm`")]
    Empty,
    /// One of several has no version.
    #[error("`{0}` has no version in its name, and is not the only module in the folder")]
    Unversioned(String),
    /// Versions of different modules cannot be compared.
    #[error("`{0}` and `{1}` are not versions of one module")]
    SeveralNames(String, String),
    /// Neither is newer.
    #[error("`{0}` and `{1}` are the same version")]
    Twice(String, String),
}

/// The newest module of a folder, or why nobody could say which it is; and the names of all modules in it, none where it
/// cannot be read.
pub(crate) fn newest(folder: &Path) -> (Result<PathBuf, NoVersion>, Vec<String>) {
    match names(folder) {
        Ok(names) => (choose(&names).map(|name| folder.join(name)), names),
        Err(error) => (Err(error), Vec::new()),
    }
}

/// Whether a file of this name is a module of its folder. Hidden files are not: copies under way are.
pub(crate) fn is_module(name: &str) -> bool {
    name.ends_with(".wasm") && !name.ends_with(".debug.wasm") && !name.starts_with('.')
}

/// The names of the modules in a folder, in order.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, NoVersion> {
    let mut names = Vec::new();
    for (at, entry) in std::fs::read_dir(folder)?.enumerate() {
        if at >= MAX_ENTRIES {
            return Err(NoVersion::TooMany);
        }
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_module(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn choose(names: &[String]) -> Result<&str, NoVersion> {
    let (first, rest) = names.split_first().ok_or(NoVersion::Empty)?;
    if rest.is_empty() {
        return Ok(first); // whatever it is called
    }
    let parse = |name| parse(name).ok_or_else(|| NoVersion::Unversioned(name.to_owned()));
    let (mut newest, (module, mut version)) = (first, parse(first)?);
    for name in rest {
        let (other, candidate) = parse(name)?;
        if other != module {
            return Err(NoVersion::SeveralNames(first.clone(), name.clone()));
        }
        match candidate.cmp_precedence(&version) {
            Ordering::Less => {}
            Ordering::Equal => return Err(NoVersion::Twice(newest.clone(), name.clone())),
            Ordering::Greater => (newest, version) = (name, candidate),
        }
    }
    Ok(newest)
}

/// The module's name and its version: at the first dash, or the beginning, after which everything is a version.
fn parse(file: &str) -> Option<(&str, Version)> {
    let stem = file.strip_suffix(".wasm")?;
    let after_dashes = stem.match_indices('-').map(|(at, _)| (&stem[..at], &stem[at + 1..]));
    let mut candidates = std::iter::once(("", stem)).chain(after_dashes);
    candidates.find_map(|(name, rest)| Some((name, version(rest)?)))
}

/// `1.2.3-rc.1+build` and what is shorter: `v1.2`, `20251130`. Numbers may begin with zeros, as in dates.
fn version(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = text.split_once('+').unwrap_or((text, ""));
    let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = [0; 3];
    for (at, number) in numbers.split('.').enumerate() {
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *parts.get_mut(at)? = number.parse().ok()?;
    }
    let [major, minor, patch] = parts;
    let (pre, build) = (Prerelease::new(pre).ok()?, BuildMetadata::new(build).ok()?);
    Some(Version { major, minor, patch, pre, build })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        choose(&names).map_or_else(|error| error.to_string(), str::to_owned)
    }

    #[test]
    fn versions_are_compared_as_versions() {
        let newest = |names: &[&str], newest: &str| assert_eq!(chosen(names), newest, "of {names:?}");
        newest(&["a-1.9.0.wasm", "a-1.10.0.wasm", "a-1.2.0.wasm"], "a-1.10.0.wasm");
        newest(&["a-1.0.0.wasm", "a-1.0.0-rc.1.wasm", "a-1.0.0-rc.2.wasm"], "a-1.0.0.wasm");
        newest(&["a-1.0.0-rc.10.wasm", "a-1.0.0-rc.9.wasm"], "a-1.0.0-rc.10.wasm");
        newest(&["a-2.0.0-rc.1.wasm", "a-1.9.9.wasm"], "a-2.0.0-rc.1.wasm");
        newest(&["a-v2.wasm", "a-1.5.wasm", "a-v1.5.1.wasm"], "a-v2.wasm");
        newest(&["rate-limit-2.0.0.wasm", "rate-limit-1.0.0.wasm"], "rate-limit-2.0.0.wasm");
        newest(&["a-20251130.wasm", "a-20251201.wasm"], "a-20251201.wasm");
        newest(&["a-2025.09.30.wasm", "a-2025.10.01.wasm"], "a-2025.10.01.wasm");
        newest(&["a-2025-09-30.wasm", "a-2025-10-01.wasm"], "a-2025-10-01.wasm");
        newest(&["9.wasm", "10.wasm"], "10.wasm");
        newest(&["a-1.0.0+x.1.wasm", "a-1.0.1+a.wasm"], "a-1.0.1+a.wasm");
    }

    #[test]
    fn a_module_alone_serves_whatever_it_is_called() {
        assert_eq!(chosen(&["limits.wasm"]), "limits.wasm");
    }

    #[test]
    fn what_has_no_order_is_refused() {
        assert_eq!(chosen(&[]), "there is no module in the folder: no file whose name ends in `.wasm`");
        assert_eq!(
            chosen(&["a-1.0.0.wasm", "a.wasm"]),
            "`a.wasm` has no version in its name, and is not the only module in the folder"
        );
        assert_eq!(
            chosen(&["a-1.0.0.wasm", "b-1.0.0.wasm"]),
            "`a-1.0.0.wasm` and `b-1.0.0.wasm` are not versions of one module"
        );
        assert_eq!(chosen(&["a-1.0.wasm", "a-1.wasm"]), "`a-1.0.wasm` and `a-1.wasm` are the same version");
        assert_eq!(
            chosen(&["a-1.0.0+x.wasm", "a-1.0.0+y.wasm"]),
            "`a-1.0.0+x.wasm` and `a-1.0.0+y.wasm` are the same version"
        );
        assert!(chosen(&["a-1.2.3.4.wasm", "a-1.wasm"]).contains("`a-1.2.3.4.wasm` has no version"));
        assert!(chosen(&["a-99999999999999999999.wasm", "a-1.wasm"]).contains("has no version"));
    }

    #[test]
    fn hidden_files_and_those_of_other_kinds_are_no_modules() {
        assert!(is_module("a-1.wasm"));
        assert!(!is_module(".a-1.wasm"));
        assert!(!is_module("a-1.wasm.tmp"));
        assert!(!is_module("a-1.wat"));
    }
}
