//! What a proof finds wrong, by coordinate.
//!
//! Invariant: counts are complete, lists are bounded by [`LISTED_MAX`] of each kind.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Findings of one kind that are kept to be listed.
pub const LISTED_MAX: usize = 10_000;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An output or a dead letter that must be there, and is not.
    Lost,
    /// One that is there again.
    Doubled,
    /// One that stands behind a later one of its input partition.
    OutOfOrder,
    /// One that must not be there.
    Unexpected,
    /// One that is not what the module makes of its input.
    Differs,
    /// An input of which neither can be shown.
    Unproven,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Lost,
        Self::Doubled,
        Self::OutOfOrder,
        Self::Unexpected,
        Self::Differs,
        Self::Unproven,
    ];

    /// As a person reads it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::Unexpected => "unexpected",
            Self::Differs => "differs",
            Self::Unproven => "unproven",
        }
    }
}

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    #[serde(serialize_with = "text")]
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

pub(super) fn text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The input record, or the first of several in a row.
    pub input: Place,
    /// The offset behind the last of several in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Where the output stands that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Place>,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.input)?;
        if let Some(until) = self.until {
            write!(f, "..{until}")?;
        }
        write!(f, " {}", self.what)?;
        match &self.output {
            Some(place) => write!(f, " at {place}"),
            None => Ok(()),
        }
    }
}

/// All that is wrong, or the first of it.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    kinds: [Listed; Kind::ALL.len()],
}

/// The findings of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Listed {
    pub count: u64,
    /// The first of them.
    pub listed: Vec<Finding>,
}

impl Findings {
    /// Adds one; what it says is only worked out if it is listed.
    pub fn add(&mut self, kind: Kind, finding: impl FnOnce() -> Finding) {
        self.add_many(kind, 1, finding);
    }

    /// Adds one that stands for `count` inputs in a row.
    pub fn add_many(&mut self, kind: Kind, count: u64, finding: impl FnOnce() -> Finding) {
        if let Some(kind) = self.kinds.get_mut(kind as usize) {
            kind.count = kind.count.saturating_add(count);
            if kind.listed.len() < LISTED_MAX {
                kind.listed.push(finding());
            }
        }
    }

    pub fn count(&self, kind: Kind) -> u64 {
        self.kinds.get(kind as usize).map_or(0, |kind| kind.count)
    }

    /// With the findings of each kind, by their inputs.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        for kind in &mut self.kinds {
            kind.listed.sort();
        }
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (Kind, &Listed)> {
        Kind::ALL.into_iter().zip(&self.kinds)
    }

    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.kinds.iter().all(|kind| kind.count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_complete_and_lists_are_bounded() {
        let mut findings = Findings::default();
        let finding = |offset| Finding {
            input: Place {
                topic: "in".into(),
                partition: 3,
                offset,
            },
            until: None,
            output: None,
            what: "is not there".to_owned(),
        };
        for offset in (0..).take(LISTED_MAX + 5) {
            findings.add(Kind::Lost, || finding(offset));
        }
        findings.add_many(Kind::Unproven, 7, || Finding {
            until: Some(8),
            ..finding(1)
        });
        assert_eq!(findings.count(Kind::Lost), LISTED_MAX as u64 + 5);
        assert_eq!(findings.count(Kind::Unproven), 7);
        let (kind, lost) = findings.iter().next().unwrap();
        assert_eq!((kind, lost.listed.len()), (Kind::Lost, LISTED_MAX));
        assert_eq!(lost.listed[1].to_string(), "in:3:1 is not there");
        let (_, unproven) = findings.iter().last().unwrap();
        assert_eq!(unproven.listed[0].to_string(), "in:3:1..8 is not there");
    }
}
