//! What a transform under test has stored.

#[cfg(test)]
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{Partition, Sample, Tester};
use crate::Transform;
use crate::batch::StateOp;
use crate::state::{is_visible, key};

/// An entry of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub topic: String,
    pub partition: i32,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// `None`: never.
    pub expires_at_ms: Option<i64>,
}

impl Stored {
    /// The value as text, with what is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }

    /// The value, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.value).map_err(|error| error.to_string())
    }
}

impl<T: Transform> Tester<T> {
    /// What is in a store now, by partition and key. Entries that have expired at the time of
    /// their partition are left out, and so is what the SDK keeps for windows and timers.
    pub fn stored(&self, store: &str) -> Vec<Stored> {
        let place = self.stores.iter().position(|declared| declared.name == store);
        let mut stored = Vec::new();
        for ((topic, partition), kept) in &self.partitions {
            let entries = place.and_then(|place| kept.stores.get(place));
            let entries = entries.into_iter().flatten();
            for (key, entry) in entries.filter(|(_, entry)| is_visible(kept.now_ms, entry.expires_at_ms)) {
                let Some(key) = key::shown(key.clone()) else {
                    continue;
                };
                stored.push(Stored {
                    topic: topic.clone(),
                    partition: *partition,
                    key,
                    value: entry.value.clone(),
                    expires_at_ms: (entry.expires_at_ms != i64::MAX).then_some(entry.expires_at_ms),
                });
            }
        }
        stored
    }

    /// What is stored under a key, in the first partition that has it.
    pub fn stored_at(&self, store: &str, key: impl AsRef<[u8]>) -> Option<Stored> {
        let mut stored = self.stored(store).into_iter();
        stored.find(|stored| stored.key == key.as_ref())
    }

    /// With shorter pages in the partition that samples have, so that a test has several.
    #[cfg(test)]
    pub(crate) fn with_pages(mut self, page_bytes: usize) -> Self {
        let partition = Partition::with_pages(page_bytes);
        self.partitions.insert(("test".to_owned(), 0), partition);
        self
    }

    /// All that the runtime would have kept; see [`Tester::go_back`].
    #[cfg(test)]
    pub(crate) fn committed(&self) -> BTreeMap<(String, i32), Partition> {
        self.partitions.clone()
    }

    /// Goes back to what was committed, as after an abort: with a fresh instance.
    #[cfg(test)]
    pub(crate) fn go_back(&mut self, committed: BTreeMap<(String, i32), Partition>, settings: T::Settings) {
        self.partitions = committed;
        self.restart(settings).unwrap();
    }

    pub(super) fn partition(&mut self, of: &Sample) -> &mut Partition {
        let (topic, partition) = of.place();
        self.partitions.entry((topic.to_owned(), partition)).or_default()
    }

    pub(super) fn write(&mut self, sample: Option<&Sample>, op: &StateOp<'_>) {
        let Some(sample) = sample else { return };
        let (topic, partition) = sample.place();
        let kept = self.partitions.entry((topic.to_owned(), partition)).or_default();
        kept.apply(op, &self.stores, sample.state_time_ms());
    }
}
