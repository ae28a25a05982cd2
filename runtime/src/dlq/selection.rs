//! Which letters are meant. No I/O.

use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::letter::{Letter, Place};
use super::marks::Mark;
use crate::stage::FailureKind;

/// What has become of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum State {
    /// Neither replayed nor purged.
    #[default]
    Waiting,
    Replayed,
    Purged,
    All,
}

impl State {
    fn takes(self, mark: Option<Mark>) -> bool {
        match self {
            Self::All => true,
            Self::Waiting => mark.is_none(),
            Self::Replayed => mark == Some(Mark::Replayed),
            Self::Purged => mark == Some(Mark::Purged),
        }
    }
}

/// A point in time: RFC 3339, or a duration back from now. In milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct When(pub i64);

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a time, such as 2026-01-31T12:00:00Z, nor a duration back, such as 2h")]
pub struct NoTime(String);

impl FromStr for When {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        let back = |ago: Duration| SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
        let time = humantime::parse_rfc3339_weak(text)
            .or_else(|_| humantime::parse_duration(text).map(back))
            .map_err(|_| NoTime(text.to_owned()))?;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A kind of failure by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub FailureKind);

/// Why a text is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no kind `{0}`; write one of reject, retry, trap, deadline, memory, output, too-large, missing-id"
)]
pub struct NoKind(String);

impl FromStr for Kind {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        let kind = FailureKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.map(Self).ok_or_else(|| NoKind(text.to_owned()))
    }
}

/// All that is said must be true of a letter. What is not said does not matter.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Any of these.
    pub kinds: Vec<Kind>,
    pub stage: Option<String>,
    /// A part of the reason.
    pub reason: Option<String>,
    pub since: Option<When>,
    pub until: Option<When>,
    pub partition: Option<i32>,
    /// Only these, if there are any.
    pub places: BTreeSet<Place>,
    pub state: State,
}

impl Selection {
    /// Whether anything is said but the state.
    pub fn is_narrow(&self) -> bool {
        let Self {
            kinds,
            stage,
            reason,
            since,
            until,
            partition,
            places,
            state: _,
        } = self;
        !kinds.is_empty()
            || stage.is_some()
            || reason.is_some()
            || since.is_some()
            || until.is_some()
            || partition.is_some()
            || !places.is_empty()
    }

    /// Whether a letter is meant, whatever has become of it.
    pub fn means(&self, letter: &Letter) -> bool {
        let told = &letter.told;
        let is_kind = |kind: &Kind| told.kind == Some(kind.0);
        let is_stage = |stage: &String| told.stage.as_ref() == Some(stage);
        (self.places.is_empty() || self.places.contains(&letter.place))
            && (self.kinds.is_empty() || self.kinds.iter().any(is_kind))
            && self.stage.as_ref().is_none_or(is_stage)
            && self.reason.as_ref().is_none_or(|part| told.reason.contains(part))
            && self.since.is_none_or(|since| letter.timestamp_ms >= since.0)
            && self.until.is_none_or(|until| letter.timestamp_ms < until.0)
            && self
                .partition
                .is_none_or(|partition| letter.place.partition == partition)
    }

    /// Whether it is in the state that is asked for.
    pub fn takes(&self, mark: Option<Mark>) -> bool {
        self.state.takes(mark)
    }

    /// The part of a partition in which all that is meant stands.
    pub fn range(&self, partition: i32) -> Range<i64> {
        if self.partition.is_some_and(|only| only != partition) {
            return 0..0;
        }
        if self.places.is_empty() {
            return 0..i64::MAX;
        }
        let (first, last) = (
            Place { partition, offset: 0 },
            Place {
                partition,
                offset: i64::MAX,
            },
        );
        let mut here = self.places.range(first..=last).map(|place| place.offset);
        let Some(from) = here.next() else { return 0..0 };
        from..here.next_back().unwrap_or(from).saturating_add(1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::lane::dead_letter::told::Told;
    use crate::plan::HeaderStyle;

    pub fn letter(partition: i32, offset: i64) -> Letter {
        Letter {
            place: Place { partition, offset },
            timestamp_ms: 1000 + offset,
            replays: 0,
            told: Told {
                style: HeaderStyle::Strait,
                kind: Some(FailureKind::Reject),
                reason: "no amount in it".to_owned(),
                stage: Some("wasm".to_owned()),
                module_sha256: None,
                attempts: Some(1),
                topic: "in".to_owned(),
                topic_id: Some("id".to_owned()),
                partition: 0,
                offset: 100 + offset,
                timestamp_ms: Some(1000 + offset),
                pipeline: Some("orders".to_owned()),
                is_truncated: false,
                own_headers: 0,
            },
        }
    }

    fn meant(selection: &Selection) -> Vec<i64> {
        let mut letters: Vec<Letter> = (0..6).map(|offset| letter(0, offset)).collect();
        letters[1].told.kind = Some(FailureKind::Trap);
        letters[2].told.kind = None;
        letters[3].told.stage = None;
        letters[4].told.reason = "another".to_owned();
        let meant = letters.iter().filter(|letter| selection.means(letter));
        meant.map(|letter| letter.place.offset).collect()
    }

    #[test]
    fn what_is_not_said_does_not_matter_and_all_that_is_said_does() {
        let kind = |text: &str| text.parse::<Kind>().unwrap();
        assert_eq!(meant(&Selection::default()), [0, 1, 2, 3, 4, 5]);
        let kinds = Selection {
            kinds: vec![kind("trap"), kind("memory")],
            ..Selection::default()
        };
        assert_eq!(meant(&kinds), [1]);
        let several = Selection {
            kinds: vec![kind("reject"), kind("trap")],
            stage: Some("wasm".to_owned()),
            reason: Some("amount".to_owned()),
            since: Some(When(1001)),
            until: Some(When(1005)),
            ..Selection::default()
        };
        assert_eq!(meant(&several), [1]);
        let elsewhere = Selection {
            partition: Some(1),
            ..Selection::default()
        };
        assert_eq!(meant(&elsewhere), [0_i64; 0]);
        assert!("unknown".parse::<Kind>().is_err());
    }

    #[test]
    fn places_bound_what_is_read() {
        let place = |partition, offset| Place { partition, offset };
        let selection = Selection {
            places: [place(0, 2), place(0, 4), place(2, 9)].into(),
            ..Selection::default()
        };
        assert_eq!(meant(&selection), [2, 4]);
        let ranges: Vec<_> = (0..3).map(|partition| selection.range(partition)).collect();
        assert_eq!(ranges, [2..5, 0..0, 9..10]);
        assert_eq!(Selection::default().range(3), 0..i64::MAX);
        assert!(selection.is_narrow() && !Selection::default().is_narrow());
    }

    #[test]
    fn only_what_waits_is_taken_unless_told() {
        let takes =
            |state: State| [None, Some(Mark::Replayed), Some(Mark::Purged)].map(|mark| state.takes(mark));
        assert_eq!(takes(State::default()), [true, false, false]);
        assert_eq!(takes(State::Replayed), [false, true, false]);
        assert_eq!(takes(State::Purged), [false, false, true]);
        assert_eq!(takes(State::All), [true, true, true]);
    }

    #[test]
    fn a_time_is_a_date_or_a_way_back() {
        assert_eq!("1970-01-01T00:00:02Z".parse(), Ok(When(2000)));
        let hour_ago = "1h".parse::<When>().unwrap();
        assert!(hour_ago < "0s".parse().unwrap());
        assert!("yesterday".parse::<When>().is_err());
    }
}
