//! The claims of the partitions that one lane owns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::entry::Entry;
use super::restore::Trim;
use super::table::{Table, Written};
use crate::dedup::claim::{Claim, Verdict};
use crate::kafka::TopicPartition;
use crate::restore::{NotRestored, Restores};

/// Old records of a changelog are deleted four times a window, between these bounds.
const TRIM_INTERVAL_MAX: Duration = Duration::from_mins(10);
const TRIM_INTERVAL_MIN: Duration = Duration::from_mins(1);

/// librdkafka takes 0 for "now".
const OLDEST_MS: i64 = 1;

#[derive(Debug)]
pub struct ChangelogClaims {
    tables: HashMap<TopicPartition, Owned>,
    restores: Box<dyn Restores<Table, Trim>>,
    trim_interval: Duration,
    ids_max: usize,
}

#[derive(Debug)]
struct Owned {
    table: Table,
    /// The id of its topic.
    topic_id: Arc<str>,
    trimmed: Instant,
}

/// Why nothing is known of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unjudged {
    /// The claims of the partition are not back yet.
    Restoring,
    /// There are more ids than this lane may hold.
    Full { ids_max: usize },
}

impl ChangelogClaims {
    /// Holds at most `ids_max` ids.
    pub fn new(window: Duration, ids_max: usize, restores: Box<dyn Restores<Table, Trim>>) -> Self {
        Self {
            tables: HashMap::new(),
            restores,
            trim_interval: (window / 4).clamp(TRIM_INTERVAL_MIN, TRIM_INTERVAL_MAX),
            ids_max,
        }
    }

    /// The partition is ours and its start is known, so nobody else commits claims of it any more.
    pub fn restore(&mut self, partition: &TopicPartition, topic_id: &Arc<str>) {
        self.tables.remove(partition);
        self.restores.begin(partition, topic_id);
    }

    /// Partitions whose claims came back.
    pub fn restored(&mut self) -> Result<Vec<TopicPartition>, NotRestored> {
        let mut back = Vec::new();
        for restored in self.restores.finished()? {
            let owned = Owned {
                table: restored.whole.map_err(NotRestored::Final)?,
                topic_id: restored.topic_id,
                trimmed: Instant::now(),
            };
            self.tables.insert(restored.partition.clone(), owned);
            back.push(restored.partition);
        }
        Ok(back)
    }

    pub fn forget(&mut self, partition: &TopicPartition) {
        self.tables.remove(partition);
        self.restores.forget(partition);
    }

    /// One verdict for each claim. `records`: offset and timestamp of each.
    pub fn claim(
        &mut self,
        partition: &TopicPartition,
        claims: &[Claim],
        records: &[(i64, i64)],
    ) -> Result<Vec<Verdict>, Unjudged> {
        if self.ids() > self.ids_max {
            return Err(Unjudged::Full {
                ids_max: self.ids_max,
            });
        }
        let owned = self.tables.get_mut(partition).ok_or(Unjudged::Restoring)?;
        let verdicts = claims.iter().zip(records).map(|(claim, (at, timestamp_ms))| {
            let entry = Entry {
                id: claim.id,
                offset: claim.coordinate.offset,
                timestamp_ms: *timestamp_ms,
            };
            owned.table.claim(*at, entry)
        });
        Ok(verdicts.collect())
    }

    /// What the open transaction must write for this partition, whose records before `next` are in it.
    pub fn write(&mut self, partition: &TopicPartition, next: i64) -> Option<Writes> {
        let owned = self.tables.get_mut(partition)?;
        let written = owned.table.write(next);
        (!written.is_empty()).then(|| Writes {
            key: Arc::clone(&owned.topic_id),
            now_ms: now_ms(),
            written,
        })
    }

    /// The transaction committed.
    pub fn committed(&mut self, partition: &TopicPartition, next: i64, now: Instant) {
        let Some(owned) = self.tables.get_mut(partition) else {
            return;
        };
        owned.table.committed(next);
        if now.duration_since(owned.trimmed) >= self.trim_interval
            && let Some(oldest_ms) = owned.table.oldest_ms()
        {
            owned.trimmed = now;
            self.restores.errand(partition, Trim { before_ms: oldest_ms });
        }
    }

    /// The transaction is gone.
    pub fn aborted(&mut self, partition: &TopicPartition) {
        if let Some(owned) = self.tables.get_mut(partition) {
            owned.table.aborted();
        }
    }

    pub fn ids(&self) -> usize {
        self.tables.values().map(|owned| owned.table.len()).sum()
    }
}

/// Records of a changelog to be written.
#[derive(Debug)]
pub struct Writes {
    key: Arc<str>,
    now_ms: i64,
    written: Vec<Written>,
}

impl Writes {
    /// Key, value and timestamp of each. By the timestamp, records of old claims are found: it is that of the
    /// latest claim, but no broker takes one from the future.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &[u8], i64)> {
        self.written.iter().map(|written| {
            let timestamp_ms = written.latest_ms.min(self.now_ms).max(OLDEST_MS);
            (self.key.as_bytes(), written.value.as_slice(), timestamp_ms)
        })
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
