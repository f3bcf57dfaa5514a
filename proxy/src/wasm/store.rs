//! Compiled modules on disk, found again by what they were compiled from.
//!
//! The compiler has a cache of its own, but it runs what it finds there: a bit that flipped on the disk would be run. So
//! that cache is an empty folder of this process alone, the desk. What was kept is laid on it only when its digest is
//! right, and what the compiler has put there is taken from it and kept. Everything that is kept appears whole, by a
//! rename, so that any number of processes may share a folder; whatever cannot be kept or read is compiled instead, and
//! a warning says why.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::Digest as _;

use crate::files::Sha256;

/// What a kept module begins with: the layout of what follows.
const MAGIC: &str = "tidegate compiled module 1";

/// Kept modules end in this.
const KEPT: &str = "compiled";

/// Those that are being written end in this.
const UNDER_WAY: &str = "new";

/// The largest compiled module that is read, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// The most that is kept, in bytes and in modules. Beyond it those go that were not used for the longest time.
const MAX_KEPT_BYTES: u64 = 1 << 30;
const MAX_KEPT: usize = 1024;

/// How old a file under way is that nobody finishes any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder of compiled modules.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    desk: Mutex<Desk>,
}

/// Why a kept module is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is damaged")]
    Damaged,
}

impl Store {
    /// Opens a folder, and makes it where it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn open(folder: &Path) -> io::Result<Store> {
        // What is in it is run: nobody else is to write there.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let folder = folder.canonicalize()?;
        Desk::clear_abandoned(&folder);
        let desk = Mutex::new(Desk::new(&folder)?);
        Ok(Store { folder, desk })
    }

    /// The folder for the compiler's own cache.
    pub(super) fn desk(&self) -> PathBuf {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).folder.clone()
    }

    /// Compiles a module with an engine whose cache is the desk, or finds it compiled: whether it did.
    ///
    /// # Errors
    ///
    /// The compiler's.
    pub(super) fn compile(
        &self,
        engine: &wasmtime::Engine,
        bytes: &[u8],
    ) -> wasmtime::Result<(wasmtime::Module, bool)> {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.folder.join(name_of(engine, bytes));
        let laid = self.lay_out(&kept, &desk);
        let module = wasmtime::Module::new(engine, bytes);
        let mut is_kept = false;
        if module.is_ok() {
            match desk.entry() {
                // The compiler replaces what it cannot use.
                Some((_, inode)) if laid == Some(inode) => is_kept = true,
                Some((name, _)) => self.keep(&kept, &desk, &name),
                None => warn_not_kept(&kept, "the compiler could not write it: is the disk full?"),
            }
        }
        desk.clear();
        module.map(|module| (module, is_kept))
    }

    /// Compiles a module with such an engine, and keeps nothing of it.
    ///
    /// # Errors
    ///
    /// The compiler's.
    pub(super) fn compile_once(
        &self,
        engine: &wasmtime::Engine,
        bytes: &[u8],
    ) -> wasmtime::Result<wasmtime::Module> {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let module = wasmtime::Module::new(engine, bytes);
        desk.clear();
        module
    }

    /// Lays a kept module on the desk, and gives its inode there.
    fn lay_out(&self, kept: &Path, desk: &Desk) -> Option<u64> {
        let found = read(kept).and_then(|(name, payload)| {
            let path = desk.folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&desk.folder))?;
            fs::write(&path, payload)?;
            Ok(fs::metadata(&path)?.ino())
        });
        match found {
            Ok(inode) => {
                // So that it is not taken for unused; if that fails it is compiled again one day.
                let _ = File::open(kept).and_then(|file| file.set_modified(SystemTime::now()));
                Some(inode)
            }
            Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %kept.display(), %error, "a compiled module cannot be used: it is compiled anew");
                desk.clear();
                None
            }
        }
    }

    fn keep(&self, kept: &Path, desk: &Desk, name: &Path) {
        let under_way = kept.with_extension(format!("{:016x}.{UNDER_WAY}", fastrand::u64(..)));
        let written = fs::read(desk.folder.join(name)).and_then(|payload| {
            fs::write(&under_way, sealed(name, &payload))?;
            fs::rename(&under_way, kept)
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&under_way); // a full disk is to have its space back
            warn_not_kept(kept, &error.to_string());
        }
        // What cannot be looked at is not cleared up, and does no harm.
        let _ = self.make_room();
    }

    /// Removes what was not used for the longest time where there is too much.
    fn make_room(&self) -> io::Result<()> {
        let (mut kept, now) = (Vec::new(), SystemTime::now());
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            let modified = metadata.modified()?;
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(KEPT) => kept.push((modified, metadata.len(), path)),
                Some(UNDER_WAY) if now.duration_since(modified).is_ok_and(|age| age > ABANDONED) => {
                    fs::remove_file(path)?;
                }
                _ => {}
            }
        }
        kept.sort_unstable();
        let (mut count, mut bytes) = (kept.len(), kept.iter().map(|(_, size, _)| size).sum::<u64>());
        for (_, size, path) in kept {
            if count <= MAX_KEPT && bytes <= MAX_KEPT_BYTES {
                break;
            }
            fs::remove_file(path)?;
            (count, bytes) = (count - 1, bytes - size);
        }
        Ok(())
    }
}

