//! What a guest is configured with, as the user wrote it: any JSON, of which each part knows its place.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::super::decode::Field;

/// A part of what a guest is configured with. What a mapping with only `from_file` means is the business of `check`.
#[derive(Debug)]
pub(crate) enum GuestConfig {
    /// Nothing, `true` or `false`, a number, or text.
    Scalar(Value),
    List(Vec<Field<GuestConfig>>),
    /// In the order of the file.
    Mapping(Vec<(String, Field<GuestConfig>)>),
}

impl<'de> Deserialize<'de> for GuestConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GuestConfigVisitor)
    }
}

struct GuestConfigVisitor;

impl<'de> Visitor<'de> for GuestConfigVisitor {
    type Value = GuestConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<GuestConfig, E> {
        Ok(GuestConfig::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<GuestConfig, E> {
        Ok(GuestConfig::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<GuestConfig, E> {
        Ok(GuestConfig::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<GuestConfig, E> {
        Ok(GuestConfig::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<GuestConfig, E> {
        Ok(GuestConfig::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<GuestConfig, E> {
        Ok(GuestConfig::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<GuestConfig, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(GuestConfig::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<GuestConfig, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(GuestConfig::Mapping(mapping))
    }
}

impl JsonSchema for GuestConfig {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Value::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Value::json_schema(generator)
    }
}
