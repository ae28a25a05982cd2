//! Windows and timers, which go by the time of the records and by no clock.
//!
//! The time is [`Record::stream_time`](crate::Record::stream_time): how far the partition has come
//! with the record at hand. What is due is done when a later record arrives; nothing happens
//! where none does.
//!
//! What always holds:
//!
//! - windows and timers lie in a state store, in the transaction: they survive whatever the
//!   records survive, and a record that fails takes back what it closed, fired and set;
//! - what a record brings about depends on the records before it in its partition and on nothing
//!   else, least of all on how they were cut into batches;
//! - with one record, no more than 64 windows are closed and no more than 64 timers fired; the rest
//!   follow with the next records, the oldest first;
//! - one record from the future closes nothing but what its own time has reached.
//!
//! They lie under keys of the SDK's own, which no key of an author meets. Yet give each
//! [`Windows`] a store of its own: two in one store would close each other's.

mod queue;
mod timers;
mod windows;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use timers::{Fired, Timers};
pub use windows::{Arrival, Closed, Late, Open, Window, Windows};

/// The most that is closed or fired with one record.
const PORTION: usize = if cfg!(test) { 3 } else { 64 };

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
