//! The files of a recording: who may read them, and what lies beside one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Where the secrets of a recording are: `NAME.secrets`.
pub fn secrets_file(recording: &Path) -> PathBuf {
    let mut name = recording.as_os_str().to_owned();
    name.push(".secrets");
    name.into()
}

/// A file to record into, empty. Nobody but its owner may read it, also where it was there before; what was in it stays
/// where that cannot be had. A device or a pipe is taken as it is.
///
/// # Errors
///
/// It cannot be written, or belongs to another.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// The file for the secrets of a recording. It is a new one: whoever has the former one open, or has put a link there,
/// does not see what goes into it.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn create_secrets(recording: &Path) -> io::Result<File> {
    let path = secrets_file(recording);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(named)
}
