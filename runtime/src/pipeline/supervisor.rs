//! One pipeline: from its plan to its end.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::dedup::store::Stores;
use crate::guest::Module;
use crate::health::PipelineHealth;
use crate::kafka::{KafkaError, TransactionError};
use crate::lane::backoff::Backoff;
use crate::lane::commit_policy::CommitBudget;
use crate::lane::control::{LaneControl, LaneEnd};
use crate::plan::{Pipeline, PipelineName};
use crate::state::local::{Folder, LocalError};
use crate::telemetry::failures::FailureLog;
use crate::telemetry::metrics::PipelineMetrics;

use super::identity::{Identity, StaleId};
use super::lanes::{LaneStarter, Started};
use super::preflight::{self, Facts, Misfit, Refusal};
use super::process::{PipelineEnd, Record};
use super::until_end::UntilEnd;

/// How often a supervisor looks up from waiting.
const TICK: Duration = Duration::from_millis(200);

pub struct Supervisor {
    pub plan: Arc<Pipeline>,
    pub identity: Arc<Identity>,
    pub stale: Vec<StaleId>,
    pub record: Arc<Record>,
    pub modules: Vec<Module>,
    pub budget: Arc<CommitBudget>,
    /// Where message ids are held; the lanes share what can be shared.
    pub claims: Option<Stores>,
    /// Where the local copy of the state is.
    pub state: PathBuf,
    pub control: LaneControl,
    pub metrics: PipelineMetrics,
    pub health: PipelineHealth,
    pub failures: Arc<FailureLog>,
    pub until_end: bool,
}

