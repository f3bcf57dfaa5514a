//! Which files a configuration was read from, and what was in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::read::{ReadError, read, read_stream};
use super::{Sha256, versions};

/// The files and folders that a configuration was read from, and what was in them then. Filled while it is read, also
/// where that fails: what is missing is a part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Footprint {
    traces: BTreeMap<PathBuf, Trace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trace {
    /// How much of it is read, in bytes.
    limit: u64,
    seen: Seen,
}

/// What was found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    File(Sha256),
    /// A folder of modules: a digest of their names.
    Folder(Sha256),
    /// Nothing that is read.
    Nothing,
}

impl Footprint {
    /// Reads a plain file of at most `limit` bytes, and notes what was found.
    ///
    /// # Errors
    ///
    /// Those of [`read`].
    pub(crate) fn read(&mut self, path: &Path, limit: u64) -> Result<(Vec<u8>, Sha256), ReadError> {
        self.note(path, limit, read(path, limit))
    }

    /// The same of what may also be a pipe. That can be read once, so that there is nothing to note of it.
    ///
    /// # Errors
    ///
    /// Those of [`read`], except that anything may be read.
    pub(crate) fn read_stream(&mut self, path: &Path, limit: u64) -> Result<(Vec<u8>, Sha256), ReadError> {
        self.note(path, limit, read_stream(path, limit))
    }

    fn note(
        &mut self,
        path: &Path,
        limit: u64,
        found: Result<Vec<u8>, ReadError>,
    ) -> Result<(Vec<u8>, Sha256), ReadError> {
        let found = found.map(|bytes| {
            let digest = Sha256::of(&bytes);
            (bytes, digest)
        });
        let seen = match &found {
            Ok((_, digest)) if path.is_file() => Seen::File(*digest),
            Ok(_) => return found,
            Err(_) if path.is_dir() => see_folder(path),
            Err(_) => Seen::Nothing,
        };
        self.traces.insert(path.to_owned(), Trace { limit, seen });
        found
    }

    /// Notes a folder of modules by the names that were in it.
    pub(crate) fn listed(&mut self, folder: &Path, names: &[String]) {
        let seen = Seen::Folder(digest_of(names));
        self.traces.insert(folder.to_owned(), Trace { limit: 0, seen });
    }

    /// Every path that was looked at, and whether it was a folder of modules.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.traces.iter().map(|(path, trace)| (path.as_path(), matches!(trace.seen, Seen::Folder(_))))
    }

    /// Whether everything is on the disk as it was. Reads all of it: not for a thread that serves.
    pub(crate) fn holds(&self) -> bool {
        self.traces.iter().all(|(path, trace)| look(path, trace.limit) == trace.seen)
    }
}

fn look(path: &Path, limit: u64) -> Seen {
    match read(path, limit) {
        Ok(bytes) => Seen::File(Sha256::of(&bytes)),
        Err(ReadError::NotAFile) if path.is_dir() => see_folder(path),
        Err(_) => Seen::Nothing,
    }
}

fn see_folder(path: &Path) -> Seen {
    Seen::Folder(digest_of(&versions::names(path).unwrap_or_default()))
}

/// No name has a NUL in it.
fn digest_of(names: &[String]) -> Sha256 {
    Sha256::of(names.join("\0").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path) -> Footprint {
        let mut footprint = Footprint::default();
        footprint.traces.insert(path.to_owned(), Trace { limit: 1024, seen: look(path, 1024) });
        footprint
    }

    #[test]
    fn what_is_in_a_file_counts_and_nothing_else_about_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let missing = of(&file);
        assert!(missing.holds());
        std::fs::write(&file, "one").unwrap();
        assert!(!missing.holds());
        let one = of(&file);
        std::fs::remove_file(&file).unwrap();
        assert!(!one.holds());
        std::fs::write(&file, "one").unwrap(); // another inode, another time
        assert!(one.holds());
        std::fs::write(&file, "two").unwrap();
        assert!(!one.holds());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(!one.holds());
    }

    #[test]
    fn of_a_folder_the_names_of_modules_count() {
        let folder = tempfile::tempdir().unwrap();
        let empty = of(folder.path());
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        assert!(empty.holds());
        std::fs::write(folder.path().join("a-1.wasm"), "").unwrap();
        assert!(!empty.holds());
    }

    #[test]
    fn what_is_too_large_or_no_file_is_found_unchanged_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let mut footprint = Footprint::default();
        std::fs::write(&file, "more than this").unwrap();
        assert!(footprint.read(&file, 4).is_err());
        assert!(footprint.holds());
        std::fs::write(&file, "less").unwrap();
        assert!(!footprint.holds());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(footprint.read(&file, 4).is_err());
        assert!(footprint.holds());
        assert!(footprint.read_stream(&file, 4).is_err());
        assert!(footprint.holds());
    }
}
