//! A JSON pointer (RFC 6901), followed without building the document.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Where in a JSON document something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// `None` unless it is empty or begins with a slash.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let tokens = text.strip_prefix('/')?.split('/');
        Some(Self(
            tokens
                .map(|token| token.replace("~1", "/").replace("~0", "~"))
                .collect(),
        ))
    }

    /// The text of the string or number there: a number as it is written, for a parsed one could
    /// equal another. `None` for anything else, and if `json` is not JSON. Of members with the
    /// same name the last counts.
    pub fn text_in<'j>(&self, json: &'j [u8]) -> Option<Cow<'j, str>> {
        let mut document = serde_json::Deserializer::from_slice(json);
        let found = Walk(&self.0).deserialize(&mut document).ok()??;
        document.end().ok()?;
        match found.get().bytes().next()? {
            b'"' => serde_json::from_str::<Text<'_>>(found.get())
                .ok()
                .map(|text| text.0),
            b'-' | b'0'..=b'9' => Some(Cow::Borrowed(found.get())),
            _ => None,
        }
    }
}

/// Borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// What is left of the way.
struct Walk<'p>(&'p [String]);

impl<'j> DeserializeSeed<'j> for Walk<'_> {
    type Value = Option<&'j RawValue>;

    fn deserialize<D: Deserializer<'j>>(self, json: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            serde::Deserialize::deserialize(json).map(Some)
        } else {
            json.deserialize_any(self)
        }
    }
}

impl<'j> Visitor<'j> for Walk<'_> {
    type Value = Option<&'j RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'j>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(Text(name)) = map.next_key()? {
            match self.0.split_first() {
                Some((first, rest)) if *first == *name => found = map.next_value_seed(Walk(rest))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<S: SeqAccess<'j>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        let first = self.0.split_first();
        let wanted = first.and_then(|(index, rest)| Some((index_of(index)?, rest)));
        let mut found = None;
        for at in 0_usize.. {
            let more = match wanted {
                Some((index, rest)) if index == at => {
                    let next = list.next_element_seed(Walk(rest))?;
                    let more = next.is_some();
                    found = next.flatten();
                    more
                }
                _ => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Without a sign, and without zeros before it.
fn index_of(token: &str) -> Option<usize> {
    let is_plain = token == "0"
        || token
            .bytes()
            .next()
            .is_some_and(|byte| matches!(byte, b'1'..=b'9'));
    is_plain.then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn text(pointer: &str, json: &str) -> Option<String> {
        Pointer::parse(pointer)
            .unwrap()
            .text_in(json.as_bytes())
            .map(Cow::into_owned)
    }

    #[test]
    fn strings_and_numbers_are_found() {
        let document =
            r#"{"a": [{"b~/": "x\ny"}, 12345678901234567890123, -1.50], "c": true, "d": null, "e": {}}"#;
        assert_eq!(text("/a/0/b~0~1", document).unwrap(), "x\ny");
        assert_eq!(text("/a/1", document).unwrap(), "12345678901234567890123");
        assert_eq!(text("/a/2", document).unwrap(), "-1.50");
        for nothing in [
            "/a/3", "/a/01", "/a/-", "/c", "/d", "/e", "/f", "/a", "", "/a/1/x",
        ] {
            assert_eq!(text(nothing, document), None, "{nothing}");
        }
        assert_eq!(text("", r#""whole""#).unwrap(), "whole");
    }

    #[test]
    fn what_is_not_json_holds_nothing() {
        for broken in ["", "{", r#"{"a": "x""#, r#"{"a": "x"} y"#, "\u{fffd}"] {
            assert_eq!(text("/a", broken), None, "{broken}");
        }
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        assert_eq!(text("/a", r#"{"a": "one", "a": "two"}"#).unwrap(), "two");
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c~/\\\\\"é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c~/01]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn finds_what_a_parsed_document_holds(
            document in document(),
            tokens in prop::collection::vec("[a-c~/01]{0,2}", 0..4),
        ) {
            let escaped = tokens.iter().map(|token| token.replace('~', "~0").replace('/', "~1"));
            let pointer: String = escaped.flat_map(|token| ["/".to_owned(), token]).collect();
            let expected = match document.pointer(&pointer) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            prop_assert_eq!(text(&pointer, &document.to_string()), expected);
        }
    }
}
