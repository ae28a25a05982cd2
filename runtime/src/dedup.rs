//! Whether a message was met before.
//!
//! A store maps a message id to the coordinate of the record that claimed it first, and a
//! record is a repeat only if the claim on its id is held by *another* coordinate. One that is
//! read again, after an abort or a rebalance, finds its own claim and passes. So a claim may
//! be made before its transaction commits, and nothing has to be locked or taken back.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `message_id`, `pointer` | what a record's id is |
//! | `claim` | what is asked of a store, and what it answers |
//! | `claimant` | what a record claims, and by which coordinate |
//! | `judge` | one batch against the claims |
//! | `store` | where claims are held |
//! | `memory` | claims of this process |
//! | `redis`, `sql` | claims that others share, and what the two have in common (`shared`) |
//! | `changelog` | claims of one partition, written with the records that made them |
//!
//! Invariants:
//! - an id never leaves this room in clear: stores hold hashes, scoped to cluster, pipeline
//!   and the definition of the id, or to the name under which pipelines share them;
//! - two different ids are never taken for one: numbers are compared as they are written, and
//!   the hash has 128 bits;
//! - of the records of one batch, those that come later are repeats of those before.

pub mod changelog;
pub mod claim;
pub mod claimant;
pub mod judge;
pub mod memory;
pub mod message_id;
mod pointer;
pub mod redis;
mod shared;
pub mod sql;
pub mod store;
