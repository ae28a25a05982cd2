//! The claims of one partition.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::entry::{self, CLAIMS_MAX, Entry, Unreadable};
use super::median_time::MedianTime;
use crate::dedup::claim::Verdict;
use crate::dedup::message_id::MessageId;

/// A record that comes later than those around it by up to this, or by the window if that is
/// less, is still judged by all claims that matter to it.
const LATENESS_MAX_MS: i64 = 3_600_000;

/// Claims are looked through for old ones when there are twice as many as after the last time.
const SWEEP_MIN: usize = 1024;

/// Ids are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

type Ids = HashMap<MessageId, Held, BuildHasherDefault<IdHasher>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    offset: i64,
    timestamp_ms: i64,
}

/// A record for the changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The latest timestamp of its claims.
    pub latest_ms: i64,
    pub value: Vec<u8>,
}

/// Claims that are committed, and those of the open transaction above them.
#[derive(Debug, Default)]
pub struct Table {
    window_ms: i64,
    held: Ids,
    /// Made since the last commit, in the order of their records, with the offsets of these. Those
    /// of records that are not decided yet are among them.
    open: Vec<(i64, Entry)>,
    /// The same, to look them up.
    open_ids: Ids,
    /// So many of `open` are in the changelog.
    written: usize,
    time: MedianTime,
    sweep_at: usize,
}

impl Table {
    pub fn new(window_ms: i64) -> Self {
        Self {
            window_ms,
            sweep_at: SWEEP_MIN,
            ..Self::default()
        }
    }

    /// Takes in one record of the changelog.
    pub fn restore(&mut self, value: &[u8]) -> Result<(), Unreadable> {
        let (held, time) = (&mut self.held, &mut self.time);
        let reached = entry::read(value, |claim| keep(held, time, &claim))?;
        if let Some(reached_ms) = reached {
            self.time.reach(reached_ms);
        }
        self.sweep();
        Ok(())
    }

    /// Claims the id for the record at this offset, unless another one holds it. One that was
    /// replayed claims by the offset that it had first.
    pub fn claim(&mut self, at: i64, claim: Entry) -> Verdict {
        let held = self.open_ids.get(&claim.id).or_else(|| self.held.get(&claim.id));
        match held {
            Some(held) if held.offset == claim.offset => Verdict::First,
            Some(held) if self.is_within(held.timestamp_ms, claim.timestamp_ms) => Verdict::Repeated,
            _ => {
                let held = Held {
                    offset: claim.offset,
                    timestamp_ms: claim.timestamp_ms,
                };
                self.open_ids.insert(claim.id, held);
                self.open.push((at, claim));
                Verdict::First
            }
        }
    }

    fn is_within(&self, one_ms: i64, other_ms: i64) -> bool {
        one_ms.abs_diff(other_ms) < self.window_ms.unsigned_abs()
    }

    /// Claims of records before `next` that are not in the changelog yet, as its records. They
    /// count as written from now on.
    pub fn write(&mut self, next: i64) -> Vec<Written> {
        let decided = self.decided(next);
        let unwritten = self.open.get(self.written..decided).unwrap_or_default();
        let reached = self.time.reached_ms();
        let values = unwritten.chunks(CLAIMS_MAX);
        let written = values.map(|claims| Written {
            latest_ms: claims
                .iter()
                .map(|(_, claim)| claim.timestamp_ms)
                .max()
                .unwrap_or_default(),
            value: entry::write(reached, claims.iter().map(|(_, claim)| claim)),
        });
        let written = written.collect();
        self.written = decided;
        written
    }

    /// How many of `open` are of records before `next`.
    fn decided(&self, next: i64) -> usize {
        self.open.partition_point(|(at, _)| *at < next)
    }

    /// The transaction committed: everything before `next` counts.
    pub fn committed(&mut self, next: i64) {
        let decided = self.decided(next);
        for (_, claim) in self.open.drain(..decided) {
            if self
                .open_ids
                .get(&claim.id)
                .is_some_and(|held| held.offset == claim.offset)
            {
                self.open_ids.remove(&claim.id);
            }
            keep(&mut self.held, &mut self.time, &claim);
        }
        self.written = 0;
        self.sweep();
    }

    /// The transaction is gone, and all that was read since the last commit comes again.
    pub fn aborted(&mut self) {
        self.open.clear();
        self.open_ids.clear();
        self.written = 0;
    }

