//! What became of a transaction whose outcome is unknown: asked, never guessed.
//!
//! A new producer with the same transactional id has finished or aborted the old
//! transaction before this is asked, so the committed offsets are the truth
//! (`docs/guarantees.md`, rule A.5). Nothing here does I/O.

use crate::kafka::TopicPartition;

/// One partition of the transaction, and what the group has committed for it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub partition: TopicPartition,
    /// The committed offset when the transaction began.
    pub start: i64,
    /// The offset that the transaction would have committed.
    pub end: i64,
    /// `None`: the group has no offset for it.
    pub committed: Option<i64>,
}

/// What the evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    Committed,
    NotCommitted,
    /// Neither start nor end, or partly one and partly the other. With an unbroken
    /// assignment that must not happen, so nothing may go on from here.
    Contradiction(Evidence),
}

/// Judges a transaction whose partitions this lane has owned without a break.
pub fn resolve(evidence: &[Evidence]) -> Resolution {
    let moved = evidence.iter().filter(|e| e.start != e.end);
    let mut verdict = None;
    for partition in moved {
        let this = match partition.committed {
            Some(offset) if offset == partition.end => Resolution::Committed,
            Some(offset) if offset == partition.start => Resolution::NotCommitted,
            _ => return Resolution::Contradiction(partition.clone()),
        };
        match &verdict {
            None => verdict = Some(this),
            Some(before) if *before == this => {}
            Some(_) => return Resolution::Contradiction(partition.clone()),
        }
    }
    verdict.unwrap_or(Resolution::NotCommitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(partition: i32, start: i64, end: i64, committed: Option<i64>) -> Evidence {
        Evidence {
            partition: TopicPartition {
                topic: "t".into(),
                partition,
            },
            start,
            end,
            committed,
        }
    }

    #[test]
    fn all_at_the_end_is_committed() {
        assert_eq!(
            resolve(&[evidence(0, 5, 9, Some(9)), evidence(1, 0, 1, Some(1))]),
            Resolution::Committed
        );
    }

    #[test]
    fn all_at_the_start_is_not() {
        assert_eq!(
            resolve(&[evidence(0, 5, 9, Some(5)), evidence(1, 0, 1, Some(0))]),
            Resolution::NotCommitted
        );
    }

    #[test]
    fn a_partition_that_did_not_move_proves_nothing() {
        assert_eq!(
            resolve(&[evidence(0, 5, 5, Some(5)), evidence(1, 0, 1, Some(1))]),
            Resolution::Committed
        );
        assert_eq!(resolve(&[]), Resolution::NotCommitted);
    }

    #[test]
    fn anything_else_is_a_contradiction() {
        for torn in [
            vec![evidence(0, 5, 9, Some(7))],
            vec![evidence(0, 5, 9, None)],
            vec![evidence(0, 5, 9, Some(9)), evidence(1, 0, 1, Some(0))],
        ] {
            assert!(matches!(resolve(&torn), Resolution::Contradiction(_)), "{torn:?}");
        }
    }
}
