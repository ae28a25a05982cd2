//! All pipelines of this process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::dedup::store::Stores;
use crate::health::Health;
use crate::lane::commit_policy::CommitBudget;
use crate::lane::control::LaneControl;
use crate::plan::{Delivery, Pipeline, PipelineName};
use crate::telemetry::failures::{FailureLog, Values};
use crate::telemetry::metrics::Metrics;

use super::identity::{Identity, IdentityError, StaleId};
use super::modules::Loaded;
use super::supervisor::Supervisor;

/// How a process runs its pipelines.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What must outlive the process.
    pub data_dir: PathBuf,
    /// `None`: the lowest free slot.
    pub instance: Option<String>,
    /// How the value of a failed record is logged.
    pub values: Values,
    /// End when the lag found at the start is worked off.
    pub until_end: bool,
}

/// How a pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipelineEnd {
    /// It was drained, or its backlog is worked off.
    Finished,
    Failed(String),
}

/// The running pipelines. Dropping it leaves them to the operating system: drain first.
pub struct Process {
    control: LaneControl,
    ends: mpsc::Receiver<(PipelineName, PipelineEnd)>,
    threads: Vec<JoinHandle<()>>,
    running: usize,
    // Its lock is what keeps another process from taking the same ids.
    _identity: Arc<Identity>,
}

impl Process {
    /// Starts every pipeline. An error here is one of this process; what goes wrong with one
    /// pipeline comes out of [`Process::next_end`].
    pub fn start(
        loaded: Vec<Loaded>,
        settings: &Settings,
        metrics: &Metrics,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let names: Vec<PipelineName> = loaded.iter().map(|loaded| loaded.plan.name.clone()).collect();
        let identity = Arc::new(Identity::claim(
            &settings.data_dir,
            settings.instance.as_deref(),
            &names,
        )?);
        let ids = transactional_ids(&identity, &loaded);
        let stale = identity.stale_ids(&ids)?;
        let record = Arc::new(Record::new(Arc::clone(&identity), &ids, &stale)?);
        tracing::info!(instance = identity.instance(), "identity");
        let budget = Arc::new(CommitBudget::new(Instant::now()));
        let control = LaneControl::default();
        let (sender, ends) = mpsc::channel(loaded.len().max(1));
        let mut process = Self {
            control: control.clone(),
            ends,
            threads: Vec::new(),
            running: loaded.len(),
            _identity: Arc::clone(&identity),
        };
        for Loaded { plan, modules } in loaded {
            let supervisor = Supervisor {
                stale: stale
                    .iter()
                    .filter(|id| id.pipeline == plan.name)
                    .cloned()
                    .collect(),
                record: Arc::clone(&record),
                metrics: metrics.pipeline(&plan.name),
                health: health.pipeline(&plan.name, plan.lanes.get()),
                failures: Arc::new(FailureLog::new(plan.name.clone(), settings.values)),
                identity: Arc::clone(&identity),
                modules,
                budget: Arc::clone(&budget),
                claims: plan.dedup.as_deref().map(Stores::new),
                state: state_folder(&plan, &settings.data_dir, &identity),
                control: control.clone(),
                until_end: settings.until_end,
                plan: Arc::new(plan),
            };
            process.threads.push(supervisor.start(sender.clone())?);
        }
        Ok(process)
    }

    /// Asks every lane to finish its transaction and end.
    pub fn drain(&self) {
        self.control.drain();
    }

    /// Waits for the next pipeline to end. `None` when none is left.
    pub async fn next_end(&mut self) -> Option<(PipelineName, PipelineEnd)> {
        if self.running == 0 {
            return None;
        }
        let end = self.ends.recv().await;
        // Only once it is here: a caller may give up waiting, and wait again.
        self.running -= 1;
        end
    }

    /// Waits for the threads of pipelines that have all ended.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a supervisor's thread panicked");
            }
        }
    }
}

/// Where this instance keeps its copy of a pipeline's state.
fn state_folder(plan: &Pipeline, data_dir: &Path, identity: &Identity) -> PathBuf {
    let instances = data_dir.join("state");
    instances.join(identity.instance()).join(plan.name.as_str())
}

fn transactional_ids(identity: &Identity, loaded: &[Loaded]) -> Vec<String> {
    let transactional = loaded
        .iter()
        .map(|loaded| &loaded.plan)
        .filter(|plan| plan.delivery == Delivery::ExactlyOnce);
    let lanes = transactional.flat_map(|plan| (0..plan.lanes.get()).map(|lane| (&plan.name, lane)));
    lanes
        .map(|(name, lane)| identity.transactional_id(name, lane))
        .collect()
}

/// The ids on record: those in use, and the stale ones until each has been initialised. A
/// crash in between must not forget them.
pub struct Record {
    identity: Arc<Identity>,
    ids: Mutex<BTreeSet<String>>,
}

impl Record {
    fn new(identity: Arc<Identity>, in_use: &[String], stale: &[StaleId]) -> Result<Self, IdentityError> {
        let ids = in_use
            .iter()
            .chain(stale.iter().map(|id| &id.transactional_id))
            .cloned()
            .collect();
        let record = Self {
            identity,
            ids: Mutex::new(ids),
        };
        record.write(&record.ids())?;
        Ok(record)
    }

    /// The id has been initialised, and left nothing.
    pub fn forget(&self, id: &str) -> Result<(), IdentityError> {
        let mut ids = self.ids();
        ids.remove(id);
        self.write(&ids)
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, ids: &BTreeSet<String>) -> Result<(), IdentityError> {
        self.identity.record(&ids.iter().cloned().collect::<Vec<_>>())
    }
}
