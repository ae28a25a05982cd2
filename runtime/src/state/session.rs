//! One lane's view of the state of its partitions.
//!
//! A run is one batch on its way through the stages. What a transform reads is what the run
//! changed so far, over what the open transaction changed, over what is committed. When the run is
//! settled, the changes of the records that were decided become part of the transaction; the
//! transaction's changes become committed with it, or are forgotten with it.
//!
//! Invariant: a store belongs to one stage. Of two stages that share one, the first would be
//! through with a whole batch before the second began, and what they read would depend on how
//! records are cut into batches.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strait_sdk::batch::StateOp;

use super::layer;
use super::local::{KEY_BYTES_MAX, LocalError, Position};
use super::owned::{Owned, Whole, Writes};
use super::record::{Entry, NEVER_MS};
use super::run::{Change, Run};
use crate::guest::{NoPage, StateAccess};
use crate::kafka::TopicPartition;
use crate::plan::Store;

/// The state of the partitions that one lane owns.
#[derive(Debug)]
pub struct Session(RefCell<Inner>);

#[derive(Debug)]
struct Inner {
    stores: Vec<Rules>,
    owned: HashMap<TopicPartition, Owned>,
    run: Option<Run>,
    /// Which stage is at work.
    stage: Arc<str>,
    /// Why the folder could not be read.
    trouble: Option<LocalError>,
}

#[derive(Debug)]
struct Rules {
    name: String,
    ttl_ms: Option<i64>,
    /// Key and value of an entry together: what its changelog takes.
    entry_bytes_max: usize,
    /// The stage that uses it.
    stage: Option<Arc<str>>,
}

/// A change that its record cannot make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The record has failed.
    Entry(String),
    /// The pipeline is wrong.
    Pipeline(String),
}

impl Session {
    /// `entry_bytes_max`: what the changelog of each store takes.
    pub fn new(stores: &[Store], entry_bytes_max: &[usize]) -> Self {
        let rules = stores
            .iter()
            .zip(entry_bytes_max)
            .map(|(store, bytes_max)| Rules {
                name: store.name.clone(),
                ttl_ms: store.ttl.map(millis),
                entry_bytes_max: *bytes_max,
                stage: None,
            });
        Self(RefCell::new(Inner {
            stores: rules.collect(),
            owned: HashMap::new(),
            run: None,
            stage: Arc::from(""),
            trouble: None,
        }))
    }

    /// Takes a partition in whose state is whole again.
    pub fn own(&self, partition: TopicPartition, topic_id: Arc<str>, whole: Whole) {
        let owned = Owned::new(topic_id, whole);
        self.0.borrow_mut().owned.insert(partition, owned);
    }

    pub fn forget(&self, partition: &TopicPartition) {
        self.0.borrow_mut().owned.remove(partition);
    }

    /// A run begins, of records with these timestamps. `false`: the partition is not owned.
    pub fn begin(&self, partition: &TopicPartition, timestamps_ms: impl Iterator<Item = i64>) -> bool {
        let mut inner = self.0.borrow_mut();
        inner.put_back();
        let Some((partition, owned)) = inner.owned.remove_entry(partition) else {
            return false;
        };
        inner.run = Some(Run::new(partition, owned, timestamps_ms));
        true
    }

    /// The stream time at each of these records of the run.
    pub fn times_ms(&self, records: impl Iterator<Item = usize>) -> Vec<i64> {
        let inner = self.0.borrow();
        let times_ms = inner.run.as_ref().map_or(&[][..], |run| &run.times_ms);
        records
            .map(|record| times_ms.get(record).copied().unwrap_or_default())
            .collect()
    }

    /// From now on this stage is at work.
    pub fn enter(&self, stage: &Arc<str>) {
        let mut inner = self.0.borrow_mut();
        if !Arc::ptr_eq(&inner.stage, stage) {
            inner.stage = Arc::clone(stage);
        }
    }

