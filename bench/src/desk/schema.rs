//! The report's JSON Schema, made from the types that are written.

/// The schema of [`crate::Report`], draft 2020-12, as it lies in `bench/report.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(crate::Report);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema becomes JSON");
    text.push('\n');
    text
}
