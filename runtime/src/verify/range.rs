//! Which part of the input a proof is about: `--from`, `--to`, `--since`. No I/O.

use std::ops::Range;

use crate::inquiry::bound::Bound;
use crate::kafka::TopicPartition;

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub from: Vec<Bound>,
    pub to: Vec<Bound>,
}

impl Asked {
    /// The times that a partition must be asked for, in both directions: the latest beginning
    /// and the earliest end.
    pub fn times(&self) -> (Option<i64>, Option<i64>) {
        let times = |bounds: &[Bound]| -> Vec<i64> {
            let time = |bound: &Bound| match bound {
                Bound::Time(time) => Some(*time),
                Bound::Offset { .. } => None,
            };
            bounds.iter().filter_map(time).collect()
        };
        (
            times(&self.from).into_iter().max(),
            times(&self.to).into_iter().min(),
        )
    }

    /// What is wrong with the bounds themselves, so that no record can be between them.
    pub fn contradiction(&self) -> Option<String> {
        if let (Some(from), Some(to)) = self.times()
            && from >= to
        {
            return Some("the times end before they begin; --from comes before --to".to_owned());
        }
        let empty = |partition: &&TopicPartition| {
            let range = self.of(partition, (None, None));
            range.start >= range.end
        };
        let partition = self.partitions().find(empty)?;
        Some(format!(
            "{}:{} ends before it begins; its --from is below its --to",
            partition.topic, partition.partition
        ))
    }

    /// Partitions that bounds name.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.from.iter().chain(&self.to).filter_map(|bound| match bound {
            Bound::Offset { partition, .. } => Some(partition),
            Bound::Time(_) => None,
        })
    }

    /// The range of one partition. `at_times`: the offsets that the times of [`Asked::times`]
    /// stand for there. What nobody bounds is open.
    pub fn of(&self, partition: &TopicPartition, at_times: (Option<i64>, Option<i64>)) -> Range<i64> {
        let named = |bounds: &[Bound]| -> Vec<i64> {
            let offset = |bound: &Bound| match bound {
                Bound::Offset {
                    partition: of,
                    offset,
                } if of == partition => Some(*offset),
                _ => None,
            };
            bounds.iter().filter_map(offset).collect()
        };
        let from = named(&self.from).into_iter().chain(at_times.0).max();
        let to = named(&self.to).into_iter().chain(at_times.1).min();
        from.unwrap_or(0)..to.unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(topic: &str, partition: i32, offset: i64) -> Bound {
        let topic = topic.into();
        Bound::Offset {
            partition: TopicPartition { topic, partition },
            offset,
        }
    }

    #[test]
    fn bounds_that_leave_nothing_are_a_mistake() {
        let asked = |from: Bound, to: Bound| Asked {
            from: vec![from],
            to: vec![to],
        };
        for (from, to) in [
            (offset("a", 0, 5), offset("a", 0, 5)),
            (Bound::Time(7), Bound::Time(3)),
        ] {
            assert!(asked(from, to).contradiction().is_some());
        }
        for (from, to) in [
            (offset("a", 0, 5), offset("a", 0, 6)),
            (offset("a", 0, 5), offset("a", 1, 2)),
            (Bound::Time(3), Bound::Time(7)),
            (offset("a", 0, 5), Bound::Time(0)),
        ] {
            assert_eq!(asked(from, to).contradiction(), None);
        }
    }

    #[test]
    fn the_narrowest_bound_counts_and_the_rest_is_open() {
        let asked = Asked {
            from: vec![offset("a", 0, 5), Bound::Time(1), Bound::Time(3)],
            to: vec![offset("a", 1, 9)],
        };
        assert_eq!(asked.times(), (Some(3), None));
        let id = |partition| TopicPartition {
            topic: "a".into(),
            partition,
        };
        assert_eq!(asked.of(&id(0), (Some(7), None)), 7..i64::MAX);
        assert_eq!(asked.of(&id(0), (Some(2), None)), 5..i64::MAX);
        assert_eq!(asked.of(&id(1), (None, None)), 0..9);
        assert_eq!(asked.partitions().count(), 2);
    }
}
