//! The open transaction's own numbers. Counted when it commits, forgotten when it aborts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::dedup::judge::Counts;
use crate::lane::commit_policy::Size;
use crate::stage::FailureKind;

/// Timestamps kept of one batch for the end-to-end histogram: all of a small batch, an
/// even sample of a large one.
const SAMPLES_PER_BATCH: usize = 16;

/// And of one transaction.
const SAMPLES_MAX: usize = 4096;

#[derive(Debug)]
pub struct Open {
    pub began: Instant,
    /// The assignment's epoch at its begin.
    pub epoch: u64,
    /// The group's generation at its begin.
    pub generation: Option<i32>,
    /// Records handed to the stages or given up, decided or not.
    pub tried: usize,
    pub records: usize,
    pub bytes: usize,
    pub guest_time: Duration,
    /// Records produced, by position in the producer's list of topics.
    pub produced: Vec<u64>,
    pub filtered: u64,
    pub retried: u64,
    /// What the message ids of its records were.
    pub ids: Counts,
    pub skipped: BTreeMap<FailureKind, u64>,
    pub dead_lettered: BTreeMap<FailureKind, u64>,
    timestamps_ms: Vec<i64>,
}

impl Open {
    pub fn new(began: Instant, epoch: u64, generation: Option<i32>, topics: usize) -> Self {
        Self {
            began,
            epoch,
            generation,
            tried: 0,
            records: 0,
            bytes: 0,
            guest_time: Duration::ZERO,
            produced: vec![0; topics],
            filtered: 0,
            retried: 0,
            ids: Counts::default(),
            skipped: BTreeMap::new(),
            dead_lettered: BTreeMap::new(),
            timestamps_ms: Vec::new(),
        }
    }

    pub fn size(&self) -> Size {
        Size {
            began: self.began,
            records: self.records,
            bytes: self.bytes,
        }
    }

    /// Whether anything was decided or produced in it.
    pub fn has_work(&self) -> bool {
        self.records > 0 || self.produced.iter().any(|n| *n > 0)
    }

    pub fn count_produced(&mut self, topic: usize, bytes: usize) {
        if let Some(count) = self.produced.get_mut(topic) {
            *count += 1;
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Keeps timestamps of a batch for the end-to-end histogram.
    pub fn sample(&mut self, count: usize, timestamps_ms: impl Iterator<Item = i64>) {
        let step = count.div_ceil(SAMPLES_PER_BATCH).max(1);
        let room = SAMPLES_MAX.saturating_sub(self.timestamps_ms.len());
        self.timestamps_ms
            .extend(timestamps_ms.step_by(step).filter(|t| *t >= 0).take(room));
    }

    pub fn timestamps_ms(&self) -> &[i64] {
        &self.timestamps_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_batch_is_sampled_whole_and_a_large_one_evenly() {
        let mut open = Open::new(Instant::now(), 0, None, 1);
        open.sample(3, [1, 2, 3].into_iter());
        assert_eq!(open.timestamps_ms(), [1, 2, 3]);
        let mut open = Open::new(Instant::now(), 0, None, 1);
        open.sample(1600, 0..1600);
        assert_eq!(open.timestamps_ms().len(), 16);
        for _ in 0..10_000 {
            open.sample(1600, 0..1600);
        }
        assert_eq!(open.timestamps_ms().len(), SAMPLES_MAX);
    }
}
