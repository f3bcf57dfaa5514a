//! Modules that were fetched, on disk, under the digest of each.
//!
//! An entry is written beside its place and renamed, so that other processes see all of it or nothing, and it is held
//! against its name whenever it is read: what does not match is thrown away. A cache that cannot be written is named in
//! the log and done without.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::MODULE_LIMIT;
use crate::files::{self, Sha256};
use crate::signature::SIGNATURES_LIMIT;

/// All entries together, in bytes: beyond it the ones that were not used for the longest time go.
const CACHE_LIMIT: u64 = 1 << 30;
/// What a process that was killed left half written goes after this time.
const LEFT_OVER: Duration = Duration::from_secs(60 * 60);

/// The folder, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Cache(Option<PathBuf>);

/// What a reference was when it was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    /// The module.
    pub(super) module: Sha256,
    /// An image's manifest.
    pub(super) manifest: Option<Sha256>,
}

/// The same as JSON.
#[derive(Serialize, Deserialize)]
struct WrittenNote {
    module: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
}

impl Cache {
    /// In the folder `fetched` of this one.
    pub(super) fn new(folder: Option<&Path>) -> Cache {
        Cache(folder.map(|folder| folder.join("fetched")))
    }

    /// The module with this digest.
    pub(super) fn module(&self, digest: Sha256) -> Option<Bytes> {
        let path = self.path(&format!("{digest}.wasm"))?;
        let bytes = files::read(&path, MODULE_LIMIT).ok()?;
        if Sha256::of(&bytes) == digest {
            // The time of its last use, by which entries go.
            let _ = File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()));
            return Some(bytes.into());
        }
        tracing::warn!(path = %path.display(), "a fetched module on disk is not what its name says: it is thrown away");
        let _ = fs::remove_file(path);
        None
    }

    /// Keeps a module.
    pub(super) fn keep(&self, digest: Sha256, module: &[u8]) {
        self.write(&format!("{digest}.wasm"), module);
        self.prune();
    }

    /// The signatures of the module with this digest.
    pub(super) fn signatures(&self, digest: Sha256) -> Option<Bytes> {
        files::read(&self.path(&format!("{digest}.sig"))?, SIGNATURES_LIMIT as u64).ok().map(Bytes::from)
    }

    /// Keeps a module's signatures.
    pub(super) fn keep_signatures(&self, digest: Sha256, signatures: &[u8]) {
        self.write(&format!("{digest}.sig"), signatures);
    }

    /// What a reference was when it was fetched.
    pub(super) fn note(&self, reference: &str) -> Option<Note> {
        let text = files::read(&self.path(&name_of(reference))?, 4096).ok()?;
        let WrittenNote { module, manifest } = serde_json::from_slice(&text).ok()?;
        let manifest = match manifest {
            Some(digest) => Some(Sha256::from_hex(&digest)?),
            None => None,
        };
        Some(Note { module: Sha256::from_hex(&module)?, manifest })
    }

    /// Notes what a reference is.
    pub(super) fn keep_note(&self, reference: &str, note: Note) {
        let note = WrittenNote {
            module: note.module.to_string(),
            manifest: note.manifest.map(|digest| digest.to_string()),
        };
        if let Ok(text) = serde_json::to_vec(&note) {
            self.write(&name_of(reference), &text);
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(name))
    }

    fn write(&self, name: &str, content: &[u8]) {
        let Some(folder) = &self.0 else { return };
        if let Err(error) = write(folder, name, content) {
            tracing::warn!(
                folder = %folder.display(),
                %error,
                "fetched modules are not kept: the cache folder cannot be used"
            );
        }
    }

    /// Makes room.
    fn prune(&self) {
        let Some(entries) = self.0.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        let mut kept = Vec::new();
        for entry in entries.flatten() {
            let (Ok(metadata), name) = (entry.metadata(), entry.file_name()) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let is_left_over = name.to_string_lossy().starts_with('.')
                && used.elapsed().is_ok_and(|since| since > LEFT_OVER);
            if is_left_over {
                let _ = fs::remove_file(entry.path());
            } else {
                kept.push((used, metadata.len(), entry.path()));
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in kept {
            if total <= CACHE_LIMIT {
                return;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }
}

/// A reference can hold anything, and be secret: a file's name is its digest.
fn name_of(reference: &str) -> String {
    format!("{}.json", Sha256::of(reference.as_bytes()))
}

fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".{name}.{}.{:x}", std::process::id(), fastrand::u64(..)));
    let written = File::options()
        .write(true)
        .create_new(true)
        .open(&beside)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, folder.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