    /// A record of the run changes the state.
    pub fn write(&self, record: usize, op: &StateOp<'_>) -> Result<(), Refused> {
        let mut inner = self.0.borrow_mut();
        let store = usize::from(op.store);
        inner.claim(store).map_err(Refused::Pipeline)?;
        if let Some(run) = &mut inner.run {
            run.touched.insert(record);
        }
        let Some(rules) = inner.stores.get(store) else {
            return Ok(());
        };
        let size = op.key.len().saturating_add(op.value.map_or(0, <[u8]>::len));
        if op.key.is_empty() {
            return Err(Refused::Entry("a key of the state must not be empty".to_owned()));
        }
        if op.key.len() > KEY_BYTES_MAX {
            let what = format!(
                "a key of the state has {} bytes, and {KEY_BYTES_MAX} fit",
                op.key.len()
            );
            return Err(Refused::Entry(what));
        }
        if size > rules.entry_bytes_max {
            return Err(Refused::Entry(format!(
                "an entry of the store {} has {size} bytes, and its changelog takes {}",
                rules.name, rules.entry_bytes_max
            )));
        }
        let ttl_ms = op.ttl_ms.or(rules.ttl_ms);
        let Some(run) = &mut inner.run else { return Ok(()) };
        let time_ms = run.times_ms.get(record).copied().unwrap_or_default();
        let entry = op.value.map(|value| Entry {
            value: value.into(),
            expires_at_ms: ttl_ms.map_or(NEVER_MS, |ttl_ms| time_ms.saturating_add(ttl_ms)),
        });
        let change = layer::Change {
            entry: entry.clone(),
            by: None,
        };
        run.layer.set(store, op.key, change);
        run.changes.push(Change {
            record,
            store,
            key: op.key.into(),
            entry,
        });
        Ok(())
    }

    /// A record that has failed wrote something all the same.
    pub fn touch(&self, record: usize) {
        if let Some(run) = &mut self.0.borrow_mut().run {
            run.touched.insert(record);
        }
    }

    /// Of these records the first that wrote something in this run.
    pub fn first_touched(&self, records: impl Iterator<Item = usize>) -> Option<usize> {
        let inner = self.0.borrow();
        let run = inner.run.as_ref()?;
        records.filter(|record| run.touched.contains(record)).min()
    }

    /// The run is over: so many records, which stand at these offsets, are decided, of which these failed.
    /// Gives how many bytes the transaction holds more for it.
    pub fn settle(&self, decided: &[i64], failed: impl Iterator<Item = usize>) -> usize {
        let mut inner = self.0.borrow_mut();
        let Some(mut run) = inner.run.take() else { return 0 };
        let failed: HashSet<usize> = failed.collect();
        let open = &mut run.owned.open;
        let before = open.bytes();
        for change in run.changes {
            let by = decided.get(change.record).copied();
            if by.is_some() && !failed.contains(&change.record) {
                let entry = change.entry;
                open.set(change.store, &change.key, layer::Change { entry, by });
            }
        }
        let more = open.bytes().saturating_sub(before);
        inner.owned.insert(run.partition, run.owned);
        more
    }

    /// Records with these timestamps are decided: time goes on.
    pub fn advance(&self, partition: &TopicPartition, timestamps_ms: impl Iterator<Item = i64>) {
        if let Some(owned) = self.0.borrow_mut().owned.get_mut(partition) {
            for timestamp_ms in timestamps_ms {
                owned.time.observe(timestamp_ms);
            }
        }
    }

    /// What the open transaction must write for this partition, whose records before `next` are in it.
    pub fn writes(&self, partition: &TopicPartition, next: i64) -> Result<Vec<Writes>, LocalError> {
        let mut inner = self.0.borrow_mut();
        let owned = inner.owned.get_mut(partition);
        owned.map_or(Ok(Vec::new()), |owned| owned.writes(next))
    }

    /// The transaction committed, with the records before `next`.
    pub fn committed(&self, partition: &TopicPartition, next: i64) -> Result<(), LocalError> {
        let mut inner = self.0.borrow_mut();
        let owned = inner.owned.get_mut(partition);
        owned.map_or(Ok(()), |owned| owned.committed(next))
    }

