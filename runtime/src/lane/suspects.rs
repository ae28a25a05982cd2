//! Offsets among which a fault hides that one transaction had no time to corner.
//!
//! The memory outlives aborts and rewinds: it holds absolute offsets and only ever learns.
//! Per partition it is one range that is known to hold a fault, and how far the next slice
//! of it reaches that is to run in a transaction of its own. Every slice either runs clean,
//! and the range begins behind it, or faults, and the range ends with it: so the range
//! shrinks until one record stands alone and has its verdict. Does no I/O.
//!
//! What a guest says of where it was is a hint: it chooses where to cut, and once it was
//! wrong the middle is taken, so that a lie costs two transactions and no more.

use std::collections::HashMap;
use std::ops::Range;

use crate::kafka::TopicPartition;

/// The suspects of one lane.
#[derive(Debug, Default)]
pub struct Suspects {
    ranges: HashMap<TopicPartition, Suspected>,
}

#[derive(Debug)]
struct Suspected {
    /// Holds a fault. Never empty.
    range: Range<i64>,
    /// Where the next slice ends: in `range.start + 1 ..= range.end`.
    slice_end: i64,
    /// Where the guest said it was.
    likely: Option<i64>,
    /// False once a hint proved wrong.
    trusted: bool,
}

/// What may be run next of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing is suspected.
    Free,
    /// Run as usual, but only records below this offset, and commit them.
    Until(i64),
    /// Run the records below this offset in a transaction in which nothing else is.
    Alone(i64),
}

impl Suspects {
    /// A run ended with a fault among these offsets.
    pub fn suspect(&mut self, partition: &TopicPartition, range: Range<i64>, likely: Option<i64>) {
        if range.is_empty() {
            return;
        }
        let trusted = match self.ranges.get(partition) {
            Some(known) if known.holds(&range) => known.trusted && !known.belied_by(&range),
            _ => true,
        };
        let likely = likely.filter(|offset| trusted && range.contains(offset));
        let mut suspected = Suspected {
            slice_end: range.end,
            range,
            likely,
            trusted,
        };
        suspected.cut();
        self.ranges.insert(partition.clone(), suspected);
    }

    /// What to run, `position` being the first offset that has no fate yet. A position
    /// inside the suspected range says that what precedes it ran clean.
    pub fn next(&mut self, partition: &TopicPartition, position: i64) -> Next {
        let Some(suspected) = self.ranges.get_mut(partition) else {
            return Next::Free;
        };
        if position < suspected.range.start {
            return Next::Until(suspected.range.start);
        }
        if position >= suspected.range.end {
            // All of it ran clean this time: a fault of the circumstances.
            self.ranges.remove(partition);
            return Next::Free;
        }
        suspected.clean_below(position);
        Next::Alone(suspected.slice_end)
    }

    /// A record failed with a fault of its own. If it was suspected, the fault is found, and
    /// what follows it is as good as any other record.
    pub fn verdict(&mut self, partition: &TopicPartition, offset: i64) {
        if self
            .ranges
            .get(partition)
            .is_some_and(|suspected| suspected.range.contains(&offset))
        {
            self.ranges.remove(partition);
        }
    }
}

impl Suspected {
    fn holds(&self, range: &Range<i64>) -> bool {
        self.range.start <= range.start && range.end <= self.range.end
    }

    /// The hint said that everything before it is fine.
    fn belied_by(&self, range: &Range<i64>) -> bool {
        self.likely.is_some_and(|likely| range.end <= likely)
    }

    fn clean_below(&mut self, position: i64) {
        if self.likely.is_some_and(|likely| likely < position) {
            self.likely = None;
            self.trusted = false;
        }
        self.range.start = position;
        if self.slice_end <= position {
            self.cut();
        }
    }

