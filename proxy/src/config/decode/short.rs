//! A value that is written as one scalar, or as a mapping that says more.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Visitor};

use super::super::scalar::{Parse, Text};
use super::SCALAR_OR_MAPPING;

/// A scalar, or what it is short for.
#[derive(Debug)]
pub(crate) enum Short<T, F> {
    /// The scalar.
    Scalar(T),
    /// The mapping's fields.
    Fields(Box<F>),
}

impl<'de, T: Parse, F: Deserialize<'de>> Deserialize<'de> for Short<T, F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SCALAR_OR_MAPPING, ShortVisitor(PhantomData))
    }
}

struct ShortVisitor<T, F>(PhantomData<(T, F)>);

impl<'de, T: Parse, F: Deserialize<'de>> Visitor<'de> for ShortVisitor<T, F> {
    type Value = Short<T, F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Text::deserialize(deserializer).map(|Text(value)| Short::Scalar(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        F::deserialize(deserializer).map(|fields| Short::Fields(Box::new(fields)))
    }
}

impl<T: Parse, F: JsonSchema> JsonSchema for Short<T, F> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Short_{}", F::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = generator.subschema_for::<F>();
        schemars::json_schema!({ "anyOf": [T::schema(), fields] })
    }
}
