//! What is to be done at a time, in a state store, the earliest first.
//!
//! An entry's key is the time at which it is due, then what the entry is about. Beside the entries
//! stands a mark, which no entry comes before: it says whether anything is due without a look at
//! the entries, is read once in a call, and is taken back with what a record wrote.

use super::PORTION;
use crate::Result;
use crate::state::{Raw, key};

/// Whatever the store says: what is to be done must not be forgotten.
const EVER: Option<i64> = Some(i64::MAX);

const MARK: u8 = b'm';

/// Entries of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue(pub(super) u8);

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at_ms: i64,
    /// What the entry is about.
    pub(super) about: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Queue {
    /// The key of an entry.
    pub(super) fn key(self, due_ms: i64, about: &[&[u8]]) -> Vec<u8> {
        let mut key = key::own(self.0).to_vec();
        key.extend(due_ms.max(0).to_be_bytes());
        for part in about {
            key.extend_from_slice(part);
        }
        key
    }

    /// Sets an entry.
    pub(super) fn put(self, raw: &mut Raw<'_, '_>, key: &[u8], value: &[u8]) -> Result<()> {
        raw.put(key, value, EVER)?;
        let mark = self.mark();
        let earlier = raw.get_once(&mark).is_none_or(|first| key < first);
        if earlier {
            raw.put(&mark, key, EVER)
        } else {
            Ok(())
        }
    }

    /// Takes what is due, the earliest first, and no more than a portion.
    pub(super) fn take(self, raw: &mut Raw<'_, '_>) -> Result<Vec<Due>> {
        let (mark, now_ms) = (self.mark(), raw.time_ms());
        let Some(first) = raw.get_once(&mark).filter(|first| due_ms(first) <= now_ms) else {
            return Ok(Vec::new());
        };
        // A scan goes on behind a key: this one is before the first, and hardly any are between.
        let before = first.split_last().map_or(&[][..], |(_, before)| before).to_vec();
        let mut entries = raw.reborrow().scan(key::own(self.0).to_vec(), &before);
        let mut taken = Vec::new();
        let rest = loop {
            match entries.next() {
                Some(entry) if taken.len() < PORTION && due_ms(&entry.0) <= now_ms => taken.push(entry),
                rest => break rest,
            }
        };
        match rest {
            Some((first, _)) => raw.put(&mark, &first, EVER)?,
            None => raw.delete(&mark)?,
        }
        for (key, _) in &taken {
            raw.delete(key)?;
        }
        Ok(taken.into_iter().map(Due::from).collect())
    }

    fn mark(self) -> [u8; 3] {
        let [own, kind] = key::own(MARK);
        [own, kind, self.0]
    }
}

impl From<(Vec<u8>, Vec<u8>)> for Due {
    fn from((key, value): (Vec<u8>, Vec<u8>)) -> Self {
        Self {
            at_ms: due_ms(&key),
            about: key.get(ABOUT..).unwrap_or_default().to_vec(),
            value,
        }
    }
}

/// Where a key says what its entry is about.
const ABOUT: usize = 2 + 8;

/// When an entry is due, by its key.
fn due_ms(key: &[u8]) -> i64 {
    let time = key.get(2..).and_then(<[u8]>::first_chunk);
    time.map_or(i64::MAX, |time| i64::from_be_bytes(*time))
}