    /// The transaction is gone.
    pub fn aborted(&self, partition: &TopicPartition) {
        let mut inner = self.0.borrow_mut();
        inner.put_back();
        if let Some(owned) = inner.owned.get_mut(partition) {
            owned.aborted();
        }
    }

    /// Ids of the changelogs that the state of this partition came from, in the order of the stores.
    pub fn changelog_ids(&self, partition: &TopicPartition) -> Vec<String> {
        let inner = self.0.borrow();
        let owned = inner.owned.get(partition);
        owned.map_or_else(Vec::new, |owned| owned.changelog_ids().to_vec())
    }

    /// Whether these are positions of the changelogs that the state of this partition came from.
    pub fn is_of(&self, partition: &TopicPartition, positions: &[Position]) -> bool {
        let inner = self.0.borrow();
        let owned = inner.owned.get(partition);
        owned.is_none_or(|owned| owned.is_of(positions))
    }

    /// The changelogs of this partition are in its trees up to these positions.
    pub fn reached(&self, partition: &TopicPartition, positions: &[Position]) -> Result<(), LocalError> {
        let inner = self.0.borrow();
        let owned = inner.owned.get(partition);
        owned.map_or(Ok(()), |owned| owned.reached(positions))
    }

    /// Why the folder could not be read since this was asked last, if it could not.
    pub fn take_trouble(&self) -> Option<LocalError> {
        self.0.borrow_mut().trouble.take()
    }
}

impl StateAccess for Session {
    fn get(&self, store: u16, key: &[u8], time_ms: i64) -> Result<Option<Vec<u8>>, String> {
        let store = usize::from(store);
        let mut inner = self.0.borrow_mut();
        inner.claim(store)?;
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let found = inner.run.as_ref().map_or(Ok(None), |run| run.get(store, key));
        let alive = inner.judge(found)?.filter(|entry| entry.is_alive(time_ms));
        Ok(alive.map(|entry| entry.value.into_vec()))
    }

    fn scan(
        &self,
        store: u16,
        prefix: &[u8],
        after: &[u8],
        time_ms: i64,
        until: Option<Instant>,
    ) -> Result<Vec<u8>, NoPage> {
        let store = usize::from(store);
        let mut inner = self.0.borrow_mut();
        inner.claim(store).map_err(NoPage::Trouble)?;
        if prefix.len().max(after.len()) > KEY_BYTES_MAX {
            return Ok(Vec::new());
        }
        let page = inner.run.as_ref().map_or(Ok(Some(Vec::new())), |run| {
            run.scan(store, prefix, after, time_ms, until)
        });
        inner.judge(page).map_err(NoPage::Trouble)?.ok_or(NoPage::Late)
    }
}

impl Inner {
    /// The stage at work uses this store.
    fn claim(&mut self, store: usize) -> Result<(), String> {
        let Some(rules) = self.stores.get_mut(store) else {
            return Err(format!(
                "stage {}: the transform uses store number {store}, and the pipeline declares {}",
                self.stage,
                self.stores.len()
            ));
        };
        match &rules.stage {
            Some(stage) if **stage != *self.stage => Err(format!(
                "stages {stage} and {} use the store {}: what they read would depend on how records are cut into \
                 batches; declare a store for each",
                self.stage, rules.name
            )),
            Some(_) => Ok(()),
            None => {
                rules.stage = Some(Arc::clone(&self.stage));
                Ok(())
            }
        }
    }

    /// Notes that the folder could not be read.
    fn judge<T>(&mut self, read: Result<T, LocalError>) -> Result<T, String> {
        read.map_err(|error| {
            let told = error.to_string();
            self.trouble = Some(error);
            told
        })
    }

    /// A run that was not settled changed nothing.
    fn put_back(&mut self) {
        if let Some(run) = self.run.take() {
            self.owned.insert(run.partition, run.owned);
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