    /// Chooses the next slice: up to the hint, then the hint alone, without one the first half.
    fn cut(&mut self) {
        let Range { start, end } = self.range;
        self.slice_end = match self.likely {
            Some(likely) if likely > start => likely,
            Some(_) => start + 1,
            None => start + ((end - start) / 2).max(1),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition {
            topic: "in".into(),
            partition: 3,
        }
    }

    #[test]
    fn a_right_hint_needs_two_slices() {
        let mut suspects = Suspects::default();
        suspects.suspect(&partition(), 100..1100, Some(600));
        assert_eq!(suspects.next(&partition(), 100), Next::Alone(600));
        assert_eq!(suspects.next(&partition(), 600), Next::Alone(601));
        suspects.verdict(&partition(), 600);
        assert_eq!(suspects.next(&partition(), 601), Next::Free);
    }

    #[test]
    fn is_remembered_across_a_rewind() {
        let mut suspects = Suspects::default();
        suspects.suspect(&partition(), 100..200, None);
        assert_eq!(suspects.next(&partition(), 40), Next::Until(100));
        assert_eq!(suspects.next(&partition(), 100), Next::Alone(150));
        assert_eq!(suspects.next(&partition(), 150), Next::Alone(175));
        assert_eq!(
            suspects.next(&partition(), 100),
            Next::Until(150),
            "what ran clean stays clean"
        );
    }

    #[test]
    fn a_wrong_hint_is_the_last_one_believed() {
        let mut suspects = Suspects::default();
        suspects.suspect(&partition(), 0..100, Some(0));
        assert_eq!(suspects.next(&partition(), 0), Next::Alone(1));
        assert_eq!(
            suspects.next(&partition(), 1),
            Next::Alone(50),
            "0 ran clean, so the middle"
        );
        suspects.suspect(&partition(), 1..50, Some(1));
        assert_eq!(suspects.next(&partition(), 1), Next::Alone(25));

        let mut suspects = Suspects::default();
        suspects.suspect(&partition(), 0..100, Some(90));
        suspects.suspect(&partition(), 0..90, Some(80));
        assert_eq!(
            suspects.next(&partition(), 0),
            Next::Alone(45),
            "what precedes 90 was not fine"
        );
    }

    #[test]
    fn a_verdict_elsewhere_changes_nothing() {
        let mut suspects = Suspects::default();
        suspects.suspect(&partition(), 100..200, None);
        suspects.verdict(&partition(), 99);
        suspects.verdict(&partition(), 200);
        assert_ne!(suspects.next(&partition(), 0), Next::Free);
    }

    /// Plays a lane whose every fault is a suspicion: offsets with gaps, some of them poison,
    /// and a guest that hints whatever it likes.
    fn corner(offsets: &BTreeSet<i64>, poison: &BTreeSet<i64>, hints: &[Option<i64>]) -> (Vec<i64>, usize) {
        let mut suspects = Suspects::default();
        let (mut failed, mut runs, mut position) = (Vec::new(), 0, 0);
        while let Some(&first) = offsets.range(position..).next() {
            let until = match suspects.next(&partition(), first) {
                Next::Free => i64::MAX,
                Next::Until(until) | Next::Alone(until) => until,
            };
            let batch: Vec<i64> = offsets.range(first..until).copied().collect();
            runs += 1;
            assert!(!batch.is_empty(), "a slice that holds nothing never ends");
            if !batch.iter().any(|offset| poison.contains(offset)) {
                position = batch[batch.len() - 1] + 1;
            } else if batch.len() == 1 {
                failed.push(first);
                suspects.verdict(&partition(), first);
                position = first + 1;
            } else {
                let hint = hints.get(runs % hints.len().max(1)).copied().flatten();
                suspects.suspect(&partition(), first..batch[batch.len() - 1] + 1, hint);
            }
        }
        (failed, runs)
    }

    proptest! {
        #[test]
        fn corners_exactly_the_poison_whatever_is_hinted(
            offsets in prop::collection::btree_set(0_i64..2000, 1..300),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            hints in prop::collection::vec(prop::option::of(0_i64..2000), 0..8),
        ) {
            let all: Vec<i64> = offsets.iter().copied().collect();
            let poison: BTreeSet<i64> = picks.iter().map(|pick| *pick.get(&all)).collect();
            let (failed, runs) = corner(&offsets, &poison, &hints);
            prop_assert_eq!(failed, poison.iter().copied().collect::<Vec<_>>());
            // Each needs the run that finds it out, two for a hint, and one for each halving.
            prop_assert!(runs <= 2 + poison.len() * 18, "{runs} runs");
        }
    }
}
