//! Values that only the transform understands: taken as they are.

use serde_json::{Map, Value};

use crate::config::yaml::{Entry, Node, Tree};

fn value(node: &Node) -> Value {
    match &node.tree {
        Tree::Broken => Value::Null,
        Tree::Map(entries) => map(entries),
        Tree::List(items) => list(items),
        Tree::Scalar(scalar) if scalar.quoted => scalar.text.clone().into(),
        Tree::Scalar(scalar) if scalar.is_null() => Value::Null,
        Tree::Scalar(scalar) => scalar
            .as_bool()
            .map(Value::from)
            .or_else(|| scalar.as_integer().map(Value::from))
            .or_else(|| scalar.text.parse::<u64>().ok().map(Value::from))
            .or_else(|| scalar.as_number().map(Value::from))
            .unwrap_or_else(|| scalar.text.clone().into()),
    }
}

pub(super) fn list(items: &[Node]) -> Value {
    items.iter().map(value).collect()
}

pub(super) fn map(entries: &[Entry]) -> Value {
    let entries = entries
        .iter()
        .map(|entry| (entry.key.clone(), value(&entry.value)));
    entries.collect::<Map<_, _>>().into()
}
