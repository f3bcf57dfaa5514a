//! Folders that appear whole: what is half-written never has their name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use crate::File;

/// Writes these files into a folder beside this one, which then takes its place. What was there is gone.
pub(crate) fn replace(folder: &Path, files: &[File]) -> io::Result<()> {
    // What a symbolic link leads to is replaced, not the link.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let (new, old) = (beside(&folder, "new"), beside(&folder, "old"));
    let replaced = write(&new, files).and_then(|()| take_place(&folder, &new, &old));
    if replaced.is_err() {
        let _ = fs::remove_dir_all(&new);
    }
    replaced
}

fn write(folder: &Path, files: &[File]) -> io::Result<()> {
    for File { path, text } in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text)?;
    }
    Ok(())
}

fn take_place(folder: &Path, new: &Path, old: &Path) -> io::Result<()> {
    // An empty folder gives way to the one that is renamed to it.
    match fs::rename(new, folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        done => return done,
    }
    fs::rename(folder, old)?;
    if let Err(error) = fs::rename(new, folder) {
        fs::rename(old, folder)?;
        return Err(error);
    }
    fs::remove_dir_all(old)
}

/// A hidden name in the same folder, of this process alone.
fn beside(folder: &Path, what: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{}.{what}", process::id()))
}
