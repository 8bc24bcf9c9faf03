//! The reference documentation and the schema, both made from the settings' types and their doc comments.

use serde_json::Value as Schema;

use crate::Config;

/// The JSON Schema (draft 2020-12) of the configuration, every type written out where it is used.
#[must_use]
pub fn schema() -> Schema {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}
