//! A record that failed for good.

use std::sync::Arc;

use crate::guest::FaultKind;

/// Why a record failed for good; also the metric label and the dead letter's `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    Reject,
    Retry,
    Trap,
    Deadline,
    Memory,
    Output,
    TooLarge,
    MissingId,
}

impl FailureKind {
    pub const ALL: [Self; 8] = [
        Self::Reject,
        Self::Retry,
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Output,
        Self::TooLarge,
        Self::MissingId,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Retry => "retry",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::TooLarge => "too-large",
            Self::MissingId => "missing-id",
        }
    }
}

impl From<FaultKind> for FailureKind {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Trap => Self::Trap,
            FaultKind::Deadline => Self::Deadline,
            FaultKind::Memory => Self::Memory,
            FaultKind::Output => Self::Output,
        }
    }
}

/// A record that failed for good, and what the dead letter says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Index into the records of the batch.
    pub record: usize,
    pub kind: FailureKind,
    pub reason: String,
    pub stage: Arc<str>,
    pub module_sha256: Arc<str>,
    /// How often it was tried, this time included.
    pub attempts: u32,
}

/// Why an output cannot be produced, which makes its record a failed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: FailureKind,
    pub reason: String,
}
