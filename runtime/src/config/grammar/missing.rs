//! What nobody has written, and somebody must.

use serde_json::Value;

use crate::config::place::KeyPath;
use crate::config::schema::form;
use crate::config::wording::example;

/// Keys that must be written, and are not. `value` is what all layers say together;
/// `written` tells whether a key stands anywhere, even with a broken value.
pub fn missing(
    schema: &Value,
    value: &Value,
    path: &KeyPath,
    written: &dyn Fn(&KeyPath) -> bool,
    report: &mut dyn FnMut(&KeyPath, String, String),
) {
    match value {
        Value::Object(object) => {
            let Some(schema) = form(schema, &["object"]) else {
                return;
            };
            let properties = schema.get("properties");
            let required = schema.get("required").and_then(Value::as_array);
            for name in required.into_iter().flatten().filter_map(Value::as_str) {
                let path = path.join(name);
                let property = properties.and_then(|properties| properties.get(name));
                if let Some(property) = property.filter(|_| !object.contains_key(name) && !written(&path)) {
                    report(
                        &path,
                        format!("the key `{name}` is missing"),
                        format!("write {}", example(property, &path)),
                    );
                }
            }
            for (name, value) in object {
                let property = properties.and_then(|properties| properties.get(name));
                if let Some(property) = property.or_else(|| schema.get("additionalProperties")) {
                    missing(property, value, &path.join(name), written, report);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = form(schema, &["array"]).and_then(|schema| schema.get("items")) else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                missing(schema, item, &path.join(index), written, report);
            }
        }
        _ => {}
    }
}
