//! The JSON Schema of the configuration, generated from the raw types.

use schemars::generate::SchemaSettings;

/// The schema, for editors and other tools: field names, descriptions, defaults, choices. `docs/tidegate.schema.json`
/// is this.
///
/// What it cannot say (that names are unique and exist, that exactly one action is given) only `check` knows: a file
/// that the schema accepts can still have problems, but what it refuses is never valid.
pub fn schema() -> serde_json::Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<super::raw::File>().to_value()
}
