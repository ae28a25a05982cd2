//! The JSON Schema of the pipeline file, derived from the document's types.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::document::Document;

static PIPELINE: LazyLock<Value> = LazyLock::new(of::<Document>);

/// The schema of the pipeline file, without references.
pub fn pipeline() -> &'static Value {
    &PIPELINE
}

/// The schema as editors want it: where a number or a word is asked for, a replacement
/// will do as well.
pub fn printed() -> Value {
    let mut schema = pipeline().clone();
    allow_replacement(&mut schema);
    schema
}

fn allow_replacement(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for key in ["properties", "anyOf", "items", "additionalProperties"] {
        match object.get_mut(key) {
            Some(Value::Array(forms)) => forms.iter_mut().for_each(allow_replacement),
            Some(Value::Object(map)) if key == "properties" => map.values_mut().for_each(allow_replacement),
            Some(below) => allow_replacement(below),
            None => {}
        }
    }
    let types = types(schema);
    let number = (types.contains(&"integer") || types.contains(&"number")) && !types.contains(&"string");
    if number || schema.get("enum").is_some() {
        let replacement = serde_json::json!({ "type": "string", "pattern": r"\$\{(env|file):[^}]+\}" });
        let annotations: Map<String, Value> = ["description", "default"]
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), schema.as_object_mut()?.remove(*key)?)))
            .collect();
        let mut either = serde_json::json!({ "anyOf": [schema.take(), replacement] });
        either
            .as_object_mut()
            .into_iter()
            .for_each(|either| either.extend(annotations.clone()));
        *schema = either;
    }
}

/// The schema of any of the documents, with everything written in place: the walk
/// that validates needs no resolver.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    require(&mut schema);
    schema
}

/// Extraction lets every key be absent, so that one mistake does not hide the next.
/// A key whose default is nothing, though it may not be null, is one that must be
/// written.
fn require(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let required = object
                .get_mut("properties")
                .and_then(Value::as_object_mut)
                .map(require_properties);
            if let Some(required) = required.filter(|required| !required.is_empty()) {
                object.insert("required".to_owned(), required.into());
            }
            object.values_mut().for_each(require);
        }
        Value::Array(items) => items.iter_mut().for_each(require),
        _ => {}
    }
}

fn require_properties(properties: &mut Map<String, Value>) -> Vec<String> {
    let mut required = Vec::new();
    for (name, property) in properties {
        let nullable = types(property).contains(&"null") || property.get("anyOf").is_some();
        let Some(property) = property.as_object_mut() else {
            continue;
        };
        if property.get("default").is_some_and(Value::is_null) {
            property.remove("default");
            if !nullable {
                required.push(name.clone());
            }
        }
    }
    required
}

/// The JSON types that a schema names itself.
pub fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The forms that a value may take, each with its own type.
pub fn alternatives(schema: &Value) -> Vec<&Value> {
    match schema.get("anyOf") {
        Some(Value::Array(forms)) => forms.iter().collect(),
        _ => vec![schema],
    }
}

/// The form that is of one of these types.
pub fn form<'a>(schema: &'a Value, wanted: &[&str]) -> Option<&'a Value> {
    alternatives(schema)
        .into_iter()
        .find(|form| types(form).iter().any(|name| wanted.contains(name)))
}

/// The schema of what stands under a key or at a position.
pub fn child<'a>(schema: &'a Value, segment: &str) -> Option<&'a Value> {
    if let Some(list) = form(schema, &["array"])
        && segment.parse::<usize>().is_ok()
    {
        return list.get("items");
    }
    let object = form(schema, &["object"])?;
    let property = object
        .get("properties")
        .and_then(|properties| properties.get(segment));
    property.or_else(|| {
        object
            .get("additionalProperties")
            .filter(|schema| schema.is_object())
    })
}

/// The grammar of a text (see `units`).
pub fn kind(schema: &Value) -> Option<&str> {
    schema.get("x-strait").and_then(Value::as_str)
}
