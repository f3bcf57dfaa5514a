//! Why one value did not decode.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::super::collector::Collector;
use super::super::source::Span;
use super::super::suggest;

/// Why a value did not decode: a message, perhaps a hint, and a place if it is not the value's own.
///
/// Types that are read from text tell a hint too: through serde, it is what follows the first line break.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    hint: Option<String>,
    span: Option<Span>,
    /// The key that it is about, where its place is not known yet.
    key: Option<String>,
}

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), hint: None, span: None, key: None }
    }

    /// Says what to do.
    pub(super) fn hint(self, hint: impl Into<String>) -> Error {
        Error { hint: Some(hint.into()), ..self }
    }

    /// Says what to do unless that was said.
    pub(super) fn or_hint(self, hint: String) -> Error {
        Error { hint: self.hint.or(Some(hint)), ..self }
    }

    /// Points elsewhere than at the value.
    pub(super) fn at(self, span: Span) -> Error {
        Error { span: Some(span), ..self }
    }

    /// Points at the key that it is about, which serde knows by name only.
    pub(super) fn at_its_key(self, place: impl Fn(&str) -> Option<Span>) -> Error {
        let at_key = self.key.as_deref().and_then(place);
        Error { span: self.span.or(at_key), key: None, ..self }
    }

    /// Records it as a problem of the value at `span`.
    pub(super) fn record(self, span: Span, log: &Collector<'_>) {
        let span = self.span.unwrap_or(span);
        match self.hint {
            Some(hint) => log.error_with_hint(span, self.message, hint),
            None => log.error(span, self.message),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        let text = message.to_string();
        match text.split_once('\n') {
            Some((message, hint)) => Error::new(message).hint(hint),
            None => Error::new(text),
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Error {
        let known = expected.iter().copied();
        let error = Error::new(format!("unknown field `{field}`"));
        Error { key: Some(field.to_owned()), ..error.hint(suggest::remedy(field, "fields here", known)) }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Error {
        let found = match found {
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Bool(value) => format!("`{value}`"),
            Unexpected::Str(text) => format!("`{text}`"),
            Unexpected::Unsigned(number) => format!("the number {number}"),
            Unexpected::Signed(number) => format!("the number {number}"),
            Unexpected::Float(number) => format!("the number {number}"),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a mapping".to_owned(),
            other => other.to_string(),
        };
        Error::new(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Error {
        Error::invalid_type(found, expected)
    }
}
