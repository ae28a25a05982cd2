//! Walking a store: what the runtime has, page by page, and what this call wrote, in one order.

use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;

use super::overlay::{Overlay, Slot};
use super::page::{self, Broken, Entry};
use super::{host, key};
use crate::guest::Failure;

type KeyAndValue = (Vec<u8>, Vec<u8>);

/// Entries of a store: keys and values, in the order of the bytes of their keys.
///
/// The runtime hands them over a page at a time, and only as far as the scan is walked.
#[derive(Debug)]
pub struct Scan<'o> {
    cursor: Cursor<'o>,
    passed: bool,
}

impl<'o> Scan<'o> {
    pub(super) fn new(cursor: Cursor<'o>) -> Self {
        Self {
            cursor,
            passed: false,
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = KeyAndValue;

    fn next(&mut self) -> Option<KeyAndValue> {
        loop {
            let (stored, value) = self.cursor.next()?;
            if let Some(shown) = key::shown(stored) {
                return Some((shown, value));
            }
            // The SDK's own keys stand together, so they are passed at once.
            if !self.passed {
                self.passed = true;
                self.cursor.pass(&key::PAST_OWN);
            }
        }
    }
}

/// The same by keys as they are stored.
#[derive(Debug)]
pub(crate) struct Cursor<'o> {
    overlay: &'o Overlay,
    written: Peekable<Range<'o, Vec<u8>, Slot>>,
    pages: Pages,
    failure: &'o mut Option<Failure>,
}

impl<'o> Cursor<'o> {
    pub(super) fn new(
        overlay: &'o Overlay,
        failure: &'o mut Option<Failure>,
        store: u16,
        time_ms: i64,
        prefix: Vec<u8>,
        after: &[u8],
    ) -> Self {
        let from = if *prefix > *after {
            Bound::Included(prefix.as_slice())
        } else {
            Bound::Excluded(after)
        };
        let written = overlay.from(store, from).peekable();
        let pages = Pages {
            store,
            time_ms,
            prefix,
            after: after.to_vec(),
            page: Vec::new(),
            at: 0,
            ended: false,
        };
        Self {
            overlay,
            written,
            pages,
            failure,
        }
    }

    /// Goes on with the first key that is greater than `key`.
    fn pass(&mut self, key: &[u8]) {
        let behind = self.overlay.from(self.pages.store, Bound::Excluded(key));
        self.written = behind.peekable();
        self.pages.pass(key);
    }

    fn step(&mut self) -> Result<Option<KeyAndValue>, Broken> {
        loop {
            let prefix = &self.pages.prefix;
            let written = self.written.peek().copied();
            let written = written.filter(|(key, _)| key.starts_with(prefix));
            let stored = self.pages.peek()?;
            let Some((key, slot)) = written else {
                let stored = stored.map(|entry| (entry.key.to_vec(), entry.value.to_vec()));
                self.pages.advance()?;
                return Ok(stored);
            };
            if let Some(stored) = stored.filter(|stored| stored.key <= key.as_slice()) {
                let only_stored =
                    (stored.key < key.as_slice()).then(|| (stored.key.to_vec(), stored.value.to_vec()));
                self.pages.advance()?;
                match only_stored {
                    Some(entry) => return Ok(Some(entry)),
                    None => continue, // it was written over
                }
            }
            self.written.next();
            if let Some(value) = slot.at(self.pages.time_ms) {
                return Ok(Some((key.clone(), value.to_vec())));
            }
        }
    }
}

impl Iterator for Cursor<'_> {
    type Item = KeyAndValue;

    fn next(&mut self) -> Option<KeyAndValue> {
        self.step().unwrap_or_else(|Broken| {
            self.failure.get_or_insert_with(|| {
                Failure::Pipeline("the runtime handed over a page of a state store that is none".to_owned())
            });
            None
        })
    }
}

/// What the runtime has, read in place.
#[derive(Debug)]
struct Pages {
    store: u16,
    time_ms: i64,
    prefix: Vec<u8>,
    /// The last key that was passed.
    after: Vec<u8>,
    page: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Pages {
    /// The entry that is next. Each page is looked for once.
    fn peek(&mut self) -> Result<Option<Entry<'_>>, Broken> {
        if self.at >= self.page.len() && !self.ended {
            self.page = host::scan(self.store, &self.prefix, &self.after, self.time_ms);
            self.at = 0;
            self.ended = self.page.is_empty();
        }
        let entry = page::entry(&self.page, self.at)?;
        match entry {
            // A page that does not go on would be walked for ever.
            Some(entry) if entry.key <= self.after.as_slice() || !entry.key.starts_with(&self.prefix) => {
                Err(Broken)
            }
            entry => Ok(entry),
        }
    }

    fn advance(&mut self) -> Result<(), Broken> {
        if let Some(entry) = page::entry(&self.page, self.at)? {
            self.at = entry.next;
            self.after.clear();
            self.after.extend_from_slice(entry.key);
        }
        Ok(())
    }

    fn pass(&mut self, key: &[u8]) {
        self.page.clear();
        self.at = 0;
        self.after = key.to_vec();
    }
}
