//! One thread's life: a member of the group, a transactional producer, an instance of
//! each module.
//!
//! ```text
//! poll -> begin (with the first record) -> stages -> produce
//!      -> flush -> send offsets -> commit -> poll
//! ```
//!
//! [`state`] has the states and their transitions. The rest of the room:
//!
//! | file | what it decides |
//! | --- | --- |
//! | `polling` | what comes in: records, and news of the group |
//! | `work`, `writes`, `outgoing` | one batch: stages, produce, what becomes of failed records |
//! | `repeats`, `claims` | what of a batch was met before, and what of that is part of the transaction |
//! | `keyed` | what a batch changes in the state of the transforms |
//! | `restoring` | what others wrote of a partition, back before its first record |
//! | `ending` | how a transaction commits |
//! | `recovery` | what follows when one cannot: abort, new producer, an `unknown` outcome, rewind |
//! | `assignment`, `gaps` | partitions that come and go, and where they start |
//! | `inputs` | whether their topics are still the same |
//! | `commit_policy`, `starts`, `resync`, `retries`, `suspects`, `breaker`, `partitions` | decisions without I/O |
//!
//! Invariants:
//! - offsets are committed only inside the transaction that holds their outputs;
//! - after an abort or an unknown outcome nothing is processed before every partition
//!   stands at its committed offset again, and all guest instances are new;
//! - a producer under suspicion never begins another transaction;
//! - nothing of a partition is processed before its start is committed;
//! - nothing of a topic is committed unless its id was confirmed a moment ago;
//! - an open transaction ends by time even if no record comes.

mod assignment;
pub mod backlog;
pub mod backoff;
pub mod breaker;
mod claims;
pub mod commit_policy;
mod condemned;
pub mod control;
pub mod dead_letter;
pub mod directory;
mod ending;
mod gaps;
pub mod inputs;
pub mod keyed;
pub mod open;
pub mod outgoing;
pub mod partitions;
mod polling;
pub mod provenance;
mod recovery;
mod repeats;
pub mod replayed;
pub mod report;
mod restoring;
pub mod resync;
pub mod retries;
pub mod starts;
pub mod state;
pub mod suspects;
mod work;
mod writes;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dedup::judge::Dedup;
use crate::fault::{self, Sabotage};
use crate::kafka::hurry::HURRIED_MAX;
use crate::kafka::{Consumer, FailedDelivery, Producer, ProducerFactory, TopicPartition, TransactionError};
use crate::plan::Pipeline;
use crate::stage::{GuestFactory, Stages};

use backoff::Backoff;
use breaker::Breaker;
use commit_policy::{CommitBudget, CommitPolicy, Due};
use condemned::Condemned;
use control::{Interrupt, LaneControl, LaneEnd};
use directory::Directory;
use keyed::States;
use open::Open;
use outgoing::Capacity;
use partitions::{Partitions, Standing};
use report::Report;
use retries::Retries;
use state::LaneState;
use suspects::Suspects;

/// An idle lane looks up this often.
const IDLE_WAIT_MAX: Duration = Duration::from_millis(200);

/// How long leaving the group may take. With [`DRAIN_COMMIT_MAX`] and [`LEAVE_ABORT_MAX`]
/// it stays below the ten seconds that a drain has.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The last commit of a drain.
const DRAIN_COMMIT_MAX: Duration = HURRIED_MAX;

/// Aborting what is open when a lane ends.
const LEAVE_ABORT_MAX: Duration = Duration::from_millis(1500);

/// Everything a lane is made of.
pub struct Parts<C, F, D, G: GuestFactory> {
    pub plan: Arc<Pipeline>,
    /// Number of this lane in its process.
    pub index: usize,
    pub consumer: C,
    pub producers: F,
    pub dedup: Option<Dedup>,
    pub state: Option<States>,
    pub stages: Stages<G>,
    pub directory: Arc<D>,
    /// What the topics take, in the order of [`Pipeline::produced_topics`].
    pub capacities: Arc<[Capacity]>,
    pub budget: Arc<CommitBudget>,
    pub control: LaneControl,
    pub report: Report,
}

