//! Which part of the input a proof is about: `--from`, `--to`, `--since`. No I/O.

use std::ops::Range;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kafka::TopicPartition;

/// Where a range begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// `topic:partition=offset`: of this partition alone.
    Offset { partition: TopicPartition, offset: i64 },
    /// At the first record that is not older. Milliseconds since the epoch.
    Time(i64),
}

/// Why a text is no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither topic:partition=offset, such as orders:0=1000, nor a time, such as 2026-01-31T12:00:00Z"
)]
pub struct NoBound(String);

impl FromStr for Bound {
    type Err = NoBound;

    fn from_str(text: &str) -> Result<Self, NoBound> {
        let wrong = || NoBound(text.to_owned());
        let Some((place, offset)) = text.rsplit_once('=') else {
            let time = humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?;
            return Ok(Self::Time(millis(time)));
        };
        let (topic, partition) = place.rsplit_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().ok().and_then(|n| i32::try_from(n).ok());
        let offset = offset.parse::<i64>().ok().filter(|offset| *offset >= 0);
        Ok(Self::Offset {
            partition: TopicPartition {
                topic: Some(topic)
                    .filter(|topic| !topic.is_empty())
                    .ok_or_else(wrong)?
                    .into(),
                partition: number(partition).ok_or_else(wrong)?,
            },
            offset: offset.ok_or_else(wrong)?,
        })
    }
}

/// The time that was `ago`, in milliseconds since the epoch.
pub fn time_ago(ago: Duration) -> i64 {
    millis(SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH))
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

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
    fn offsets_and_times_are_read() {
        assert_eq!("a.b:3=17".parse(), Ok(offset("a.b", 3, 17)));
        assert_eq!("1970-01-01T00:00:02Z".parse(), Ok(Bound::Time(2000)));
        for bad in [
            "",
            "a:3",
            "a=3",
            ":0=1",
            "a:-1=1",
            "a:0=-1",
            "a:0=x",
            "yesterday",
            "a:99999999999=1",
        ] {
            assert!(bad.parse::<Bound>().is_err(), "{bad}");
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
