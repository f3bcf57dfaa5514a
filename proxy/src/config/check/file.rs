//! Reads the files that a configuration takes text from.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::super::source::Span;
use super::Checker;

/// Why a file's text cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Reading a pipe or a device may never end.
    #[error("is not a file")]
    NotAFile,
    #[error("is larger than {}", in_words(*.limit))]
    TooLarge { limit: u64 },
    #[error("is not UTF-8 text: see its line {line}")]
    NotText { line: usize },
}

impl Checker<'_> {
    /// A file's text of at most `limit` bytes; nothing where there is a problem, which is recorded at `span`.
    pub(super) fn text_of(&self, path: &Path, limit: u64, span: Span) -> Option<String> {
        text_of(path, limit).map_err(|why| self.record_unusable(path, span, &why)).ok()
    }

    fn record_unusable(&self, path: &Path, span: Span, why: &Unusable) {
        let hint = match why {
            Unusable::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let the user that runs tidegate read it"
            }
            Unusable::Unreadable(_) => "a relative path is relative to the folder of this configuration",
            Unusable::NotAFile => "name a plain file",
            Unusable::TooLarge { .. } => "is it the right file?",
            Unusable::NotText { .. } => "save it as UTF-8",
        };
        self.log.error_with_hint(span, format!("`{}` {why}", path.display()), hint);
    }
}

fn in_words(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

fn text_of(path: &Path, limit: u64) -> Result<String, Unusable> {
    if !fs::metadata(path)?.is_file() {
        return Err(Unusable::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Unusable::TooLarge { limit });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Unusable::NotText { line: good.iter().filter(|&&byte| byte == b'\n').count() + 1 }
    })
}
