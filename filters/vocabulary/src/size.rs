//! Numbers of bytes.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

/// A number of bytes, at most `MOST`: `512`, `64KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MOST: usize>(usize);

impl<const MOST: usize> Size<MOST> {
    /// So many bytes; the most, if it is more than that.
    pub const fn new(bytes: usize) -> Size<MOST> {
        Size(if bytes < MOST { bytes } else { MOST })
    }

    /// How many.
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Size<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size<MOST>, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader<const MOST: usize>;

impl<const MOST: usize> Visitor<'_> for Reader<MOST> {
    type Value = Size<MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, unit) = match MOST {
            _ if MOST.is_multiple_of(1 << 20) => (MOST >> 20, "MiB"),
            _ if MOST.is_multiple_of(1 << 10) => (MOST >> 10, "KiB"),
            _ => (MOST, " bytes"),
        };
        write!(f, "a size up to {most}{unit}, such as \"512B\", \"64KiB\", \"1MiB\", or in bytes")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size<MOST>, E> {
        let size = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MOST);
        size.map(Size).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size<MOST>, E> {
        let size = parse(text).filter(|bytes| *bytes <= MOST);
        size.map(Size).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn parse(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.trim_end().parse::<usize>().ok()?.checked_mul(factor)
}

impl<const MOST: usize> JsonSchema for Size<MOST> {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB)$"},
            {"type": "integer", "minimum": 0, "maximum": MOST},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    #[test]
    fn a_size_is_bytes_or_has_a_unit() {
        for (json, bytes) in [("512", 512), ("\"512B\"", 512), ("\"64KiB\"", 65_536), ("\"1 MiB\"", 1 << 20)]
        {
            assert_eq!(read(json), Ok(Size::<{ 1 << 20 }>(bytes)), "{json}");
        }
    }

    #[test]
    fn an_error_says_what_was_expected_and_how_much_at_most() {
        for json in ["\"64\"", "\"64kb\"", "\"2MiB\"", "-1", "1048577", "\"99999999999999999999MiB\""] {
            let error = read::<Size<{ 1 << 20 }>>(json).unwrap_err();
            assert!(error.contains("expected a size up to 1MiB, such as"), "{json} gave: {error}");
        }
    }
}
