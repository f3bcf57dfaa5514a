//! What a filter may do, as the user wrote it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::super::decode::{Field, TEXT_OR_MAPPING};
use super::super::model::{BodyAccess, LogFloor};
use super::super::scalar::{NamePattern, Text};

/// Names, in each of which `*` stands for any text.
pub(crate) type Patterns = Field<Vec<Field<Text<NamePattern>>>>;

/// The word for what a module's manifest asks for.
const MANIFEST: &str = "manifest";

/// What a filter may do: named here, or in its module.
#[derive(Debug)]
pub(crate) enum Grant {
    /// `manifest`
    Manifest,
    /// A mapping.
    Only(Box<Capabilities>),
}

/// What a filter may do: this and nothing else. In every list `*` stands for any text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capabilities {
    /// Of the hostcalls and foreign functions that the other fields allow, these alone, by their names. Default: all of
    /// them.
    #[serde(default)]
    pub(crate) hostcalls: Patterns,
    /// The clusters that it may call, over HTTP and gRPC, and whose endpoints it may choose among.
    #[serde(default)]
    pub(crate) clusters: Patterns,
    /// The headers and trailers of exchanges; `:path` and the like are names too.
    #[serde(default)]
    pub(crate) headers: Field<Access>,
    /// What it may do with bodies and the data of connections; to write them is to read them too. Default: `none`.
    #[serde(default)]
    #[schemars(extend("default" = "none"))]
    pub(crate) body: Field<Text<BodyAccess>>,
    /// Facts about exchanges and connections, and what filters store, as `source.address`. Headers are not among them.
    #[serde(default)]
    pub(crate) properties: Field<Access>,
    /// Keys of shared data and of cells, and names of shared queues (`VM_ID/NAME` for one of another `vm_id`).
    #[serde(default)]
    pub(crate) shared_data: Patterns,
    /// The metrics that it may define.
    #[serde(default)]
    pub(crate) metrics: Patterns,
    /// Whether it may answer requests itself, and have exchanges take longer than their routes say. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) reply: Field<bool>,
    /// The least level of what is taken into the log from it. Default: `trace`, which is what the log itself takes.
    #[serde(default)]
    #[schemars(extend("default" = "trace"))]
    pub(crate) log: Field<Text<LogFloor>>,
}

/// What may be read and what may be written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Access {
    /// What it may read.
    #[serde(default)]
    pub(crate) read: Patterns,
    /// What it may set, add and remove.
    #[serde(default)]
    pub(crate) write: Patterns,
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_OR_MAPPING, GrantVisitor)
    }
}

struct GrantVisitor;

impl<'de> Visitor<'de> for GrantVisitor {
    type Value = Grant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or `manifest`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Grant, E> {
        match text {
            MANIFEST => Ok(Grant::Manifest),
            // What follows the line break is the hint.
            _ => Err(E::custom(format!(
                "expected a mapping or `manifest`, found `{text}`\n`{{}}` grants nothing, and `manifest` what the \
                 module asks for"
            ))),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Grant, D::Error> {
        Capabilities::deserialize(deserializer).map(|named| Grant::Only(Box::new(named)))
    }
}

impl JsonSchema for Grant {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Grant".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let named = generator.subschema_for::<Capabilities>();
        json_schema!({ "anyOf": [named, { "type": "string", "enum": [MANIFEST] }] })
    }
}
