//! One batch of one partition against the claims.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Instant;

use strait_sdk::batch::Record;

use super::changelog::{ChangelogClaims, Unjudged, Writes};
use super::claim::Verdict;
use super::claimant::Claimant;
use super::store::{Claims, StoreAway};
use crate::kafka::TopicPartition;
use crate::plan::{self, DedupMode, OnMissingId, OnStoreError, PipelineName};
use crate::restore::NotRestored;
use crate::stage::{Failure, FailureKind, Sifted};

/// The stage as dead letters name it.
const STAGE: &str = "dedup";

/// What is known of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    First,
    Repeated,
    /// It has no message id.
    Unidentified,
    /// The store did not answer, and the pipeline goes on without it.
    Unchecked,
}

/// One lane's `dedup`.
#[derive(Debug)]
pub struct Dedup {
    plan: Arc<plan::Dedup>,
    claimant: Claimant,
    holder: Holder,
}

/// Who holds the claims.
#[derive(Debug)]
pub enum Holder {
    /// Claims are made at once, whatever becomes of the transaction.
    AtOnce(Box<dyn Claims>),
    /// Claims are part of the transaction.
    InTransaction(ChangelogClaims),
}

/// Message ids in the memory of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdsHeld {
    ByThisLane(usize),
    /// Whichever of them is asked.
    ByAllLanes(usize),
}

/// Why nobody can tell what is a repeat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    #[error(transparent)]
    Away(#[from] StoreAway),
    #[error(
        "this lane holds {ids_max} message ids, and may not hold more; shorten the window, run more processes, raise \
         store.changelog.ids if there is memory (about 60 bytes for each), or use redis or sql"
    )]
    Full { ids_max: usize },
}

impl Dedup {
    pub fn new(plan: Arc<plan::Dedup>, pipeline: &PipelineName, cluster_id: &str, holder: Holder) -> Self {
        Self {
            claimant: Claimant::new(&plan, pipeline, cluster_id),
            holder,
            plan,
        }
    }

    /// How many ids are held in this process, of which others may know nothing.
    pub fn ids_held(&self) -> IdsHeld {
        match &self.holder {
            Holder::AtOnce(store) => IdsHeld::ByAllLanes(store.ids_held()),
            Holder::InTransaction(claims) => IdsHeld::ByThisLane(claims.ids()),
        }
    }

    /// The partition is ours, and its start is known. True: its claims must come back before its
    /// first record is judged ([`Dedup::restored`]).
    pub fn restore(&mut self, partition: &TopicPartition, topic_id: &Arc<str>) -> bool {
        match &mut self.holder {
            Holder::AtOnce(_) => false,
            Holder::InTransaction(claims) => {
                claims.restore(partition, topic_id);
                true
            }
        }
    }

    /// Partitions whose claims came back.
    pub fn restored(&mut self) -> Result<Vec<TopicPartition>, NotRestored> {
        self.in_transaction()
            .map_or(Ok(Vec::new()), ChangelogClaims::restored)
    }

    /// The partition is not ours any more.
    pub fn forget(&mut self, partition: &TopicPartition) {
        if let Some(claims) = self.in_transaction() {
            claims.forget(partition);
        }
    }

    /// What the open transaction must write for this partition, whose records before `next` are in it.
    pub fn write(&mut self, partition: &TopicPartition, next: i64) -> Option<Writes> {
        self.in_transaction()?.write(partition, next)
    }

    /// The transaction committed, with the records of this partition before `next`.
    pub fn committed(&mut self, partition: &TopicPartition, next: i64, now: Instant) {
        if let Some(claims) = self.in_transaction() {
            claims.committed(partition, next, now);
        }
    }

    /// The transaction is gone.
    pub fn aborted(&mut self, partition: &TopicPartition) {
        if let Some(claims) = self.in_transaction() {
            claims.aborted(partition);
        }
    }

    fn in_transaction(&mut self) -> Option<&mut ChangelogClaims> {
        match &mut self.holder {
            Holder::AtOnce(_) => None,
            Holder::InTransaction(claims) => Some(claims),
        }
    }

