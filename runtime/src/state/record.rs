//! How state is written: entries and marks, in the changelog and in the local folder alike.
//!
//! A key is one byte for what it is, and then the key that the transform chose; so nothing that a
//! transform writes can be taken for a mark.

use std::sync::Arc;

use strait_sdk::StreamTime;

/// Never expires.
pub const NEVER_MS: i64 = i64::MAX;

const ENTRY: u8 = b'e';
const MARK: u8 = b'm';
const VERSION: u8 = 2;

/// What a store holds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: Box<[u8]>,
    /// The stream time from which on it is not there any more.
    pub expires_at_ms: i64,
}

impl Entry {
    pub fn is_alive(&self, time_ms: i64) -> bool {
        time_ms < self.expires_at_ms
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.expires_at_ms.to_le_bytes(), &*self.value].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (expires_at_ms, value) = bytes.split_first_chunk()?;
        Some(Self {
            value: value.into(),
            expires_at_ms: i64::from_le_bytes(*expires_at_ms),
        })
    }
}

/// How far the records of an input partition are counted in a store. Written with every
/// transaction that decides some of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// The id of the input topic.
    pub topic_id: Arc<str>,
    /// The id of the changelog that it was written for.
    pub changelog_id: Arc<str>,
    /// The offset of the first input record that is not counted.
    pub next: i64,
    pub time: StreamTime,
}

impl Mark {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for id in [&self.topic_id, &self.changelog_id] {
            let len = u8::try_from(id.len()).unwrap_or(u8::MAX);
            bytes.push(len);
            bytes.extend(id.bytes().take(usize::from(len)));
        }
        bytes.extend(self.next.to_le_bytes());
        bytes.extend(self.time.to_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (topic_id, rest) = id_at_front(rest)?;
        let (changelog_id, rest) = id_at_front(rest)?;
        let (next, time) = rest.split_first_chunk()?;
        Some(Self {
            topic_id,
            changelog_id,
            next: i64::from_le_bytes(*next),
            time: StreamTime::from_bytes(time)?,
        })
    }
}

/// An id behind its length, and what follows.
fn id_at_front(bytes: &[u8]) -> Option<(Arc<str>, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((std::str::from_utf8(id).ok()?.into(), rest))
}

/// What a record of the changelog is about.
#[derive(Debug, PartialEq)]
pub enum Change<'a> {
    Put(&'a [u8], Entry),
    Delete(&'a [u8]),
    Mark(Mark),
}

/// A record of the changelog that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a record of the changelog is not one that this version writes")]
pub struct Unreadable;

/// Reads a record of the changelog; no value is a tombstone.
pub fn read<'a>(key: &'a [u8], value: Option<&[u8]>) -> Result<Change<'a>, Unreadable> {
    let (kind, key) = key.split_first().ok_or(Unreadable)?;
    match (*kind, value) {
        (ENTRY, Some(value)) => Ok(Change::Put(key, Entry::from_bytes(value).ok_or(Unreadable)?)),
        (ENTRY, None) => Ok(Change::Delete(key)),
        (MARK, Some(value)) => Ok(Change::Mark(Mark::from_bytes(value).ok_or(Unreadable)?)),
        _ => Err(Unreadable),
    }
}

/// The key of an entry.
pub fn entry_key(key: &[u8]) -> Vec<u8> {
    [&[ENTRY], key].concat()
}

/// The key of the mark.
pub const MARK_KEY: &[u8] = &[MARK];

/// The transform's key in the key of an entry.
pub fn own_key(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&[ENTRY])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            key in prop::collection::vec(any::<u8>(), 1..20),
            value in prop::collection::vec(any::<u8>(), 0..20),
            expires_at_ms: i64,
            id in "[a-zA-Z0-9_-]{0,22}",
            changelog_id in "[a-zA-Z0-9_-]{0,22}",
            next: i64,
            times in prop::collection::vec(any::<i64>(), 0..40),
        ) {
            let entry = Entry { value: value.into(), expires_at_ms };
            let bytes = entry.to_bytes();
            let stored = entry_key(&key);
            prop_assert_eq!(read(&stored, Some(&bytes)), Ok(Change::Put(&key, entry)));
            prop_assert_eq!(read(&stored, None), Ok(Change::Delete(&key)));
            prop_assert_eq!(own_key(&stored), Some(&*key));
            let mut time = StreamTime::default();
            for observed in times {
                time.observe(observed);
            }
            let mark = Mark { topic_id: id.into(), changelog_id: changelog_id.into(), next, time };
            let bytes = mark.to_bytes();
            prop_assert_eq!(read(MARK_KEY, Some(&bytes)), Ok(Change::Mark(mark)));
        }

        #[test]
        fn nothing_else_is_taken_for_it(key: Vec<u8>, value: Option<Vec<u8>>) {
            if let Ok(Change::Put(own, entry)) = read(&key, value.as_deref()) {
                prop_assert_eq!(entry_key(own), &*key);
                prop_assert_eq!(Some(entry.to_bytes()), value);
            }
        }
    }
}
