//! Dead letters that can be worked with: listed, shown, replayed, purged.
//!
//! # How a replay is exactly once
//!
//! Offsets cannot say which letters of a selection were replayed. So each one that was gets a
//! *mark*, keyed by its coordinate, in a compacted topic of the pipeline, and the mark is
//! written in the transaction that holds the replayed record.
//!
//! 1. All replays and purges of a pipeline share one transactional id. Whoever begins opens its
//!    producer first: that fences the one before, and decides what that one left open.
//! 2. Then the marks are read, to the high watermark. From here on nobody else commits any.
//! 3. What has no mark is put back, in transactions of bounded size.
//! 4. After any doubt about a transaction 1 and 2 are done again: the marks tell what became of
//!    it. Nothing is concluded from an error.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `letter` | a record of the topic as a dead letter, and whose it is |
//! | `selection` | which of them are meant |
//! | `marks` | what became of them |
//! | `desk` | the cluster, the topics, and reading through them |
//! | `ledger` | transactions of marks and records |
//! | `put_back` | from a letter to the record that it was |
//! | `replay`, `purge` | the two verbs that write |
//!
//! Nothing here joins the group or touches its offsets. Letters of other pipelines in the same
//! topic are told apart, and left alone.

pub mod desk;
pub mod ledger;
pub mod letter;
pub mod marks;
pub mod purge;
mod put_back;
pub mod replay;
pub mod selection;
mod trouble;

pub use trouble::Trouble;
