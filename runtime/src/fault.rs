//! Deliberate faults, for the tests that prove that a fault is survived, or would be seen.
//!
//! A [`Point`] is a moment in a lane's life at which the process can be made to die or to
//! stand still. A [`Sabotage`] is a mistake that a careless implementation would make. The
//! names are always here, so that tests can go through all of them; what they do is compiled
//! in by the feature `fault-injection` only. Without it nothing is read from the environment,
//! and each function here is an empty one or a constant, which leaves no trace in the program.
//!
//! | variable | what it says |
//! | --- | --- |
//! | `STRAIT_FAIL_POINT` | a point; with `:N`, the N-th time that this process passes it |
//! | `STRAIT_FAIL_ACTION` | `kill` (the default) or `stop`: SIGKILL or SIGSTOP to itself |
//! | `STRAIT_FAULT` | sabotages, with commas between them |
//! | `STRAIT_FAULT_SEED` | repeats what is left to chance |

#[cfg(feature = "fault-injection")]
mod armed;

#[cfg(feature = "fault-injection")]
pub use armed::*;

use crate::kafka::{KafkaError, TransactionError};

/// A moment in the life of a lane, of a replay, or of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The message ids of a batch are claimed, and nothing has begun with it. Passed by pipelines
    /// that have a `dedup`.
    AfterClaim,
    /// A transaction has begun, locally; the coordinator does not know of it.
    AfterBegin,
    /// What became of one batch is in the producer's queue, and may be on its way.
    AfterProduce,
    /// The transaction is about to end; nothing was waited for yet.
    BeforeFlush,
    /// Its records are acknowledged.
    AfterFlush,
    /// `TxnOffsetCommit` is with the group coordinator, its answer is not here.
    DuringSendOffsets,
    /// Its offsets are acknowledged.
    AfterSendOffsets,
    /// `EndTxn`, of a commit or of an abort, is with the transaction coordinator, its answer
    /// is not here.
    DuringEndTxn,
    /// The commit is acknowledged, and the lane does not know it yet.
    AfterCommit,
    /// The abort is acknowledged, and nothing has moved back yet.
    AfterAbort,
    /// A producer was opened, at the start of a lane or in place of another, which has ended
    /// what that one left; nobody has asked yet what is committed.
    AfterInit,
    /// Records that are replayed from the dead letters, and their marks, are acknowledged.
    ReplayBeforeCommit,
    /// Their commit is acknowledged, and nobody was told.
    ReplayAfterCommit,
    /// `strait offsets reset` has dropped what claims it was to drop.
    ResetAfterClaims,
    /// It has set the marks of the state back, where that is kept.
    ResetAfterMarks,
    /// It has set the offsets.
    ResetAfterOffsets,
    /// It has set back where the group began.
    ResetAfterStarts,
    /// It has cleared the state, where that was asked for, and nobody was told.
    ResetAfterClear,
}

impl Point {
    /// Those of all, for whoever looks one up by its name.
    pub fn each() -> impl Iterator<Item = Self> {
        let verbs = Self::OF_REPLAYS.into_iter().chain(Self::OF_RESETS);
        Self::ALL.into_iter().chain(verbs)
    }

    /// Those of `strait dlq`.
    pub const OF_REPLAYS: [Self; 2] = [Self::ReplayBeforeCommit, Self::ReplayAfterCommit];

    /// Those of `strait offsets`, in their order.
    pub const OF_RESETS: [Self; 5] = [
        Self::ResetAfterClaims,
        Self::ResetAfterMarks,
        Self::ResetAfterOffsets,
        Self::ResetAfterStarts,
        Self::ResetAfterClear,
    ];

    /// Those of a lane.
    pub const ALL: [Self; 11] = [
        Self::AfterClaim,
        Self::AfterBegin,
        Self::AfterProduce,
        Self::BeforeFlush,
        Self::AfterFlush,
        Self::DuringSendOffsets,
        Self::AfterSendOffsets,
        Self::DuringEndTxn,
        Self::AfterCommit,
        Self::AfterAbort,
        Self::AfterInit,
    ];

    /// As `STRAIT_FAIL_POINT` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AfterClaim => "after-claim",
            Self::AfterBegin => "after-begin",
            Self::AfterProduce => "after-produce",
            Self::BeforeFlush => "before-flush",
            Self::AfterFlush => "after-flush",
            Self::DuringSendOffsets => "during-send-offsets",
            Self::AfterSendOffsets => "after-send-offsets",
            Self::DuringEndTxn => "during-end-txn",
            Self::AfterCommit => "after-commit",
            Self::AfterAbort => "after-abort",
            Self::AfterInit => "after-init",
            Self::ReplayBeforeCommit => "replay-before-commit",
            Self::ReplayAfterCommit => "replay-after-commit",
            Self::ResetAfterClaims => "reset-after-claims",
            Self::ResetAfterMarks => "reset-after-marks",
            Self::ResetAfterOffsets => "reset-after-offsets",
            Self::ResetAfterStarts => "reset-after-starts",
            Self::ResetAfterClear => "reset-after-clear",
        }
    }
}

/// A mistake built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The consumer commits the offsets: of each batch as soon as it is produced, and
    /// not in the transaction that holds its outputs.
    OffsetsOutsideTransaction,
    /// After an abort the consumer goes on where it stands, past what was aborted.
    NoRewind,
    /// A producer goes on after a request of its transactions went unanswered.
    NoGuard,
    /// The group metadata is fetched once, when the consumer is made, and used for good. It
    /// names no member then, so brokers check no generation; nor is it asked whether the
    /// assignment was lost.
    StaleMember,
    /// A commit without an answer is taken for a success.
    GuessCommitted,
    /// A message id that is held is a repeat, even for the record that holds it: set if absent, else
    /// skip.
    SeenOnce,
    /// No mistake, but trouble: about every third transaction is aborted, at a moment left to
    /// chance, on the way that every abort takes.
    AbortEveryThird,
}

impl Sabotage {
    pub const ALL: [Self; 7] = [
        Self::OffsetsOutsideTransaction,
        Self::NoRewind,
        Self::NoGuard,
        Self::StaleMember,
        Self::GuessCommitted,
        Self::SeenOnce,
        Self::AbortEveryThird,
    ];

    /// As `STRAIT_FAULT` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OffsetsOutsideTransaction => "offsets-outside-transaction",
            Self::NoRewind => "no-rewind",
            Self::NoGuard => "no-guard",
            Self::StaleMember => "stale-member",
            Self::GuessCommitted => "guess-committed",
            Self::SeenOnce => "seen-once",
            Self::AbortEveryThird => "abort-every-third",
        }
    }
}

/// Passes a point at which an open transaction may also be made to fail.
pub fn pass_or_abort(point: Point) -> Result<(), TransactionError> {
    pass(point);
    if aborts_by_chance() {
        let why = KafkaError::own("ABORTED_ON_PURPOSE", Sabotage::AbortEveryThird.as_str(), false);
        return Err(TransactionError::Abortable(why));
    }
    Ok(())
}

/// Reads what the environment asks for. To be called once, before anything else.
#[cfg(not(feature = "fault-injection"))]
pub fn arm() -> Result<(), std::convert::Infallible> {
    Ok(())
}

/// The process passes this point, and may not come out of it.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub const fn pass(_: Point) {}

/// Whether this mistake is to be made.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub const fn has(_: Sabotage) -> bool {
    false
}

#[cfg(not(feature = "fault-injection"))]
#[inline]
const fn aborts_by_chance() -> bool {
    false
}
