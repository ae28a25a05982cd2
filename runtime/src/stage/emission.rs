//! What leaves the stages, with all inheritance resolved, and what goes from one to the next.

use strait_sdk::batch::{self, Emit, Field, HeaderList, Headers, Record};

use crate::kafka::Header;
use crate::plan::{BatchLimits, OutputIndex};

/// One record to produce, all inheritance resolved.
#[derive(Debug, Clone, Copy)]
pub struct Emission<'a> {
    /// Index of the input record that it came from.
    pub origin: usize,
    /// Index of the stage that emitted it.
    pub stage: usize,
    pub output: OutputIndex,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
    /// What the transform set, if it did.
    pub timestamp_ms: Option<i64>,
    pub partition: Option<i32>,
    /// This is part `part` (from 1) of the `parts` outputs of its input record.
    pub part: u32,
    pub parts: u32,
}

/// Key, value and headers of a record.
pub fn record_bytes<R: Record>(record: &R) -> usize {
    field(record.key()) + field(record.value()) + headers_bytes(record)
}

/// Headers of a record.
#[inline]
pub(super) fn headers_bytes<R: Record>(record: &R) -> usize {
    let headers = (0..record.header_count()).filter_map(|index| record.header(index));
    headers.map(header_bytes).sum()
}

/// How many of the first records make one batch: at least one, if there is any.
pub fn cut<R: Record>(records: &[R], limits: &BatchLimits) -> usize {
    let mut bytes = 0_usize;
    let fit = records
        .iter()
        .take(limits.records.get())
        .take_while(|record| {
            bytes = bytes.saturating_add(record_bytes(*record));
            bytes <= limits.bytes.get()
        })
        .count();
    fit.max(1).min(records.len())
}

/// A record on its way: the input record, and what the stages made of it so far.
pub(super) struct Carried<'a, R> {
    record: &'a R,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// `None`: those of the input record.
    headers: Option<HeaderList<'a>>,
    timestamp_ms: Option<i64>,
    partition: Option<i32>,
}

// By hand: a derive would ask that records can be copied too.
impl<R> Clone for Carried<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Carried<'_, R> {}

impl<'a, R: Record> Carried<'a, R> {
    #[inline]
    pub(super) fn new(record: &'a R) -> Self {
        Self {
            record,
            key: record.key(),
            value: record.value(),
            headers: None,
            timestamp_ms: None,
            partition: None,
        }
    }

    /// What it becomes by this emission.
    #[inline]
    pub(super) fn with(self, emit: &Emit<'a>) -> Self {
        let field = |field, inherited| match field {
            Field::Inherit => inherited,
            Field::Null => None,
            Field::Bytes(bytes) => Some(bytes),
        };
        Self {
            record: self.record,
            key: field(emit.key, self.key),
            value: field(emit.value, self.value),
            headers: match emit.headers {
                Headers::Inherit => self.headers,
                Headers::List(list) => Some(list),
            },
            timestamp_ms: emit.timestamp_ms.or(self.timestamp_ms),
            partition: emit.partition.or(self.partition),
        }
    }

    /// As it leaves. `headers` is only room to put them.
    #[inline]
    pub(super) fn emission<'h>(
        &self,
        origin: usize,
        stage: usize,
        output: u16,
        (part, parts): (u32, u32),
        headers: &'h mut Vec<Header<'a>>,
    ) -> Emission<'h> {
        headers.clear();
        if let Some(list) = self.headers {
            headers.extend(list.iter());
        } else {
            let inherited = 0..self.record.header_count();
            headers.extend(inherited.filter_map(|index| self.record.header(index)));
        }
        Emission {
            origin,
            stage,
            output: OutputIndex(usize::from(output)),
            key: self.key,
            value: self.value,
            headers,
            timestamp_ms: self.timestamp_ms,
            partition: self.partition,
            part,
            parts,
        }
    }
}

impl<R: Record> Record for Carried<'_, R> {
    fn offset(&self) -> i64 {
        self.record.offset()
    }

    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms.unwrap_or_else(|| self.record.timestamp_ms())
    }

    fn key(&self) -> Option<&[u8]> {
        self.key
    }

    fn value(&self) -> Option<&[u8]> {
        self.value
    }

    fn header_count(&self) -> usize {
        self.headers
            .map_or_else(|| self.record.header_count(), |list| list.len())
    }

    fn header(&self, index: usize) -> Option<Header<'_>> {
        match self.headers {
            Some(list) => list.get(index),
            None => self.record.header(index),
        }
    }

    fn attempt(&self) -> u32 {
        self.record.attempt()
    }
}

/// A record that was tried before.
pub(super) struct Tried<'a, R> {
    pub(super) record: &'a R,
    pub(super) attempt: u32,
}

impl<R: Record> batch::Record for Tried<'_, R> {
    fn offset(&self) -> i64 {
        self.record.offset()
    }

    fn timestamp_ms(&self) -> i64 {
        self.record.timestamp_ms()
    }

    fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    fn value(&self) -> Option<&[u8]> {
        self.record.value()
    }

    fn header_count(&self) -> usize {
        self.record.header_count()
    }

    fn header(&self, index: usize) -> Option<Header<'_>> {
        self.record.header(index)
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }
}

fn field(field: Option<&[u8]>) -> usize {
    field.map_or(0, <[u8]>::len)
}

pub(super) fn header_bytes((name, value): Header<'_>) -> usize {
    name.len() + field(value)
}