    /// Claims what the records are, in one go. The error: nobody knows, and nothing of them may be
    /// decided before somebody does.
    pub fn judge<R: Record>(
        &mut self,
        partition: &TopicPartition,
        topic_id: &Arc<str>,
        records: &[R],
        now: Instant,
    ) -> Result<Judged, Undecided> {
        let mut marks = vec![Mark::Unidentified; records.len()];
        let mut places = Vec::with_capacity(records.len());
        let mut claims = Vec::with_capacity(records.len());
        for (place, record) in records.iter().enumerate() {
            if let Some(claim) = self.claimant.claim_of(partition.partition, topic_id, record) {
                places.push(place);
                claims.push(claim);
            }
        }
        let verdicts = match &mut self.holder {
            Holder::AtOnce(store) => store.claim(&claims, now).map_err(Undecided::from),
            Holder::InTransaction(held) => {
                let judged = places.iter().filter_map(|place| records.get(*place));
                let judged: Vec<(i64, i64)> = judged
                    .map(|record| (record.offset(), record.timestamp_ms()))
                    .collect();
                held.claim(partition, &claims, &judged)
                    .map_err(|unjudged| match unjudged {
                        Unjudged::Full { ids_max } => Undecided::Full { ids_max },
                        Unjudged::Restoring => StoreAway {
                            store: "changelog",
                            why: format!("the claims of {partition} are being restored"),
                        }
                        .into(),
                    })
            }
        };
        let judged = match verdicts {
            Ok(verdicts) => verdicts.into_iter().map(Mark::from).collect(),
            Err(Undecided::Away(away)) if self.plan.on_store_error == OnStoreError::Pass => {
                tracing::warn!(error = %away, records = claims.len(), "records pass unchecked");
                vec![Mark::Unchecked; claims.len()]
            }
            Err(undecided) => return Err(undecided),
        };
        for (place, judged) in places.into_iter().zip(judged) {
            if let Some(mark) = marks.get_mut(place) {
                *mark = judged;
            }
        }
        Ok(Judged {
            plan: Arc::clone(&self.plan),
            marks,
        })
    }
}

impl From<Verdict> for Mark {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::First => Self::First,
            Verdict::Repeated => Self::Repeated,
        }
    }
}

/// How many records are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those with an id that a store has judged.
    pub checked: u64,
    /// Of these.
    pub repeated: u64,
    pub unidentified: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.checked += more.checked;
        self.repeated += more.repeated;
        self.unidentified += more.unidentified;
    }
}

/// One batch, judged.
#[derive(Debug)]
pub struct Judged {
    plan: Arc<plan::Dedup>,
    marks: Vec<Mark>,
}

impl Judged {
    /// Of the first records.
    pub fn counts(&self, records: usize) -> Counts {
        let mut counts = Counts::default();
        for mark in self.marks.iter().take(records) {
            match mark {
                Mark::First => counts.checked += 1,
                Mark::Repeated => {
                    counts.checked += 1;
                    counts.repeated += 1;
                }
                Mark::Unidentified => counts.unidentified += 1,
                Mark::Unchecked => {}
            }
        }
        counts
    }

    /// What does not reach the stages; `None` if all does.
    pub fn sifted(&self) -> Option<Sifted> {
        if self.marks.iter().all(|mark| self.passes(*mark)) {
            return None;
        }
        let mut sifted = Sifted::default();
        // A batch holds less than 2^32 records, since the format counts them so.
        for ((record, mark), place) in self.marks.iter().enumerate().zip(0_u32..) {
            match mark {
                mark if self.passes(*mark) => sifted.passing.push(place),
                Mark::Unidentified => sifted.failures.push(self.missing_id(record)),
                Mark::First | Mark::Repeated | Mark::Unchecked => sifted.dropped.push(place),
            }
        }
        Some(sifted)
    }

    fn passes(&self, mark: Mark) -> bool {
        match mark {
            Mark::First | Mark::Unchecked => true,
            Mark::Repeated => self.plan.mode == DedupMode::Observe,
            Mark::Unidentified => self.plan.on_missing_id == OnMissingId::Pass,
        }
    }

    fn missing_id(&self, record: usize) -> Failure {
        Failure {
            record,
            kind: FailureKind::MissingId,
            reason: format!("it has no message id ({})", self.plan.id_definition),
            stage: STAGE.into(),
            module_sha256: Arc::from(""),
            attempts: 1,
        }
    }
}

#[cfg(test)]
mod tests;
