//! Holds a tree with spans against a JSON Schema, and converts what fits.
//!
//! Every mistake becomes a finding and the walk goes on; a value with a mistake is
//! left out of the result. The part of JSON Schema that is understood is the part
//! that `schema` produces, and a test holds the two together.

mod free;
mod missing;

use serde_json::{Map, Value};

use super::finding::{Code, Finding};
use super::place::{KeyPath, Origin};
use super::schema::{form, kind, types};
use super::units::{self, Wrong};
use super::wording::{choice, example, expected, home, keys, nearest, scalar_type, ticked};
use super::yaml::{Entry, Node, Scalar, Tree};

pub use missing::missing;

/// What `node` says under `schema`, and what is wrong with it.
pub fn read(schema: &Value, node: &Node) -> (Option<Value>, Vec<Finding>) {
    let mut walk = Walk {
        root: schema,
        findings: Vec::new(),
    };
    let value = walk.value(schema, node, &KeyPath::root());
    (value, walk.findings)
}

struct Walk<'a> {
    root: &'a Value,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn error(
        &mut self,
        code: Code,
        origin: &Origin,
        key: &KeyPath,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings
            .push(Finding::error(code, origin, key, what, remedy));
    }

    fn value(&mut self, schema: &Value, node: &Node, path: &KeyPath) -> Option<Value> {
        let found = match &node.tree {
            Tree::Broken => return None,
            Tree::Scalar(scalar) if scalar.is_null() => return None,
            Tree::Map(entries) => match form(schema, &["object"]) {
                Some(schema) => return Some(self.map(schema, entries, node, path)),
                None => "a map",
            },
            Tree::List(items) => match form(schema, &["array"]) {
                Some(schema) => return Some(self.list(schema, items, node, path)),
                None => "a list",
            },
            Tree::Scalar(scalar) => match form(schema, &["string", "integer", "number", "boolean"]) {
                Some(schema) => return self.scalar(schema, scalar, node, path),
                None => scalar_type(scalar),
            },
        };
        let what = format!("{} is expected, and this is {found}", expected(schema));
        self.error(
            Code::ValueType,
            &node.origin,
            path,
            what,
            format!("write {}", example(schema, path)),
        );
        None
    }

    fn list(&mut self, schema: &Value, items: &[Node], node: &Node, path: &KeyPath) -> Value {
        let bound = |key: &str| {
            schema
                .get(key)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
        };
        if bound("minItems").is_some_and(|min| items.len() < min) {
            let remedy = format!("write {}", example(schema, path));
            self.error(Code::ValueRange, &node.origin, path, "the list is empty", remedy);
        }
        if let Some(max) = bound("maxItems").filter(|max| items.len() > *max) {
            let what = format!("the list has {} items", items.len());
            self.error(
                Code::ValueRange,
                &node.origin,
                path,
                what,
                format!("write at most {max}"),
            );
        }
        let Some(schema) = schema.get("items") else {
            return free::list(items);
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = path.join(index);
            if item.is_null() {
                let remedy = "write a value behind the `-`, or remove it";
                self.error(Code::ValueType, &item.origin, &path, "the item is empty", remedy);
            }
            // A place is kept for what is broken, so that positions stay true.
            let missing = || {
                if form(schema, &["object"]).is_some() {
                    Map::new().into()
                } else {
                    Value::Null
                }
            };
            values.push(self.value(schema, item, &path).unwrap_or_else(missing));
        }
        values.retain(|value| !value.is_null());
        values.into()
    }

    fn map(&mut self, schema: &Value, entries: &[Entry], node: &Node, path: &KeyPath) -> Value {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema
            .get("additionalProperties")
            .filter(|schema| schema.is_object());
        if properties.is_none() && others.is_none() {
            return free::map(entries);
        }
        self.count(schema, entries, node, path);
        let mut values = Map::new();
        for Entry { key, origin, value } in entries {
            let path = path.join(key);
            if let Some(schema) = properties.and_then(|known| known.get(key)) {
                if let Some(value) = self.value(schema, value, &path) {
                    values.insert(key.clone(), value);
                }
            } else if let Some(others) = others {
                self.key(schema, key, origin, &path);
                let empty = value.is_null() && form(others, &["object"]).is_some();
                let read = if empty {
                    Some(Map::new().into())
                } else {
                    self.value(others, value, &path)
                };
                values.extend(read.map(|value| (key.clone(), value)));
            } else {
                self.unknown(schema, key, origin, &path);
            }
        }
        values.into()
    }

    /// Maps that hold exactly one of several keys, and maps with a least number.
    fn count(&mut self, schema: &Value, entries: &[Entry], node: &Node, path: &KeyPath) {
        let bound = |key: &str| {
            schema
                .get(key)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
        };
        let known = keys(schema);
        let counted = entries
            .iter()
            .filter(|entry| known.is_empty() || known.contains(&entry.key.as_str()));
        let counted = counted
            .filter(|entry| known.is_empty() || !entry.value.is_null())
            .count();
        let short = bound("minProperties").is_some_and(|min| counted < min);
        let long = bound("maxProperties").is_some_and(|max| counted > max);
        if known.is_empty() && short {
            self.error(
                Code::ValueRange,
                &node.origin,
                path,
                "the map is empty",
                format!("write {}", example(schema, path)),
            );
        } else if known.is_empty() && long {
            self.error(
                Code::ValueRange,
                &node.origin,
                path,
                "the map has too many keys",
                "split it",
            );
        } else if long || (short && entries.iter().all(|entry| known.contains(&entry.key.as_str()))) {
            let what = format!(
                "exactly one of {} is expected here, and {counted} are given",
                ticked(&known)
            );
            let remedy = if long { "keep one" } else { "write one of them" };
            self.error(Code::ValueChoice, &node.origin, path, what, remedy);
        }
    }

    fn key(&mut self, schema: &Value, key: &str, origin: &Origin, path: &KeyPath) {
        let kind = schema.get("x-strait-keys").and_then(Value::as_str);
        if let Some(Err(wrong)) = kind.and_then(|kind| units::check(kind, key)) {
            self.error(Code::ValueFormat, origin, path, wrong.what, wrong.remedy);
        }
    }

    fn unknown(&mut self, schema: &Value, key: &str, origin: &Origin, path: &KeyPath) {
        let known = keys(schema);
        let remedy = if let Some(near) = nearest(key, &known) {
            format!("did you mean `{near}`?")
        } else if let Some(home) = home(self.root, key, &KeyPath::root()) {
            format!("it belongs under {home}")
        } else {
            format!("remove it; known here are {}", known.join(", "))
        };
        self.error(
            Code::KeyUnknown,
            origin,
            path,
            format!("the key `{key}` is not known here"),
            remedy,
        );
    }

    fn scalar(&mut self, schema: &Value, scalar: &Scalar, node: &Node, path: &KeyPath) -> Option<Value> {
        let types = types(schema);
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return self.word(schema, words, scalar, node, path);
        }
        if let Some(kind) = kind(schema) {
            return self.kind(schema, kind, scalar, node, path);
        }
        if types.contains(&"integer") || types.contains(&"number") {
            return self.number(schema, scalar, node, path);
        }
        if types.contains(&"boolean") {
            if let Some(value) = scalar.as_bool() {
                return Some(value.into());
            }
            self.error(
                Code::ValueType,
                &node.origin,
                path,
                "true or false is expected",
                "write true or false",
            );
            return None;
        }
        self.text(schema, scalar, node, path)
    }

    fn text(&mut self, schema: &Value, scalar: &Scalar, node: &Node, path: &KeyPath) -> Option<Value> {
        if scalar.text.is_empty() && schema.get("minLength").is_some() {
            self.error(
                Code::ValueFormat,
                &node.origin,
                path,
                "the text is empty",
                format!("write {}", example(schema, path)),
            );
            return None;
        }
        self.not_text(scalar, node, path)
            .then(|| scalar.text.clone().into())
    }

    /// Whether a scalar is text; complains if it looks like something else.
    fn not_text(&mut self, scalar: &Scalar, node: &Node, path: &KeyPath) -> bool {
        let text = !scalar.is_plain()
            || (scalar.as_number().is_none() && scalar.as_integer().is_none() && scalar.as_bool().is_none());
        if !text {
            let what = format!("text is expected, and this is {}", scalar_type(scalar));
            self.error(
                Code::ValueType,
                &node.origin,
                path,
                what,
                format!("write \"{}\", in quotes", scalar.text),
            );
        }
        text
    }

    fn word(
        &mut self,
        schema: &Value,
        words: &[Value],
        scalar: &Scalar,
        node: &Node,
        path: &KeyPath,
    ) -> Option<Value> {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        if words.contains(&scalar.text.as_str()) {
            return Some(scalar.text.clone().into());
        }
        let mut remedy = match nearest(&scalar.text, &words) {
            Some(near) if words.len() > 1 => format!("did you mean {near}? Known are {}", words.join(", ")),
            _ => format!("write {}", choice(&words)),
        };
        // The schema of the whole value may have a second form, such as a map.
        if path
            .segments()
            .last()
            .is_some_and(|key| matches!(key.as_str(), "limit" | "store" | "internal_topics"))
            && schema.get("type").is_some()
        {
            remedy += ", or a map";
        }
        self.error(
            Code::ValueChoice,
            &node.origin,
            path,
            format!("`{}` is not known here", scalar.text),
            remedy,
        );
        None
    }

    fn kind(
        &mut self,
        schema: &Value,
        kind: &str,
        scalar: &Scalar,
        node: &Node,
        path: &KeyPath,
    ) -> Option<Value> {
        let text = &scalar.text;
        if let Some(Err(Wrong { what, remedy })) = units::check(kind, text) {
            self.error(Code::ValueFormat, &node.origin, path, what, remedy);
            return None;
        }
        // A digest may look like a number, and is checked by its form.
        let any = types(schema).contains(&"integer") || kind == "sha256";
        (any || self.not_text(scalar, node, path)).then(|| text.clone().into())
    }

    fn number(&mut self, schema: &Value, scalar: &Scalar, node: &Node, path: &KeyPath) -> Option<Value> {
        let whole = types(schema).contains(&"integer");
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let (min, max) = (bound("minimum").unwrap_or(0.0), bound("maximum").unwrap_or(1e15));
        let word = if whole { "a whole number" } else { "a number" };
        let read = if whole {
            scalar.as_integer().map(Value::from)
        } else {
            scalar.as_number().map(Value::from)
        };
        let Some(number) = read else {
            let what = format!("{word} is expected, and this is {}", scalar_type(scalar));
            self.error(
                Code::ValueType,
                &node.origin,
                path,
                what,
                format!("write {word} from {min} to {max}"),
            );
            return None;
        };
        if number.as_f64().is_none_or(|number| number < min || number > max) {
            let what = format!("{} is out of range", scalar.text);
            self.error(
                Code::ValueRange,
                &node.origin,
                path,
                what,
                format!("write {word} from {min} to {max}"),
            );
            return None;
        }
        Some(number)
    }
}
