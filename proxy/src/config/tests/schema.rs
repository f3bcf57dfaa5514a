//! The JSON Schema is checked in, and agrees with what is read.

use std::path::PathBuf;

use expect_test::expect_file;

use super::super::{load, schema};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `UPDATE_EXPECT=1 cargo test -p tidegate schema` writes it anew.
#[test]
fn the_checked_in_schema_is_the_generated_one() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    expect_file!["../../../../docs/tidegate.schema.json"].assert_eq(&text);
}

#[test]
fn every_field_is_described() {
    fn visit(value: &serde_json::Value, path: &str, missing: &mut Vec<String>) {
        for (name, field) in value["properties"].as_object().into_iter().flatten() {
            if field["description"].as_str().is_none_or(str::is_empty) {
                missing.push(format!("{path}.{name}"));
            }
        }
    }
    let schema = schema();
    let mut missing = Vec::new();
    visit(&schema, "file", &mut missing);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        visit(definition, name, &mut missing);
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_structure_refuses_unknown_fields() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for definition in definitions.filter(|definition| definition.get("properties").is_some()) {
        assert_eq!(definition["additionalProperties"], false, "{definition}");
    }
}

#[test]
fn every_example_is_valid() {
    let examples = repository().join("examples").read_dir().unwrap();
    let files =
        examples.map(|folder| folder.unwrap().path().join("tidegate.yaml")).filter(|file| file.exists());
    let mut count = 0;
    for file in files {
        let loaded = load(&file).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        count += 1;
    }
    assert!(count > 0);
}
