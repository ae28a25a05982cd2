//! A record of the dead letters' topic: where it stands, what it tells, whose it is.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use strait_sdk::batch::Record;

use crate::lane::dead_letter::told::Told;
use crate::lane::replayed;
use crate::plan::{InputTopics, Pipeline};

/// Where a letter stands in its topic: `partition:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// Why a text is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not partition:offset, such as 0:17")]
pub struct NoPlace(String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let read = || {
            let (partition, offset) = text.split_once(':')?;
            let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
            (partition >= 0 && offset >= 0).then_some(Self { partition, offset })
        };
        read().ok_or_else(|| NoPlace(text.to_owned()))
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub place: Place,
    /// The record's own, unless the topic has `LogAppendTime`.
    pub timestamp_ms: i64,
    /// How often its record says that it was replayed.
    pub replays: u32,
    pub told: Told,
}

impl Letter {
    /// `None`: it is none.
    pub fn read<R: Record + ?Sized>(partition: i32, record: &R) -> Option<Self> {
        Some(Self {
            place: Place {
                partition,
                offset: record.offset(),
            },
            timestamp_ms: record.timestamp_ms(),
            replays: replayed::replays(record),
            told: Told::read(record)?,
        })
    }

    /// Where its record stood.
    pub fn origin(&self) -> String {
        format!("{}:{}:{}", self.told.topic, self.told.partition, self.told.offset)
    }
}

/// Knows the letters of one pipeline from those of others.
#[derive(Debug, Clone)]
pub struct Owner {
    pipeline: String,
    inputs: Inputs,
}

#[derive(Debug, Clone)]
enum Inputs {
    Named(Vec<String>),
    Matching(Regex),
    None,
}

impl Owner {
    pub fn new(plan: &Pipeline) -> Self {
        let inputs = match &plan.input.topics {
            InputTopics::Named(names) => Inputs::Named(names.clone()),
            // The configuration has compiled it once already.
            InputTopics::Pattern(pattern) => Regex::new(pattern).map_or(Inputs::None, Inputs::Matching),
        };
        Self {
            pipeline: plan.name.to_string(),
            inputs,
        }
    }

    /// A letter in a style that tells no pipeline is ours if its topic is an input.
    pub fn owns(&self, letter: &Letter) -> bool {
        match &letter.told.pipeline {
            Some(pipeline) => *pipeline == self.pipeline,
            None => self.reads(&letter.told.topic),
        }
    }

    fn reads(&self, topic: &str) -> bool {
        match &self.inputs {
            Inputs::Named(names) => names.iter().any(|name| name == topic),
            Inputs::Matching(pattern) => pattern.is_match(topic),
            Inputs::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::selection::tests::letter;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place {
            partition: 2,
            offset: 17,
        };
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "17", "0:", ":1", "-1:0", "0:-1", "0:1:2", "a:1"] {
            assert_eq!(bad.parse::<Place>(), Err(NoPlace(bad.to_owned())));
        }
    }

    #[test]
    fn the_pipeline_tells_whose_it_is_and_else_the_input() {
        let owner = |inputs| Owner {
            pipeline: "orders".to_owned(),
            inputs,
        };
        let of = |pipeline: Option<&str>, topic: &str| {
            let mut letter = letter(0, 0);
            letter.told.pipeline = pipeline.map(str::to_owned);
            topic.clone_into(&mut letter.told.topic);
            letter
        };
        let named = owner(Inputs::Named(vec!["in".to_owned()]));
        let matching = owner(Inputs::Matching(Regex::new("^in$").unwrap()));
        for owner in [named, matching] {
            assert!(owner.owns(&of(Some("orders"), "gone")));
            assert!(!owner.owns(&of(Some("others"), "in")));
            assert!(owner.owns(&of(None, "in")));
            assert!(!owner.owns(&of(None, "out")));
        }
    }
}
