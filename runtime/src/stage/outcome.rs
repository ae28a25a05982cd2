//! What became of a batch, and what it may take to find out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use crate::guest::{FaultKind, GuestFault};

/// What one run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Guest time that this transaction has left. The first call is made in any case.
    pub guest_time_left: Duration,
    /// How often the first record was tried before. The others begin at 0: a record that
    /// asks for another attempt is always the first of the next run.
    pub tried: u32,
    /// Attempts after the first that a record gets. One that has had them and asks for
    /// another has failed.
    pub retries_max: u32,
}

/// What became of the records of one batch, up to `decided`.
#[derive(Debug)]
#[must_use = "the guests keep the results until they are released"]
pub struct Outcome {
    /// Records `0..decided` have their fate; the rest must be handed in again.
    pub decided: usize,
    /// In record order; none at or past `decided`.
    pub failures: Vec<Failure>,
    /// Decided records without any output and without failure.
    pub filtered: u64,
    /// Why it ends before the last record, if it does.
    pub stopped: Option<Stopped>,
    /// Guest faults met on the way, also those that bisecting got past.
    pub faults: Vec<FaultKind>,
    pub guest_time: Duration,
}

/// Why a batch was not decided to its end. All begin at [`Outcome::decided`].
#[derive(Debug, Clone)]
pub enum Stopped {
    /// Record `decided` asked to be tried again.
    Retry { reason: String, stage: Arc<str> },
    /// One of these records faulted and there is no guest time left in this transaction to
    /// find out which. `likely` is the guest's own hint.
    Suspects {
        range: Range<usize>,
        likely: Option<usize>,
        fault: GuestFault,
    },
    /// The guest time of this transaction is used up and nothing is wrong: commit, and hand
    /// in the rest. `decided` is above 0.
    OutOfTime,
    /// No record is to blame, the pipeline stops: the transform is wrong for it (it named an
    /// output that does not exist), or does not start any more.
    Pipeline { reason: String },
}
