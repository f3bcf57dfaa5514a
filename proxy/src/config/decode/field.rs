//! What the raw types are made of: values that know their place and can be missing or invalid.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::source::Span;
use super::{LOCATED, ONE_OR_MANY};

/// A field of the file. A missing one is [`Field::Absent`] whether it is required or not: `check` knows which are.
#[derive(Debug, Default)]
pub(crate) enum Field<T> {
    /// The file does not give it.
    #[default]
    Absent,
    /// The file gives something else, which is recorded as a problem.
    Invalid,
    /// The file gives it.
    Given(Located<T>),
}

/// A value and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Field<T> {
    /// The value if there is a valid one.
    pub(crate) fn given(self) -> Option<Located<T>> {
        match self {
            Field::Given(located) => Some(located),
            Field::Absent | Field::Invalid => None,
        }
    }

    /// The value if there is a valid one, without its place.
    pub(crate) fn value(self) -> Option<T> {
        self.given().map(|located| located.value)
    }

    /// Where it is, if it is valid.
    pub(crate) fn span(&self) -> Option<Span> {
        match self {
            Field::Given(located) => Some(located.span),
            Field::Absent | Field::Invalid => None,
        }
    }

    /// Whether the file does not give it, not even wrongly.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }
}

/// A list that may be written without brackets when it has one item.
#[derive(Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<Field<T>>);

/// A mapping whose keys are the user's, in the order of the file.
#[derive(Debug)]
pub(crate) struct Map<K, V>(pub(crate) Vec<(Field<K>, Field<V>)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As an option, so that serde's derived code asks for nothing when the field is missing.
        deserializer.deserialize_option(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_newtype_struct(LOCATED, self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut place: A) -> Result<Field<T>, A::Error> {
        let span = unpack(place.next_element()?.unwrap_or_default());
        Ok(match place.next_element()? {
            Some(value) => Field::Given(Located { value, span }),
            None => Field::Invalid,
        })
    }
}

/// A span as the number in which it crosses serde.
pub(super) fn pack(span: Span) -> u64 {
    u64::from(span.start) << 32 | u64::from(span.end)
}

fn unpack(packed: u64) -> Span {
    Span { start: (packed >> 32) as u32, end: packed as u32 }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(ONE_OR_MANY, ListVisitor(PhantomData)).map(OneOrMany)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<Field<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData)).map(Map)
    }
}

struct MapVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for MapVisitor<K, V> {
    type Value = Vec<(Field<K>, Field<V>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            list.push(entry);
        }
        Ok(list)
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [item, { "type": "array", "items": item }] })
    }
}

impl<K, V: JsonSchema> JsonSchema for Map<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<V>();
        schemars::json_schema!({ "type": "object", "additionalProperties": value })
    }
}
