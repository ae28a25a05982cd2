//! What must become of input records: the real stages, run once more, with nobody waiting.
//!
//! Batches are cut as a lane cuts them. A record that asks for another attempt gets it at
//! once; records among which one hit a deadline run alone. What depends on the moment
//! (attempts, deadlines, memory, sizes that a broker takes) is marked so: another run may have
//! decided otherwise. So is a record that `dedup` may have dropped without it being known here
//! (see [`history`]).
//!
//! Keyed state is not worked out: where a pipeline has any, no stage runs, and what becomes of
//! its records is not known.

mod fates;
mod history;
mod repeats;

use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::dedup::claim::Claim;
use crate::guest::GuestFault;
use crate::kafka::TopicPartition;
use crate::lane::outgoing::Capacity;
use crate::plan::{BatchLimits, Pipeline};
use crate::stage::{Allowance, FailureKind, GuestFactory, Stages, Stopped, cut};

use super::digest::Digests;
use super::window::{Fate, Part, Why};
use fates::{Fates, Said};
pub use history::Unseen;
pub use repeats::Repeats;

/// What must become of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    pub offset: i64,
    pub fate: Fate,
    pub why: Why,
    pub parts: &'a [Part],
}

/// Whoever is told; false: that is enough, and this one comes again.
pub type Take<'t> = dyn FnMut(&Expected<'_>) -> bool + 't;

/// The stages, and what their results turn into.
pub struct Recompute<F: GuestFactory> {
    plan: Arc<Pipeline>,
    /// `None` if what they do depends on state.
    stages: Option<Stages<F>>,
    fates: Fates,
}

/// A place in a batch, and what is known of it.
#[derive(Clone, Copy, Default)]
struct Course {
    /// How often the next record was tried.
    tried: u32,
    /// So many records run alone.
    alone: usize,
}

impl<F: GuestFactory + Clone> Recompute<F> {
    /// `capacities` and `topics` in the order of [`Pipeline::produced_topics`].
    pub fn new(
        plan: Arc<Pipeline>,
        modules: &[F],
        capacities: Vec<Capacity>,
        topics: Vec<u16>,
        digests: Digests,
        repeats: Option<Repeats>,
    ) -> Result<Self, GuestFault> {
        let is_recomputed = plan.stores.is_empty();
        let stages = is_recomputed.then(|| Stages::new(&plan, modules, None));
        Ok(Self {
            stages: stages.transpose()?,
            fates: Fates::new(Arc::clone(&plan), capacities, topics, digests, repeats),
            plan,
        })
    }
}

impl<F: GuestFactory> Recompute<F> {
    /// Works out the fates of records of one partition, in their order, until `take` has
    /// enough. The error says why the module does not fit the pipeline.
    pub fn records<R: Record>(
        &mut self,
        id: &TopicPartition,
        records: &[R],
        take: &mut Take<'_>,
    ) -> Result<(), String> {
        let Some(stages) = &mut self.stages else {
            let mut records = records.iter();
            records.all(|record| self.fates.hand_over(id, record, Said::Nothing, take));
            return Ok(());
        };
        let Some(limits) = self.plan.stages.first().map(|stage| stage.batch) else {
            return Ok(());
        };
        let mut course = Course::default();
        let mut rest = records;
        while let Some(first) = rest.first() {
            let (batch, _) = rest.split_at(course.count(rest, &limits));
            let mut outcome = stages.run(id, batch, course.allowance(&self.plan));
            let retried = course.tried > 0;
            let went_on = self.fates.batch(stages, id, batch, retried, &mut outcome, take);
            let decided = outcome.decided;
            let stopped = outcome.stopped.take();
            stages.release(outcome);
            if !went_on {
                return Ok(());
            }
            let is_stuck =
                course.alone > 0 && decided == 0 && matches!(stopped, Some(Stopped::Suspects { .. }));
            course = course.next(decided, stopped)?;
            // Alone, and still not decided.
            let late = Said::Failed(FailureKind::Deadline);
            if is_stuck && !self.fates.hand_over(id, first, late, take) {
                return Ok(());
            }
            let done = if is_stuck { 1 } else { decided };
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// What a record claims, and as which one.
    pub fn claim<R: Record>(&self, id: &TopicPartition, record: &R) -> Option<Claim> {
        self.fates.repeats()?.claim(id, record)
    }

    /// How far before a record claims matter to it, where they belong to a partition.
    pub fn claims_reach_ms(&self) -> Option<i64> {
        self.fates.repeats()?.reach_ms()
    }

    /// A partition is read from elsewhere: to be said before its first record.
    pub fn begin(&mut self, id: &TopicPartition, unseen: Unseen) {
        if let Some(repeats) = self.fates.repeats_mut() {
            repeats.begin(id, unseen);
        }
    }

    /// A record that stands before the scope.
    pub fn look_back<R: Record>(&mut self, id: &TopicPartition, record: &R) {
        if let Some(repeats) = self.fates.repeats_mut() {
            repeats.judge(id, record);
            repeats.count(id);
        }
    }

    /// Records of this partition were deleted before they could be read.
    pub fn lose_sight(&mut self, id: &TopicPartition) {
        if let Some(repeats) = self.fates.repeats_mut() {
            repeats.lose_sight(id);
        }
    }
}

impl Course {
    /// So many of the records make the next batch.
    fn count<R: Record>(self, records: &[R], limits: &BatchLimits) -> usize {
        let count = if self.alone > 0 { 1 } else { cut(records, limits) };
        count.min(records.len())
    }

    fn allowance(self, plan: &Pipeline) -> Allowance {
        Allowance {
            guest_time_left: plan.timeouts.guest_time_max(),
            tried: self.tried,
            retries_max: plan.on_error.retry.attempts,
        }
    }

    /// Behind a batch of which so many were decided.
    fn next(self, decided: usize, stopped: Option<Stopped>) -> Result<Self, String> {
        let alone = self.alone.saturating_sub(decided.max(1));
        Ok(match stopped {
            None | Some(Stopped::OutOfTime) => Self { tried: 0, alone },
            Some(Stopped::Retry { .. }) => Self {
                tried: if decided == 0 { self.tried + 1 } else { 1 },
                alone: self.alone.saturating_sub(decided),
            },
            Some(Stopped::Suspects { range, .. }) => Self {
                tried: if decided == 0 { self.tried } else { 0 },
                alone: if self.alone > 0 { alone } else { range.len().max(1) },
            },
            Some(Stopped::Pipeline { reason }) => return Err(reason),
        })
    }
}

#[cfg(test)]
mod tests;
