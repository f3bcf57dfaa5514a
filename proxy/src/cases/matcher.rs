//! How texts and bodies are compared, and what is said of those that differ.

use std::fmt;

use bytes::Bytes;
use regex::Regex;
use serde_json::Value;

use super::compare;

/// How a text is compared.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// Anchored.
    Regex(Regex),
    Present(bool),
    Not(Box<Text>),
}

impl Text {
    /// Whether a value is what it has to be; `None` is one that is not there.
    pub(super) fn matches(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Text::Not(inner), _) => !inner.matches(value),
            (Text::Present(wanted), _) => value.is_some() == *wanted,
            (_, None) => false,
            (Text::Exact(text), Some(value)) => value == text.as_bytes(),
            (Text::Prefix(text), Some(value)) => value.starts_with(text.as_bytes()),
            (Text::Suffix(text), Some(value)) => value.ends_with(text.as_bytes()),
            (Text::Contains(text), Some(value)) => contains(value, text.as_bytes()),
            (Text::Regex(regex), Some(value)) => {
                std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text))
            }
        }
    }

    /// Whether a field's values are what one such comparison, without a list around it, says of them.
    pub(super) fn is_about_presence(&self) -> bool {
        match self {
            Text::Present(_) => true,
            Text::Not(inner) => inner.is_about_presence(),
            _ => false,
        }
    }
}

/// What is expected, in words.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Exact(text) => write!(f, "{text:?}"),
            Text::Prefix(text) => write!(f, "something that begins with {text:?}"),
            Text::Suffix(text) => write!(f, "something that ends with {text:?}"),
            Text::Contains(text) => write!(f, "something with {text:?} in it"),
            Text::Regex(regex) => {
                write!(f, "what all of `{}` matches", crate::config::check::without_anchors(regex))
            }
            Text::Present(true) => f.write_str("any value"),
            Text::Present(false) => f.write_str("none"),
            Text::Not(inner) => write!(f, "anything but {inner}"),
        }
    }
}

fn contains(value: &[u8], text: &[u8]) -> bool {
    text.is_empty() || value.windows(text.len()).any(|window| window == text)
}

/// How a body is compared.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Text(Text),
    Bytes(Bytes),
    Json(Value),
    Size(u64),
}

impl Body {
    pub(super) fn matches(&self, body: &[u8]) -> bool {
        match self {
            Body::Text(text) => text.matches(Some(body)),
            Body::Bytes(bytes) => bytes == body,
            Body::Json(value) => {
                serde_json::from_slice(body).is_ok_and(|found: Value| compare::same_json(&found, value))
            }
            Body::Size(size) => body.len() as u64 == *size,
        }
    }

    /// How a body that does not match differs, where that is worth a word beside the two; and line by line, where there are
    /// lines.
    pub(super) fn explain(&self, body: &[u8]) -> (Option<String>, Vec<String>) {
        match self {
            Body::Text(Text::Exact(text)) => match std::str::from_utf8(body) {
                Ok(found) if text.contains('\n') || found.contains('\n') => {
                    (None, compare::lines(text, found))
                }
                _ => (None, Vec::new()),
            },
            Body::Json(value) => match serde_json::from_slice::<Value>(body) {
                Ok(found) => (None, compare::json(value, &found)),
                Err(error) => (Some(format!("it is no JSON, {error}")), Vec::new()),
            },
            Body::Size(_) => (Some(format!("it has {} bytes", body.len())), Vec::new()),
            Body::Bytes(bytes) => (Some(compare::bytes(bytes, body)), Vec::new()),
            Body::Text(_) => (None, Vec::new()),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Text(text) => text.fmt(f),
            Body::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Body::Json(value) => write!(f, "the JSON {value}"),
            Body::Size(size) => write!(f, "{size} bytes"),
        }
    }
}
