//! Sample input: a file of JSON lines beside the pipeline, `orders.sample.jsonl` for
//! `orders.yaml`.
//!
//! Each line is `{"key": ..., "value": ..., "headers": {...}, "topic": ..., "timestamp": ...}`,
//! all of it optional. Of the first three a string is taken as it is, `null` or nothing is a
//! null key or a tombstone, and any other JSON is written out as JSON. The topic is the first
//! of the input, unless the line names another; the timestamp, in milliseconds, the time at
//! which the record is sent.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Map, Value};

use crate::plan::InputTopics;

/// A sample is kept in memory, and fed again and again.
const BYTES_MAX: u64 = 64 << 20;

/// A record of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// An input topic of the pipeline.
    pub topic: String,
    /// `None`: when it is sent.
    pub timestamp_ms: Option<i64>,
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

/// All records of a file, at least one, for a pipeline with this input.
pub fn read(file: &Path, input: &InputTopics) -> Result<Vec<Sample>, SampleError> {
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
        let sample = parse(line, input).map_err(|what| SampleError::Line {
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

fn parse(line: &str, input: &InputTopics) -> Result<Sample, String> {
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
    let topic = topic(object.remove("topic"), input)?;
    let timestamp_ms = timestamp(object.remove("timestamp"))?;
    if let Some(unknown) = object.keys().next() {
        return Err(format!(
            "`{unknown}` is none of `key`, `value`, `headers`, `topic` and `timestamp`"
        ));
    }
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name, bytes(Some(value))))
        .collect();
    Ok(Sample {
        topic,
        timestamp_ms,
        key,
        value,
        headers,
    })
}

fn topic(said: Option<Value>, input: &InputTopics) -> Result<String, String> {
    let topic = match (said, input) {
        (Some(Value::String(topic)), _) => topic,
        (None | Some(Value::Null), InputTopics::Named(names)) => {
            return names.first().cloned().ok_or_else(|| "no topic is read".into());
        }
        (None | Some(Value::Null), InputTopics::Pattern(_)) => {
            return Err("the input is a pattern, which names no topic: add a `topic` to each line".into());
        }
        (Some(_), _) => return Err("`topic` is a name".into()),
    };
    let (read, whose) = match input {
        InputTopics::Named(names) => (names.contains(&topic), names.join(", ")),
        // What only librdkafka can read is left to it.
        InputTopics::Pattern(pattern) => {
            let read = Regex::new(pattern).map_or(true, |pattern| pattern.is_match(&topic));
            (read, pattern.clone())
        }
    };
    if read {
        Ok(topic)
    } else {
        Err(format!(
            "the pipeline does not read `{topic}`: its input is {whose}"
        ))
    }
}

fn timestamp(said: Option<Value>) -> Result<Option<i64>, String> {
    match said {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(ms) if ms >= 0 => Ok(Some(ms)),
            _ => Err("`timestamp` is a number of milliseconds since 1970".into()),
        },
    }
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

    fn named() -> InputTopics {
        InputTopics::Named(vec!["in".to_owned(), "more".to_owned()])
    }

    fn text(bytes: Option<&Vec<u8>>) -> Option<&str> {
        bytes.map(|b| std::str::from_utf8(b).unwrap())
    }

    #[test]
    fn strings_stay_json_is_written_and_null_is_null() {
        let sample = r#"{"key":"k","value":{"b":1,"a":"x"},"headers":{"h":"v","n":null,"i":7}}"#;
        let sample = parse(sample, &named()).unwrap();
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
        let tombstone = parse(r#"{"key":"k","value":null}"#, &named()).unwrap();
        assert_eq!(tombstone.value, None);
        assert_eq!(
            parse(r#"{"value":""}"#, &named()).unwrap(),
            Sample {
                topic: "in".to_owned(),
                timestamp_ms: None,
                key: None,
                value: Some(vec![]),
                headers: vec![]
            }
        );
    }

    #[test]
    fn a_line_may_name_its_topic_and_its_time() {
        let sample = parse(r#"{"topic":"more","timestamp":7}"#, &named()).unwrap();
        assert_eq!((sample.topic.as_str(), sample.timestamp_ms), ("more", Some(7)));
        let pattern = InputTopics::Pattern("^in\\..*".to_owned());
        assert_eq!(parse(r#"{"topic":"in.a"}"#, &pattern).unwrap().topic, "in.a");
        for (line, input, expected) in [
            (r#"{"topic":"out"}"#, &named(), "its input is in, more"),
            (r#"{"topic":"out"}"#, &pattern, "its input is ^in"),
            (r#"{"topic":1}"#, &pattern, "`topic` is a name"),
            ("{}", &pattern, "add a `topic`"),
            (r#"{"timestamp":-1}"#, &named(), "milliseconds"),
            (r#"{"timestamp":"now"}"#, &named(), "milliseconds"),
        ] {
            let error = parse(line, input).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
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
            let error = read(&file, &named()).unwrap_err().to_string();
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
