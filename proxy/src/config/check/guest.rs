//! Checks what guests are configured with, and puts the text of files where it names them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::raw::GuestConfig;
use super::super::source::Span;
use super::Checker;

/// The only key of a mapping that stands for a file's text.
const FROM_FILE: &str = "from_file";

/// What a guest is configured with.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// What it reads.
    pub(super) read: Value,
    /// The same with the names of files in the place of their text, if there are any: what may be shown.
    pub(super) shown: Option<Value>,
}

impl Checker<'_> {
    /// Reads the files that a filter's configuration names.
    pub(super) fn guest_config(&self, raw: Located<GuestConfig>) -> Resolved {
        let mut resolver = Resolver { checker: self, files: 0 };
        let (read, shown) = resolver.resolve(raw);
        Resolved { read, shown: (resolver.files > 0).then_some(shown) }
    }
}

/// One filter's configuration while it is read.
struct Resolver<'a> {
    checker: &'a Checker<'a>,
    /// How many files it has named so far.
    files: usize,
}

impl Resolver<'_> {
    /// What the guest reads, and what may be shown of it.
    fn resolve(&mut self, raw: Located<GuestConfig>) -> (Value, Value) {
        match raw.value {
            GuestConfig::Scalar(value) => (value.clone(), value),
            GuestConfig::List(items) => {
                let items = items.into_iter().filter_map(Field::given);
                let (read, shown): (Vec<_>, Vec<_>) = items.map(|item| self.resolve(item)).unzip();
                (read.into(), shown.into())
            }
            GuestConfig::Mapping(mut entries) => match entries.as_mut_slice() {
                [(name, path)] if name == FROM_FILE => self.file(std::mem::take(path)),
                _ => self.mapping(entries),
            },
        }
    }

    fn mapping(&mut self, entries: Vec<(String, Field<GuestConfig>)>) -> (Value, Value) {
        let (mut read, mut shown) = (Map::new(), Map::new());
        for (name, value) in entries {
            let Some(value) = value.given() else { continue };
            let (as_read, as_shown) = self.resolve(value);
            read.insert(name.clone(), as_read);
            shown.insert(name, as_shown);
        }
        (read.into(), shown.into())
    }

    /// A file's text, and its name. Nothing where there is a problem, which is recorded.
    fn file(&mut self, path: Field<GuestConfig>) -> (Value, Value) {
        let Some(Located { value, span }) = path.given() else { return Default::default() };
        let log = self.checker.log;
        let GuestConfig::Scalar(Value::String(path)) = value else {
            log.error_with_hint(
                span,
                "expected the name of a file",
                "write it as text: `{from_file: ./keys.json}`",
            );
            return Default::default();
        };
        self.files += 1;
        let most = bounds::MAX_CONFIG_FILES;
        if self.files > most {
            let hint = "join some of them";
            log.error_with_hint(span, format!("a filter's `config` takes at most {most} files"), hint);
            return Default::default();
        }
        let path = self.checker.folder.join(path);
        let text = self.text_of(&path).map_err(|why| self.record(&path, span, &why)).unwrap_or_default();
        (text.into(), json!({ FROM_FILE: path.to_string_lossy() }))
    }

    /// Reads a file, and notes that it was.
    fn text_of(&self, path: &Path) -> Result<String, Unusable> {
        let (limit, mut footprint) = (bounds::MAX_CONFIG_FILE_BYTES, self.checker.footprint.borrow_mut());
        let bytes = bytes_of(path).inspect_err(|_| footprint.missed(path, limit))?;
        footprint.read(path, limit, Sha256::digest(&bytes).into());
        text(bytes)
    }

    fn record(&self, path: &Path, span: Span, why: &Unusable) {
        let hint = match why {
            Unusable::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let the user that runs tidegate read it"
            }
            Unusable::Unreadable(_) => "a relative path is relative to the folder of this configuration",
            Unusable::NotAFile => "name a plain file",
            Unusable::TooLarge => "is it the right file?",
            Unusable::NotText { .. } => "save it as UTF-8",
        };
        self.checker.log.error_with_hint(span, format!("`{}` {why}", path.display()), hint);
    }
}

/// Why a file's text cannot be had.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Reading a pipe or a device may never end.
    #[error("is not a file")]
    NotAFile,
    #[error("is larger than {} MiB", bounds::MAX_CONFIG_FILE_BYTES >> 20)]
    TooLarge,
    #[error("is not UTF-8 text: see its line {line}")]
    NotText { line: usize },
}

/// One byte more than is allowed, so that [`text`] sees that it is too large.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Unusable> {
    if !fs::metadata(path)?.is_file() {
        return Err(Unusable::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bounds::MAX_CONFIG_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, Unusable> {
    if bytes.len() as u64 > bounds::MAX_CONFIG_FILE_BYTES {
        return Err(Unusable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Unusable::NotText { line: good.iter().filter(|&&byte| byte == b'\n').count() + 1 }
    })
}
