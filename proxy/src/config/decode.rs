//! From the located tree to the raw types, recording every problem on the way instead of stopping at the first.
//!
//! The raw types derive serde's `Deserialize`, and each of their fields is a [`Field`]: a value with its place, or
//! nothing. A value that does not decode becomes [`Field::Invalid`] and its problem is recorded, so the structure
//! around it goes on. What a decoded value may be is the business of `check`.

mod access;
mod error;
mod field;
mod short;

use serde::de::{Deserialize, Deserializer, Expected, Visitor};

pub(crate) use error::Error;
pub(crate) use field::{Field, Located, Map, OneOrMany};
pub(crate) use short::Short;

use super::collector::Collector;
use super::suggest;
use super::yaml::{Node, Scalar, Value};
use access::{Choice, Entries, Items, Key, Place};

/// How a [`Field`] asks for its value's place and value.
const LOCATED: &str = "$located";

/// How a [`OneOrMany`] asks for a list, be it written as one or not.
const ONE_OR_MANY: &str = "$one_or_many";

/// The name of a type that is text or a mapping.
pub(crate) const TEXT_OR_MAPPING: &str = "$text_or_mapping";

/// The name of a type that is a scalar or a mapping.
const SCALAR_OR_MAPPING: &str = "$scalar_or_mapping";

/// The variant of a choice that stands for plain text where the others are mappings.
pub(crate) const TEXT: &str = "$text";

/// Decodes a whole tree.
pub(crate) fn decode<'de, T: Deserialize<'de>>(root: &'de Node, log: &'de Collector<'de>) -> Field<T> {
    match Field::deserialize(Tree { node: root, log }) {
        Ok(field) => field,
        Err(error) => {
            error.record(root.span, log);
            Field::Invalid
        }
    }
}

/// A node as something that serde can decode.
#[derive(Clone, Copy)]
struct Tree<'de> {
    node: &'de Node,
    log: &'de Collector<'de>,
}

impl<'de> Tree<'de> {
    fn mismatch(&self, expected: &str) -> Error {
        let error = Error::new(format!("expected {expected}, found {}", describe(self.node)));
        match &self.node.value {
            Value::Scalar(Scalar::Null) => error.hint("give it a value, or leave the line out"),
            _ => error,
        }
    }

    /// Points at the number itself, which may be deep in what is decoded as a whole.
    fn unusable(&self, why: &str) -> Error {
        Error::new(why).hint("put it in quotes if it is text").at(self.node.span)
    }

