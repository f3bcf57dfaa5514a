//! Small values of the configuration, checked while they are read, beside those that the shipped filters share.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use vocabulary::HeaderName;

/// A length of time: up to 30 days.
pub(crate) type Span = vocabulary::Span<{ 30 * 24 * 3600 }>;

/// One or several of something: a list, or what would be in it.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// By hand, so that an error is the one of what is wrong.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one, or a list")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
                T::deserialize(text.into_deserializer()).map(OneOrMany::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<T> OneOrMany<T> {
    pub(crate) fn all(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// A header that the filter adds to requests: not one that says where they go or how they are framed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, JsonSchema)]
#[serde(try_from = "HeaderName")]
pub(crate) struct NewHeader(HeaderName);

impl NewHeader {
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<HeaderName> for NewHeader {
    type Error = String;

    fn try_from(name: HeaderName) -> Result<NewHeader, String> {
        const REFUSED: [&str; 9] = [
            "connection",
            "content-length",
            "expect",
            "host",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        match REFUSED.contains(&name.as_str()) {
            true => Err(format!("`{}` is not a filter's to set; expected such as `x-user`", name.as_str())),
            false => Ok(NewHeader(name)),
        }
    }
}

/// A method, which is case-sensitive: `GET` (RFC 9110, section 9.1).
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub(crate) struct Method(String);

impl Method {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Method, String> {
        let is_method = |b: u8| b.is_ascii_uppercase() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(is_method) {
            return Err(format!("`{text}` is not a method; expected such as `GET`, in capitals"));
        }
        Ok(Method(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_frame_a_request_are_not_a_filters_to_set() {
        assert_eq!(serde_json::from_str::<NewHeader>(r#""X-User""#).unwrap().as_str(), "x-user");
        for name in ["Host", "content-length", "transfer-encoding", ":path", ""] {
            assert!(serde_json::from_str::<NewHeader>(&format!("\"{name}\"")).is_err(), "{name}");
        }
    }
}
