//! The JSON Schema of a file of cases, generated from the raw types.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::File;

/// The schema, for editors and other tools. `docs/tidegate-cases.schema.json` is this.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>().to_value()
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    /// `UPDATE_EXPECT=1 cargo test -p tidegate --lib cases` writes it anew.
    #[test]
    fn the_checked_in_schema_is_the_generated_one() {
        let text = serde_json::to_string_pretty(&super::schema()).unwrap() + "\n";
        expect_file!["../../../docs/tidegate-cases.schema.json"].assert_eq(&text);
    }

    #[test]
    fn every_field_is_described_and_unknown_ones_are_refused() {
        fn visit(value: &serde_json::Value, path: &str, missing: &mut Vec<String>) {
            for (name, field) in value["properties"].as_object().into_iter().flatten() {
                if field["description"].as_str().is_none_or(str::is_empty) {
                    missing.push(format!("{path}.{name}"));
                }
            }
            if value.get("properties").is_some() && value["additionalProperties"] != false {
                missing.push(path.to_owned());
            }
        }
        let schema = super::schema();
        let mut missing = Vec::new();
        visit(&schema, "file", &mut missing);
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            visit(definition, name, &mut missing);
        }
        assert_eq!(missing, Vec::<String>::new());
    }
}
