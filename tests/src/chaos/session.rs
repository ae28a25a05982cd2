//! What the scenarios of one process share: the cluster, and the list of outcomes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;

use super::{Outcome, Run, Scenario, Tally, Verdict};
use crate::cluster::{Cluster, Kind};

/// Runs scenarios one after the other: each may do to the cluster what it likes.
#[derive(Default)]
pub struct Session {
    cluster: Mutex<Option<Arc<Cluster>>>,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Session {
    /// Runs one scenario, and keeps its outcome.
    pub fn run(&self, scenario: Scenario, seed: u64) -> Outcome {
        // One scenario's random numbers are none of its neighbour's.
        let own_seed = scenario.name.bytes().fold(seed, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let started = Instant::now();
        let outcome = match self.whole_cluster() {
            Ok(cluster) => {
                let mut run = Run::new(scenario, own_seed, cluster);
                let ended = (scenario.run)(&mut run);
                Outcome {
                    scenario,
                    seed,
                    verdict: scenario.judge(ended, run.faults(), &run.tally),
                    faults: run.faults().to_vec(),
                    tally: run.tally,
                    took: started.elapsed(),
                }
            }
            Err(error) => Outcome {
                scenario,
                seed,
                verdict: Verdict::NotRun(format!("no cluster: {error:#}")),
                tally: Tally::default(),
                faults: Vec::new(),
                took: started.elapsed(),
            },
        };
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.push(outcome.clone());
        outcome
    }

    /// All outcomes so far.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.clone()
    }

    /// The shared cluster as it was before the scenario before: mended, or a new one.
    fn whole_cluster(&self) -> Result<Arc<Cluster>> {
        let mut slot = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = slot.take()
            && cluster.mend().is_ok()
        {
            *slot = Some(Arc::clone(&cluster));
            return Ok(cluster);
        }
        let cluster = Arc::new(Cluster::start(Kind {
            nodes: 3,
            proxies: true,
            ..Kind::default()
        })?);
        *slot = Some(Arc::clone(&cluster));
        Ok(cluster)
    }
}
