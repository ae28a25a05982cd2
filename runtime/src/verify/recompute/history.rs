//! The claims of one input partition on message ids, made once more in the order of its records.
//!
//! The table is the one that lanes use. Three things that they may know otherwise leave a
//! doubt:
//!
//! - claims of records that are not read: before the range, deleted or compacted ([`Unseen`]);
//! - old claims: lanes forget them between two commits, and nobody knows between which. It
//!   only matters to a record that comes late, by as much as the table allows;
//! - what was in doubt itself may have claimed its id or not.
//!
//! Without them each verdict is certain. Beside the table there are as many entries as ids in
//! doubt; both forget what has passed the window.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::dedup::changelog::{Ceiling, Entry, IdHasher, MedianTime, Table};
use crate::dedup::claim::Verdict;
use crate::dedup::message_id::MessageId;

/// Doubts are looked through for old ones when there are twice as many as after the last time.
const SWEEP_MIN: usize = 1024;

/// Claims of records that are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// There are none.
    Nothing,
    /// The timestamps of their records are below this.
    Before(i64),
    /// Their records stood before those that are read. How old they are shows when these have
    /// come some way.
    Earlier,
    /// Their records stood anywhere.
    Everywhere,
}

/// What a record with a message id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    First,
    Repeat,
    /// One of them.
    Doubtful,
}

/// Timestamps between which the one stands that holds an id.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    from_ms: i64,
    to_ms: i64,
}

/// What the last record that was judged leaves behind if it counts.
#[derive(Debug, Clone, Copy)]
struct Judged {
    at: i64,
    claim: Entry,
    standing: Standing,
    is_new: bool,
}

#[derive(Debug)]
pub struct History {
    table: Table,
    window_ms: i64,
    unseen: Unseen,
    /// While it is not known how old that is which was not seen.
    time: MedianTime,
    /// Lanes have come no further, wherever they began.
    ceiling: Ceiling,
    doubts: HashMap<MessageId, Doubt, BuildHasherDefault<IdHasher>>,
    sweep_at: usize,
    judged: Option<Judged>,
}

impl History {
    pub fn new(window_ms: i64, unseen: Unseen) -> Self {
        Self {
            table: Table::new(window_ms),
            window_ms,
            unseen,
            time: MedianTime::default(),
            ceiling: Ceiling::default(),
            doubts: HashMap::default(),
            sweep_at: SWEEP_MIN,
            judged: None,
        }
    }

    /// Records behind those that were read were deleted. They may have claimed any id anew, so what
    /// is known is worth nothing.
    pub fn lose_sight(&mut self) {
        if self.unseen != Unseen::Everywhere {
            *self = Self::new(self.window_ms, Unseen::Earlier);
        }
    }

    /// Judges the next record, at the offset `at`. It counts with [`History::count`], and else
    /// was never judged.
    pub fn judge(&mut self, at: i64, claim: Entry) -> Standing {
        if self.unseen == Unseen::Everywhere {
            return Standing::Doubtful;
        }
        self.table.aborted();
        let held = self.table.holder(&claim.id);
        let verdict = self.table.claim(at, claim);
        let is_own = held.is_some_and(|(offset, _)| offset == claim.offset);
        let at_ms = claim.timestamp_ms;
        let is_certain = match (self.doubts.get(&claim.id), held, verdict) {
            (Some(doubt), ..) => doubt.is_past(at_ms, self.window_ms),
            (None, Some((_, held_ms)), Verdict::Repeated) => !self.may_be_forgotten(held_ms),
            (None, Some(_), Verdict::First) => is_own || !self.comes_late(at_ms),
            (None, None, _) => !self.comes_late(at_ms) && !self.may_be_unseen(at_ms),
        };
        let standing = match verdict {
            _ if !is_certain => Standing::Doubtful,
            Verdict::First => Standing::First,
            Verdict::Repeated => Standing::Repeat,
        };
        self.judged = Some(Judged {
            at,
            claim,
            standing,
            is_new: verdict == Verdict::First && !is_own,
        });
        standing
    }

