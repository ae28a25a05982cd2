//! What a lane knows of each partition that it owns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::kafka::{Position, TopicPartition};
use crate::lane::backlog::Backlog;

/// Where a partition stands between its assignment and its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its committed offset is not known yet (a transaction of the owner before is
    /// still open). What the client hands out of it is dropped.
    Resolving,
    /// Its start is known, but neither committed nor marked yet. Nothing of it is processed.
    Starting,
    Steady,
}

/// What of a partition is not back yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restoring {
    pub claims: bool,
    pub state: bool,
}

impl Restoring {
    pub fn any(self) -> bool {
        self.claims || self.state
    }
}

/// One owned partition. Generic over the client's record type.
#[derive(Debug)]
pub struct Partition<R> {
    pub id: TopicPartition,
    /// The id of its topic when it was assigned. Empty while it is `Resolving`.
    pub topic_id: Arc<str>,
    /// What its records carry through the producer. Given once, and not to another partition
    /// soon, so that a late answer never speaks of the wrong one.
    pub tag: u16,
    pub standing: Standing,
    /// What the group has committed, as far as this lane knows.
    pub committed: i64,
    /// The next offset to decide. `committed..next` is in the open transaction.
    pub next: i64,
    pub backlog: Backlog<R>,
    /// The control topic has no mark of this partition yet.
    pub mark_due: bool,
    /// At most once: committed before it was processed.
    pub promised: i64,
    /// Records before it were polled once already, before an abort.
    pub redelivered_below: i64,
    /// Its next offset is not in the log. To be judged when what came before is decided.
    pub gap: bool,
    /// What others wrote of it is not back yet. Nothing of it is fetched.
    pub restoring: Restoring,
    /// The record at this offset runs in a batch of its own.
    pub apart: Option<i64>,
    /// Not processed before this moment.
    pub held_until: Option<Instant>,
    /// The end of what a `read_committed` reader can see.
    pub last_stable: Option<i64>,
    pub last_timestamp_ms: i64,
    /// Of the open transaction.
    pub records_in: u64,
    pub redelivered: u64,
}

impl<R: strait_sdk::batch::Record> Partition<R> {
    pub fn new(id: TopicPartition) -> Self {
        Self {
            id,
            topic_id: Arc::from(""),
            tag: 0,
            standing: Standing::Resolving,
            committed: 0,
            next: 0,
            backlog: Backlog::default(),
            mark_due: false,
            promised: 0,
            redelivered_below: 0,
            gap: false,
            restoring: Restoring::default(),
            apart: None,
            held_until: None,
            last_stable: None,
            last_timestamp_ms: -1,
            records_in: 0,
            redelivered: 0,
        }
    }

    /// Starts here: everything before `offset` is committed, or will be before the first record.
    pub fn start_at(&mut self, offset: i64, standing: Standing) {
        self.committed = offset;
        self.next = offset;
        self.standing = standing;
        self.gap = false;
        self.backlog.clear();
    }

    /// Whether its offset belongs into the next transaction.
    pub fn is_dirty(&self) -> bool {
        match self.standing {
            Standing::Resolving => false,
            Standing::Starting => true,
            Standing::Steady => self.next != self.committed || self.mark_due,
        }
    }

    /// Whether it has something that may be processed now.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.standing == Standing::Steady
            && !self.restoring.any()
            && !self.backlog.is_empty()
            && self.held_until.is_none_or(|until| until <= now)
    }

    pub fn position(&self) -> Position {
        Position {
            partition: self.id.clone(),
            offset: self.next,
        }
    }

    /// The open transaction committed.
    pub fn committed(&mut self) {
        self.committed = self.next;
        if self.standing == Standing::Starting {
            self.standing = Standing::Steady;
        }
        self.mark_due = false;
        self.records_in = 0;
        self.redelivered = 0;
    }

    /// The open transaction is gone: back to `offset`. What was polled will come again.
    pub fn rewind(&mut self, offset: i64) {
        let offset = offset.max(self.promised);
        self.redelivered_below = self.redelivered_below.max(self.next);
        self.committed = offset;
        self.next = offset;
        self.backlog.clear();
        self.gap = false;
        self.records_in = 0;
        self.redelivered = 0;
    }

    /// At most once: the end of what was polled, if nothing has promised it yet.
    pub fn unpromised(&self) -> Option<i64> {
        self.backlog.end().filter(|end| *end > self.promised)
    }

    /// Offsets between what is committed and what could be.
    pub fn lag(&self) -> Option<i64> {
        self.last_stable.map(|end| (end - self.committed).max(0))
    }
}

