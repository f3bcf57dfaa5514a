//! Reads the files that a configuration takes text from.

use std::io;
use std::path::Path;

use super::super::source::Span;
use super::Checker;
use crate::files::ReadError;

/// Why a file's text cannot be had.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    NotRead(#[from] ReadError),
    #[error("is not UTF-8 text: see its line {line}")]
    NotText { line: usize },
}

impl Checker<'_> {
    /// A file's text of at most `limit` bytes, which is noted; nothing where there is a problem, which is recorded at
    /// `span`.
    pub(super) fn text_of(&self, path: &Path, limit: u64, span: Span) -> Option<String> {
        let read = self.footprint.borrow_mut().read(path, limit);
        let text = read.map_err(Unusable::from).and_then(|(bytes, _)| text(bytes));
        text.map_err(|why| self.record_unusable(path, span, &why)).ok()
    }

    /// The same of a file that may be anything.
    pub(super) fn bytes_of(&self, path: &Path, limit: u64, span: Span) -> Option<Vec<u8>> {
        let read = self.footprint.borrow_mut().read(path, limit);
        read.map(|(bytes, _)| bytes).map_err(|why| self.record_unusable(path, span, &why.into())).ok()
    }

    fn record_unusable(&self, path: &Path, span: Span, why: &Unusable) {
        let hint = match why {
            Unusable::NotRead(ReadError::Unreadable(error))
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                "let the user that runs tidegate read it"
            }
            Unusable::NotRead(ReadError::Unreadable(_)) => {
                "a relative path is relative to the folder of this configuration"
            }
            Unusable::NotRead(ReadError::NotAFile) => "name a plain file",
            Unusable::NotRead(ReadError::TooLarge { .. }) => "is it the right file?",
            Unusable::NotText { .. } => "save it as UTF-8",
        };
        self.log.error_with_hint(span, format!("`{}` {why}", path.display()), hint);
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Unusable> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Unusable::NotText { line: good.iter().filter(|&&byte| byte == b'\n').count() + 1 }
    })
}
