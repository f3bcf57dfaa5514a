//! Checks what guests are configured with, and puts the text of files where it names them.

use serde_json::{Map, Value, json};

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::raw::{FROM_FILE, GuestConfig};
use super::Checker;

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
        let text = self.checker.text_of(&path, bounds::MAX_CONFIG_FILE_BYTES, span).unwrap_or_default();
        (text.into(), json!({ FROM_FILE: path.to_string_lossy() }))
    }
}