fn warn_not_kept(file: &Path, error: &str) {
    tracing::warn!(file = %file.display(), error, "a compiled module is not kept: it will be compiled again");
}

/// What a compiled module is kept as: it depends on what it was compiled from, and by which compiler with which settings
/// for which processor.
fn name_of(engine: &wasmtime::Engine, bytes: &[u8]) -> String {
    let mut compiler = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compiler);
    format!("{}-{:016x}.{KEPT}", Sha256::of(bytes), compiler.finish())
}

/// A module as it is kept: what it is, the compiler's name for it, the digest of both that and what follows.
fn sealed(name: &Path, payload: &[u8]) -> Vec<u8> {
    let name = name.to_string_lossy();
    let mut bytes = format!("{MAGIC}\n{name}\n{}\n", digest(&name, payload)).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn digest(name: &str, payload: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::new().chain_update(name).chain_update([0]).chain_update(payload).finalize().into())
}

/// The compiler's name for a kept module, and its file.
fn read(kept: &Path) -> Result<(PathBuf, Vec<u8>), Unusable> {
    let mut bytes = Vec::new();
    File::open(kept)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    unsealed(&bytes).ok_or(Unusable::Damaged)
}

fn unsealed(bytes: &[u8]) -> Option<(PathBuf, Vec<u8>)> {
    let mut parts = bytes.splitn(4, |&byte| byte == b'\n');
    let mut line = || std::str::from_utf8(parts.next()?).ok();
    let (magic, name, sum) = (line()?, line()?, line()?);
    let payload = parts.next()?;
    (magic == MAGIC && digest(name, payload).to_string() == sum)
        .then(|| (PathBuf::from(name), payload.to_vec()))
}

/// A folder of this process alone. It is known to be in use by a lock, which ends with the process.
#[derive(Debug)]
struct Desk {
    folder: PathBuf,
    lock_file: PathBuf,
    _lock: File,
}

/// Desks and their locks begin with this.
const DESK: &str = "desk-";

impl Desk {
    fn new(store: &Path) -> io::Result<Desk> {
        let name = format!("{DESK}{:016x}", fastrand::u64(..));
        let (folder, lock_file) = (store.join(&name), store.join(format!("{name}.lock")));
        // Under its own name it is locked from the first: who finds it free takes its process for one that has ended.
        let under_way = lock_file.with_extension(UNDER_WAY);
        let lock = File::create_new(&under_way)?;
        lock.try_lock()?;
        fs::rename(&under_way, &lock_file)?;
        fs::create_dir(&folder)?;
        Ok(Desk { folder, lock_file, _lock: lock })
    }

    /// Removes the desks of processes that have ended. What cannot be removed does no harm.
    fn clear_abandoned(store: &Path) {
        let Ok(entries) = fs::read_dir(store) else { return };
        for lock_file in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = lock_file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with(DESK) || !name.ends_with(".lock") {
                continue;
            }
            let Ok(lock) = File::open(&lock_file) else { continue };
            if lock.try_lock().is_ok() {
                let _ = fs::remove_dir_all(lock_file.with_extension(""));
                let _ = fs::remove_file(&lock_file);
            }
        }
    }

    /// The one module on the desk: the compiler's name for it, and its inode.
    fn entry(&self) -> Option<(PathBuf, u64)> {
        let compilers = self.folder.join("modules").read_dir().ok()?;
        let files = compilers.filter_map(|compiler| compiler.ok()?.path().read_dir().ok()).flatten();
        // With an extension are statistics, and files that were not finished.
        let mut modules =
            files.filter_map(|file| Some(file.ok()?.path()).filter(|path| path.extension().is_none()));
        let path = modules.next()?;
        Some((path.strip_prefix(&self.folder).ok()?.to_owned(), fs::metadata(&path).ok()?.ino()))
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(self.folder.join("modules")); // what is left is not found by any other module
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(&self.lock_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_by_many_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let store = Store::open(folder.path()).expect("nobody is in its way");
                        assert!(store.desk().is_dir(), "nobody took its desk for one that was left");
                    }
                });
            }
        });
        assert_eq!(
            fs::read_dir(folder.path()).expect("it is there").count(),
            0,
            "and nothing is left of them"
        );
    }

    #[test]
    fn every_flipped_bit_of_a_kept_module_is_noticed() {
        let whole = sealed(Path::new("modules/x/y"), b"machine code\nin lines");
        let (name, payload) = unsealed(&whole).expect("it is whole");
        assert_eq!(
            (name.as_path(), payload.as_slice()),
            (Path::new("modules/x/y"), &b"machine code\nin lines"[..])
        );
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                assert!(unsealed(&damaged).is_none(), "byte {at}, bit {bit}");
            }
            assert!(unsealed(&whole[..at]).is_none(), "cut at {at}");
        }
    }
}
