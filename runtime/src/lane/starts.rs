//! Where a partition starts, and the marks in the control topic that tell "never
//! committed" from "committed once, and expired since".
//!
//! Invariant: a partition's start is committed before its first record is read, in
//! one transaction with its mark. So a mark without a committed offset means that
//! the offset is lost, and reading on from anywhere would lose or double records.
//!
//! Keys in the control topic are `start` (what the group found when it first came)
//! and `start/<topic id>/<partition>`; values are JSON. Nothing here does I/O.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::plan::Start;

/// Key of the group's own mark.
pub const GROUP_KEY: &str = "start";

/// Key of a partition's mark.
pub fn partition_key(topic_id: &str, partition: i32) -> String {
    format!("{GROUP_KEY}/{topic_id}/{partition}")
}

/// Whether a key is that of some partition's mark.
pub fn is_partition_key(key: &[u8]) -> bool {
    key.strip_prefix(GROUP_KEY.as_bytes())
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// What the group found when it first came: partitions per topic id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMark {
    pub topics: BTreeMap<String, i32>,
}

/// A partition's mark: where it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionMark {
    pub topic: String,
    pub offset: i64,
}

/// The marks of a group, as read from its control topic.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    group: Option<GroupMark>,
    /// `None`: the mark cannot be read.
    partitions: HashMap<String, Option<PartitionMark>>,
}

impl Marks {
    /// Takes the marks out of the control topic's content; other keys are not its business.
    /// A group mark that cannot be read counts as one that names no topic: then new
    /// partitions start at their beginning, which loses nothing.
    pub fn from_entries<'a>(entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut marks = Self::default();
        for (key, value) in entries {
            if key == GROUP_KEY.as_bytes() {
                marks.group = Some(serde_json::from_slice(value).unwrap_or_default());
            } else if is_partition_key(key)
                && let Ok(key) = std::str::from_utf8(key)
            {
                let mark = serde_json::from_slice(value).ok();
                marks.partitions.insert(key.to_owned(), mark);
            }
        }
        marks
    }

    pub fn group(&self) -> Option<&GroupMark> {
        self.group.as_ref()
    }

    pub fn has(&self, topic_id: &str, partition: i32) -> bool {
        self.partitions.contains_key(&partition_key(topic_id, partition))
    }

    /// Where the group began there, as far as its mark tells.
    pub fn partition(&self, topic_id: &str, partition: i32) -> Option<&PartitionMark> {
        let mark = self.partitions.get(&partition_key(topic_id, partition))?;
        mark.as_ref()
    }
}

/// Where to start a partition for which the group has no committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// At the start of its log.
    Earliest,
    /// At its end.
    Latest,
    /// Nowhere: it was committed once.
    Expired,
}

/// Decides for one partition without a committed offset.
pub fn decide(marks: &Marks, topic_id: &str, partition: i32, configured: Start) -> Beginning {
    if marks.has(topic_id, partition) {
        return Beginning::Expired;
    }
    let there_from_the_first = marks
        .group()
        .is_none_or(|group| group.topics.get(topic_id).is_some_and(|count| partition < *count));
    match configured {
        Start::Latest if there_from_the_first => Beginning::Latest,
        Start::Latest | Start::Earliest => Beginning::Earliest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(group: Option<(&str, i32)>, partitions: &[(&str, i32)]) -> Marks {
        let mut entries: Vec<(String, String)> = Vec::new();
        if let Some((id, count)) = group {
            let mark = GroupMark {
                topics: BTreeMap::from([(id.to_owned(), count)]),
            };
            entries.push((GROUP_KEY.to_owned(), serde_json::to_string(&mark).unwrap()));
        }
        for (id, partition) in partitions {
            entries.push((partition_key(id, *partition), "{}".to_owned()));
        }
        Marks::from_entries(entries.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())))
    }

    #[test]
    fn a_new_group_starts_where_it_is_told() {
        let none = marks(None, &[]);
        assert_eq!(decide(&none, "A", 0, Start::Latest), Beginning::Latest);
        assert_eq!(decide(&none, "A", 0, Start::Earliest), Beginning::Earliest);
    }

    #[test]
    fn a_partition_there_from_the_first_still_counts_as_new() {
        let some = marks(Some(("A", 3)), &[("A", 0)]);
        assert_eq!(decide(&some, "A", 2, Start::Latest), Beginning::Latest);
    }

    #[test]
    fn a_partition_or_topic_added_later_starts_at_its_beginning() {
        let some = marks(Some(("A", 3)), &[("A", 0)]);
        assert_eq!(decide(&some, "A", 3, Start::Latest), Beginning::Earliest);
        assert_eq!(decide(&some, "B", 0, Start::Latest), Beginning::Earliest);
    }

    #[test]
    fn a_mark_without_an_offset_is_an_expired_one() {
        let some = marks(Some(("A", 3)), &[("A", 0)]);
        assert_eq!(decide(&some, "A", 0, Start::Earliest), Beginning::Expired);
    }

    #[test]
    fn foreign_and_broken_entries_do_no_harm() {
        let entries: [(&[u8], &[u8]); 4] = [
            (b"\xff", b"x"),
            (b"pause", b"true"),
            (b"startle", b"x"),
            (b"start", b"not json"),
        ];
        let marks = Marks::from_entries(entries);
        assert!(marks.group().is_some());
        assert_eq!(decide(&marks, "A", 0, Start::Latest), Beginning::Earliest);
    }
}
