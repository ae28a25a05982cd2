//! Claims on records that are passed over: dropped from the store, so that repeats of what never came
//! through pass.
//!
//! What they claimed is read out of the records themselves, so nothing of other pipelines is touched,
//! though they may share the store and even the input. What retention has deleted cannot be asked any
//! more: its claims end with their window.

use std::sync::Arc;

use strait_sdk::batch::Record;

use super::Trouble;
use super::group::Group;
use super::plan::Move;
use crate::dedup::claim::Claim;
use crate::dedup::claimant::Claimant;
use crate::dedup::store::{self, Release, StoreAway};
use crate::inquiry::{ANSWER, Handler, Passed, Progress, Reader, Stretch, insist, length};

/// Claims in one question to the store.
const CLAIMS_MAX: usize = 1000;

/// What was dropped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dropped {
    pub claims: u64,
    /// Offsets whose records are gone, so that their claims could not be found.
    pub gone: i64,
}

/// Drops the claims of all that these moves pass over.
pub fn drop_passed_over(
    group: &Group,
    moves: &[Move],
    progress: &mut Progress<'_>,
) -> Result<Dropped, Trouble> {
    let Some(dedup) = &group.plan.dedup else {
        return Ok(Dropped::default());
    };
    let Some(store) = store::release(dedup)? else {
        return Ok(Dropped::default());
    };
    let cluster_id = insist("reach the cluster", || group.admin.cluster_id(ANSWER))?;
    let (stretches, gone) = passed_over(moves);
    progress(Passed::Total(length(&stretches)));
    let mut dropping = Dropping {
        claimant: Claimant::new(dedup, &group.plan.name, &cluster_id),
        topic_ids: moves
            .iter()
            .map(|step| Arc::clone(&step.facts.topic_id))
            .collect(),
        store,
        claims: Vec::new(),
        dropped: Dropped { claims: 0, gone },
        progress,
    };
    Reader::open(&group.plan, &group.client_id)?.read(stretches, &mut dropping)?;
    dropping.flush()?;
    Ok(dropping.dropped)
}

/// What is still there of it, by the index of its move; and how many offsets are not.
fn passed_over(moves: &[Move]) -> (Vec<Stretch>, i64) {
    let mut gone = 0;
    let mut stretches = Vec::new();
    for (index, step) in moves.iter().enumerate() {
        let passed_over = step.passed_over();
        let start = passed_over.start.max(step.facts.bounds.start);
        let from = start.min(passed_over.end);
        gone += from - passed_over.start;
        stretches.push(Stretch {
            index,
            partition: step.facts.id.clone(),
            from,
            to: passed_over.end,
        });
    }
    (stretches, gone)
}

struct Dropping<'a, 'p> {
    claimant: Claimant,
    /// By stretch.
    topic_ids: Vec<Arc<str>>,
    store: Box<dyn Release>,
    claims: Vec<Claim>,
    dropped: Dropped,
    progress: &'a mut Progress<'p>,
}

impl Dropping<'_, '_> {
    fn flush(&mut self) -> Result<(), StoreAway> {
        self.dropped.claims += self.store.release(&std::mem::take(&mut self.claims))?;
        Ok(())
    }
}

impl<R: Record> Handler<R> for Dropping<'_, '_> {
    type Trouble = Trouble;

    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        let Some(topic_id) = self.topic_ids.get(stretch.index).map(Arc::clone) else {
            return Ok(false);
        };
        for record in records {
            let claim = self
                .claimant
                .claim_of(stretch.partition.partition, &topic_id, record);
            self.claims.extend(claim);
            if self.claims.len() >= CLAIMS_MAX {
                self.flush()?;
            }
        }
        Ok(true)
    }

    fn gap(&mut self, _: &Stretch, from: i64, to: i64) {
        self.dropped.gone += to - from;
    }

    fn progress(&mut self, offsets: u64) {
        (self.progress)(Passed::Offsets(offsets));
    }
}
