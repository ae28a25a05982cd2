//! What the call under way has written.
//!
//! The runtime sees it when the call returns. Until then it lies over what the runtime has, and
//! what the record at hand wrote can be taken back.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use super::is_visible;

/// Writes of one call.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// One for each store, as far as they were written to.
    stores: Vec<BTreeMap<Vec<u8>, Slot>>,
    /// What the record at hand wrote over, the last at the end.
    undo: Vec<Undo>,
    record: Option<u32>,
}

/// What was written last under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// `None`: it was deleted.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) expires_at_ms: i64,
}

#[derive(Debug)]
struct Undo {
    store: u16,
    key: Vec<u8>,
    before: Option<Slot>,
}

impl Slot {
    pub(crate) fn at(&self, time_ms: i64) -> Option<&[u8]> {
        let value = self.value.as_deref()?;
        is_visible(time_ms, self.expires_at_ms).then_some(value)
    }
}

impl Overlay {
    /// From here on it is this record that writes. What the one before it wrote, stays.
    #[inline]
    pub(crate) fn begin(&mut self, record: u32) {
        if self.record != Some(record) {
            self.record = Some(record);
            self.undo.clear();
        }
    }

    /// What was written under a key; `None`: nothing, so that the runtime knows.
    pub(crate) fn get(&self, store: u16, key: &[u8]) -> Option<&Slot> {
        self.stores.get(usize::from(store))?.get(key)
    }

    /// What was written under keys from `from` on, in their order.
    pub(crate) fn from(&self, store: u16, from: Bound<&[u8]>) -> Range<'_, Vec<u8>, Slot> {
        static NONE: BTreeMap<Vec<u8>, Slot> = BTreeMap::new();
        let store = self.stores.get(usize::from(store)).unwrap_or(&NONE);
        store.range::<[u8], _>((from, Bound::Unbounded))
    }

    pub(crate) fn set(&mut self, store: u16, key: &[u8], slot: Slot) {
        let before = self.replace(store, key, Some(slot));
        self.undo.push(Undo {
            store,
            key: key.to_vec(),
            before,
        });
    }

    /// Keeps what the runtime has, which stays as it is as long as the call lasts: nobody wrote it.
    pub(crate) fn remember(&mut self, store: u16, key: &[u8], value: Option<Vec<u8>>) {
        let slot = Slot {
            value,
            expires_at_ms: i64::MAX,
        };
        self.replace(store, key, Some(slot));
    }

    /// Takes back what the record at hand wrote.
    pub(crate) fn take_back(&mut self) {
        while let Some(Undo { store, key, before }) = self.undo.pop() {
            self.replace(store, &key, before);
        }
    }

    /// Forgets everything, to answer the same batch anew.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn replace(&mut self, store: u16, key: &[u8], slot: Option<Slot>) -> Option<Slot> {
        let place = usize::from(store);
        if self.stores.len() <= place {
            self.stores.resize_with(place + 1, BTreeMap::new);
        }
        let store = self.stores.get_mut(place)?;
        match (slot, store.get_mut(key)) {
            (Some(slot), Some(have)) => Some(std::mem::replace(have, slot)),
            (Some(slot), None) => store.insert(key.to_vec(), slot),
            (None, _) => store.remove(key),
        }
    }
}
