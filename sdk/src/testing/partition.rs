//! What the runtime keeps for one partition, in memory: its stores and its stream time.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::StreamTime;
use crate::batch::StateOp;
use crate::state::{Declared, expires_at_ms, is_visible, page};

/// About so long is a page of a scan.
const PAGE_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Partition {
    /// By the place of the store among those that are declared.
    pub(crate) stores: Vec<BTreeMap<Vec<u8>, Entry>>,
    pub(crate) time: StreamTime,
    /// The stream time at the last record.
    pub(crate) now_ms: i64,
    page_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    pub(crate) expires_at_ms: i64,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            stores: Vec::new(),
            time: StreamTime::default(),
            now_ms: 0,
            page_bytes: PAGE_BYTES,
        }
    }
}

impl Partition {
    /// With shorter pages, so that a test has several.
    #[cfg(test)]
    pub(crate) fn with_pages(page_bytes: usize) -> Self {
        Self {
            page_bytes,
            ..Self::default()
        }
    }

    /// The stream time at the next record.
    pub(crate) fn observe(&mut self, timestamp_ms: i64) -> i64 {
        self.now_ms = self.time.observe(timestamp_ms);
        self.now_ms
    }

    pub(crate) fn get(&self, store: u16, key: &[u8], time_ms: i64) -> Option<&[u8]> {
        let entry = self.stores.get(usize::from(store))?.get(key)?;
        is_visible(time_ms, entry.expires_at_ms).then_some(&entry.value)
    }

    pub(crate) fn page(&self, store: u16, prefix: &[u8], after: &[u8], time_ms: i64) -> Vec<u8> {
        let mut page = Vec::new();
        let Some(store) = self.stores.get(usize::from(store)) else {
            return page;
        };
        let from = if prefix > after {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        let entries = store
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| is_visible(time_ms, entry.expires_at_ms));
        for (key, entry) in entries {
            if !page.is_empty() && page.len() + key.len() + entry.value.len() > self.page_bytes {
                break;
            }
            page::push(&mut page, key, &entry.value);
        }
        page
    }

    /// Does what a transform wrote at the time of a record.
    pub(crate) fn apply(&mut self, op: &StateOp<'_>, declared: &[Declared], time_ms: i64) {
        let place = usize::from(op.store);
        if self.stores.len() <= place {
            self.stores.resize_with(place + 1, BTreeMap::new);
        }
        let Some(store) = self.stores.get_mut(place) else {
            return;
        };
        let usual_ms = declared.get(place).and_then(|store| store.ttl_ms);
        match op.value {
            Some(value) => drop(store.insert(
                op.key.to_vec(),
                Entry {
                    value: value.to_vec(),
                    expires_at_ms: expires_at_ms(time_ms, op.ttl_ms.or(usual_ms)),
                },
            )),
            None => drop(store.remove(op.key)),
        }
    }
}