    /// Forgets claims that no record can meet any more.
    fn sweep(&mut self) {
        if self.held.len() < self.sweep_at {
            return;
        }
        if let Some(oldest_ms) = self.oldest_ms() {
            self.held.retain(|_, held| held.timestamp_ms > oldest_ms);
        }
        self.sweep_at = (self.held.len() * 2).max(SWEEP_MIN);
    }

    /// Claims from here and before do not matter any more.
    pub fn oldest_ms(&self) -> Option<i64> {
        Some(self.oldest_at_ms(self.time.reached_ms()?))
    }

    /// The same, when the records have come to this time.
    pub fn oldest_at_ms(&self, reached_ms: i64) -> i64 {
        reached_ms.saturating_sub(self.reach_ms())
    }

    /// How far back claims matter.
    pub fn reach_ms(&self) -> i64 {
        self.window_ms.saturating_add(self.lateness_ms())
    }

    pub fn lateness_ms(&self) -> i64 {
        self.window_ms.min(LATENESS_MAX_MS)
    }

    /// Offset and timestamp of the claim that holds an id.
    pub fn holder(&self, id: &MessageId) -> Option<(i64, i64)> {
        let held = self.open_ids.get(id).or_else(|| self.held.get(id))?;
        Some((held.offset, held.timestamp_ms))
    }

