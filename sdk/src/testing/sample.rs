//! Records to test with.

use serde::Serialize;

use crate::{Data, batch};

/// A record to test with. What is not set: no key, no headers, no timestamp, topic `test`,
/// partition 0, and the offset is its place.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    timestamp_ms: Option<i64>,
    topic: Option<String>,
    partition: i32,
    offset: Option<i64>,
    attempt: u32,
    stream_time_ms: Option<i64>,
}

impl Sample {
    /// A record with this value.
    pub fn value<'a>(value: impl Into<Data<'a>>) -> Self {
        Self {
            value: owned(&value.into()),
            ..Self::default()
        }
    }

    /// A record with this value, written as JSON. What cannot be written is left null.
    pub fn json(value: &impl Serialize) -> Self {
        Self {
            value: serde_json::to_vec(value).ok(),
            ..Self::default()
        }
    }

    /// A record with a key and a null value.
    pub fn tombstone<'a>(key: impl Into<Data<'a>>) -> Self {
        Self::default().key(key)
    }

    #[must_use]
    pub fn key<'a>(mut self, key: impl Into<Data<'a>>) -> Self {
        self.key = owned(&key.into());
        self
    }

    /// One more header.
    #[must_use]
    pub fn header<'a>(mut self, name: &str, value: impl Into<Data<'a>>) -> Self {
        self.headers
            .push((name.as_bytes().to_vec(), owned(&value.into())));
        self
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    #[must_use]
    pub fn topic(mut self, topic: &str) -> Self {
        self.topic = Some(topic.to_owned());
        self
    }

    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }

    #[must_use]
    pub fn offset(mut self, offset: i64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// How often it was tried before the test began.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Gives it its offset, if it has none.
    pub(super) fn settle(&mut self, index: usize) {
        self.offset
            .get_or_insert(i64::try_from(index).unwrap_or(i64::MAX));
    }

    pub(super) fn set_stream_time(&mut self, stream_time_ms: i64) {
        self.stream_time_ms = Some(stream_time_ms);
    }

    /// As the batch format has it.
    pub(super) fn stream_time_ms(&self) -> i64 {
        self.stream_time_ms.unwrap_or(i64::MIN)
    }

    /// The time that its state goes by.
    pub(crate) fn state_time_ms(&self) -> i64 {
        self.stream_time_ms.or(self.timestamp_ms).unwrap_or(0).max(0)
    }

    /// Counts one attempt more.
    pub(super) fn tried(&mut self) -> u32 {
        self.attempt = self.attempt.saturating_add(1);
        self.attempt
    }

    pub(super) fn place(&self) -> (&str, i32) {
        (self.topic.as_deref().unwrap_or("test"), self.partition)
    }

    pub(super) fn headers(&self) -> &[(Vec<u8>, Option<Vec<u8>>)] {
        &self.headers
    }
}

fn owned(data: &Data<'_>) -> Option<Vec<u8>> {
    data.as_bytes().map(<[u8]>::to_vec)
}

impl batch::Record for Sample {
    fn offset(&self) -> i64 {
        self.offset.unwrap_or_default()
    }

    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms.unwrap_or(-1)
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    fn header_count(&self) -> usize {
        self.headers.len()
    }

    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        self.headers
            .get(index)
            .map(|(name, value)| (name.as_slice(), value.as_deref()))
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }
}