    fn scalar(&self, expected: &str) -> Result<&'de Scalar, Error> {
        match &self.node.value {
            Value::Scalar(Scalar::Unusable(why)) => Err(self.unusable(why)),
            Value::Scalar(scalar) => Ok(scalar),
            Value::List(_) | Value::Mapping(_) => Err(self.mismatch(expected)),
        }
    }

    fn items(&self) -> Result<Items<'de>, Error> {
        match &self.node.value {
            Value::List(items) => Ok(Items::new(items, self.log)),
            Value::Scalar(Scalar::Null) => Err(self.mismatch("a list").hint("an empty list is `[]`")),
            Value::Scalar(_) => Err(self.mismatch("a list").hint("a list of one is written `[value]`")),
            Value::Mapping(_) => Err(self.mismatch("a list").hint("each item of a list begins with `- `")),
        }
    }

    fn entries(&self, expected: &str) -> Result<Entries<'de>, Error> {
        match &self.node.value {
            Value::Mapping(entries) => Ok(Entries::new(entries, self.log)),
            Value::Scalar(Scalar::Null) => {
                Err(self.mismatch(expected).hint("leave the line out, or write `{}` for an empty mapping"))
            }
            Value::Scalar(_) | Value::List(_) => Err(self.mismatch(expected)),
        }
    }

    /// Records each key that is not a field.
    fn refuse_unknown(&self, fields: &'static [&'static str]) {
        let Value::Mapping(entries) = &self.node.value else { return };
        for (name, entry) in entries.iter().filter(|(name, _)| !fields.contains(&name.as_str())) {
            self.log.error_suggesting(entry.key, format!("unknown field `{name}`"), || match name.as_str() {
                "<<" => "merge keys are not part of YAML 1.2: write the fields out".to_owned(),
                _ => suggest::remedy(name, "fields here", fields.iter().copied()),
            });
        }
    }
}

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(Scalar::Null) => visitor.visit_unit(),
            Value::Scalar(Scalar::Bool(value)) => visitor.visit_bool(*value),
            Value::Scalar(Scalar::Unsigned(value)) => visitor.visit_u64(*value),
            Value::Scalar(Scalar::Signed(value)) => visitor.visit_i64(*value),
            Value::Scalar(Scalar::Float(value)) => visitor.visit_f64(*value),
            Value::Scalar(Scalar::Text(value)) => visitor.visit_borrowed_str(value),
            Value::Scalar(Scalar::Unusable(why)) => Err(self.unusable(why)),
            Value::List(items) => visitor.visit_seq(Items::new(items, self.log)),
            Value::Mapping(entries) => {
                let place = |name: &str| entries.get(name).map(|entry| entry.key);
                visitor.visit_map(Entries::new(entries, self.log)).map_err(|error| error.at_its_key(place))
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let expected = "`true` or `false`";
        match self.scalar(expected)? {
            Scalar::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.mismatch(expected)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar("text")? {
            Scalar::Text(value) => visitor.visit_borrowed_str(value),
            Scalar::Null => Err(self.mismatch("text").hint("an empty text is `\"\"`")),
            other => Err(self.mismatch("text").hint(format!("put it in quotes: \"{other}\""))),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (name, &self.node.value) {
            (LOCATED, _) => visitor.visit_seq(Place::new(self, self.node.span, self.log)),
            (TEXT_OR_MAPPING, Value::Scalar(Scalar::Text(text))) => visitor.visit_borrowed_str(text),
            (TEXT_OR_MAPPING, Value::Scalar(Scalar::Unusable(why))) => Err(self.unusable(why)),
            (TEXT_OR_MAPPING, Value::Scalar(_) | Value::List(_)) => {
                Err(self.mismatch(&(&visitor as &dyn Expected).to_string()))
            }
            (SCALAR_OR_MAPPING, Value::Scalar(scalar)) if *scalar != Scalar::Null => visitor.visit_some(self),
            (SCALAR_OR_MAPPING, Value::Scalar(_) | Value::List(_)) => {
                Err(self.mismatch(&(&visitor as &dyn Expected).to_string()))
            }
            (ONE_OR_MANY, Value::List(_)) => visitor.visit_seq(self.items()?),
            (ONE_OR_MANY, _) => visitor.visit_seq(Items::one(self.node, self.log)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(self.items()?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = self.entries("a mapping");
        visitor.visit_map(
            entries.map_err(|error| error.or_hint("each entry is written `name: value`".to_owned()))?,
        )
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = self.entries("a mapping").map_err(|error| {
            let listed: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
            error.or_hint(format!("its fields are {}", listed.join(", ")))
        })?;
        self.refuse_unknown(fields);
        visitor.visit_map(entries.only(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Choice::of(self, variants)?)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            LOCATED => visitor.visit_seq(Place::new(self, self.span, self.log)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What was found, in words.
fn describe(node: &Node) -> String {
    match &node.value {
        Value::Scalar(Scalar::Null) => "nothing".to_owned(),
        Value::Scalar(Scalar::Unusable(_)) => "a number".to_owned(),
        Value::Scalar(scalar @ (Scalar::Bool(_) | Scalar::Text(_))) => format!("`{scalar}`"),
        Value::Scalar(number) => format!("the number {number}"),
        Value::List(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
    }
}
