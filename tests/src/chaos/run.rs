//! One run of one scenario: what it was given, and what it has shown so far.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Fault, Load, NotRun, Scenario, Tally};
use crate::binary::Build;
use crate::cluster::Cluster;
use crate::fixture::Fixture;
use crate::stream::Stream;

/// What a scenario works with.
pub struct Run {
    scenario: Scenario,
    cluster: Arc<Cluster>,
    /// Seeded: the same moments and targets for the same seed.
    pub random: SmallRng,
    pub tally: Tally,
    faults: Vec<Fault>,
}

impl Run {
    pub fn new(scenario: Scenario, seed: u64, cluster: Arc<Cluster>) -> Self {
        Self {
            scenario,
            cluster,
            random: SmallRng::seed_from_u64(seed),
            tally: Tally::default(),
            faults: Vec::new(),
        }
    }

    /// Three nodes that the scenarios share.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Which `strait` runs, and what is broken in it.
    pub fn build(&self) -> (Build, Option<&'static str>) {
        let sabotage = self.scenario.sabotage.map(|sabotage| sabotage.name);
        (sabotage.map_or(Build::Plain, |_| Build::Faulty), sabotage)
    }

    /// A pipeline of the scenario's name on the shared cluster.
    pub fn fixture(&self, partitions: i32, guest: &str) -> Result<Fixture> {
        Fixture::on(Arc::clone(&self.cluster), self.scenario.name, partitions, guest)
    }

    /// The usual load: orders in, with everything that can become of them.
    pub fn load(&self) -> Result<Load> {
        Load::of(self, Arc::clone(&self.cluster))
    }

    /// Another load.
    pub fn load_of(&self, stream: Stream) -> Result<Load> {
        Load::with(self, Arc::clone(&self.cluster), stream)
    }

    /// Notes a fault that took place. `evidence` is what somebody else than Strait saw of it.
    pub fn fault(&mut self, what: impl Into<String>, evidence: impl Into<String>) {
        self.faults.push(Fault {
            what: what.into(),
            evidence: evidence.into(),
        });
    }

    /// Notes how long progress took.
    pub fn progressed(&mut self, took: Duration) {
        self.tally.progress = self.tally.progress.max(Some(took));
    }

    /// Ends a scenario whose fault cannot be injected here.
    pub fn not_run<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(NotRun(reason.into()).into())
    }

    pub fn name(&self) -> &'static str {
        self.scenario.name
    }
}
