//! What is committed, in a folder of this machine: one tree for each store and input partition.
//!
//! It is a copy of the changelog up to a position, or a little further. So it may be lost at any
//! time, and nothing waits for the disk: what a power cut takes is read again from the changelog.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{self, Entry, MARK_KEY, Mark};
use crate::kafka::TopicPartition;

/// Memory of the cache of blocks, for all stores of a pipeline in this process.
const CACHE_BYTES: u64 = 32 << 20;

/// What a tree holds in memory before it is written out.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// The journal on disk, for all of them.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// How long a folder may be in use before it counts as somebody else's, and how often it is looked at.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_GLANCE: Duration = Duration::from_millis(50);

/// A file in a folder that is to be made anew.
const CONDEMNED: &str = "condemned";

/// Where the position of a tree stands.
const POSITION_KEY: &[u8] = b"p";

/// First byte of the index by expiry: `x`, the time in an order that bytes sort by, the key.
const EXPIRY: u8 = b'x';

/// The longest key of an entry: what a tree takes, with what stands before it in the index.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize - 1 - size_of::<i64>();

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// The folder cannot be read or written.
    #[error("the local copy of the state fails: {0}; it is built anew at the next start")]
    Failed(String),
    /// Somebody else has taken the partition over since.
    #[error("the state of this partition belongs to another lane now")]
    NotOwner,
}

impl From<fjall::Error> for LocalError {
    fn from(error: fjall::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How far a tree holds its changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The id of the changelog's topic.
    pub changelog_id: String,
    /// Everything before it is in the tree.
    pub offset: i64,
    /// When that was so, by the clock of this machine: tombstones are not kept for ever.
    pub at_ms: i64,
}

/// The folder of one pipeline in one process. The lanes share it.
#[derive(Clone)]
pub struct Folder {
    database: Database,
    path: Arc<Path>,
    /// Who may change the trees of a partition: the last to whom it was assigned. A thread that is still
    /// busy for the owner before must not put back what is old.
    owners: Arc<Mutex<HashMap<TopicPartition, u64>>>,
}

/// That a partition was assigned. One that came later ends what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").finish_non_exhaustive()
    }
}

impl Folder {
    /// Opens it, or makes it anew if it cannot be read, or could not be read when it was used last.
    pub fn open(path: &Path) -> Result<Self, LocalError> {
        if path.join(CONDEMNED).exists() {
            remove(path)?;
        }
        let open = || {
            Database::builder(path)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .worker_threads(1)
                .open()
        };
        let until = Instant::now() + LOCK_WAIT;
        let database = loop {
            match open() {
                // A thread of lanes that have ended may still be on its way out.
                Err(fjall::Error::Locked) if Instant::now() < until => std::thread::sleep(LOCK_GLANCE),
                opened => break opened,
            }
        };
        let database = match database {
            Ok(database) => database,
            Err(fjall::Error::Locked) => {
                let what = format!("{} is in use by another process", path.display());
                return Err(LocalError::Failed(what));
            }
            Err(error) => {
                tracing::warn!(folder = %path.display(), %error, "the local state cannot be read: it is built anew");
                remove(path)?;
                open()?
            }
        };
        Ok(Self {
            database,
            path: path.into(),
            owners: Arc::default(),
        })
    }

    /// It cannot be trusted any more: the next start makes it anew.
    pub fn condemn(&self) {
        if let Err(error) = std::fs::write(self.path.join(CONDEMNED), []) {
            tracing::warn!(folder = %self.path.display(), %error, "cannot mark the local state as damaged: remove the folder");
        }
    }

    /// The partition is assigned. Whoever held its trees before holds them no more.
    pub fn assigned(&self, partition: &TopicPartition) -> Ticket {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = owners.entry(partition.clone()).or_default();
        *owner += 1;
        Ticket(*owner)
    }

    /// The tree of one store of one input partition.
    pub fn tree(&self, store: &str, partition: &TopicPartition, ticket: Ticket) -> Result<Tree, LocalError> {
        Ok(Tree {
            folder: self.clone(),
            ticket,
            partition: partition.clone(),
            keyspace: self.keyspace(&tree_name(store, partition))?,
        })
    }

    fn keyspace(&self, name: &str) -> Result<Keyspace, LocalError> {
        Ok(self.database.keyspace(name, || {
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
        })?)
    }
}

fn remove(path: &Path) -> Result<(), LocalError> {
    std::fs::remove_dir_all(path).map_err(|error| LocalError::Failed(format!("{}: {error}", path.display())))
}

/// A name of bounded length, which topics do not have together with stores.
fn tree_name(store: &str, partition: &TopicPartition) -> String {
    let digest = Sha256::digest(format!("{store}/{}/{}", partition.topic, partition.partition));
    format!("{digest:x}").chars().take(32).collect()
}

