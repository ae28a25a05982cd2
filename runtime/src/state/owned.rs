//! The state of one partition: what is committed, in its trees, and what the open transaction changed.

use std::sync::Arc;

use strait_sdk::StreamTime;

use super::layer::{Change, Layer};
use super::local::{Batch, LocalError, Position, Tree};
use super::record::{self, Entry, MARK_KEY, Mark};

/// Entries that expired and are deleted with one transaction, of each store and partition.
const EXPIRED_MAX: usize = 1000;

/// The state of one partition, restored.
#[derive(Debug)]
pub struct Owned {
    /// In the order of the stores.
    pub(super) trees: Vec<Tree>,
    changelog_ids: Vec<String>,
    topic_id: Arc<str>,
    /// As of the records decided in the open transaction, and as of the last that committed.
    pub(super) time: StreamTime,
    committed_time: StreamTime,
    pub(super) open: Layer,
}

/// What came back for one partition.
#[derive(Debug)]
pub struct Whole {
    /// In the order of the stores.
    pub trees: Vec<Tree>,
    /// Ids of their changelogs.
    pub changelog_ids: Vec<String>,
    /// The latest of the stores' marks.
    pub mark: Option<Mark>,
}

/// What one store of one partition writes into its changelog.
#[derive(Debug)]
pub struct Writes {
    pub store: usize,
    entries: Vec<WrittenEntry>,
    mark: Vec<u8>,
}

#[derive(Debug)]
struct WrittenEntry {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    by: Option<i64>,
}

impl Writes {
    /// Key and value of each record, and the offset of the input record that is the cause of it, if one
    /// is; no value deletes. The mark comes last.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>, Option<i64>)> {
        let entries = self.entries.iter();
        let entries = entries.map(|entry| (entry.key.as_slice(), entry.value.as_deref(), entry.by));
        entries.chain([(MARK_KEY, Some(self.mark.as_slice()), None)])
    }
}

impl Owned {
    pub(super) fn new(topic_id: Arc<str>, whole: Whole) -> Self {
        let time = whole.mark.map(|mark| mark.time).unwrap_or_default();
        Self {
            trees: whole.trees,
            changelog_ids: whole.changelog_ids,
            topic_id,
            committed_time: time.clone(),
            time,
            open: Layer::default(),
        }
    }

    /// What the open transaction must write, if the records before `next` are in it.
    pub(super) fn writes(&mut self, next: i64) -> Result<Vec<Writes>, LocalError> {
        self.expire()?;
        let marks = self.marks(next).enumerate();
        let writes = marks.map(|(store, mark)| Writes {
            store,
            entries: self.entries(store),
            mark: mark.to_bytes(),
        });
        Ok(writes.collect())
    }

    /// The transaction committed, with the records before `next`.
    pub(super) fn committed(&mut self, next: i64) -> Result<(), LocalError> {
        for ((store, tree), mark) in self.trees.iter().enumerate().zip(self.marks(next)) {
            let changes = self.open.of(store).into_iter().flatten();
            tree.apply(&Batch {
                changes: changes
                    .map(|(key, change)| (&**key, change.entry.as_ref()))
                    .collect(),
                mark: Some(&mark),
                position: None,
            })?;
        }
        self.open.clear();
        self.committed_time = self.time.clone();
        Ok(())
    }

    /// The transaction is gone.
    pub(super) fn aborted(&mut self) {
        self.open.clear();
        self.time = self.committed_time.clone();
    }

    pub(super) fn changelog_ids(&self) -> &[String] {
        &self.changelog_ids
    }

    /// Whether these are positions of the changelogs that this state came from.
    pub(super) fn is_of(&self, positions: &[Position]) -> bool {
        let ids = positions.iter().map(|position| &position.changelog_id);
        self.changelog_ids.iter().eq(ids)
    }

    /// The changelogs are in the trees up to these positions.
    pub(super) fn reached(&self, positions: &[Position]) -> Result<(), LocalError> {
        for (tree, position) in self.trees.iter().zip(positions) {
            tree.apply(&Batch {
                position: Some(position),
                ..Batch::default()
            })?;
        }
        Ok(())
    }

    /// One for each store.
    fn marks(&self, next: i64) -> impl Iterator<Item = Mark> {
        self.changelog_ids.iter().map(move |changelog_id| Mark {
            topic_id: Arc::clone(&self.topic_id),
            changelog_id: changelog_id.as_str().into(),
            next,
            time: self.time.clone(),
        })
    }

    /// Deletes what expired, so that neither folder nor changelog keep it for ever. Nobody can tell:
    /// it was not visible any more.
    fn expire(&mut self) -> Result<(), LocalError> {
        let Some(time_ms) = self.time.reached_ms() else {
            return Ok(());
        };
        for (store, tree) in self.trees.iter().enumerate() {
            for key in tree.expired(time_ms, EXPIRED_MAX)? {
                if self.open.get(store, &key).is_none() {
                    let gone = Change {
                        entry: None,
                        by: None,
                    };
                    self.open.set(store, &key, gone);
                }
            }
        }
        Ok(())
    }

    fn entries(&self, store: usize) -> Vec<WrittenEntry> {
        let changes = self.open.of(store).into_iter().flatten();
        let written = changes.map(|(key, change)| WrittenEntry {
            key: record::entry_key(key),
            value: change.entry.as_ref().map(Entry::to_bytes),
            by: change.by,
        });
        written.collect()
    }
}
