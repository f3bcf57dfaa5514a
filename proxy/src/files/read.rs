//! Reading files that may be anything.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Why a file's content cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is a pipe or a device, reading which may never end, or a folder.
    #[error("is not a file")]
    NotAFile,
    /// It has more bytes than are read.
    #[error("is larger than {}", in_words(*.limit))]
    TooLarge { limit: u64 },
}

impl ReadError {
    /// Whether there is nothing at the path.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, ReadError::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

fn in_words(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// A plain file of at most `limit` bytes.
///
/// # Errors
///
/// It is none, is larger, or cannot be read.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    if !fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    read_stream(path, limit)
}

/// The same of what may also be a pipe: of what was named on the command line.
///
/// # Errors
///
/// It is larger, or cannot be read.
pub(crate) fn read_stream(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { limit });
    }
    Ok(bytes)
}
