//! Folders that appear whole: what is half-written never has their name.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::File;

/// Writes these files into a folder beside this one, which then takes its place. What was there is gone.
pub(crate) fn replace(folder: &Path, files: &[File]) -> io::Result<()> {
    // What a symbolic link leads to is replaced, not the link.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let (new, old) = (beside(&folder, "new"), beside(&folder, "old"));
    prepared(&new, files, || take_place(&folder, &new, &old))
}

/// Makes a folder of these files where nothing is.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`]: something is there by now, which is left as it is. The operating system refused.
pub(crate) fn make(folder: &Path, files: &[File]) -> io::Result<()> {
    let new = beside(folder, "new");
    prepared(&new, files, || rename(&new, folder))
}

/// Puts these files into a folder that is empty. It stays the folder that it is: somebody may stand in it, it may be
/// another's, or a mount.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`]: it is not empty by now. What was there is left as it is, and nothing is added. The
/// operating system refused.
pub(crate) fn fill(folder: &Path, files: &[File]) -> io::Result<()> {
    let new = folder.join(format!(".{}.new", process::id()));
    prepared(&new, files, || {
        let mut moved = Vec::new();
        let filled = move_entries(&new, folder, &mut moved);
        if filled.is_err() {
            for entry in moved {
                let _ = rename(&folder.join(&entry), &new.join(&entry)); // what cannot be taken back stays
            }
        }
        filled
    })
}

fn move_entries(from: &Path, to: &Path, moved: &mut Vec<OsString>) -> io::Result<()> {
    let is_new = |entry: &io::Result<fs::DirEntry>| {
        entry.as_ref().is_ok_and(|entry| Some(entry.file_name().as_os_str()) != from.file_name())
    };
    if fs::read_dir(to)?.any(|entry| is_new(&entry)) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        rename(&from.join(&name), &to.join(&name))?;
        moved.push(name);
    }
    fs::remove_dir(from)
}

/// Writes these files into `new` and has them put into their place from there. Of `new` nothing is left if that fails.
fn prepared(new: &Path, files: &[File], place: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let placed = write(new, files).and_then(|()| place());
    if placed.is_err() {
        let _ = fs::remove_dir_all(new);
    }
    placed
}

fn write(folder: &Path, files: &[File]) -> io::Result<()> {
    for File { path, text } in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text)?;
    }
    Ok(())
}

/// Renames what nothing gives way to.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can do it in one: what appears between these two is a file of the same moment.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match to.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        renamed => renamed.map_err(io::Error::from),
    }
}

fn take_place(folder: &Path, new: &Path, old: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in a folder, by name.
    fn entries(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("it is a folder").flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn file(path: &str) -> File {
        File { path: path.to_owned(), text: "new".to_owned() }
    }

    #[test]
    fn what_has_appeared_meanwhile_is_left_and_nothing_is_added_to_it() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let there = folder.path().join("there");
        fs::create_dir(&there).expect("it can be made");
        fs::write(there.join("b"), "old").expect("it can be written");
        let files = [file("a"), file("b"), file("c/d")];
        for put in [fill, make] {
            let refused = put(&there, &files).expect_err("it is not empty");
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(there.join("b")).expect("it is there"), "old");
            assert_eq!(
                (entries(&there), entries(folder.path())),
                (vec!["b".to_owned()], vec!["there".to_owned()])
            );
        }
    }

    #[test]
    fn entries_give_way_to_none_that_are_moved() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for (path, text) in [("from", "new"), ("to", "old")] {
            fs::write(folder.path().join(path), text).expect("it can be written");
        }
        let renamed = rename(&folder.path().join("from"), &folder.path().join("to"));
        assert_eq!(renamed.expect_err("it is there").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(folder.path().join("to")).expect("it is there"), "old");
    }
}