impl Supervisor {
    /// Runs in a thread of its own; says by `ends` how the pipeline ended.
    pub fn start(
        self,
        ends: tokio::sync::mpsc::Sender<(PipelineName, PipelineEnd)>,
    ) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(format!("{}-supervisor", self.plan.name))
            .spawn(move || {
                let name = self.plan.name.clone();
                let span = tracing::info_span!("pipeline", %name);
                let end = span.in_scope(|| self.run());
                match &end {
                    PipelineEnd::Finished => {
                        self.health.finished();
                        tracing::info!(pipeline = %name, "finished");
                    }
                    PipelineEnd::Failed(reason) => {
                        self.health.failed(reason.clone());
                        tracing::error!(pipeline = %name, %reason, "failed");
                    }
                }
                self.metrics.ended();
                // Nobody listens any more when the process is past waiting.
                ends.blocking_send((name, end)).ok();
            })
    }

    fn run(&self) -> PipelineEnd {
        for module in &self.modules {
            self.metrics
                .module_info(module.name(), module.sha256(), module.version());
        }
        let facts = match self.ask_cluster() {
            Ok(Some(facts)) => facts,
            Ok(None) => return PipelineEnd::Finished,
            Err(reason) => return PipelineEnd::Failed(reason),
        };
        let folder = match self.state_folder() {
            Ok(folder) => folder,
            Err(error) => return PipelineEnd::Failed(error.to_string()),
        };
        match self
            .fence_stale()
            .and_then(|()| self.watch(&facts, folder.as_ref()))
        {
            Ok(()) => PipelineEnd::Finished,
            Err(reason) => PipelineEnd::Failed(reason),
        }
    }

    fn state_folder(&self) -> Result<Option<Folder>, LocalError> {
        if self.plan.stores.is_empty() {
            return Ok(None);
        }
        Folder::open(&self.state).map(Some)
    }

    /// Asks until the cluster answers. `Ok(None)`: asked to stop meanwhile.
    fn ask_cluster(&self) -> Result<Option<Facts>, String> {
        let mut backoff = Backoff::default();
        while !self.control.is_draining() {
            match preflight::ask(&self.plan) {
                Ok(facts) => {
                    self.health.degraded(0, None);
                    return Ok(Some(facts));
                }
                Err(Refusal::Misfits(misfits)) => return Err(words(&misfits)),
                Err(Refusal::Unreachable(error)) => self.wait_for_cluster(&error, backoff.fail()),
            }
        }
        Ok(None)
    }

    /// Ids that are no longer used may have left a transaction open, which would hold up
    /// readers until it times out: initialising them once ends it.
    fn fence_stale(&self) -> Result<(), String> {
        let mut backoff = Backoff::default();
        for StaleId { transactional_id, .. } in &self.stale {
            tracing::info!(transactional_id, "ending what an id that is no longer used left");
            while let Err(error) = preflight::fence(&self.plan, transactional_id) {
                if matches!(&error, TransactionError::Fatal { fenced: false, cause } if !cause.retriable) {
                    return Err(format!("cannot initialise {transactional_id}: {error}"));
                }
                if self.control.is_draining() {
                    return Ok(());
                }
                self.wait_for_cluster(error.cause(), backoff.fail());
            }
            self.record
                .forget(transactional_id)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn wait_for_cluster(&self, error: &KafkaError, time: Duration) {
        tracing::info!(%error, bootstrap = self.plan.cluster.bootstrap, "waiting for the cluster");
        self.health
            .degraded(0, Some(format!("waiting for the cluster: {error}")));
        self.pause(time);
    }

    /// Starts the lanes, and starts those again that ask for it, until all have ended.
    fn watch(&self, facts: &Facts, folder: Option<&Folder>) -> Result<(), String> {
        let (sender, ends) = mpsc::channel();
        // Of this pipeline alone: when it fails, the others of the process go on.
        let control = LaneControl::default();
        let starter = LaneStarter {
            supervisor: self,
            facts,
            folder,
            control: &control,
            ends: sender,
        };
        let mut slots: Vec<Slot> = (0..self.plan.lanes.get()).map(|_| Slot::default()).collect();
        let mut failure = None;
        start_due(&starter, &mut slots, &control, &mut failure);
        let mut until_end = self.until_end.then(|| UntilEnd::new(&self.plan, facts));
        while slots.iter().any(|slot| !slot.is_over(control.is_draining())) {
            if self.control.is_draining() || until_end.as_mut().is_some_and(UntilEnd::is_reached) {
                control.drain();
            }
            match ends.recv_timeout(TICK) {
                Ok((index, end)) => {
                    let Some(slot) = slots.get_mut(index) else {
                        continue;
                    };
                    slot.ended(&end);
                    if let Some(reason) = self.verdict(index, slot, end) {
                        failure.get_or_insert(reason);
                        control.drain();
                    }
                }
                // The starter holds a sender, so nobody is never left.
                Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {}
            }
            start_due(&starter, &mut slots, &control, &mut failure);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Why the pipeline fails by this lane's end, if it does.
    fn verdict(&self, lane: usize, slot: &Slot, end: LaneEnd) -> Option<String> {
        match end {
            LaneEnd::Drained => None,
            LaneEnd::Failed(reason) => Some(reason),
            LaneEnd::Restart(reason) => {
                self.health
                    .degraded(lane, Some(format!("starting afresh: {reason}")));
                None
            }
            LaneEnd::Panicked => {
                let reason = format!("lane {lane} panicked; its last words are on standard error");
                self.health.degraded(lane, Some(reason.clone()));
                (slot.backoff.failures() >= PANICS_MAX).then_some(reason)
            }
        }
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.control.is_draining() {
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

/// Starts the lanes whose time has come. One that cannot be started fails the pipeline, and
/// the others are drained.
fn start_due(
    starter: &LaneStarter<'_>,
    slots: &mut [Slot],
    control: &LaneControl,
    failure: &mut Option<String>,
) {
    for (index, slot) in slots.iter_mut().enumerate() {
        if control.is_draining() || !slot.wants_start(Instant::now()) {
            continue;
        }
        match starter.start(index) {
            Ok(thread) => slot.started(thread),
            Err(reason) => {
                failure.get_or_insert(reason);
                control.drain();
            }
        }
    }
}

/// All of them in one line each.
fn words(misfits: &[Misfit]) -> String {
    let lines: Vec<String> = misfits
        .iter()
        .map(|misfit| format!("{}: {}; {}", misfit.key, misfit.what, misfit.remedy))
        .collect();
    lines.join("\n")
}

/// One lane's place.
#[derive(Default)]
struct Slot {
    thread: Option<Started>,
    backoff: Backoff,
    start_at: Option<Instant>,
    over: bool,
}

/// A lane that ended this often in a row, and now by a panic, will not get better.
const PANICS_MAX: u32 = 3;

/// A lane that lived this long has earned a quick restart.
const SETTLED: Duration = Duration::from_mins(1);

impl Slot {
    fn started(&mut self, thread: Started) {
        self.thread = Some(thread);
        self.start_at = None;
    }

    fn ended(&mut self, end: &LaneEnd) {
        let lived = self.thread.take().map(Started::join);
        if lived.is_some_and(|lived| lived >= SETTLED) {
            self.backoff.reset();
        }
        match end {
            LaneEnd::Restart(_) | LaneEnd::Panicked => {
                self.start_at = Some(Instant::now() + self.backoff.fail());
            }
            LaneEnd::Drained | LaneEnd::Failed(_) => self.over = true,
        }
    }

    fn wants_start(&self, now: Instant) -> bool {
        !self.over && self.thread.is_none() && self.start_at.is_none_or(|at| at <= now)
    }

    /// Whether nothing runs here, nor will again.
    fn is_over(&self, draining: bool) -> bool {
        self.over || (draining && self.thread.is_none())
    }
}
