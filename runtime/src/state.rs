//! Keyed state of transforms: what they remember of the records before.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `session` | one lane's view: what a transform reads and writes in the transaction that is open |
//! | `owned`, `run` | the state of one partition; one batch on its way |
//! | `layer` | changes that are not committed yet, over what is |
//! | `local` | what is committed, in a folder of this machine |
//! | `record` | how entries and marks are written, here and in the changelog |
//! | `restore` | brings the local folder up to the changelog |
//!
//! The changelog is the truth: one compacted topic for each store and input topic, with the
//! partitions of the input, written in the transaction of the records that made the changes. The
//! local folder may lag behind it, and never leads: a change is stored after its transaction has
//! committed, and a partition is read on from where the folder stood before its first record.
//!
//! Invariants:
//! - what a transform reads is what the records before it wrote, however they were cut into
//!   batches, and nothing of records that failed or were aborted;
//! - time is the stream time of the partition, so that what expires depends on the records alone;
//! - a local folder that is missing, damaged, too old, or of another topic is built anew;
//! - a changelog that was made again is never taken for whole: marks name the one that they were
//!   written for, and nothing is committed beside another than the state came from;
//! - a partition whose state is ahead of the group's offset stops the pipeline: going on would
//!   count records twice.

pub mod layer;
pub mod local;
pub mod owned;
pub mod record;
pub mod restore;
mod run;
pub mod session;
