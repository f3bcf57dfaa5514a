//! What a route says of filters, as the user wrote it: a list is a chain of its own, a mapping what is different of the
//! listener's.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::super::decode::{Field, Map, TEXT_OR_MAPPING};
use super::GuestConfig;

/// The word for a filter that does not see a route's requests.
pub(crate) const OFF: &str = "off";

/// What a route says of filters.
#[derive(Debug)]
pub(crate) enum RouteFilters {
    /// A chain in the place of the listener's.
    Chain(Vec<Field<Link>>),
    /// Of filters of the listener's chain, what is different for the route.
    Changes(Map<String, Change>),
}

/// A filter of a route's own chain.
#[derive(Debug)]
pub(crate) enum Link {
    /// As it is.
    Name(String),
    /// A mapping with one entry: with another configuration.
    Configured(Map<String, Change>),
}

/// What is different of a filter.
#[derive(Debug)]
pub(crate) enum Change {
    /// It does not see the route's requests.
    Off,
    /// It is configured differently.
    Fields(Box<ChangeFields>),
}

/// What a filter has for a route in the place of what it has elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeFields {
    /// What the filter is configured with for the requests of this route, in the place of its own `config`.
    pub(crate) config: Field<GuestConfig>,
}

impl<'de> Deserialize<'de> for RouteFilters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RouteFiltersVisitor)
    }
}

struct RouteFiltersVisitor;

impl<'de> Visitor<'de> for RouteFiltersVisitor {
    type Value = RouteFilters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of filters, or a mapping of filters to what is different of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RouteFilters, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RouteFilters::Chain(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RouteFilters, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            list.push(entry);
        }
        Ok(RouteFilters::Changes(Map(list)))
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_OR_MAPPING, LinkVisitor)
    }
}

struct LinkVisitor;

impl<'de> Visitor<'de> for LinkVisitor {
    type Value = Link;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a filter, or `{NAME: {config: …}}`")
    }

    fn visit_str<E>(self, name: &str) -> Result<Link, E> {
        Ok(Link::Name(name.to_owned()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Link, D::Error> {
        Map::deserialize(deserializer).map(Link::Configured)
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_OR_MAPPING, ChangeVisitor)
    }
}

struct ChangeVisitor;

impl<'de> Visitor<'de> for ChangeVisitor {
    type Value = Change;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`off` or `{config: …}`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Change, E> {
        match text {
            OFF => Ok(Change::Off),
            // What follows the line break is the hint.
            _ => Err(E::custom(format!(
                "expected `off` or `{{config: …}}`, found `{text}`\nconfigure it with `{{config: {text}}}`, or switch it `off`"
            ))),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Change, D::Error> {
        ChangeFields::deserialize(deserializer).map(|fields| Change::Fields(Box::new(fields)))
    }
}

impl JsonSchema for RouteFilters {
    fn schema_name() -> Cow<'static, str> {
        "RouteFilters".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = generator.subschema_for::<ChangeFields>();
        json_schema!({
            "description": "A list is a chain in the place of the listener's; a mapping says what is different of filters \
                            of the listener's chain.",
            "anyOf": [
                {"type": "array", "items": {"anyOf": [
                    {"type": "string"},
                    {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": fields},
                ]}},
                {"type": "object", "additionalProperties": {"anyOf": [{"const": OFF}, fields]}},
            ],
        })
    }
}
