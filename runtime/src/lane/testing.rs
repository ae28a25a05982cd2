//! A Kafka in memory, with faults at every call, and a transform that does as records say.

mod guest;
mod log;

use strait_sdk::batch::Record;

pub use guest::Script;
pub use log::{Faults, Log, MemoryConsumer, MemoryDirectory, MemoryProducers};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rec {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Rec {
    pub fn new(offset: i64, value: &[u8]) -> Self {
        Self {
            offset,
            timestamp_ms: 1_000 + offset,
            key: None,
            value: Some(value.to_vec()),
        }
    }
}

impl Record for Rec {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
    fn header_count(&self) -> usize {
        0
    }
    fn header(&self, _index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        None
    }
}
