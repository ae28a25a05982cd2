//! Sample input: a file of JSON lines beside the pipeline, `orders.sample.jsonl` for
//! `orders.yaml`.
//!
//! Each line is `{"key": ..., "value": ..., "headers": {...}}`, all of it optional. A string
//! is taken as it is, `null` or nothing is a null key or a tombstone, and any other JSON is
//! written out as JSON.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A sample is kept in memory, and fed again and again.
const BYTES_MAX: u64 = 64 << 20;

/// A record of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a sample cannot be fed.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("the sample {} cannot be read: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: std::io::Error },
    #[error("the sample {} has {bytes} bytes; {BYTES_MAX} are allowed: feed a part of it", file.display())]
    TooLarge { file: PathBuf, bytes: u64 },
    #[error("the sample {} holds no record: write a line such as {{\"key\": \"a\", \"value\": {{\"amount\": 1}}}}", .0.display())]
    Empty(PathBuf),
    #[error("{}:{line}: {what}", file.display())]
    Line {
        file: PathBuf,
        line: usize,
        what: String,
    },
}

/// Where the sample of a pipeline file is looked for.
pub fn path_beside(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("sample.jsonl")
}

/// All records of a file, at least one.
pub fn read(file: &Path) -> Result<Vec<Sample>, SampleError> {
    let unreadable = |cause| SampleError::Unreadable {
        file: file.to_owned(),
        cause,
    };
    let bytes = fs::metadata(file).map_err(unreadable)?.len();
    if bytes > BYTES_MAX {
        return Err(SampleError::TooLarge {
            file: file.to_owned(),
            bytes,
        });
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let mut samples = Vec::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let sample = parse(line).map_err(|what| SampleError::Line {
            file: file.to_owned(),
            line: index + 1,
            what,
        })?;
        samples.push(sample);
    }
    if samples.is_empty() {
        Err(SampleError::Empty(file.to_owned()))
    } else {
        Ok(samples)
    }
}

fn parse(line: &str) -> Result<Sample, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("this is no JSON: {error}"))?;
    let Value::Object(mut object) = value else {
        return Err("write an object: {\"key\": ..., \"value\": ..., \"headers\": {...}}".into());
    };
    let key = bytes(object.remove("key"));
    let value = bytes(object.remove("value"));
    let headers = match object.remove("headers") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(headers)) => headers,
        Some(_) => return Err("`headers` is an object of names and values".into()),
    };
    if let Some(unknown) = object.keys().next() {
        return Err(format!("`{unknown}` is none of `key`, `value` and `headers`"));
    }
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name, bytes(Some(value))))
        .collect();
    Ok(Sample { key, value, headers })
}

fn bytes(value: Option<Value>) -> Option<Vec<u8>> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.into_bytes()),
        Some(json) => Some(json.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Option<&Vec<u8>>) -> Option<&str> {
        bytes.map(|b| std::str::from_utf8(b).unwrap())
    }

    #[test]
    fn strings_stay_json_is_written_and_null_is_null() {
        let sample =
            parse(r#"{"key":"k","value":{"b":1,"a":"x"},"headers":{"h":"v","n":null,"i":7}}"#).unwrap();
        assert_eq!(text(sample.key.as_ref()), Some("k"));
        let value: Value = serde_json::from_slice(&sample.value.unwrap()).unwrap();
        assert_eq!(value, serde_json::json!({"a": "x", "b": 1}));
        let headers: Vec<_> = sample
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), text(v.as_ref())))
            .collect();
        assert_eq!(headers.len(), 3);
        assert!(headers.contains(&("h", Some("v"))));
        assert!(headers.contains(&("n", None)));
        assert!(headers.contains(&("i", Some("7"))));
        let tombstone = parse(r#"{"key":"k","value":null}"#).unwrap();
        assert_eq!(tombstone.value, None);
        assert_eq!(
            parse(r#"{"value":""}"#).unwrap(),
            Sample {
                key: None,
                value: Some(vec![]),
                headers: vec![]
            }
        );
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sample.jsonl");
        for (content, expected) in [
            ("{\"value\":1}\n\n{\"valu\":1}\n", "a.sample.jsonl:3: `valu`"),
            ("{\"value\":1}\nnothing\n", "a.sample.jsonl:2: this is no JSON"),
            ("[1]\n", "a.sample.jsonl:1: write an object"),
            ("{\"headers\":[]}\n", "a.sample.jsonl:1: `headers`"),
            ("\n", "holds no record"),
        ] {
            fs::write(&file, content).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn it_lies_beside_the_pipeline() {
        assert_eq!(
            path_beside(Path::new("p/orders.yaml")),
            Path::new("p/orders.sample.jsonl")
        );
    }
}
