//! A variable of a guest's environment, as the user wrote it: a text, or where to take it from.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::super::decode::Field;

/// The only key of a mapping that stands for a variable of the proxy's own environment.
pub(crate) const FROM_ENV: &str = "from_env";

/// The value of a variable.
#[derive(Debug)]
pub(crate) enum Variable {
    /// This.
    Text(String),
    /// That of this variable of the proxy's own environment.
    FromEnv(Field<String>),
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VariableVisitor)
    }
}

struct VariableVisitor;

impl<'de> Visitor<'de> for VariableVisitor {
    type Value = Variable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or `{from_env: NAME}`")
    }

    fn visit_str<E>(self, text: &str) -> Result<Variable, E> {
        Ok(Variable::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Variable, E> {
        Err(not_text(&format!("`{value}`"), value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Variable, E> {
        Err(not_text(&format!("the number {value}"), value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Variable, E> {
        Err(not_text(&format!("the number {value}"), value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Variable, E> {
        Err(not_text(&format!("the number {value}"), value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Variable, A::Error> {
        let mut found = None;
        while let Some((key, value)) = entries.next_entry::<String, Field<String>>()? {
            if key != FROM_ENV {
                return Err(A::Error::unknown_field(&key, &[FROM_ENV]));
            }
            found = Some(value);
        }
        found.map(Variable::FromEnv).ok_or_else(|| A::Error::missing_field(FROM_ENV))
    }
}

/// What follows the line break is the hint.
fn not_text<E: Error>(found: &str, value: impl fmt::Display) -> E {
    E::custom(format!("expected text or `{{from_env: NAME}}`, found {found}\nput it in quotes: \"{value}\""))
}

impl JsonSchema for Variable {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {"from_env": {"type": "string"}},
                "required": ["from_env"],
                "additionalProperties": false,
            },
        ]})
    }
}
