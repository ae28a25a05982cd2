//! What a message id, or the want of one, means for a record: the rule of `dedup`, once more.

use std::collections::HashMap;
use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::dedup::changelog::{Entry, Table};
use crate::dedup::claim::Claim;
use crate::dedup::claimant::Claimant;
use crate::kafka::TopicPartition;
use crate::plan::{Dedup, DedupMode, OnMissingId, Pipeline};
use crate::verify::account::InputFacts;

use super::history::{History, Standing, Unseen};

/// What a record's message id means for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    NoMatter,
    /// Another record had it first.
    Repeats,
    /// Another record may have had it first.
    MayRepeat,
    /// Another record may have it; who was first is decided elsewhere.
    Shared,
    /// It has none, and fails for it.
    Refused,
    /// It has none, and the group cannot have passed it.
    Stops,
}

/// The `dedup` of a pipeline.
#[derive(Debug)]
pub struct Repeats {
    plan: Arc<Dedup>,
    claimant: Claimant,
    partitions: HashMap<TopicPartition, Partition>,
}

#[derive(Debug)]
struct Partition {
    topic_id: Arc<str>,
    /// `None`: who claimed first is decided elsewhere.
    history: Option<History>,
}

impl Repeats {
    /// `None` if the pipeline has none.
    pub fn new(pipeline: &Pipeline, cluster_id: &str, inputs: &[InputFacts]) -> Option<Self> {
        let plan = Arc::clone(pipeline.dedup.as_ref()?);
        let by_partition = plan.store.is_by_partition();
        let partition = |input: &InputFacts| Partition {
            topic_id: Arc::clone(&input.topic_id),
            history: by_partition.then(|| History::new(plan.window_ms(), unseen(input))),
        };
        Some(Self {
            claimant: Claimant::new(&plan, &pipeline.name, cluster_id),
            partitions: inputs
                .iter()
                .map(|input| (input.id.clone(), partition(input)))
                .collect(),
            plan,
        })
    }

    /// What the next record of a partition is. It counts with [`Repeats::count`].
    pub fn judge<R: Record>(&mut self, id: &TopicPartition, record: &R) -> Id {
        let Some(partition) = self.partitions.get_mut(id) else {
            return Id::MayRepeat;
        };
        let claim = self.claimant.claim_of(id.partition, &partition.topic_id, record);
        let Some(claim) = claim else {
            return match self.plan.on_missing_id {
                OnMissingId::Pass => Id::NoMatter,
                OnMissingId::DeadLetter => Id::Refused,
                OnMissingId::Stop => Id::Stops,
            };
        };
        if self.plan.mode == DedupMode::Observe {
            return Id::NoMatter;
        }
        let Some(history) = &mut partition.history else {
            return Id::Shared;
        };
        let claim = Entry {
            id: claim.id,
            offset: claim.coordinate.offset,
            timestamp_ms: record.timestamp_ms(),
        };
        match history.judge(record.offset(), claim) {
            Standing::First => Id::NoMatter,
            Standing::Repeat => Id::Repeats,
            Standing::Doubtful => Id::MayRepeat,
        }
    }

    /// What a record claims, and as which one.
    pub fn claim<R: Record>(&self, id: &TopicPartition, record: &R) -> Option<Claim> {
        let topic_id = &self.partitions.get(id)?.topic_id;
        self.claimant.claim_of(id.partition, topic_id, record)
    }

    /// The record of this partition that was judged last counts.
    pub fn count(&mut self, id: &TopicPartition) {
        if let Some(history) = self.history(id) {
            history.count();
        }
    }

    /// How far before a record claims matter to it, where they belong to a partition.
    pub fn reach_ms(&self) -> Option<i64> {
        let drops = self.plan.store.is_by_partition() && self.plan.mode == DedupMode::Drop;
        drops.then(|| Table::new(self.plan.window_ms()).reach_ms())
    }

    /// A partition is read from elsewhere: to be said before its first record.
    pub fn begin(&mut self, id: &TopicPartition, unseen: Unseen) {
        let window_ms = self.plan.window_ms();
        if let Some(history) = self.history(id) {
            *history = History::new(window_ms, unseen);
        }
    }

    /// Records of this partition were deleted before they could be read.
    pub fn lose_sight(&mut self, id: &TopicPartition) {
        if let Some(history) = self.history(id) {
            history.lose_sight();
        }
    }

    fn history(&mut self, id: &TopicPartition) -> Option<&mut History> {
        self.partitions.get_mut(id)?.history.as_mut()
    }
}

/// Which claims of the partition come from records that will not be read.
fn unseen(input: &InputFacts) -> Unseen {
    if input.is_compacted {
        Unseen::Everywhere
    } else if input.has_beginning() {
        Unseen::Nothing
    } else {
        Unseen::Earlier
    }
}