/// One store of one input partition.
pub struct Tree {
    folder: Folder,
    ticket: Ticket,
    partition: TopicPartition,
    keyspace: Keyspace,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

/// What is stored at once.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    pub changes: Vec<(&'a [u8], Option<&'a Entry>)>,
    pub mark: Option<&'a Mark>,
    pub position: Option<&'a Position>,
}

impl Tree {
    pub fn get(&self, key: &[u8]) -> Result<Option<Entry>, LocalError> {
        let found = self.keyspace.get(record::entry_key(key))?;
        found.map(|bytes| decode(Entry::from_bytes(&bytes))).transpose()
    }

    /// Entries whose keys are behind `after` and begin with `prefix`, in order.
    pub fn scan<'a>(
        &self,
        prefix: &'a [u8],
        after: &'a [u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Entry), LocalError>> + use<'a> {
        let from = if after < prefix {
            Bound::Included(record::entry_key(prefix))
        } else {
            Bound::Excluded(record::entry_key(after))
        };
        let prefix = record::entry_key(prefix);
        let entries = self.keyspace.range::<Vec<u8>, _>((from, Bound::Unbounded));
        let entries = entries.map(|guard| guard.into_inner().map_err(LocalError::from));
        entries
            .take_while(move |entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .map(|entry| {
                let (key, value) = entry?;
                let key = decode(record::own_key(&key))?.to_vec();
                Ok((key, decode(Entry::from_bytes(&value))?))
            })
    }

    /// Keys of entries that are not there any more at this time, the oldest first, out of so many that
    /// may be. What was written again since is not among them.
    pub fn expired(&self, time_ms: i64, limit: usize) -> Result<Vec<Vec<u8>>, LocalError> {
        let mut expired = Vec::new();
        let end = expiry_key(time_ms.saturating_add(1), &[]);
        let due = (Bound::Included(vec![EXPIRY]), Bound::Excluded(end));
        for guard in self.keyspace.range::<Vec<u8>, _>(due).take(limit) {
            let index = guard.key()?;
            let key = decode(index.get(1 + size_of::<i64>()..))?;
            match self.get(key)? {
                Some(entry) if !entry.is_alive(time_ms) => expired.push(key.to_vec()),
                _ => self.keyspace.remove(index)?,
            }
        }
        Ok(expired)
    }

    /// Stores all of it or nothing.
    pub fn apply(&self, batch: &Batch<'_>) -> Result<(), LocalError> {
        let _owned = self.owned()?;
        let mut write = self.folder.database.batch();
        for (key, entry) in &batch.changes {
            match entry {
                Some(entry) => {
                    write.insert(&self.keyspace, record::entry_key(key), entry.to_bytes());
                    if entry.expires_at_ms != record::NEVER_MS {
                        write.insert(&self.keyspace, expiry_key(entry.expires_at_ms, key), []);
                    }
                }
                None => write.remove(&self.keyspace, record::entry_key(key)),
            }
        }
        if let Some(mark) = batch.mark {
            write.insert(&self.keyspace, MARK_KEY, mark.to_bytes());
        }
        if let Some(position) = batch.position {
            let position =
                serde_json::to_vec(position).map_err(|error| LocalError::Failed(error.to_string()))?;
            write.insert(&self.keyspace, POSITION_KEY, position);
        }
        Ok(write.commit()?)
    }

    /// While this lives, nobody else comes to own it.
    fn owned(&self) -> Result<impl Drop, LocalError> {
        let owners = self.folder.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.get(&self.partition) == Some(&self.ticket.0) {
            Ok(owners)
        } else {
            Err(LocalError::NotOwner)
        }
    }

    pub fn mark(&self) -> Result<Option<Mark>, LocalError> {
        let bytes = self.keyspace.get(MARK_KEY)?;
        bytes.map(|bytes| decode(Mark::from_bytes(&bytes))).transpose()
    }

    pub fn position(&self) -> Result<Option<Position>, LocalError> {
        let bytes = self.keyspace.get(POSITION_KEY)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<(), LocalError> {
        let _owned = self.owned()?;
        Ok(self.keyspace.clear()?)
    }

    /// How many entries it holds, by a walk over all of them.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.scan(&[], &[]).count()
    }
}

/// Orders as the times do, negative ones too.
fn expiry_key(time_ms: i64, key: &[u8]) -> Vec<u8> {
    let ordered = time_ms.cast_unsigned() ^ (1 << 63);
    [&[EXPIRY], &ordered.to_be_bytes()[..], key].concat()
}

fn decode<T>(read: Option<T>) -> Result<T, LocalError> {
    read.ok_or_else(|| LocalError::Failed("an entry is damaged".to_owned()))
}

#[cfg(test)]
mod tests;
