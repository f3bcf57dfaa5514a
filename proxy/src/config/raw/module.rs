//! Where a module is, as the user wrote it: a text, or a mapping that says more.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::super::bounds;
use super::super::decode::{Field, TEXT_OR_MAPPING};
use super::super::model::{Image, ModuleSource, Pull, Sha256};
use super::super::scalar::{Count, Parse, Text, Url};
use super::FROM_ENV;

/// The key of a mapping that stands for a file's text.
pub(crate) const FROM_FILE: &str = "from_file";

/// A filter's code.
#[derive(Debug)]
pub(crate) enum Module {
    /// Where it is, and nothing else.
    Text(ModuleSource),
    /// Where it is, and how it is fetched and known.
    Fields(Box<ModuleFields>),
}

/// A module that has to be fetched or known: one of `file`, `url` and `oci`, and what more there is to say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModuleFields {
    /// A file, relative to the folder of this configuration, or a folder, of which the newest version serves.
    #[serde(default)]
    pub(crate) file: Field<String>,
    /// A URL, `https://` or `http://`.
    #[serde(default)]
    pub(crate) url: Field<Text<Url>>,
    /// An image in a registry: `registry/repository:tag` or `registry/repository@sha256:DIGEST`, the digest being that
    /// of its manifest.
    #[serde(default)]
    pub(crate) oci: Field<Text<Image>>,
    /// SHA-256 of the module itself, which is refused where it is another. A module that is known by it is fetched once.
    #[serde(default)]
    pub(crate) sha256: Field<Text<Sha256>>,
    /// The cluster whose endpoints are asked for an `http://` URL; the URL's host is only told to them. Redirects are
    /// not followed.
    #[serde(default)]
    pub(crate) cluster: Field<String>,
    /// What the server or the registry wants to be shown. Default: nothing.
    #[serde(default)]
    pub(crate) credentials: Field<Credentials>,
    /// How long one attempt to fetch it may take.
    #[serde(default)]
    #[schemars(transform = bounds::FETCH_TIMEOUT.describe())]
    pub(crate) timeout: Field<Text<Duration>>,
    /// How many attempts follow one that failed, each after twice the wait of the one before.
    #[serde(default)]
    #[schemars(transform = bounds::FETCH_RETRIES.describe())]
    pub(crate) retries: Field<Text<Count>>,
    /// Whether a copy on disk will do (`if_not_present`), or the server is asked each time that the configuration is read
    /// (`always`). Default: `always` for an image whose tag is `latest` or not given, else `if_not_present`.
    #[serde(default)]
    pub(crate) pull: Field<Text<Pull>>,
    /// Whether the registry is spoken to without TLS. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) plain_http: Field<bool>,
}

/// What a server or a registry wants to be shown: `username` and `password`, or `docker_config`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// The name that the password is for.
    #[serde(default)]
    pub(crate) username: Field<Secret>,
    /// The password.
    #[serde(default)]
    pub(crate) password: Field<Secret>,
    /// A file as `docker login` writes it, relative to the folder of this configuration; a Kubernetes pull secret is one.
    /// It is read at each fetch.
    #[serde(default)]
    pub(crate) docker_config: Field<String>,
}

/// A key that modules may have to be signed with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustedKey {
    /// The file with the public key: Ed25519, in PEM, relative to the folder of this configuration.
    pub(crate) from_file: Field<String>,
}

/// Where a secret is.
#[derive(Debug)]
pub(crate) enum Secret {
    /// In a variable of the proxy's own environment.
    FromEnv(Field<String>),
    /// In a file.
    FromFile(Field<String>),
}

impl<'de> Deserialize<'de> for Module {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_OR_MAPPING, ModuleVisitor)
    }
}

struct ModuleVisitor;

impl<'de> Visitor<'de> for ModuleVisitor {
    type Value = Module;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ModuleSource::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Module, E> {
        ModuleSource::parse(text).map(Module::Text).map_err(E::custom)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Module, D::Error> {
        ModuleFields::deserialize(deserializer).map(|fields| Module::Fields(Box::new(fields)))
    }
}

impl JsonSchema for Module {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Module".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = generator.subschema_for::<ModuleFields>();
        schemars::json_schema!({ "anyOf": [<ModuleSource as Parse>::schema(), fields] })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`{from_env: NAME}` or `{from_file: PATH}`")
    }

    /// What follows the line break is the hint. The text is a secret, most likely: it is not repeated.
    fn visit_str<E: Error>(self, _: &str) -> Result<Secret, E> {
        let hint = "a secret does not stand in the configuration: say where it is";
        Err(E::custom(format!(
            "expected `{{from_env: NAME}}` or `{{from_file: PATH}}`, found a text\n{hint}"
        )))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Secret, A::Error> {
        let mut found = None;
        while let Some((key, value)) = entries.next_entry::<String, Field<String>>()? {
            let secret = match key.as_str() {
                FROM_ENV => Secret::FromEnv(value),
                FROM_FILE => Secret::FromFile(value),
                _ => return Err(A::Error::unknown_field(&key, &[FROM_ENV, FROM_FILE])),
            };
            if found.replace(secret).is_some() {
                return Err(A::Error::custom("`from_env` and `from_file` cannot be given together"));
            }
        }
        found.ok_or_else(|| A::Error::missing_field(FROM_ENV))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |key: &str| {
            schemars::json_schema!({
                "type": "object",
                "properties": {key: {"type": "string"}},
                "required": [key],
                "additionalProperties": false,
            })
        };
        schemars::json_schema!({ "anyOf": [one(FROM_ENV), one(FROM_FILE)] })
    }
}