/// A lane. Owned and run by one thread.
pub struct Lane<C: Consumer, F: ProducerFactory, D, G: GuestFactory> {
    plan: Arc<Pipeline>,
    consumer: C,
    producers: F,
    /// `None` only while it is being replaced.
    producer: Option<F::Producer>,
    dedup: Option<Dedup>,
    state: Option<States>,
    /// Of the store that holds the message ids.
    store_away: Backoff,
    stages: Stages<G>,
    directory: Arc<D>,
    budget: Arc<CommitBudget>,
    control: LaneControl,
    report: Report,
    partitions: Partitions<C::Record>,
    open: Option<Open>,
    policy: CommitPolicy,
    breaker: Option<Breaker>,
    retries: Retries,
    suspects: Suspects,
    capacities: Arc<[Capacity]>,
    /// Deliveries of the open transaction that the broker refused.
    refused: Vec<FailedDelivery>,
    /// Records that the broker refused when they stood alone.
    condemned: HashMap<TopicPartition, Condemned>,
    /// Changes with every change of the assignment.
    epoch: u64,
    backoff: Backoff,
    /// Nothing is processed before this moment.
    resting_until: Option<Instant>,
    fenced_in_a_row: u32,
    last_poll: Instant,
    /// Whether this consumer has joined the group.
    subscribed: bool,
    /// When starts that are not known yet were looked for last.
    last_resolve: Instant,
    look_interval: Duration,
    looks: usize,
    last_offsets: Instant,
}

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    pub fn new(parts: Parts<C, F, D, G>) -> Self {
        let now = Instant::now();
        Self {
            policy: CommitPolicy::new(parts.plan.commit),
            breaker: parts.plan.on_error.limit.map(|limit| Breaker::new(limit, now)),
            retries: Retries::new(parts.plan.on_error.retry),
            suspects: Suspects::default(),
            refused: Vec::new(),
            condemned: HashMap::new(),
            capacities: parts.capacities,
            plan: parts.plan,
            consumer: parts.consumer,
            producers: parts.producers,
            producer: None,
            dedup: parts.dedup,
            state: parts.state,
            store_away: Backoff::default(),
            stages: parts.stages,
            directory: parts.directory,
            budget: parts.budget,
            control: parts.control,
            report: parts.report,
            partitions: Partitions::default(),
            open: None,
            epoch: 0,
            backoff: Backoff::default(),
            resting_until: None,
            fenced_in_a_row: 0,
            last_poll: now,
            subscribed: false,
            last_resolve: now,
            look_interval: assignment::LOOK_INTERVAL,
            looks: 0,
            last_offsets: now,
        }
    }

    /// Runs until it is drained, has failed, or must be started afresh.
    pub fn run(mut self) -> LaneEnd {
        let end = match self.live() {
            Ok(()) => LaneEnd::Drained,
            Err(Interrupt::Pipeline(reason)) => LaneEnd::Failed(reason),
            Err(Interrupt::Lane(reason)) => LaneEnd::Restart(reason),
            Err(Interrupt::Transaction { error, .. }) => LaneEnd::Restart(error.to_string()),
            Err(Interrupt::Suspicion) => LaneEnd::Restart("the producer is under suspicion".to_owned()),
        };
        self.leave(&end);
        end
    }

    fn live(&mut self) -> Result<(), Interrupt> {
        self.report.started();
        self.replace_producer()?;
        let plan = Arc::clone(&self.plan);
        self.consumer
            .subscribe(&plan.input.topics.subscription())
            .map_err(|error| Interrupt::Lane(format!("cannot subscribe: {error}")))?;
        self.subscribed = true;
        while !self.control.is_draining() {
            match self.round() {
                Err(Interrupt::Transaction { error, .. }) if self.control.is_draining() => {
                    leave_undecided(&error);
                    return Ok(());
                }
                Err(Interrupt::Transaction { error, in_commit }) => self.recover(&error, in_commit)?,
                // The next round begins with that.
                Err(Interrupt::Suspicion) => {}
                other => other?,
            }
        }
        self.drain()
    }

    /// One turn: end what is due, take what is there, decide it.
    fn round(&mut self) -> Result<(), Interrupt> {
        self.report.beat();
        self.refuse_suspicious_producer()?;
        self.resolve_positions()?;
        self.take_restored()?;
        self.pass_gaps()?;
        let now = Instant::now();
        self.release_holds(now)?;
        let ready = self.is_ready(now);
        let due = self.due(ready, now);
        if due == Some(Due::Now) {
            self.end_transaction(self.plan.timeouts.transaction)?;
            return Ok(());
        }
        self.take(ready, due, now)?;
        self.pass_over_control_records();
        self.decide_ready()
    }

    /// Partitions whose retry is due are fetched again.
    fn release_holds(&mut self, now: Instant) -> Result<(), Interrupt> {
        let due = |held: &Option<Instant>| held.is_some_and(|until| until <= now);
        let over: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|p| due(&p.held_until) && !p.restoring.any())
            .map(|p| p.id.clone())
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        for partition in self.partitions.iter_mut().filter(|p| due(&p.held_until)) {
            partition.held_until = None;
        }
        self.consumer
            .resume(&over)
            .map_err(|error| Interrupt::Lane(format!("cannot resume: {error}")))
    }

    /// Whether any partition has something to process.
    fn is_ready(&self, now: Instant) -> bool {
        self.resting_until.is_none_or(|until| until <= now) && self.partitions.iter().any(|p| p.is_ready(now))
    }

    /// When a transaction is to end; `None` if there is nothing to commit.
    fn due(&self, ready: bool, now: Instant) -> Option<Due> {
        if self.resting_until.is_some_and(|until| until > now) && self.open.is_none() {
            return self.resting_until.map(Due::At);
        }
        if self.partitions.iter().any(|p| p.standing == Standing::Starting) {
            return Some(Due::Now);
        }
        let Some(open) = &self.open else {
            let dirty = self.partitions.iter().any(partitions::Partition::is_dirty);
            let at = self.last_offsets + self.plan.commit.interval;
            return dirty.then_some(if at <= now { Due::Now } else { Due::At(at) });
        };
        let due = self.policy.due(open.size(), !ready, now);
        if due == Due::Now && self.policy.is_early(open.size(), now) {
            return Some(
                self.budget
                    .take(now)
                    .map_or_else(|wait| Due::At(now + wait), |()| Due::Now),
            );
        }
        Some(due)
    }

    /// A position moves without records where records were aborted or are control
    /// records. Once all that was polled is decided, such a move is worth a commit:
    /// else the lag of a transactional input never reaches 0.
    fn pass_over_control_records(&mut self) {
        for partition in self.partitions.iter_mut() {
            if partition.standing == Standing::Steady
                && partition.backlog.is_empty()
                && let Some(position) = self.consumer.position(&partition.id)
            {
                partition.next = partition.next.max(position);
            }
        }
    }

    /// One batch of every partition that has one, until the transaction is full.
    fn decide_ready(&mut self) -> Result<(), Interrupt> {
        for slot in 0..self.partitions.len() {
            let now = Instant::now();
            if self.resting_until.is_some_and(|until| until > now) {
                return Ok(());
            }
            if self.partitions.at(slot).is_some_and(|p| p.is_ready(now)) {
                self.decide(slot)?;
                if fault::has(Sabotage::OffsetsOutsideTransaction) {
                    self.commit_outside_transaction()?;
                }
            }
            if self.due(true, Instant::now()) == Some(Due::Now) {
                self.end_transaction(self.plan.timeouts.transaction)?;
            }
        }
        Ok(())
    }

    /// The last transaction, and nothing after it.
    fn drain(&mut self) -> Result<(), Interrupt> {
        self.report.state(LaneState::Draining)?;
        match self.end_transaction(DRAIN_COMMIT_MAX) {
            Ok(()) | Err(Interrupt::Suspicion) => Ok(()),
            Err(Interrupt::Transaction { error, .. }) => {
                leave_undecided(&error);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Ends the open transaction, by the abort if its producer is of use; else by opening its
    /// successor, which fences it.
    fn end_abandoned(&mut self) {
        let deadline = Instant::now() + LEAVE_ABORT_MAX;
        let Some(mut producer) = self.producer.take() else {
            return;
        };
        let aborted = producer.suspicion().is_none() && producer.abort(deadline).is_ok();
        producer.discard();
        if aborted {
            return;
        }
        match self.producers.open(deadline) {
            Ok(successor) => successor.discard(),
            Err(error) => {
                tracing::warn!(%error, "could not end the open transaction; the next start does, or its timeout");
            }
        }
    }

    /// Gives everything back. The producer goes last: the consumer's farewell may still
    /// ask for its transaction to be over.
    fn leave(mut self, end: &LaneEnd) {
        if self.open.take().is_some() {
            self.end_abandoned();
        }
        for partition in self.partitions.iter() {
            self.report.forget(&partition.id);
        }
        self.dedup = None;
        self.state = None;
        // Records hold on to the client.
        self.partitions = Partitions::default();
        self.consumer.close(CLOSE_TIMEOUT);
        if let Some(producer) = self.producer.take() {
            producer.discard();
        }
        self.report.ended(end);
    }
}

/// Nobody waits for a coordinator that is away while somebody waits for the lane. What became of
/// the transaction decides where the next owner of the partitions goes on.
fn leave_undecided(error: &TransactionError) {
    tracing::warn!(%error, "the last transaction did not commit; the next start resolves it");
}
