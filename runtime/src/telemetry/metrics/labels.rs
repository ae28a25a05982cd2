//! The label values that are a closed set, each as one type.

use crate::guest::FaultKind;
use crate::stage::FailureKind;

/// Kind of a duplicate: read again after an abort.
pub(super) const REDELIVERED: &str = "redelivered";

/// The same of a message that was sent again.
pub(super) const REPEATED: &str = "repeated";

/// What happened to a lane's assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebalanceKind {
    Assign,
    Revoke,
    /// Taken away without asking.
    Lost,
}

impl RebalanceKind {
    pub(super) const ALL: [Self; 3] = [Self::Assign, Self::Revoke, Self::Lost];

    /// As the metric names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::Revoke => "revoke",
            Self::Lost => "lost",
        }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionOutcome {
    Committed,
    Aborted,
    /// Another producer with the same transactional id took over.
    Fenced,
    /// No verdict came. Counted beside what it is then found to be.
    Ambiguous,
}

impl TransactionOutcome {
    pub(super) const ALL: [Self; 4] = [Self::Committed, Self::Aborted, Self::Fenced, Self::Ambiguous];

    /// As the metric names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Fenced => "fenced",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// What a transaction spends its time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionPhase {
    Process,
    Flush,
    SendOffsets,
    Commit,
    Abort,
}

impl TransactionPhase {
    pub(super) const ALL: [Self; 5] = [
        Self::Process,
        Self::Flush,
        Self::SendOffsets,
        Self::Commit,
        Self::Abort,
    ];

    /// As the metric names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Flush => "flush",
            Self::SendOffsets => "send_offsets",
            Self::Commit => "commit",
            Self::Abort => "abort",
        }
    }
}

pub(super) const FAILURES: [FailureKind; 8] = [
    FailureKind::Reject,
    FailureKind::Retry,
    FailureKind::Trap,
    FailureKind::Deadline,
    FailureKind::Memory,
    FailureKind::Output,
    FailureKind::TooLarge,
    FailureKind::MissingId,
];

pub(super) const FAULTS: [FaultKind; 4] = [
    FaultKind::Trap,
    FaultKind::Deadline,
    FaultKind::Memory,
    FaultKind::Output,
];

pub(super) const fn fault_label(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Trap => "trap",
        FaultKind::Deadline => "deadline",
        FaultKind::Memory => "memory",
        FaultKind::Output => "output",
    }
}
