//! How repeated messages are told.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{RedisAddress, SqlAddress};
use crate::dedup::message_id::IdSource;

#[derive(Debug, Clone)]
pub struct Dedup {
    pub id: IdSource,
    /// The id as the file names it; a part of the scope of claims.
    pub id_definition: String,
    /// How long an id is remembered.
    pub window: Duration,
    pub store: ClaimStore,
    pub mode: DedupMode,
    pub on_missing_id: OnMissingId,
    pub on_store_error: OnStoreError,
    /// The name under which pipelines share claims.
    pub scope: Option<String>,
}

impl Dedup {
    /// Claims outlive the transaction in which they were made, and the process.
    pub fn is_shared(&self) -> bool {
        matches!(self.store, ClaimStore::Redis { .. } | ClaimStore::Sql { .. })
    }

    pub fn window_ms(&self) -> i64 {
        i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX)
    }

    /// It drops records, and which of several is first depends on when they are read.
    pub fn drops_by_arrival(&self) -> bool {
        self.mode == DedupMode::Drop && !self.store.is_by_partition()
    }
}

/// Where claims are held.
#[derive(Debug, Clone)]
pub enum ClaimStore {
    /// In this process: at most this many ids.
    Memory {
        ids: NonZeroUsize,
    },
    /// In a topic for each input topic, written in the transaction: at most this many ids in a
    /// process.
    Changelog {
        ids: NonZeroUsize,
    },
    /// With this before each key.
    Redis {
        address: RedisAddress,
        prefix: String,
    },
    Sql {
        address: SqlAddress,
    },
}

impl ClaimStore {
    /// A claim counts in its own partition of the input, and in no other.
    pub fn is_by_partition(&self) -> bool {
        matches!(self, Self::Changelog { .. })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DedupMode {
    Drop,
    /// Only counts.
    Observe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissingId {
    Pass,
    /// The record fails, and becomes a dead letter.
    DeadLetter,
    /// The pipeline stops before the record.
    Stop,
}

/// What to do while the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreError {
    /// Wait for it.
    Stop,
    /// Let records pass unchecked.
    Pass,
}
