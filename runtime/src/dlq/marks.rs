//! What has become of letters: a compacted topic of the pipeline, as a map.
//!
//! ```text
//! key    <id of the letters' topic>/<partition>/<offset>
//! value  {"state":"replayed","at_ms":1700000000000,"to":"orders"}, or "purged" without "to"
//! ```
//!
//! A mark without a value is taken back: its letter is deleted. Letters of a topic that was
//! made again are other letters. Invariant: marks are read whole, or not at all.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::letter::Place;

/// One of them takes some 40 bytes of memory.
pub const MARKS_MAX: usize = 5_000_000;

/// What has become of a letter that does not wait any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    Replayed,
    Purged,
}

impl Mark {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Purged => "purged",
        }
    }
}

/// The value of a mark.
#[derive(Debug, Serialize, Deserialize)]
struct Value<'a> {
    state: Mark,
    at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
}

/// A mark that cannot be read: a later version has written it, or something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a mark cannot be read: {0}")]
pub struct Unreadable(String);

/// Of the letters of one topic.
#[derive(Debug, Clone)]
pub struct Marks {
    topic_id: String,
    by_partition: HashMap<i32, BTreeMap<i64, Mark>>,
    count: usize,
}

impl Marks {
    pub fn new(topic_id: &str) -> Self {
        Self {
            topic_id: topic_id.to_owned(),
            by_partition: HashMap::new(),
            count: 0,
        }
    }

    pub fn of(&self, place: Place) -> Option<Mark> {
        self.by_partition
            .get(&place.partition)?
            .get(&place.offset)
            .copied()
    }

    pub fn set(&mut self, place: Place, mark: Option<Mark>) {
        let partition = self.by_partition.entry(place.partition).or_default();
        match mark {
            Some(mark) => {
                let is_new = partition.insert(place.offset, mark).is_none();
                self.count += usize::from(is_new);
            }
            None => self.count -= usize::from(partition.remove(&place.offset).is_some()),
        }
    }

    /// Takes in a record of the topic of marks; those of other topics of letters do not matter.
    pub fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), Unreadable> {
        let Some(place) = key.and_then(|key| self.place(key)) else {
            return Ok(());
        };
        let mark = value.map(read).transpose()?;
        self.set(place, mark);
        Ok(())
    }

    fn place(&self, key: &[u8]) -> Option<Place> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.topic_id)?;
        let (partition, offset) = rest.strip_prefix('/')?.split_once('/')?;
        Some(Place {
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    }

    /// The key of a letter's mark.
    pub fn key(&self, place: Place) -> Vec<u8> {
        format!("{}/{}/{}", self.topic_id, place.partition, place.offset).into_bytes()
    }

    /// Marks of letters before this offset.
    pub fn before(&self, partition: i32, offset: i64) -> Vec<Place> {
        let marks = self.by_partition.get(&partition);
        let before = marks.into_iter().flat_map(|marks| marks.range(..offset));
        before
            .map(|(offset, _)| Place {
                partition,
                offset: *offset,
            })
            .collect()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The value of a letter's mark.
pub fn written(mark: Mark, at_ms: i64, to: Option<&str>) -> Vec<u8> {
    // A struct of names and numbers always has a JSON form.
    serde_json::to_vec(&Value {
        state: mark,
        at_ms,
        to,
    })
    .unwrap_or_default()
}

fn read(value: &[u8]) -> Result<Mark, Unreadable> {
    let value: Value<'_> = serde_json::from_slice(value).map_err(|error| Unreadable(error.to_string()))?;
    Ok(value.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_of_another_topic_is_not() {
        let place = |offset| Place { partition: 3, offset };
        let mut marks = Marks::new("id");
        let replayed = written(Mark::Replayed, 5, Some("in"));
        assert_eq!(replayed, br#"{"state":"replayed","at_ms":5,"to":"in"}"#);
        marks.take(Some(&marks.key(place(7))), Some(&replayed)).unwrap();
        let purged = written(Mark::Purged, 5, None);
        marks.take(Some(&marks.key(place(8))), Some(&purged)).unwrap();
        marks.take(Some(b"id2/3/9"), Some(&purged)).unwrap();
        marks.take(Some(b"other/3/9"), Some(&purged)).unwrap();
        marks.take(None, Some(&purged)).unwrap();
        assert_eq!(marks.of(place(7)), Some(Mark::Replayed));
        assert_eq!(marks.of(place(8)), Some(Mark::Purged));
        assert_eq!(marks.of(place(9)), None);
        assert_eq!((marks.len(), marks.before(3, 8)), (2, vec![place(7)]));
        marks.take(Some(&marks.key(place(7))), None).unwrap();
        assert_eq!((marks.of(place(7)), marks.len()), (None, 1));
        assert!(marks.take(Some(&marks.key(place(8))), Some(b"?")).is_err());
    }
}
