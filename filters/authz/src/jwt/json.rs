//! JSON as tokens have to hold it: no member twice, not too deep, not too much.
//!
//! RFC 7519, section 4, lets a reader of duplicate members reject the token or take the last; rejecting is the one that
//! no other reader of the same token can disagree with. Elsewhere parsers take the first, or the last.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How deep claims may be nested.
pub(crate) const DEEPEST: usize = 16;
/// How many values a header or a set of claims may have, all levels together.
pub(crate) const MOST_VALUES: usize = 2048;

/// Reads an object.
pub(crate) fn read_object(text: &[u8]) -> Option<Map<String, Value>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let values_left = Cell::new(MOST_VALUES);
    let value =
        Level { depth_left: DEEPEST, values_left: &values_left }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// A value on one level of nesting.
#[derive(Clone, Copy)]
struct Level<'a> {
    depth_left: usize,
    values_left: &'a Cell<usize>,
}

impl Level<'_> {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Level { depth_left, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left =
            self.values_left.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.values_left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let (level, mut values) = (self.inner()?, Vec::new());
        while let Some(value) = sequence.next_element_seed(level)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (level, mut object) = (self.inner()?, Map::new());
        while let Some(name) = map.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom("a member twice"));
            }
            let value = map.next_value_seed(level)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_reads_as_it_is() {
        let text = r#"{"a": [1, -2, 0.5, "x", true, null], "b": {"c": {}}}"#;
        let object = read_object(text.as_bytes()).unwrap();
        assert_eq!(Value::Object(object), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_member_twice_is_refused_on_every_level() {
        assert_eq!(read_object(br#"{"sub": "a", "sub": "b"}"#), None);
        assert_eq!(read_object(br#"{"a": [{"b": 1, "b": 1}]}"#), None);
        assert_eq!(read_object(br#"{"sub": "a", "\u0073ub": "b"}"#), None, "an escape hides nothing");
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| format!("{{\"a\": {}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read_object(nested(DEEPEST - 1).as_bytes()).is_some());
        assert!(read_object(nested(DEEPEST).as_bytes()).is_none());
        let many = |count: usize| format!("{{\"a\": [{}]}}", vec!["1"; count].join(","));
        assert!(read_object(many(MOST_VALUES - 2).as_bytes()).is_some());
        assert!(read_object(many(MOST_VALUES - 1).as_bytes()).is_none());
    }

    #[test]
    fn what_is_no_object_or_more_than_one_is_refused() {
        for text in ["", "[]", "\"a\"", "{} {}", "{}x", "{\"a\":NaN}", "\u{feff}{}"] {
            assert_eq!(read_object(text.as_bytes()), None, "{text}");
        }
    }
}
