//! Keyed state, as a transform reads and writes it.
//!
//! What always holds:
//!
//! - reading sees all that was written before, by this record too;
//! - a record that is rejected or retried takes its writes back, here as in the answer;
//! - what is written is part of the transaction that holds the record's outputs;
//! - all of it belongs to the partition of the record at hand. Outside of an attempt there is no
//!   record, so there is no state either.
//!
//! Nothing here is kept from one call to the next: between calls, the runtime has it.

mod host;
pub(crate) mod key;
mod overlay;
pub(crate) mod page;
mod raw;
mod scan;
mod store;
mod typed;

#[cfg(test)]
mod tests;

use serde::Deserialize;

pub use scan::Scan;
pub use store::Store;
pub use typed::{Typed, TypedScan};

pub(crate) use overlay::Overlay;
pub(crate) use raw::{Raw, author_key};
pub(crate) use store::write_json;

/// A store that the pipeline declares.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// How long an entry lasts that does not say so itself; `None`: for ever.
    pub(crate) ttl_ms: Option<i64>,
}

/// When an entry expires that was written at a time and lasts so long: no longer than time itself.
pub(crate) fn expires_at_ms(time_ms: i64, ttl_ms: Option<i64>) -> i64 {
    ttl_ms.map_or(i64::MAX, |ttl_ms| time_ms.saturating_add(ttl_ms))
}

/// Whether such an entry is still there.
pub(crate) fn is_visible(time_ms: i64, expires_at_ms: i64) -> bool {
    time_ms < expires_at_ms
}
