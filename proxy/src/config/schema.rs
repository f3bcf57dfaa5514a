//! The JSON Schema of the configuration, generated from the raw types.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::builtin;

/// The schema, for editors and other tools: field names, descriptions, defaults, choices. `docs/tidegate.schema.json`
/// is this.
///
/// What it cannot say (that names are unique and exist, that exactly one action is given) only `check` knows: a file
/// that the schema accepts can still have problems, but what it refuses is never valid.
///
/// The `config` of a filter that is shipped has the schema of that filter.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<super::raw::File>().to_value();
    let mut conditions = Vec::new();
    for name in builtin::names() {
        let Some(shipped) = builtin::schema(name).and_then(|text| serde_json::from_str(text).ok()) else {
            continue;
        };
        let prefix = format!("builtin-{name}");
        adopt(&mut schema, &prefix, shipped);
        conditions.push(json!({
            "if": {"properties": {"module": {"const": format!("builtin:{name}")}}, "required": ["module"]},
            "then": {"properties": {"config": from_file_or(json!({"$ref": format!("#/$defs/{prefix}")}))}},
        }));
    }
    if !conditions.is_empty() {
        schema["$defs"]["Filter"]["allOf"] = Value::Array(conditions);
        schema["$defs"]["FromFile"] = json!({
            "type": "object",
            "properties": {"from_file": {"type": "string", "description": "Where the file is."}},
            "required": ["from_file"],
            "additionalProperties": false,
            "description": "The text of a file, relative to the folder of this configuration.",
        });
    }
    schema
}

/// Adds a filter's schema to the definitions, its own definitions beside it, each with `prefix` in front of its name.
fn adopt(schema: &mut Value, prefix: &str, mut shipped: Value) {
    let definitions = shipped.as_object_mut().map(|shipped| {
        shipped.remove("$schema");
        shipped.remove("title");
        shipped.remove("$defs").unwrap_or_default()
    });
    let definitions = definitions.and_then(|all| all.as_object().cloned()).unwrap_or_default();
    let named = definitions.into_iter().map(|(name, definition)| (format!("{prefix}.{name}"), definition));
    for (name, mut definition) in named.chain([(prefix.to_owned(), shipped)]) {
        rename(&mut definition, prefix);
        schema["$defs"][name] = definition;
    }
}

/// Has references lead to the definitions' new names, and lets a file's text stand wherever a value is expected.
fn rename(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(|one| rename(one, prefix)),
        Value::Object(fields) => {
            for (keyword, value) in fields.iter_mut() {
                match (keyword.as_str(), &mut *value) {
                    ("$ref", Value::String(path)) => {
                        *path = path.replace("#/$defs/", &format!("#/$defs/{prefix}."))
                    }
                    ("default" | "enum" | "const" | "examples", _) => {}
                    ("properties", Value::Object(properties)) => {
                        for (_, property) in properties.iter_mut() {
                            rename(property, prefix);
                            *property = from_file_or(property.take());
                        }
                    }
                    ("items" | "additionalProperties", Value::Object(_)) => {
                        rename(value, prefix);
                        *value = from_file_or(value.take());
                    }
                    _ => rename(value, prefix),
                }
            }
        }
        _ => {}
    }
}

/// Its description stays where editors look for it.
fn from_file_or(schema: Value) -> Value {
    let description = schema.get("description").cloned();
    let mut either = json!({"anyOf": [schema, {"$ref": "#/$defs/FromFile"}]});
    if let Some(description) = description {
        either["description"] = description;
    }
    either
}
