//! The words of findings: what a schema expects, what might have been meant, and
//! what to write instead.

use serde_json::{Map, Value};

use super::place::KeyPath;
use super::schema::{alternatives, types};
use super::yaml::Scalar;

/// The keys that a map may have.
pub fn keys(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect()
}

/// The word that was probably meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let score = |candidate: &str| strsim::jaro_winkler(&word, &candidate.replace('-', "_"));
    let best = known
        .iter()
        .map(|candidate| (*candidate, score(candidate)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let slip = word.len() > 3 && strsim::damerau_levenshtein(&word, best.0) == 1;
    (slip || best.1 >= 0.87).then_some(best.0)
}

/// Where a key that stands in the wrong place would be right.
pub fn home(schema: &Value, key: &str, path: &KeyPath) -> Option<String> {
    for form in alternatives(schema) {
        let properties = form.get("properties").and_then(Value::as_object);
        if properties.is_some_and(|properties| properties.contains_key(key)) {
            return Some(if path.is_root() {
                "the top level".to_owned()
            } else {
                format!("`{path}`")
            });
        }
        let below = properties
            .into_iter()
            .flatten()
            .find_map(|(name, schema)| home(schema, key, &path.join(name)));
        let items = || form.get("items").and_then(|items| home(items, key, path));
        let others = || {
            form.get("additionalProperties")
                .and_then(|others| home(others, key, &path.join("NAME")))
        };
        if let Some(found) = below.or_else(items).or_else(others) {
            return Some(found);
        }
    }
    None
}

/// `a, b or c`.
pub fn choice(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// Each in backticks.
pub fn ticked(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a scalar is, in words.
pub fn scalar_type(scalar: &Scalar) -> &'static str {
    if !scalar.is_plain() {
        "text"
    } else if scalar.as_bool().is_some() {
        "true or false"
    } else if scalar.as_number().is_some() || scalar.as_integer().is_some() {
        "a number"
    } else {
        "text"
    }
}

/// The forms that a value may take, in words.
pub fn expected(schema: &Value) -> String {
    let mut words: Vec<&str> = Vec::new();
    for name in alternatives(schema).into_iter().flat_map(types) {
        let word = match name {
            "object" => "a map",
            "array" => "a list",
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            _ => continue,
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" or ")
}

/// Something to write for a key.
pub fn example(schema: &Value, path: &KeyPath) -> String {
    let key = path.segments().last().map(String::as_str).unwrap_or_default();
    if let Some(example) = schema.get("x-example").and_then(Value::as_str) {
        return format!("`{example}`");
    }
    for form in alternatives(schema) {
        let first = |name: &str| {
            form.get(name)
                .and_then(Value::as_array)
                .and_then(|list| list.first())
        };
        if let Some(example) = first("examples").or_else(|| first("enum")) {
            let text = example
                .as_str()
                .map_or_else(|| example.to_string(), str::to_owned);
            return if text.contains(['\\', '*']) {
                format!("`{key}: \"{text}\"`")
            } else {
                format!("`{key}: {text}`")
            };
        }
        if types(form).contains(&"array") {
            return format!("`{key}:` and below it items that begin with `- `");
        }
        if types(form).contains(&"object") {
            let known = keys(form);
            let inside = if known.is_empty() {
                "NAME".to_owned()
            } else {
                known.join(", ")
            };
            return format!("`{key}:` and below it, indented, {inside}");
        }
    }
    format!("`{key}:` and {}", expected(schema))
}
