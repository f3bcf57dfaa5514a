//! Values that are written as one word or number: how they are parsed, shown and described.
//!
//! Whether a well-formed value is also sensible (in range, allowed in its place) is the business of `check`.

mod cookie;
mod http;
mod module;
mod name;
mod net;
mod quantity;
mod ratio;
mod retries;
mod tls;
mod word;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Visitor};

pub(crate) use self::http::{Authority, AuthorityText, UpgradeProtocol};
pub(crate) use cookie::CookieName;
pub(crate) use module::Url;
pub(crate) use name::NamePattern;
pub(crate) use net::{Host, Mode};
pub(crate) use quantity::{Count, Quantity, Size};
pub(crate) use retries::written;
pub(crate) use tls::Alpn;
pub(crate) use word::{Algorithm, Scheme, Traffic, name_of};

/// A value that the file gives as one scalar.
pub(crate) trait Parse: Sized {
    /// What is expected, with examples: "a duration such as `250ms` or `2s`".
    const EXPECTED: &'static str;

    /// Parses text, quoted or not.
    fn parse(text: &str) -> Result<Self, Refusal>;

    /// Takes an unquoted number that is whole and not negative.
    fn from_number(number: u64) -> Result<Self, Refusal> {
        Err(Self::refuse(&number).hint(Self::remedy_for_bare(&number)))
    }

    /// Takes an unquoted number with a fraction.
    fn from_float(number: f64) -> Result<Self, Refusal> {
        Err(Self::refuse(&number).hint(Self::remedy_for_bare(&number)))
    }

    /// What to do where an unquoted number, `true` or `false` was written.
    fn remedy_for_bare(found: &dyn fmt::Display) -> String {
        format!("put it in quotes: \"{found}\"")
    }

    /// The JSON Schema of the text.
    fn schema() -> Schema;

    /// Says what was expected and what was found.
    fn refuse(found: &dyn fmt::Display) -> Refusal {
        Refusal { message: format!("expected {}, found `{found}`", Self::EXPECTED), hint: None }
    }
}

/// Why a scalar was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    message: String,
    hint: Option<String>,
}

impl Refusal {
    /// Says only what is wrong.
    pub(crate) fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), hint: None }
    }

    /// Says what to do.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Refusal {
        Refusal { hint: Some(hint.into()), ..self }
    }
}

/// The message, and after a line break the hint: the form in which the decoder takes the two apart again.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message.replace('\n', " "))?;
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

/// A [`Parse`] value as a field of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: Parse> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData)).map(Text)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Parse> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        Err(E::custom(T::refuse(&number)))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        T::from_float(number).map_err(E::custom)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<T, E> {
        Err(E::custom(T::refuse(&value).hint(T::remedy_for_bare(&value))))
    }
}

impl<T: Parse> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::EXPECTED.into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}