/// The owned partitions: dense, so that a record's origin fits into 64 bits.
#[derive(Debug)]
pub struct Partitions<R> {
    list: Vec<Partition<R>>,
    slots: HashMap<TopicPartition, usize>,
    next_tag: u16,
}

impl<R> Default for Partitions<R> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            slots: HashMap::new(),
            next_tag: 0,
        }
    }
}

impl<R: strait_sdk::batch::Record> Partitions<R> {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Partition<R>> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition<R>> {
        self.list.iter_mut()
    }

    pub fn at(&self, slot: usize) -> Option<&Partition<R>> {
        self.list.get(slot)
    }

    pub fn at_mut(&mut self, slot: usize) -> Option<&mut Partition<R>> {
        self.list.get_mut(slot)
    }

    pub fn get(&self, id: &TopicPartition) -> Option<&Partition<R>> {
        self.list.get(*self.slots.get(id)?)
    }

    pub fn get_mut(&mut self, id: &TopicPartition) -> Option<&mut Partition<R>> {
        let slot = *self.slots.get(id)?;
        self.list.get_mut(slot)
    }

    pub fn ids(&self) -> Vec<TopicPartition> {
        self.list.iter().map(|p| p.id.clone()).collect()
    }

    /// Takes a partition in; one that is there already stays as it is.
    pub fn add(&mut self, mut partition: Partition<R>) {
        if !self.slots.contains_key(&partition.id) {
            partition.tag = self.next_tag;
            self.next_tag = self.next_tag.wrapping_add(1);
            self.slots.insert(partition.id.clone(), self.list.len());
            self.list.push(partition);
        }
    }

    /// Gives partitions back. Slots move, tags do not.
    pub fn remove(&mut self, ids: &[TopicPartition]) {
        self.list.retain(|p| !ids.contains(&p.id));
        self.slots = self
            .list
            .iter()
            .enumerate()
            .map(|(slot, p)| (p.id.clone(), slot))
            .collect();
    }
}

/// Where a produced record came from, as it travels through the producer: the tag of its
/// partition in the upper 16 bits, the offset in the lower 48.
pub fn origin(tag: u16, offset: i64) -> u64 {
    (u64::from(tag) << 48) | (u64::try_from(offset).unwrap_or(0) & 0xffff_ffff_ffff)
}

/// The tag and offset of an [`origin`].
pub fn tag_and_offset(origin: u64) -> (u16, i64) {
    let tag = u16::try_from(origin >> 48).unwrap_or(u16::MAX);
    (tag, i64::try_from(origin & 0xffff_ffff_ffff).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::testing::Rec;

    fn id(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: "t".into(),
            partition,
        }
    }

    #[test]
    fn an_origin_comes_back_as_it_went() {
        for (tag, offset) in [(0, 0), (7, 1), (65_535, 281_474_976_710_655)] {
            assert_eq!(tag_and_offset(origin(tag, offset)), (tag, offset));
        }
    }

    #[test]
    fn a_starting_partition_processes_nothing_before_its_start_is_committed() {
        let mut partition = Partition::new(id(0));
        partition.start_at(5, Standing::Starting);
        partition.backlog.extend(vec![Rec::new(5, b"x")], 5);
        assert!(!partition.is_ready(Instant::now()));
        assert!(partition.is_dirty());
        partition.committed();
        assert!(partition.is_ready(Instant::now()));
        assert!(!partition.is_dirty());
    }

    #[test]
    fn a_rewind_forgets_the_open_transaction_and_remembers_what_was_seen() {
        let mut partition = Partition::<Rec>::new(id(0));
        partition.start_at(5, Standing::Steady);
        partition.next = 9;
        partition.rewind(5);
        assert_eq!(
            (partition.committed, partition.next, partition.redelivered_below),
            (5, 5, 9)
        );
    }

    #[test]
    fn slots_follow_the_list() {
        let mut partitions: Partitions<Rec> = Partitions::default();
        for number in 0..3 {
            partitions.add(Partition::new(id(number)));
        }
        partitions.remove(&[id(0)]);
        assert_eq!(partitions.get_mut(&id(2)).map(|p| p.id.partition), Some(2));
        assert!(partitions.get_mut(&id(0)).is_none());
    }
}
