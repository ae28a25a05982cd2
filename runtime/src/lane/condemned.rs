//! Records that the broker refuses even when they stand alone, or whose dead letters it refuses.
//!
//! Invariant: each refusal takes something more away, until nothing is left to try; so no record is
//! refused for ever.

use crate::kafka::{Flaw, KafkaError};
use crate::stage::FailureKind;

/// What is known of one. Of each partition there is one at a time: nothing behind it is
/// decided before it is.
#[derive(Debug, Clone)]
pub struct Condemned {
    pub offset: i64,
    /// What the broker holds against its outputs, or against what it changes in the state. It
    /// has failed, unprocessed.
    verdict: Option<(Flaw, KafkaError)>,
    /// Its dead letter goes without the record.
    is_cut: bool,
    /// Its dead letter goes without the record's timestamp, which may be the flaw.
    is_redated: bool,
}

impl Condemned {
    pub fn new(offset: i64) -> Self {
        Self {
            offset,
            verdict: None,
            is_cut: false,
            is_redated: false,
        }
    }

    /// The broker refuses what becomes of it, though it stands alone: its dead letter or something
    /// else. False if nothing is left to try.
    pub fn refused(&mut self, flaw: Flaw, why: &KafkaError, is_letter: bool) -> bool {
        // Of a record that was not processed there is nothing but the letter.
        if !is_letter && self.verdict.is_none() {
            self.verdict = Some((flaw, why.clone()));
            self.is_redated |= flaw == Flaw::Invalid;
            return true;
        }
        let tried = match flaw {
            Flaw::TooLarge => &mut self.is_cut,
            Flaw::Invalid => &mut self.is_redated,
        };
        !std::mem::replace(tried, true)
    }

    /// Kind and reason of its failure, if it has failed.
    pub fn failure(&self) -> Option<(FailureKind, String)> {
        let (flaw, why) = self.verdict.as_ref()?;
        let kind = match flaw {
            Flaw::TooLarge => FailureKind::TooLarge,
            Flaw::Invalid => FailureKind::Output,
        };
        Some((kind, format!("the broker refuses what becomes of it: {why}")))
    }

    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub fn is_redated(&self) -> bool {
        self.is_redated
    }
}

/// Should a dead letter be refused whatever was left out of it.
pub const fn remedy(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::TooLarge => "raise max.message.bytes of the dead letters' topic",
        Flaw::Invalid => {
            "the dead letters' topic must not be compacted, and the clocks of this machine and of the broker must agree"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(condemned: &mut Condemned, flaw: Flaw, is_letter: bool) -> bool {
        condemned.refused(flaw, &KafkaError::own("REFUSED", "as told", false), is_letter)
    }

    #[test]
    fn a_letter_is_cut_and_redated_once_each() {
        let mut condemned = Condemned::new(7);
        assert!(refuse(&mut condemned, Flaw::TooLarge, true));
        assert!(condemned.is_cut() && !condemned.is_redated());
        assert!(refuse(&mut condemned, Flaw::Invalid, true));
        assert_eq!(condemned.failure(), None, "its own reason counts");
        for flaw in [Flaw::TooLarge, Flaw::Invalid] {
            assert!(!refuse(&mut condemned, flaw, true));
        }
    }

    #[test]
    fn what_is_refused_of_a_record_that_has_failed_is_its_letter() {
        let mut condemned = Condemned::new(7);
        assert!(refuse(&mut condemned, Flaw::TooLarge, false));
        let (kind, reason) = condemned.failure().unwrap();
        assert_eq!(kind, FailureKind::TooLarge);
        assert!(reason.contains("REFUSED"), "{reason}");
        assert!(refuse(&mut condemned, Flaw::TooLarge, false));
        assert!(condemned.is_cut());
        assert!(!refuse(&mut condemned, Flaw::TooLarge, false));
    }

    #[test]
    fn the_letter_of_a_record_with_a_bad_timestamp_does_not_keep_it() {
        let mut condemned = Condemned::new(7);
        assert!(refuse(&mut condemned, Flaw::Invalid, false));
        assert!(condemned.is_redated());
        assert!(!refuse(&mut condemned, Flaw::Invalid, true));
    }
}
