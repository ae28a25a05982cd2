//! Claims on records that are passed over: dropped from the store, so that repeats of what never came
//! through pass.
//!
//! What they claimed is read out of the records themselves, so nothing of other pipelines is touched,
//! though they may share the store and even the input. What retention has deleted cannot be asked any
//! more: its claims end with their window.

use std::sync::Arc;
use std::time::Duration;

use super::Trouble;
use super::group::{ANSWER, Group};
use super::plan::Move;
use super::trouble::failed;
use crate::dedup::claim::Claim;
use crate::dedup::claimant::Claimant;
use crate::dedup::store::{self, Release, StoreAway};
use crate::kafka::Consumer as _;
use crate::kafka::consumer::LibrdConsumer;
use crate::kafka::settings::ConsumerSettings;
use crate::verify::{self, Handler, Stretch, insist, read};

/// Claims in one question to the store.
const CLAIMS_MAX: usize = 1000;
/// Nothing may come for so long.
const GIVE_UP: Duration = Duration::from_mins(1);
/// A consumer is left behind if it does not end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What was dropped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dropped {
    pub claims: u64,
    /// Offsets whose records are gone, so that their claims could not be found.
    pub gone: i64,
}

/// Drops the claims of all that these moves pass over.
pub fn drop_passed_over(group: &Group, moves: &[Move]) -> Result<Dropped, Trouble> {
    let Some(dedup) = &group.plan.dedup else {
        return Ok(Dropped::default());
    };
    let Some(store) = store::release(dedup)? else {
        return Ok(Dropped::default());
    };
    let cluster_id = insist("reach the cluster", || group.admin.cluster_id(ANSWER))?;
    let mut dropping = Dropping {
        claimant: Claimant::new(dedup, &group.plan.name, &cluster_id),
        topic_ids: moves
            .iter()
            .map(|step| Arc::clone(&step.facts.topic_id))
            .collect(),
        store,
        claims: Vec::new(),
        dropped: Dropped::default(),
        failure: None,
    };
    let mut stretches = Vec::new();
    for (index, step) in moves.iter().enumerate() {
        let passed_over = step.passed_over();
        let from = passed_over
            .start
            .max(step.facts.bounds.start)
            .min(passed_over.end);
        dropping.dropped.gone += from - passed_over.start;
        stretches.push(Stretch {
            index,
            partition: step.facts.id.clone(),
            from,
            to: passed_over.end,
        });
    }
    let settings = ConsumerSettings {
        cluster: group.plan.cluster.clone(),
        group: group.name().to_owned(),
        client_id: group.client_id.clone(),
        timeouts: group.plan.timeouts,
    };
    let mut consumer = LibrdConsumer::open(&settings).map_err(|error| failed("create a client", error))?;
    let outcome = read(&mut consumer, stretches, GIVE_UP, &mut dropping);
    consumer.close(FAREWELL);
    outcome?;
    dropping.flush();
    dropping
        .failure
        .map_or(Ok(dropping.dropped), |away| Err(away.into()))
}

struct Dropping {
    claimant: Claimant,
    /// By stretch.
    topic_ids: Vec<Arc<str>>,
    store: Box<dyn Release>,
    claims: Vec<Claim>,
    dropped: Dropped,
    /// The first ends it.
    failure: Option<StoreAway>,
}

impl Dropping {
    fn flush(&mut self) {
        if self.failure.is_some() {
            return;
        }
        match self.store.release(&std::mem::take(&mut self.claims)) {
            Ok(released) => self.dropped.claims += released,
            Err(away) => self.failure = Some(away),
        }
    }
}

impl<R: strait_sdk::batch::Record> Handler<R> for Dropping {
    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, verify::Trouble> {
        let Some(topic_id) = self.topic_ids.get(stretch.index).map(Arc::clone) else {
            return Ok(false);
        };
        for record in records {
            let claim = self
                .claimant
                .claim_of(stretch.partition.partition, &topic_id, record);
            self.claims.extend(claim);
            if self.claims.len() >= CLAIMS_MAX {
                self.flush();
            }
        }
        Ok(self.failure.is_none())
    }

    fn gap(&mut self, _: &Stretch, from: i64, to: i64) {
        self.dropped.gone += to - from;
    }

    fn end(&mut self, _: &Stretch) {}

    fn progress(&mut self, _: u64) {}
}
