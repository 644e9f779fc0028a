//! A line of metrics as numbers with names.

use serde_json::Value;

/// Every number of a metrics line under its path, "/" between the names; a figure with an interval is its value.
pub(super) fn scalars(metrics: &Value) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    collect("", metrics, &mut found);
    found
}

fn collect(tag: &str, value: &Value, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => {
            found.extend(number.as_f64().map(|number| (tag.to_owned(), number)));
        }
        Value::Object(fields) if fields.contains_key("low") && fields.contains_key("value") => {
            collect(tag, &fields["value"], found);
        }
        Value::Object(fields) => {
            for (name, value) in
                fields.iter().filter(|(name, _)| !["step", "draft_len", "mode"].contains(&name.as_str()))
            {
                collect(&below(tag, name), value, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(&below(tag, &item_name(item, index)), item, found);
            }
        }
        _ => {}
    }
}

/// What tells an item of a list from its neighbours: task and mode, or draft length, or its place.
fn item_name(item: &Value, index: usize) -> String {
    if let (Some(task), mode @ (Value::String(_) | Value::Object(_))) = (item["task"].as_str(), &item["mode"]) {
        let mode = match (mode.as_str(), mode["sampled"].as_f64()) {
            (Some(mode), _) => mode.to_owned(),
            (None, Some(temperature)) => format!("T = {temperature}"),
            (None, None) => mode.to_string(),
        };
        return format!("{task}, {mode}");
    }
    item["draft_len"].as_u64().map_or_else(|| index.to_string(), |length| format!("draft length {length}"))
}

fn below(tag: &str, name: &str) -> String {
    if tag.is_empty() { name.to_owned() } else { format!("{tag}/{name}") }
}