    /// The record that was judged last counts.
    pub fn count(&mut self) {
        let Some(judged) = self.judged.take() else { return };
        self.table.committed(judged.at.saturating_add(1));
        let Entry { id, timestamp_ms, .. } = judged.claim;
        if judged.is_new {
            self.ceiling.observe(timestamp_ms);
        }
        self.come_to(timestamp_ms);
        match judged.standing {
            Standing::First => _ = self.doubts.remove(&id),
            Standing::Repeat => {}
            Standing::Doubtful => {
                let doubt = self.doubt(&id, timestamp_ms);
                self.doubts.insert(id, doubt);
                self.sweep();
            }
        }
    }

    /// What stood before the first records is not from a time after theirs, but as late as the
    /// table allows.
    fn come_to(&mut self, timestamp_ms: i64) {
        if self.unseen != Unseen::Earlier {
            return;
        }
        self.time.observe(timestamp_ms);
        if let Some(reached_ms) = self.time.reached_ms() {
            self.unseen = Unseen::Before(reached_ms.saturating_add(self.table.lateness_ms()));
        }
    }

    fn may_be_unseen(&self, at_ms: i64) -> bool {
        match self.unseen {
            Unseen::Nothing => false,
            Unseen::Before(ms) => at_ms.saturating_sub(self.window_ms) < ms,
            Unseen::Earlier | Unseen::Everywhere => true,
        }
    }

    /// A claim that the table has forgotten may be within its window.
    fn comes_late(&self, at_ms: i64) -> bool {
        let oldest_ms = self.table.oldest_ms();
        oldest_ms.is_some_and(|oldest_ms| at_ms.saturating_sub(self.window_ms) < oldest_ms)
    }

    /// A lane may have forgotten a claim of this time.
    fn may_be_forgotten(&self, held_ms: i64) -> bool {
        let ceiling_ms = self.ceiling.ms();
        ceiling_ms.is_some_and(|ceiling_ms| held_ms <= self.table.oldest_at_ms(ceiling_ms))
    }

    /// Who may hold an id behind a record of this time: the record itself, who held it before, or one
    /// that is not known and was within its window.
    fn doubt(&self, id: &MessageId, at_ms: i64) -> Doubt {
        let unseen_ms = match self.unseen {
            Unseen::Nothing => i64::MIN,
            Unseen::Before(ms) => ms,
            Unseen::Earlier | Unseen::Everywhere => i64::MAX,
        };
        let unknown_ms = unseen_ms.max(self.table.oldest_ms().unwrap_or(i64::MIN));
        let holder_ms = self.table.holder(id).map_or(at_ms, |(_, held_ms)| held_ms);
        let latest_ms = unknown_ms.min(at_ms.saturating_add(self.window_ms));
        let doubt = Doubt {
            from_ms: at_ms.saturating_sub(self.window_ms).min(holder_ms),
            to_ms: latest_ms.max(at_ms).max(holder_ms),
        };
        self.doubts.get(id).map_or(doubt, |before| doubt.and(*before))
    }

    fn sweep(&mut self) {
        if self.doubts.len() < self.sweep_at {
            return;
        }
        if let Some(oldest_ms) = self.table.oldest_ms() {
            self.doubts.retain(|_, doubt| doubt.to_ms > oldest_ms);
        }
        self.sweep_at = (self.doubts.len() * 2).max(SWEEP_MIN);
    }
}

impl Doubt {
    fn and(self, other: Self) -> Self {
        Self {
            from_ms: self.from_ms.min(other.from_ms),
            to_ms: self.to_ms.max(other.to_ms),
        }
    }

    /// Whoever holds the id, its window does not reach here.
    fn is_past(self, at_ms: i64, window_ms: i64) -> bool {
        at_ms.saturating_sub(window_ms) >= self.to_ms || at_ms.saturating_add(window_ms) <= self.from_ms
    }
}

#[cfg(test)]
mod tests;
