//! Names that a configuration gives: of headers, cookies, and things of its own.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::rc::Rc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// The name of a header field, in lower case. Pseudo-headers (`:path`) are none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Rc<str>);

/// A token (RFC 9110, section 5.6.2), which is what cookies are called (RFC 6265, section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Rc<str>);

impl HeaderName {
    /// A name that is known to be one; it is put into lower case.
    pub fn from_known(name: &str) -> HeaderName {
        HeaderName(name.to_ascii_lowercase().into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Token {
    /// A token that is known to be one.
    pub fn from_known(text: &str) -> Token {
        Token(text.into())
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for HeaderName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(is_tchar)
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        if !is_token(&text) {
            let expected = "the name of a header, such as \"x-user\"";
            return Err(D::Error::invalid_value(Unexpected::Str(&text), &expected));
        }
        Ok(HeaderName::from_known(&text))
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        if !is_token(&text) {
            let expected = "a name of letters, digits and `-`, `_`, `.`";
            return Err(D::Error::invalid_value(Unexpected::Str(&text), &expected));
        }
        Ok(Token(text.as_ref().into()))
    }
}

impl JsonSchema for HeaderName {
    fn schema_name() -> Cow<'static, str> {
        "HeaderName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": LONGEST})
    }
}

impl JsonSchema for Token {
    fn schema_name() -> Cow<'static, str> {
        "Token".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": LONGEST})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    #[test]
    fn a_header_is_named_in_lower_case_and_by_a_token() {
        assert_eq!(read::<HeaderName>("\"X-User\"").unwrap().as_str(), "x-user");
        assert_eq!(read::<Token>("\"Ab_1\"").unwrap().as_str(), "Ab_1");
        for name in ["", "x user", ":path", "x\\ny", "é", "a=b", "a;b"] {
            assert!(read::<HeaderName>(&format!("\"{name}\"")).is_err(), "{name}");
            assert!(read::<Token>(&format!("\"{name}\"")).is_err(), "{name}");
        }
    }
}
