//! The guest writes an output batch.
//!
//! The builder accepts only what [`OutputView::parse`](super::OutputView::parse) accepts, so
//! that a transform written with this crate cannot return a malformed batch. A record that is
//! rejected or retried takes its entries back.

use std::fmt;

use super::wire::{
    EMIT, ENTRY_LEN, HEADER_ITEM_LEN, INHERIT_HEADERS, INHERIT_KEY, INHERIT_VALUE, NO_PARTITION,
    OUTPUT_HEADER_LEN, OUTPUT_MAGIC, REJECT, RETRY, STATE_DELETE, STATE_PUT, Span, UNSET, Writer, narrow,
};
use super::{Field, LEN_MAX, REASON_LEN_MAX, VERSION};

/// What an output batch is written with.
#[derive(Debug)]
pub struct Builder {
    /// Room for the header, then the heap.
    heap: Vec<u8>,
    /// Room for the header, then the rows.
    rows: Vec<u8>,
    record_count: u32,
    /// The record that entries belong to now.
    origin: u32,
    /// Lengths of `heap` and `rows` when it began.
    heap_mark: usize,
    rows_mark: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The record at `origin` takes entries.
    Open,
    /// It was rejected; the next record may begin.
    Rejected,
    /// A retry ended the batch.
    Ended,
}

/// A record to produce; its origin is the record that the builder is at.
#[derive(Debug, Clone, Copy)]
pub struct NewEmit<'a> {
    pub output: u16,
    pub key: Field<'a>,
    pub value: Field<'a>,
    pub timestamp_ms: Option<i64>,
    pub partition: Option<i32>,
}

/// Why the builder refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// Records are answered in order, and each is in the batch.
    OutOfOrder,
    /// The record was rejected, or a retry ended the batch.
    Answered,
    /// A timestamp, a partition or a time to live is negative.
    Negative,
    /// The batch would be longer than a batch may be.
    TooLarge,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfOrder => "records must be answered in the order of the batch",
            Self::Answered => "the record was rejected or is to be retried, so it can have no outputs",
            Self::Negative => "timestamp, partition and time to live must not be negative",
            Self::TooLarge => "the outputs of the batch take more than 256 MiB",
        })
    }
}

impl std::error::Error for BuildError {}

impl Builder {
    /// Answers a batch of `record_count` records, with room for one entry each.
    pub fn new(record_count: u32) -> Self {
        let header = [0; OUTPUT_HEADER_LEN];
        let mut rows = Vec::with_capacity(OUTPUT_HEADER_LEN + record_count.min(4096) as usize * ENTRY_LEN);
        rows.extend_from_slice(&header);
        Self {
            heap: header.to_vec(),
            rows,
            record_count,
            origin: 0,
            heap_mark: OUTPUT_HEADER_LEN,
            rows_mark: OUTPUT_HEADER_LEN,
            stage: Stage::Open,
        }
    }

    /// From here on entries belong to record `origin`. Records that are passed over are
    /// filtered; beginning the same record again keeps what it has.
    #[inline]
    pub fn begin(&mut self, origin: u32) -> Result<(), BuildError> {
        if self.stage == Stage::Ended {
            return Err(BuildError::Answered);
        }
        if origin < self.origin || origin >= self.record_count {
            return Err(BuildError::OutOfOrder);
        }
        if origin > self.origin {
            self.origin = origin;
            self.heap_mark = self.heap.len();
            self.rows_mark = self.rows.len();
            self.stage = Stage::Open;
        }
        Ok(())
    }

    /// The record that entries belong to.
    pub fn origin(&self) -> u32 {
        self.origin
    }

    /// Whether a retry ended the batch.
    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Emits with the headers of the input record.
    #[inline]
    pub fn emit(&mut self, emit: &NewEmit<'_>) -> Result<(), BuildError> {
        self.check(emit, 0)?;
        self.push_emit(emit, INHERIT_HEADERS, Span::EMPTY);
        Ok(())
    }

