//! What a transform did with the records of a test.

use serde::de::DeserializeOwned;

use super::Sample;
use crate::batch::{Emit, Field, Headers, Record};
use crate::log::Level;

/// What a transform did with the records of one [`Tester::run`](super::Tester::run).
#[derive(Debug, Clone)]
pub struct Ran {
    outputs: Vec<String>,
    emitted: Vec<Emitted>,
    rejects: Vec<Failed>,
    retries: Vec<Failed>,
    exhausted: Vec<Failed>,
    pub(super) logs: Vec<Logged>,
    /// For each record, whether anything became of it.
    answered: Vec<bool>,
}

/// A record that was emitted, with what it keeps of its input record filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Place of the input record that it comes from.
    pub record: usize,
    pub output: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Only if the transform set it.
    pub timestamp: Option<i64>,
    /// Only if the transform set it.
    pub partition: Option<i32>,
}

/// A record that failed, or asked to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Place of the input record.
    pub record: usize,
    pub reason: String,
}

/// A message that the transform logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub level: Level,
    pub message: String,
}

impl Ran {
    pub(super) fn new(records: usize, outputs: Vec<String>) -> Self {
        Self {
            outputs,
            emitted: Vec::new(),
            rejects: Vec::new(),
            retries: Vec::new(),
            exhausted: Vec::new(),
            logs: Vec::new(),
            answered: vec![false; records],
        }
    }

    /// All that was emitted, in order.
    pub fn emitted(&self) -> &[Emitted] {
        &self.emitted
    }

    /// What was emitted to one output, in order.
    pub fn to(&self, output: &str) -> Vec<&Emitted> {
        self.emitted
            .iter()
            .filter(|emitted| emitted.output == output)
            .collect()
    }

    /// Records that were rejected.
    pub fn rejects(&self) -> &[Failed] {
        &self.rejects
    }

    /// Each time that a record asked to be tried again.
    pub fn retries(&self) -> &[Failed] {
        &self.retries
    }

    /// Records that asked once more than they are tried, and so have failed.
    pub fn exhausted(&self) -> &[Failed] {
        &self.exhausted
    }

    /// Places of the records of which nothing became: no output and no failure.
    pub fn filtered(&self) -> Vec<usize> {
        let answered = self.answered.iter().enumerate();
        answered
            .filter(|(_, answered)| !**answered)
            .map(|(record, _)| record)
            .collect()
    }

    /// What was logged, in order.
    pub fn logs(&self) -> &[Logged] {
        &self.logs
    }

    pub(super) fn add(&mut self, record: usize, sample: Option<&Sample>, emit: &Emit<'_>) {
        let inherited = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let field = |field: Field<'_>, source: Option<&[u8]>| match field {
            Field::Inherit => inherited(source),
            Field::Null => None,
            Field::Bytes(bytes) => Some(bytes.to_vec()),
        };
        let headers = match emit.headers {
            Headers::Inherit => sample.map(Sample::headers).unwrap_or_default().to_vec(),
            Headers::List(list) => list
                .iter()
                .map(|(name, value)| (name.to_vec(), inherited(value)))
                .collect(),
        };
        self.emitted.push(Emitted {
            record,
            output: self
                .outputs
                .get(usize::from(emit.output))
                .cloned()
                .unwrap_or_default(),
            key: field(emit.key, sample.and_then(Record::key)),
            value: field(emit.value, sample.and_then(Record::value)),
            headers,
            timestamp: emit.timestamp_ms,
            partition: emit.partition,
        });
        self.answer(record);
    }

    pub(super) fn rejected(&mut self, record: usize, reason: &str) {
        self.rejects.push(Failed {
            record,
            reason: reason.to_owned(),
        });
        self.answer(record);
    }

    pub(super) fn retried(&mut self, record: usize, reason: &str, exhausted: bool) {
        let failed = Failed {
            record,
            reason: reason.to_owned(),
        };
        if exhausted {
            self.exhausted.push(failed);
            self.answer(record);
        } else {
            self.retries.push(failed);
        }
    }

    fn answer(&mut self, record: usize) {
        if let Some(answered) = self.answered.get_mut(record) {
            *answered = true;
        }
    }
}

impl Emitted {
    /// The value as text, with what is no UTF-8 replaced; empty if it is null.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        let value = self.value.as_deref().ok_or("the value is null")?;
        serde_json::from_slice(value).map_err(|error| error.to_string())
    }

    /// The value of the last header with this name, unless it is null.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .rfind(|(have, _)| have == name.as_bytes())?
            .1
            .as_deref()
    }
}
