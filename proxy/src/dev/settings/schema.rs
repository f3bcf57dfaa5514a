//! The JSON Schema of `dev.yaml`, made of that of the configuration.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::NOT_FOR_HERE;
use crate::config::raw::{Cluster, Filter, Listener};

/// The schema, for editors and other tools. `docs/tidegate-dev.schema.json` is this.
///
/// It is a filter of a proxy's configuration without what `dev` says itself, with its clusters and the listener's
/// `buffer_limit`.
pub(crate) fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let cluster = generator.subschema_for::<Cluster>().to_value();
    let listener = <Listener as schemars::JsonSchema>::json_schema(&mut generator).to_value();
    let mut schema = generator.into_root_schema_for::<Filter>().to_value();
    schema["title"] = "tidegate dev".into();
    schema["description"] = "What a filter is given by `tidegate dev`.".into();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("required"); // its module
    }
    if let Some(fields) = schema["properties"].as_object_mut() {
        NOT_FOR_HERE.iter().for_each(|name| drop(fields.shift_remove(*name)));
        fields.insert("buffer_limit".to_owned(), listener["properties"]["buffer_limit"].clone());
        let address = json!({"type": "string", "description": "HOST:PORT."});
        fields.insert(
            "clusters".to_owned(),
            json!({
                "description": "The services that the filter may ask, by name, and `upstream`, where requests go: an address, \
                                several, or all that a cluster has.",
                "type": "object",
                "additionalProperties": {"anyOf": [address, {"type": "array", "items": address}, cluster]},
            }),
        );
    }
    retain_used(&mut schema);
    schema
}

/// Drops the definitions that nothing leads to.
fn retain_used(schema: &mut Value) {
    let Some(Value::Object(mut unused)) = schema.as_object_mut().and_then(|fields| fields.remove("$defs"))
    else {
        return;
    };
    let mut used = serde_json::Map::new();
    let mut names = Vec::new();
    references(schema, &mut names);
    while let Some(name) = names.pop() {
        if let Some(definition) = unused.remove(&name) {
            references(&definition, &mut names);
            used.insert(name, definition);
        }
    }
    used.sort_keys();
    schema["$defs"] = used.into();
}

fn references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let name =
                fields.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
            names.extend(name.map(str::to_owned));
            fields.values().for_each(|value| references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use serde_json::Value;

    /// `UPDATE_EXPECT=1 cargo test -p tidegate --lib dev` writes it anew.
    #[test]
    fn the_checked_in_schema_is_the_generated_one() {
        let text = serde_json::to_string_pretty(&super::schema()).unwrap() + "\n";
        expect_file!["../../../../docs/tidegate-dev.schema.json"].assert_eq(&text);
    }

    #[test]
    fn it_has_what_a_filter_has_and_each_definition_that_it_names() {
        let schema = super::schema();
        let filter = crate::config::schema()["$defs"]["Filter"]["properties"].clone();
        let has = |name: &str| schema["properties"].get(name).is_some();
        for (name, _) in filter.as_object().unwrap() {
            assert_eq!(has(name), !super::NOT_FOR_HERE.contains(&name.as_str()), "{name}");
        }
        for (name, field) in schema["properties"].as_object().unwrap() {
            assert!(field["description"].is_string(), "{name}");
        }
        assert!(has("clusters") && has("buffer_limit"));
        assert_eq!((&schema["additionalProperties"], &schema["required"]), (&false.into(), &Value::Null));
        let mut names = Vec::new();
        super::references(&schema, &mut names);
        names.sort();
        names.dedup();
        let defined: Vec<_> = schema["$defs"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, defined);
    }
}
