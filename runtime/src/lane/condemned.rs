//! Records that the broker refuses even when they stand alone.

use crate::kafka::Flaw;
use crate::stage::FailureKind;

/// What is known of one. Of each partition there is one at a time: nothing behind it is
/// decided before it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condemned {
    pub offset: i64,
    pub flaw: Flaw,
}

impl Condemned {
    pub const fn kind(self) -> FailureKind {
        match self.flaw {
            Flaw::TooLarge => FailureKind::TooLarge,
            Flaw::Timestamp | Flaw::Invalid => FailureKind::Output,
        }
    }

    pub const fn reason(self) -> &'static str {
        match self.flaw {
            Flaw::TooLarge => "the broker refuses what becomes of it as too large",
            Flaw::Timestamp => {
                "the broker refuses the timestamp of what becomes of it (INVALID_TIMESTAMP): it is too far from the \
                 broker's clock; see the topic's message.timestamp.after.max.ms, or write `timestamp: now`"
            }
            Flaw::Invalid => {
                "the broker refuses what becomes of it (INVALID_RECORD): a compacted topic takes nothing without a key"
            }
        }
    }

    /// Should its dead letter be refused as well.
    pub const fn remedy(self) -> &'static str {
        match self.flaw {
            Flaw::TooLarge => "raise max.message.bytes of the dead letters' topic",
            Flaw::Timestamp => "set this machine's clock right, or the broker's",
            Flaw::Invalid => "set cleanup.policy of the dead letters' topic to delete",
        }
    }

    /// Whether its dead letter may keep the record's own timestamp.
    pub fn keeps_timestamp(self) -> bool {
        self.flaw != Flaw::Timestamp
    }
}
