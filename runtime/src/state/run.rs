//! One batch on its way through the stages: what it changed so far, and what it can read.

use std::collections::HashSet;
use std::time::Instant;

use super::layer::Layer;
use super::local::LocalError;
use super::owned::Owned;
use super::record::Entry;
use crate::kafka::TopicPartition;

/// A page of a scan, unless one entry is larger.
const PAGE_BYTES: usize = 64 << 10;

/// So many entries that have expired are passed over between two looks at the clock.
const LOOK_EVERY: usize = 256;

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) partition: TopicPartition,
    /// The partition's state, while the run lasts.
    pub(super) owned: Owned,
    /// The stream time of each record.
    pub(super) times_ms: Vec<i64>,
    pub(super) changes: Vec<Change>,
    /// Records that wrote something, also what was refused: those behind them may have read it.
    pub(super) touched: HashSet<usize>,
    pub(super) layer: Layer,
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) record: usize,
    pub(super) store: usize,
    pub(super) key: Box<[u8]>,
    pub(super) entry: Option<Entry>,
}

impl Run {
    pub(super) fn new(
        partition: TopicPartition,
        owned: Owned,
        timestamps_ms: impl Iterator<Item = i64>,
    ) -> Self {
        let mut time = owned.time.clone();
        Self {
            partition,
            times_ms: timestamps_ms
                .map(|timestamp_ms| time.observe(timestamp_ms))
                .collect(),
            owned,
            changes: Vec::new(),
            touched: HashSet::new(),
            layer: Layer::default(),
        }
    }

    pub(super) fn get(&self, store: usize, key: &[u8]) -> Result<Option<Entry>, LocalError> {
        let changed = self.layer.get(store, key);
        let changed = changed.or_else(|| self.owned.open.get(store, key));
        match (changed, self.owned.trees.get(store)) {
            (Some(changed), _) => Ok(changed.clone()),
            (None, Some(tree)) => tree.get(key),
            (None, None) => Ok(None),
        }
    }

    /// Three sources in the order of their keys; of one key the newest counts. `None`: it is later than
    /// `until`.
    pub(super) fn scan(
        &self,
        store: usize,
        prefix: &[u8],
        after: &[u8],
        time_ms: i64,
        until: Option<Instant>,
    ) -> Result<Option<Vec<u8>>, LocalError> {
        let mut page = Vec::new();
        let Some(tree) = self.owned.trees.get(store) else {
            return Ok(Some(page));
        };
        let mut passed = 0;
        let mut newest = self.layer.scan(store, prefix, after).peekable();
        let mut newer = self.owned.open.scan(store, prefix, after).peekable();
        let mut old = tree.scan(prefix, after);
        let mut old_next = old.next().transpose()?;
        while page.len() < PAGE_BYTES {
            let heads = [
                newest.peek().map(|(key, _)| *key),
                newer.peek().map(|(key, _)| *key),
                old_next.as_ref().map(|(key, _)| key.as_slice()),
            ];
            let Some(key) = heads.into_iter().flatten().min().map(<[u8]>::to_vec) else {
                break;
            };
            let mut entry = None;
            if let Some((_, committed)) = old_next.take_if(|(at, _)| *at == key) {
                entry = Some(committed);
                old_next = old.next().transpose()?;
            }
            for changes in [&mut newer as &mut dyn Heads<'_>, &mut newest] {
                if let Some(changed) = changes.take(&key) {
                    entry.clone_from(changed);
                }
            }
            if let Some(entry) = entry.filter(|entry| entry.is_alive(time_ms)) {
                put(&mut page, &key, &entry.value);
                continue;
            }
            passed += 1;
            if passed % LOOK_EVERY == 0 && until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
        }
        Ok(Some(page))
    }
}

/// Changes in the order of their keys, taken one by one.
trait Heads<'a> {
    fn take(&mut self, key: &[u8]) -> Option<&'a Option<Entry>>;
}

impl<'a, I: Iterator<Item = (&'a [u8], &'a Option<Entry>)>> Heads<'a> for std::iter::Peekable<I> {
    fn take(&mut self, key: &[u8]) -> Option<&'a Option<Entry>> {
        self.next_if(|(at, _)| *at == key).map(|(_, changed)| changed)
    }
}

fn put(page: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    page.extend_from_slice(&len(key));
    page.extend_from_slice(&len(value));
    page.extend_from_slice(key);
    page.extend_from_slice(value);
}