    pub fn len(&self) -> usize {
        self.held.len() + self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Of two claims on one id the later one holds it: the earlier had passed its window.
fn keep(held: &mut Ids, time: &mut MedianTime, claim: &Entry) {
    time.observe(claim.timestamp_ms);
    let of = Held {
        offset: claim.offset,
        timestamp_ms: claim.timestamp_ms,
    };
    held.insert(claim.id, of);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW_MS: i64 = 1000;

    fn claim(id: u8, offset: i64, timestamp_ms: i64) -> Entry {
        Entry {
            id: MessageId::from_bytes([id; 16]),
            offset,
            timestamp_ms,
        }
    }

    fn judge(table: &mut Table, claim: Entry) -> Verdict {
        table.claim(claim.offset, claim)
    }

    fn restored(log: &[Written]) -> Table {
        let mut table = Table::new(WINDOW_MS);
        for written in log {
            table.restore(&written.value).unwrap();
        }
        table
    }

    #[test]
    fn what_commits_is_in_the_changelog_and_what_aborts_was_never_there() {
        let mut table = Table::new(WINDOW_MS);
        assert_eq!(judge(&mut table, claim(1, 0, 0)), Verdict::First);
        assert_eq!(judge(&mut table, claim(2, 1, 1)), Verdict::First);
        // Not decided in this transaction.
        assert_eq!(judge(&mut table, claim(3, 2, 2)), Verdict::First);
        let values = table.write(2);
        table.committed(2);
        assert_eq!(table.write(2), []);
        assert_eq!(judge(&mut table, claim(3, 2, 2)), Verdict::First, "its own");
        assert_eq!(judge(&mut table, claim(3, 3, 3)), Verdict::Repeated);
        table.aborted();
        assert_eq!(judge(&mut table, claim(3, 3, 3)), Verdict::First);

        let mut next_owner = restored(&values);
        assert_eq!(judge(&mut next_owner, claim(1, 9, 9)), Verdict::Repeated);
        assert_eq!(judge(&mut next_owner, claim(2, 9, 9)), Verdict::Repeated);
        assert_eq!(judge(&mut next_owner, claim(3, 9, 9)), Verdict::First);
    }

    #[test]
    fn a_replayed_record_is_the_one_that_it_was() {
        let mut table = Table::new(WINDOW_MS);
        judge(&mut table, claim(1, 3, 0));
        let values = table.write(4);
        table.committed(4);
        // Put back at 7 what stood at 3, and again.
        assert_eq!(table.claim(7, claim(1, 3, 0)), Verdict::First);
        assert_eq!(judge(&mut table, claim(1, 8, 1)), Verdict::Repeated);
        assert_eq!(table.write(9), [], "it is claimed already");
        table.committed(9);
        let mut next_owner = restored(&values);
        assert_eq!(next_owner.claim(9, claim(1, 3, 0)), Verdict::First);
        // Nobody knows its id any more: it claims it by where it stood first, when it is decided.
        assert_eq!(table.claim(10, claim(2, 5, 0)), Verdict::First);
        assert_eq!(table.write(10), [], "not decided yet");
        let values = table.write(11);
        table.committed(11);
        assert_eq!(judge(&mut table, claim(2, 11, 1)), Verdict::Repeated);
        let mut next_owner = restored(&values);
        assert_eq!(next_owner.claim(12, claim(2, 5, 0)), Verdict::First, "read again");
        assert_eq!(judge(&mut next_owner, claim(2, 13, 1)), Verdict::Repeated);
    }

    #[test]
    fn an_id_is_free_again_after_its_window_by_the_time_of_the_records() {
        let mut table = Table::new(WINDOW_MS);
        judge(&mut table, claim(1, 0, 5000));
        assert_eq!(judge(&mut table, claim(1, 1, 5999)), Verdict::Repeated);
        assert_eq!(
            judge(&mut table, claim(1, 2, 4001)),
            Verdict::Repeated,
            "late by less"
        );
        assert_eq!(judge(&mut table, claim(1, 3, 6000)), Verdict::First);
        assert_eq!(judge(&mut table, claim(1, 4, 6500)), Verdict::Repeated);
        assert_eq!(judge(&mut table, claim(1, 3, 6000)), Verdict::First, "its own");
    }

    #[test]
    fn old_claims_are_forgotten_and_a_record_from_the_future_forgets_none() {
        let mut table = Table::new(WINDOW_MS);
        for n in 0..20_000_i64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            let timestamp_ms = if n % 10 == 0 { i64::MAX } else { n };
            let claim = Entry {
                id: MessageId::from_bytes(id),
                offset: n,
                timestamp_ms,
            };
            judge(&mut table, claim);
            if n % 100 == 99 {
                table.write(n + 1);
                table.committed(n + 1);
            }
        }
        // Those of the future stay, of the others two windows and what came since the last sweep.
        assert!((2000 + 2000..12_000).contains(&table.len()), "{}", table.len());
    }

    /// As the table must judge: a list of all claims that committed.
    #[derive(Default)]
    struct Model(Vec<Entry>);

    impl Model {
        fn judge(&self, claim: &Entry) -> Verdict {
            let last = self.0.iter().rev().find(|held| held.id == claim.id);
            match last {
                Some(held) if held.offset == claim.offset => Verdict::First,
                Some(held) if held.timestamp_ms.abs_diff(claim.timestamp_ms) < WINDOW_MS.unsigned_abs() => {
                    Verdict::Repeated
                }
                _ => Verdict::First,
            }
        }
    }

    proptest! {
        /// Reads records with aborts, new owners and turns that decide less than was judged.
        #[test]
        fn judges_as_who_remembers_everything(
            records in prop::collection::vec((0_u8..6, 0_i64..400), 1..80),
            steps in prop::collection::vec((1_usize..9, 0_usize..4, 0_u8..4), 1..200),
        ) {
            let mut at_ms = 0;
            let records: Vec<Entry> = (0..)
                .zip(records)
                .map(|(offset, (id, pause_ms))| {
                    at_ms += pause_ms;
                    claim(id, offset, at_ms)
                })
                .collect();
            // What each record must be, once and for all.
            let mut model = Model::default();
            let expected: Vec<Verdict> = records
                .iter()
                .map(|record| {
                    let verdict = model.judge(record);
                    if verdict == Verdict::First {
                        model.0.push(*record);
                    }
                    verdict
                })
                .collect();
            let (mut table, mut log) = (Table::new(WINDOW_MS), Vec::new());
            let mut committed = 0;
            for (judged, undecided, end) in steps {
                let batch = records.iter().zip(&expected).skip(committed).take(judged);
                let mut count = 0_usize;
                for (record, expected) in batch {
                    prop_assert_eq!(judge(&mut table, *record), *expected);
                    count += 1;
                }
                let decided = count.saturating_sub(undecided);
                let next = i64::try_from(committed + decided).unwrap();
                match end {
                    0 => table.aborted(),
                    1 => {
                        table.write(next);
                        table.aborted();
                    }
                    2 => {
                        log.extend(table.write(next));
                        table = restored(&log);
                        committed += decided;
                    }
                    _ => {
                        log.extend(table.write(next));
                        table.committed(next);
                        committed += decided;
                    }
                }
            }
        }
    }
}
