//! A record of the input.

use serde::{Deserialize, Serialize};

use crate::batch::{HeaderList, RecordView};
use crate::{Data, Error, Outgoing, Result};

/// A record of the input, read in place.
///
/// Handing it to [`Output::emit`](crate::Output::emit) passes it through; the `with_` methods
/// change some of it and keep the rest. What is kept is never copied: the runtime takes it
/// from the record that it has.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    view: RecordView<'a>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(view: RecordView<'a>) -> Self {
        Self { view }
    }

    /// Its place in the batch.
    pub(crate) fn index(&self) -> u32 {
        self.view.index
    }

    /// `None` is a record without a key, which is not the same as an empty one.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.view.key
    }

    /// `None` is a tombstone, which is not the same as an empty value.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.view.value
    }

    /// All headers, in order: `for (name, value) in &record.headers()`.
    #[inline]
    pub fn headers(&self) -> HeaderList<'a> {
        self.view.headers
    }

    /// The value of the last header with this name, unless it is null.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.view
            .headers
            .iter()
            .filter(|(have, _)| *have == name.as_bytes())
            .last()?
            .1
    }

    /// Milliseconds since the epoch.
    #[inline]
    pub fn timestamp(&self) -> Option<i64> {
        (self.view.timestamp_ms >= 0).then_some(self.view.timestamp_ms)
    }

    /// How far this partition had come in time with this record, in milliseconds since the
    /// epoch, by the timestamps of its records. It never goes back, but behind the first record of a
    /// partition; one record from the future does not move it. The same record always has the
    /// same one, so it is what lasting decisions go by. [`StreamTime`](crate::StreamTime) has the
    /// rule.
    ///
    /// `None`: the pipeline keeps no state, so nobody counts.
    #[inline]
    pub fn stream_time(&self) -> Option<i64> {
        self.view.stream_time_ms
    }

    /// The time that state goes by: the stream time, and without one the record's own.
    pub(crate) fn state_time_ms(&self) -> i64 {
        self.stream_time().or(self.timestamp()).unwrap_or(0)
    }

    #[inline]
    pub fn topic(&self) -> &'a str {
        self.view.topic
    }

    #[inline]
    pub fn partition(&self) -> i32 {
        self.view.partition
    }

    #[inline]
    pub fn offset(&self) -> i64 {
        self.view.offset
    }

    /// How often this record was tried before: 0 the first time.
    #[inline]
    pub fn attempt(&self) -> u32 {
        self.view.attempt
    }

    /// The value, read as JSON. A value that does not fit rejects the record. Strings may be
    /// borrowed from the record: a field `name: &'a str` is not copied.
    #[inline]
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T> {
        let Some(value) = self.value() else {
            return Err(Error::reject("the value is null where JSON is expected"));
        };
        serde_json::from_slice(value).map_err(|error| Error::reject(format_args!("the value: {error}")))
    }

    /// This record with another value.
    #[inline]
    pub fn with_value<'r>(&'r self, value: impl Into<Data<'r>>) -> Outgoing<'r> {
        Outgoing::from(self).with_value(value)
    }

    /// This record with a value that is written as JSON.
    #[inline]
    pub fn with_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Outgoing<'_>> {
        Outgoing::from(self).with_json(value)
    }

    /// This record with a null value.
    pub fn tombstone(&self) -> Outgoing<'_> {
        Outgoing::from(self).with_value(Data::Null)
    }

    /// This record with another key.
    #[inline]
    pub fn with_key<'r>(&'r self, key: impl Into<Data<'r>>) -> Outgoing<'r> {
        Outgoing::from(self).with_key(key)
    }

    /// This record with one more header.
    pub fn with_header<'r>(&'r self, name: impl Into<Data<'r>>, value: impl Into<Data<'r>>) -> Outgoing<'r> {
        Outgoing::from(self).with_header(name, value)
    }

    /// This record with other headers.
    pub fn with_headers<'r, N, V>(&'r self, headers: impl IntoIterator<Item = (N, V)>) -> Outgoing<'r>
    where
        N: Into<Data<'r>>,
        V: Into<Data<'r>>,
    {
        Outgoing::from(self).with_headers(headers)
    }

    /// This record with another timestamp, in milliseconds since the epoch.
    pub fn with_timestamp(&self, timestamp_ms: i64) -> Outgoing<'_> {
        Outgoing::from(self).with_timestamp(timestamp_ms)
    }

    /// This record for a partition of the output topic that the transform chooses.
    pub fn with_partition(&self, partition: i32) -> Outgoing<'_> {
        Outgoing::from(self).with_partition(partition)
    }
}
