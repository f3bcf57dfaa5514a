//! Which files a configuration was read from, and what was in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::versions;

/// SHA-256 of a file's bytes.
pub(crate) type Digest = [u8; 32];

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
    File(Digest),
    /// A folder of modules: a digest of their names.
    Folder(Digest),
    /// Nothing that can be read.
    Nothing,
}

impl Footprint {
    /// Notes what was read of a file, which is no more than `limit` bytes and one. A pipe, which can be read once, is no
    /// file.
    pub(crate) fn read(&mut self, path: &Path, limit: u64, digest: Digest) {
        if !path.is_file() {
            return;
        }
        self.traces.insert(path.to_owned(), Trace { limit, seen: Seen::File(digest) });
    }

    /// Notes a file that should have been read.
    pub(crate) fn missed(&mut self, path: &Path, limit: u64) {
        self.traces.insert(path.to_owned(), Trace { limit, seen: Seen::Nothing });
    }

    /// Notes a folder of modules by the names that were in it.
    pub(crate) fn listed(&mut self, folder: &Path, names: &[String]) {
        self.traces.insert(folder.to_owned(), Trace { limit: 0, seen: Seen::Folder(digest_of(names)) });
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
    let look = || -> io::Result<Seen> {
        let metadata = std::fs::metadata(path)?;
        if metadata.is_dir() {
            let names = versions::names(path).unwrap_or_default();
            return Ok(Seen::Folder(digest_of(&names)));
        }
        if !metadata.is_file() {
            return Ok(Seen::Nothing); // reading a pipe or a device may never end
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(Seen::File(Sha256::digest(&bytes).into()))
    };
    look().unwrap_or(Seen::Nothing)
}

fn digest_of(names: &[String]) -> Digest {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
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
}
