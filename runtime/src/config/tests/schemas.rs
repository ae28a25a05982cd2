//! The schema, the types and the parse know the same keys.

use serde_json::{Map, Value, json};

use crate::config::document::Document;
use crate::config::schema::{alternatives, pipeline, types};
use crate::config::{grammar, schema, units};

/// A value for every key that the schema knows; of several forms the last, the map.
fn everything(schema: &Value) -> Value {
    let Some(form) = alternatives(schema).pop() else {
        return Value::Null;
    };
    if let Some(properties) = form.get("properties").and_then(Value::as_object) {
        return properties
            .iter()
            .map(|(name, schema)| (name.clone(), everything(schema)))
            .collect::<Map<_, _>>()
            .into();
    }
    if let Some(others) = form
        .get("additionalProperties")
        .filter(|others| others.is_object())
    {
        return json!({ "name": everything(others) });
    }
    let first = |name: &str| {
        form.get(name)
            .and_then(Value::as_array)
            .and_then(|list| list.first())
            .cloned()
    };
    let typed = || match *types(form).first()? {
        "array" => Some(json!([everything(form.get("items")?)])),
        "object" => Some(json!({ "free": 1 })),
        "integer" | "number" => form
            .get("minimum")
            .filter(|min| min.as_f64() > Some(0.0))
            .cloned()
            .or(Some(json!(1))),
        _ => match form.get("x-strait").and_then(Value::as_str) {
            Some("sha256") => Some("0".repeat(64).into()),
            _ => Some("text".into()),
        },
    };
    first("examples")
        .or_else(|| first("enum"))
        .or_else(typed)
        .unwrap_or_default()
}

fn keys(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                found.push(format!("{path}/{name}"));
                keys(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| keys(item, &format!("{path}/*"), found)),
        _ => {}
    }
}

#[test]
fn the_types_take_every_key_of_the_schema_and_give_every_key_back() {
    let all = everything(pipeline());
    let document: Document = serde_json::from_value(all.clone()).unwrap();
    let back = serde_json::to_value(document).unwrap();
    let (mut wanted, mut given) = (Vec::new(), Vec::new());
    keys(&all, "", &mut wanted);
    keys(&back, "", &mut given);
    assert_eq!(wanted, given);
    assert!(wanted.len() > 70, "{}", wanted.len());
}

#[test]
fn a_key_that_the_schema_does_not_know_is_refused_everywhere() {
    let all = everything(pipeline());
    let mut paths = Vec::new();
    keys(&all, "", &mut paths);
    let maps = paths
        .iter()
        .map(|path| path.replace('*', "0"))
        .chain([String::new()]);
    let mut tried = 0;
    for path in maps.filter(|path| all.pointer(path).is_some_and(Value::is_object)) {
        let mut text = all.clone();
        text.pointer_mut(&path)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .insert("not_a_key".to_owned(), json!("x"));
        let (node, findings) =
            super::super::yaml::parse(&text.to_string(), &std::path::Path::new("p").into());
        assert_eq!(findings, []);
        let (_, findings) = grammar::read(pipeline(), &node.unwrap());
        let free = [
            "/settings",
            "/properties",
            "/consumer",
            "/producer",
            "/outputs",
            "/state",
        ];
        let refused = findings
            .iter()
            .any(|finding| finding.what.contains("`not_a_key` is not known here"));
        assert_eq!(
            refused,
            !free.iter().any(|free| path.ends_with(free)),
            "{path}: {findings:?}"
        );
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn every_kind_that_the_schema_names_is_known() {
    fn kinds(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                for (key, value) in object {
                    if let ("x-strait" | "x-strait-keys", Value::String(kind)) = (key.as_str(), value) {
                        found.push(kind.clone());
                    }
                    kinds(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| kinds(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    kinds(pipeline(), &mut found);
    assert!(!found.is_empty());
    for kind in found {
        assert!(units::check(&kind, "").is_some(), "{kind}");
    }
}

#[test]
fn the_schema_says_what_must_be_written_and_what_is_assumed() {
    let schema = pipeline();
    assert_eq!(
        schema["required"],
        json!(["input", "kafka", "name", "outputs", "stages"])
    );
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(
        schema.pointer("/properties/commit/properties/interval/default"),
        Some(&json!("100ms"))
    );
    assert_eq!(
        schema.pointer("/properties/delivery/enum"),
        Some(&json!(["exactly_once", "at_least_once", "at_most_once"]))
    );
    assert_eq!(schema.pointer("/properties/lanes/default"), None);
}

#[test]
fn the_printed_schema_takes_replacements_where_words_and_numbers_stand() {
    let printed = schema::printed();
    for (path, plain) in [
        ("lanes", json!(["integer", "null"])),
        ("delivery", json!("string")),
    ] {
        let property = &printed["properties"][path];
        assert_eq!(property["anyOf"][0]["type"], plain, "{path}");
        assert_eq!(
            property["anyOf"][1]["pattern"],
            json!(r"\$\{(env|file):[^}]+\}"),
            "{path}"
        );
        assert!(property["description"].is_string(), "{path}");
    }
    assert_eq!(printed["properties"]["name"]["type"], json!("string"));
}
