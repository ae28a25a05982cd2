//! Where offsets are to be set: `--to` and `--since`. No I/O.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::inquiry::bound::Bound;
use crate::kafka::TopicPartition;

/// One `--to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Of every partition that no other names.
    All(Spot),
    One {
        partition: TopicPartition,
        offset: i64,
    },
}

/// A place in whichever log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    Earliest,
    Latest,
    Offset(i64),
    /// At the first record that is not older. Milliseconds since the epoch.
    Time(i64),
}

/// Why a text is no goal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of earliest, latest, an offset, topic:partition=offset, such as orders:0=1000, or a time, such as \
     2026-01-31T12:00:00Z"
)]
pub struct NoGoal(String);

impl FromStr for Goal {
    type Err = NoGoal;

    fn from_str(text: &str) -> Result<Self, NoGoal> {
        match text {
            "earliest" => return Ok(Self::All(Spot::Earliest)),
            "latest" => return Ok(Self::All(Spot::Latest)),
            _ => {}
        }
        if let Some(offset) = text.parse().ok().filter(|offset| *offset >= 0) {
            return Ok(Self::All(Spot::Offset(offset)));
        }
        match text.parse().map_err(|_| NoGoal(text.to_owned()))? {
            Bound::Offset { partition, offset } => Ok(Self::One { partition, offset }),
            Bound::Time(time) => Ok(Self::All(Spot::Time(time))),
        }
    }
}

/// All that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goals {
    pub all: Option<Spot>,
    pub ones: BTreeMap<TopicPartition, i64>,
}

impl Goals {
    /// The error says why they do not go together.
    pub fn of(goals: impl IntoIterator<Item = Goal>) -> Result<Self, String> {
        let mut of = Self::default();
        for goal in goals {
            match goal {
                Goal::All(spot) => {
                    if of.all.replace(spot).is_some() {
                        return Err("all partitions can be set to one place only; name it once".to_owned());
                    }
                }
                Goal::One { partition, offset } => {
                    let TopicPartition {
                        topic,
                        partition: number,
                    } = &partition;
                    let twice = format!("{topic}:{number} is named twice; name it once");
                    if of.ones.insert(partition, offset).is_some() {
                        return Err(twice);
                    }
                }
            }
        }
        if of == Self::default() {
            return Err(
                "say where to: --to earliest, latest, an offset, topic:partition=offset or a time; or --since 2h"
                    .to_owned(),
            );
        }
        Ok(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(offset: i64) -> Goal {
        let topic = "a".into();
        Goal::One {
            partition: TopicPartition { topic, partition: 3 },
            offset,
        }
    }

    #[test]
    fn goals_are_read() {
        assert_eq!("earliest".parse(), Ok(Goal::All(Spot::Earliest)));
        assert_eq!("latest".parse(), Ok(Goal::All(Spot::Latest)));
        assert_eq!("17".parse(), Ok(Goal::All(Spot::Offset(17))));
        assert_eq!("a:3=17".parse(), Ok(one(17)));
        assert_eq!("1970-01-01T00:00:02Z".parse(), Ok(Goal::All(Spot::Time(2000))));
        for bad in ["", "-1", "a:3", "a:3=latest", "yesterday"] {
            assert!(bad.parse::<Goal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let all = Goal::All(Spot::Latest);
        assert!(Goals::of([]).is_err());
        assert!(Goals::of([all.clone(), all.clone()]).is_err());
        assert!(Goals::of([one(1), one(2)]).is_err());
        let both = Goals::of([one(1), all]).unwrap();
        assert_eq!((both.all, both.ones.len()), (Some(Spot::Latest), 1));
    }
}
