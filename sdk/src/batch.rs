//! The batch format, version 1: the bytes that host and guest exchange.
//!
//! The host writes an input batch ([`encode`]) straight into guest memory; the guest
//! reads it in place ([`InputView`]), answers with an output batch ([`Builder`]), and
//! the host validates that and reads it in place ([`OutputView`]). `docs/batch-format.md`
//! has the byte tables.
//!
//! Invariants:
//!
//! - little-endian, no alignment: any slice of bytes may hold a batch;
//! - reading never panics and never reads outside of the slice, whatever the bytes are:
//!   the two sides do not trust each other;
//! - tables have a fixed stride, so the n-th record is found without reading the others;
//! - nothing is allocated to read a batch;
//! - outputs stand in the order of the records that they come from. A rejected record has
//!   no other entry, and nothing follows a retry.

mod builder;
mod encode;
mod input;
mod output;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

pub use builder::{BuildError, Builder, NewEmit};
pub use encode::{encode, encoded_len};
pub use input::{InputView, Progress, RecordView, progress};
pub use output::{Emit, Entries, Entry, Field, Headers, Limits, OutputView, StateOp};
pub use wire::{
    ENTRY_LEN, HEADER_ITEM_LEN, HeaderIter, HeaderList, INPUT_HEADER_LEN, INPUT_MAGIC, OUTPUT_HEADER_LEN,
    OUTPUT_MAGIC, RECORD_LEN, TOPIC_LEN,
};

/// Version of the format that this crate reads and writes.
pub const VERSION: u16 = 1;

/// The longest batch, either way: what a `list<u8>` may hold under WebAssembly's
/// canonical ABI.
pub const LEN_MAX: usize = (1 << 28) - 1;

/// The longest reason of a reject or a retry, in bytes. [`Builder`] shortens what is longer.
pub const REASON_LEN_MAX: usize = 4096;

/// A record as the encoder reads it. Implemented by the host's own record type, so
/// that a batch is written straight from the client library's memory.
pub trait Record {
    fn offset(&self) -> i64;
    /// Milliseconds since the epoch; -1 if the record has none.
    fn timestamp_ms(&self) -> i64;
    fn key(&self) -> Option<&[u8]>;
    fn value(&self) -> Option<&[u8]>;
    fn header_count(&self) -> usize;
    /// Name and value (or null) of a header; `None` past the last one.
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)>;
    /// How often this record was tried before: 0 the first time.
    fn attempt(&self) -> u32 {
        0
    }
}

/// What [`encode`] writes: records of one partition.
#[derive(Debug)]
pub struct Input<'a, R: Record> {
    pub topic: &'a str,
    pub partition: i32,
    /// The time that the guest takes for now.
    pub now_ms: i64,
    pub records: &'a [R],
    /// How far the partition had come in time at each record, one for each of `records`. One
    /// that is missing is not set; empty where the pipeline keeps no state.
    pub stream_times_ms: &'a [i64],
}

/// The records do not fit into the bytes that are there for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// What the batch takes.
    pub needed_bytes: usize,
    /// What there is: the slice, or [`LEN_MAX`].
    pub room_bytes: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            needed_bytes,
            room_bytes,
        } = self;
        write!(
            f,
            "the batch takes {needed_bytes} bytes where {room_bytes} fit; hand over fewer records"
        )
    }
}

impl std::error::Error for TooLarge {}

/// These bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    what: &'static str,
    entry: Option<u32>,
}

impl Malformed {
    const fn batch(what: &'static str) -> Self {
        Self { what, entry: None }
    }

    const fn entry(index: u32, what: &'static str) -> Self {
        Self {
            what,
            entry: Some(index),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(index) => write!(f, "malformed batch: entry {index}: {}", self.what),
            None => write!(f, "malformed batch: {}", self.what),
        }
    }
}

impl std::error::Error for Malformed {}