    /// Emits with these headers: name, and value or null, of each.
    pub fn emit_with_headers<'h, H>(&mut self, emit: &NewEmit<'_>, headers: H) -> Result<(), BuildError>
    where
        H: IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
        H::IntoIter: Clone,
    {
        let headers = headers.into_iter();
        let (mut count, mut len) = (0_usize, 0_usize);
        for (name, value) in headers.clone() {
            count += 1;
            len = len
                .saturating_add(HEADER_ITEM_LEN + name.len())
                .saturating_add(value.map_or(0, <[u8]>::len));
        }
        self.check(emit, len)?;
        let mut item = self.heap.len();
        let offset = if count == 0 {
            0
        } else {
            narrow(item - OUTPUT_HEADER_LEN)
        };
        self.heap.resize(item + count * HEADER_ITEM_LEN, 0);
        for (name, value) in headers.take(count) {
            let name = self.store(name);
            let value = value.map_or(Span::NULL, |value| self.store(value));
            if let Some(row) = self.heap.get_mut(item..) {
                Writer(row).span(name).span(value);
            }
            item += HEADER_ITEM_LEN;
        }
        self.push_emit(
            emit,
            0,
            Span {
                offset,
                len: narrow(count),
            },
        );
        Ok(())
    }

    /// The record has failed for good: takes back its entries.
    pub fn reject(&mut self, reason: &str) -> Result<(), BuildError> {
        self.answer(REJECT, reason)
    }

    /// The record is to be tried again: takes back its entries and ends the batch.
    pub fn retry(&mut self, reason: &str) -> Result<(), BuildError> {
        self.answer(RETRY, reason)
    }

    /// Sets a key of a state store.
    pub fn state_put(
        &mut self,
        store: u16,
        key: &[u8],
        value: &[u8],
        ttl_ms: Option<i64>,
    ) -> Result<(), BuildError> {
        self.state(STATE_PUT, store, key, Some(value), ttl_ms)
    }

    /// Removes a key of a state store.
    pub fn state_delete(&mut self, store: u16, key: &[u8]) -> Result<(), BuildError> {
        self.state(STATE_DELETE, store, key, None, None)
    }

    /// Forgets everything, to answer the same batch anew.
    pub fn clear(&mut self) {
        self.heap.truncate(OUTPUT_HEADER_LEN);
        self.rows.truncate(OUTPUT_HEADER_LEN);
        self.origin = 0;
        self.heap_mark = OUTPUT_HEADER_LEN;
        self.rows_mark = OUTPUT_HEADER_LEN;
        self.stage = Stage::Open;
    }

    /// The batch.
    pub fn finish(self) -> Vec<u8> {
        let Self {
            mut heap, mut rows, ..
        } = self;
        let heap_len = heap.len() - OUTPUT_HEADER_LEN;
        let rows_len = rows.len() - OUTPUT_HEADER_LEN;
        // What is longer stays where it is.
        let (mut batch, heap_offset, rows_offset) = if heap_len > rows_len {
            heap.reserve_exact(rows_len);
            heap.extend_from_slice(rows.get(OUTPUT_HEADER_LEN..).unwrap_or_default());
            (heap, OUTPUT_HEADER_LEN, OUTPUT_HEADER_LEN + heap_len)
        } else {
            rows.reserve_exact(heap_len);
            rows.extend_from_slice(heap.get(OUTPUT_HEADER_LEN..).unwrap_or_default());
            (rows, OUTPUT_HEADER_LEN + rows_len, OUTPUT_HEADER_LEN)
        };
        let total_len = narrow(batch.len());
        Writer(&mut batch)
            .put(OUTPUT_MAGIC)
            .u16(VERSION)
            .width(OUTPUT_HEADER_LEN)
            .u32(total_len)
            .u32(narrow(rows_len / ENTRY_LEN))
            .width(ENTRY_LEN)
            .u16(0)
            .u32(narrow(rows_offset))
            .u32(narrow(heap_offset))
            .u32(narrow(heap_len))
            .u32(0) // flags
            .u32(0);
        batch
    }

    /// Whether this can be emitted, with headers of this length.
    #[inline]
    fn check(&self, emit: &NewEmit<'_>, headers_len: usize) -> Result<(), BuildError> {
        if emit.timestamp_ms.is_some_and(|t| t < 0) || emit.partition.is_some_and(|p| p < 0) {
            return Err(BuildError::Negative);
        }
        let field = |field: Field<'_>| {
            if let Field::Bytes(bytes) = field {
                bytes.len()
            } else {
                0
            }
        };
        self.check_open(
            headers_len
                .saturating_add(field(emit.key))
                .saturating_add(field(emit.value)),
        )
    }

    /// Whether the record at hand takes one entry more, and so much of the heap.
    #[inline]
    fn check_open(&self, heap_len: usize) -> Result<(), BuildError> {
        if self.stage != Stage::Open {
            return Err(BuildError::Answered);
        }
        if self.origin >= self.record_count {
            return Err(BuildError::OutOfOrder);
        }
        let len = self
            .heap
            .len()
            .saturating_add(self.rows.len())
            .saturating_add(ENTRY_LEN);
        if len.saturating_add(heap_len) > LEN_MAX {
            Err(BuildError::TooLarge)
        } else {
            Ok(())
        }
    }

    #[inline]
    fn push_emit(&mut self, emit: &NewEmit<'_>, inherit: u8, headers: Span) {
        let mut inherit = inherit;
        let key = self.store_field(emit.key, INHERIT_KEY, &mut inherit);
        let value = self.store_field(emit.value, INHERIT_VALUE, &mut inherit);
        self.push(&NewRow {
            index: emit.output,
            kind: EMIT,
            inherit,
            timestamp: emit.timestamp_ms,
            key,
            value,
            headers,
            partition: emit.partition,
        });
    }

    fn state(
        &mut self,
        kind: u8,
        store: u16,
        key: &[u8],
        value: Option<&[u8]>,
        ttl_ms: Option<i64>,
    ) -> Result<(), BuildError> {
        if ttl_ms.is_some_and(|ttl| ttl < 0) {
            return Err(BuildError::Negative);
        }
        self.check_open(key.len().saturating_add(value.map_or(0, <[u8]>::len)))?;
        let key = self.store(key);
        let value = value.map_or(Span::NULL, |value| self.store(value));
        self.push(&NewRow {
            index: store,
            kind,
            timestamp: ttl_ms,
            key,
            value,
            ..NewRow::NONE
        });
        Ok(())
    }

    fn answer(&mut self, kind: u8, reason: &str) -> Result<(), BuildError> {
        let reason = reason
            .get(..reason.floor_char_boundary(REASON_LEN_MAX))
            .unwrap_or(reason);
        self.check_open(0)?;
        self.heap.truncate(self.heap_mark);
        self.rows.truncate(self.rows_mark);
        self.check_open(reason.len())?;
        let value = self.store(reason.as_bytes());
        self.push(&NewRow {
            kind,
            value,
            ..NewRow::NONE
        });
        self.stage = if kind == RETRY {
            Stage::Ended
        } else {
            Stage::Rejected
        };
        Ok(())
    }

    #[inline]
    fn push(&mut self, entry: &NewRow) {
        let mut row = [0; ENTRY_LEN];
        Writer(&mut row)
            .u32(self.origin)
            .u16(entry.index)
            .put([entry.kind, entry.inherit])
            .i64(entry.timestamp.unwrap_or(UNSET))
            .span(entry.key)
            .span(entry.value)
            .span(entry.headers)
            .i32(entry.partition.unwrap_or(NO_PARTITION))
            .u32(0);
        self.rows.extend_from_slice(&row);
    }

    #[inline]
    fn store(&mut self, bytes: &[u8]) -> Span {
        let offset = narrow(self.heap.len() - OUTPUT_HEADER_LEN);
        self.heap.extend_from_slice(bytes);
        Span {
            offset,
            len: narrow(bytes.len()),
        }
    }

    #[inline]
    fn store_field(&mut self, field: Field<'_>, bit: u8, inherit: &mut u8) -> Span {
        match field {
            Field::Inherit => {
                *inherit |= bit;
                Span::EMPTY
            }
            Field::Null => Span::NULL,
            Field::Bytes(bytes) => self.store(bytes),
        }
    }
}

/// The fields of a row but for its origin.
struct NewRow {
    index: u16,
    kind: u8,
    inherit: u8,
    timestamp: Option<i64>,
    key: Span,
    value: Span,
    headers: Span,
    partition: Option<i32>,
}

impl NewRow {
    const NONE: Self = Self {
        index: 0,
        kind: EMIT,
        inherit: 0,
        timestamp: None,
        key: Span::NULL,
        value: Span::NULL,
        headers: Span::EMPTY,
        partition: None,
    };
}
