//! How a lane is told to stop, and how it says that it ended.

use crate::kafka::hurry::Hurry;
use crate::restore::NotRestored;

/// Shared by a lane and whoever started it.
#[derive(Debug, Clone, Default)]
pub struct LaneControl {
    hurry: Hurry,
}

impl LaneControl {
    /// Asks the lane to finish its transaction, leave the group and end.
    pub fn drain(&self) {
        self.hurry.ask();
    }

    pub fn is_draining(&self) -> bool {
        self.hurry.is_asked()
    }

    /// For whatever the lane waits for.
    pub fn hurry(&self) -> Hurry {
        self.hurry.clone()
    }
}

/// Why a lane ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEnd {
    /// As it was asked to.
    Drained,
    /// The pipeline must not go on; the text says why, and what to do.
    Failed(String),
    /// This lane is of no more use; a new one takes its place.
    Restart(String),
    /// A defect of Strait's own.
    Panicked,
}

/// What interrupts a lane's round.
#[derive(Debug, Clone)]
pub enum Interrupt {
    /// The open transaction cannot go on.
    Transaction {
        error: crate::kafka::TransactionError,
        /// It happened while the transaction was being committed, so unless an abort
        /// succeeds its outcome is unknown.
        in_commit: bool,
    },
    /// The producer must be replaced before the next transaction. Nothing else is wrong.
    Suspicion,
    /// The pipeline must stop.
    Pipeline(String),
    /// The lane must be started afresh.
    Lane(String),
}

impl From<NotRestored> for Interrupt {
    fn from(error: NotRestored) -> Self {
        match error {
            NotRestored::Gone(gone) => Self::Lane(gone.to_string()),
            NotRestored::Final(reason) => Self::Pipeline(reason),
        }
    }
}

impl From<crate::kafka::TransactionError> for Interrupt {
    fn from(error: crate::kafka::TransactionError) -> Self {
        Self::Transaction {
            error,
            in_commit: false,
        }
    }
}
