//! Records that the broker refuses even when they stand alone.

use crate::kafka::{Flaw, KafkaError};
use crate::stage::FailureKind;

/// What is known of one. Of each partition there is one at a time: nothing behind it is
/// decided before it is.
#[derive(Debug, Clone)]
pub struct Condemned {
    pub offset: i64,
    pub flaw: Flaw,
    /// In the broker's words.
    pub why: KafkaError,
}

impl Condemned {
    pub fn kind(&self) -> FailureKind {
        match self.flaw {
            Flaw::TooLarge => FailureKind::TooLarge,
            Flaw::Invalid => FailureKind::Output,
        }
    }

    pub fn reason(&self) -> String {
        format!("the broker refuses what becomes of it: {}", self.why)
    }

    /// Should its dead letter be refused as well.
    pub fn remedy(&self) -> &'static str {
        match self.flaw {
            Flaw::TooLarge => "raise max.message.bytes of the dead letters' topic",
            Flaw::Invalid => {
                "the dead letters' topic must not be compacted, and the clocks of this machine and of the broker \
                 must agree"
            }
        }
    }

    /// Whether its dead letter may keep the record's own timestamp, which may be the flaw.
    pub fn keeps_timestamp(&self) -> bool {
        self.flaw == Flaw::TooLarge
    }
}
