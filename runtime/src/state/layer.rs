//! Changes that are not committed yet, by store and key.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::record::Entry;

/// Changes of the stores of one partition. The last change of a key counts.
#[derive(Debug, Default)]
pub struct Layer {
    stores: Vec<Changes>,
    bytes: usize,
}

pub type Changes = BTreeMap<Box<[u8]>, Change>;

#[derive(Debug)]
pub struct Change {
    /// `None` deletes.
    pub entry: Option<Entry>,
    /// The offset of the record that made it, if one did.
    pub by: Option<i64>,
}

impl Layer {
    pub fn set(&mut self, store: usize, key: &[u8], change: Change) {
        if self.stores.len() <= store {
            self.stores.resize_with(store + 1, Changes::new);
        }
        let Some(changes) = self.stores.get_mut(store) else {
            return;
        };
        let size = |change: &Change| change.entry.as_ref().map_or(0, |entry| entry.value.len());
        self.bytes += size(&change);
        if let Some(slot) = changes.get_mut(key) {
            self.bytes = self.bytes.saturating_sub(size(slot));
            *slot = change;
        } else {
            self.bytes += key.len();
            changes.insert(key.into(), change);
        }
    }

    /// `Some(None)`: it was deleted here.
    pub fn get(&self, store: usize, key: &[u8]) -> Option<&Option<Entry>> {
        Some(&self.stores.get(store)?.get(key)?.entry)
    }

    pub fn of(&self, store: usize) -> Option<&Changes> {
        self.stores.get(store)
    }

    /// Changes of keys behind `after` that begin with `prefix`, in order.
    pub fn scan<'a>(
        &'a self,
        store: usize,
        prefix: &'a [u8],
        after: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a Option<Entry>)> {
        let from = if after < prefix {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        let range = self
            .stores
            .get(store)
            .map(|changes| changes.range::<[u8], _>((from, Bound::Unbounded)));
        range
            .into_iter()
            .flatten()
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, change)| (&**key, &change.entry))
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn clear(&mut self) {
        self.stores.clear();
        self.bytes = 0;
    }
}
