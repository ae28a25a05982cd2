//! One batch of one partition: how far it may be read, through the stages, and what is
//! remembered of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use crate::dedup::judge::Judged;
use crate::fault::{self, Point};
use crate::kafka::{Consumer, Producer, ProducerFactory, TopicPartition};
use crate::plan::{OnMissingId, Then};
use crate::stage::{Allowance, Failure, FailureKind, GuestFactory, Outcome, Stopped};

use super::Lane;
use super::condemned::Condemned;
use super::control::Interrupt;
use super::directory::Directory;
use super::outgoing::Screen;
use super::suspects::Next;

/// A retry that waits longer ends the transaction before its record.
const LONG_HOLD: Duration = Duration::from_secs(1);

/// One look at one partition.
pub(super) struct Turn {
    pub slot: usize,
    pub id: TopicPartition,
    /// Offset of the first record to decide.
    next: i64,
    /// Only records below this offset.
    before: Option<i64>,
    /// In a transaction in which nothing else is.
    alone: bool,
    /// What is a repeat, where the pipeline wants to know.
    pub judged: Option<Judged>,
}

/// Failures of a record that takes down whatever it runs in, and so ends a search for it.
fn faulted(failures: &[Failure]) -> impl Iterator<Item = &Failure> {
    let innocent = |kind| {
        matches!(
            kind,
            FailureKind::Reject | FailureKind::Retry | FailureKind::MissingId
        )
    };
    failures.iter().filter(move |failure| !innocent(failure.kind))
}

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Decides one batch of the partition in this slot.
    pub(super) fn decide(&mut self, slot: usize) -> Result<(), Interrupt> {
        let Some(mut turn) = self.turn(slot)? else {
            return Ok(());
        };
        let condemned = self.condemned.get(&turn.id);
        let condemned = condemned.filter(|condemned| condemned.offset == turn.next);
        if let Some((kind, reason)) = condemned.and_then(Condemned::failure) {
            self.fail_condemned(&mut turn, kind, reason)?;
        } else {
            self.run_stages(&mut turn)?;
        }
        // What ran alone is committed alone.
        if turn.alone {
            self.end_transaction(self.plan.timeouts.transaction)
        } else {
            Ok(())
        }
    }

    /// Looks how far the partition may be read now, and ends the open transaction if what
    /// comes needs one of its own, or more guest time than is left in it.
    fn turn(&mut self, slot: usize) -> Result<Option<Turn>, Interrupt> {
        let Some((id, next)) = self
            .partitions
            .at(slot)
            .and_then(|p| Some((p.id.clone(), p.backlog.start()?)))
        else {
            return Ok(None);
        };
        let (before, alone) = match self.suspects.next(&id, next) {
            Next::Free => (None, false),
            Next::Until(end) => (Some(end), false),
            Next::Alone(end) => (Some(end), true),
        };
        // A condemned record is met alone, whatever else is suspected around it.
        let condemned = self.condemned.get(&id).map(|condemned| condemned.offset);
        let later = condemned.filter(|offset| *offset > next);
        let apart = self.partitions.at(slot).and_then(|partition| partition.apart);
        let apart = apart.filter(|offset| *offset == next).map(|offset| offset + 1);
        let before = [before, later, apart].into_iter().flatten().min();
        let alone = alone || condemned == Some(next);
        let crowded = self.guest_time_left() < self.longest_batch();
        if self.open.is_some() && (alone || crowded) {
            self.end_transaction(self.plan.timeouts.transaction)?;
        }
        Ok(Some(Turn {
            slot,
            id,
            next,
            before,
            alone,
            judged: None,
        }))
    }

    /// What guests may still use of the open transaction's time.
    fn guest_time_left(&self) -> Duration {
        let used = self.open.as_ref().map_or(Duration::ZERO, |open| open.guest_time);
        self.plan.timeouts.guest_time_max().saturating_sub(used)
    }

    /// The longest that one pass through all stages may take.
    fn longest_batch(&self) -> Duration {
        self.plan
            .stages
            .iter()
            .filter_map(|stage| stage.limits.batch_deadline)
            .sum()
    }

    fn run_stages(&mut self, turn: &mut Turn) -> Result<(), Interrupt> {
        let limits = self.plan.stages.first().map(|stage| stage.batch);
        let (Some(limits), Some(partition)) = (limits, self.partitions.at(turn.slot)) else {
            return Ok(());
        };
        let count = partition.backlog.batch(limits, turn.before).len();
        if !self.judge(turn, count)? {
            return Ok(());
        }
        self.begin()?;
        let allowance = Allowance {
            guest_time_left: self.guest_time_left(),
            tried: self.retries.tried(&turn.id, turn.next),
            retries_max: self.retries.max(),
        };
        let Some(partition) = self.partitions.at(turn.slot) else {
            return Ok(());
        };
        self.begin_state(turn, count)?;
        let batch = partition.backlog.front(count);
        let sifted = turn.judged.as_ref().and_then(Judged::sifted);
        let started = Instant::now();
        let mut outcome = self.stages.run_sifted(&turn.id, batch, sifted, allowance);
        self.report.processing(started.elapsed());
        if let Some(open) = &mut self.open {
            open.tried += count;
        }
        let settled = self.settle(turn, count, &mut outcome);
        self.stages.release(outcome);
        settled
    }

    /// Produces what was decided, in the order: screen, policy, breaker, outputs, dead letters.
    fn settle(&mut self, turn: &Turn, count: usize, outcome: &mut Outcome) -> Result<(), Interrupt> {
        for fault in &outcome.faults {
            self.report.trap(*fault);
        }
        let Some(partition) = self.partitions.at(turn.slot) else {
            return Ok(());
        };
        let records = partition.backlog.front(count);
        let screen = Screen::new(&self.plan, &self.capacities, &turn.id);
        self.stages
            .screen(outcome, records, screen.bytes_max(), &mut |emission| {
                screen.check(emission)
            });
        if let Some(open) = &mut self.open {
            open.guest_time += outcome.guest_time;
        }
        let is_spoilt = self.keep_apart(turn, count, outcome);
        let concluded = self.conclude(turn, count, outcome);
        self.forget_undone(is_spoilt || outcome.decided < count);
        concluded
    }

    fn conclude(&mut self, turn: &Turn, count: usize, outcome: &mut Outcome) -> Result<(), Interrupt> {
        let stopping = self.stop_at_failure(turn, outcome);
        self.observe(outcome)?;
        self.settle_state(turn, outcome);
        self.produce_outputs(turn, count, outcome)?;
        self.write_off(turn, count, outcome)?;
        fault::pass(Point::AfterProduce);
        let ends = self.remember(turn, outcome)?;
        self.advance(turn, outcome);
        if ends || stopping.is_some() {
            self.end_transaction(self.plan.timeouts.transaction)?;
        }
        stopping.map_or(Ok(()), |reason| Err(Interrupt::Pipeline(reason)))
    }

    /// Under the policy `stop` the first failure ends the pipeline, and what precedes it counts.
    fn stop_at_failure(&mut self, turn: &Turn, outcome: &mut Outcome) -> Option<String> {
        let stops_without_id = self
            .plan
            .dedup
            .as_ref()
            .is_some_and(|dedup| dedup.on_missing_id == OnMissingId::Stop);
        let then_stop = self.plan.on_error.then == Then::Stop;
        let stops =
            |failure: &&Failure| then_stop || (stops_without_id && failure.kind == FailureKind::MissingId);
        let failure = outcome.failures.iter().find(stops)?.clone();
        self.stages.stop_before(outcome, failure.record);
        let offset = self
            .partitions
            .at(turn.slot)
            .and_then(|p| p.backlog.offset_at(failure.record))
            .unwrap_or(turn.next);
        Some(format!(
            "record {} offset {offset} failed ({}, stage {}): {}; {} to go on without such records",
            turn.id,
            failure.kind.as_str(),
            failure.stage,
            failure.reason,
            if failure.kind == FailureKind::MissingId {
                "set on_missing_id to pass or dead_letter"
            } else {
                "set on_error.then to skip or dead_letter"
            },
        ))
    }

    /// Asks the circuit breaker before anything of this batch is committed.
    fn observe(&mut self, outcome: &Outcome) -> Result<(), Interrupt> {
        let Some(breaker) = &mut self.breaker else {
            return Ok(());
        };
        let failures = outcome.failures.len() as u64;
        breaker.observe(Instant::now(), outcome.decided as u64, failures).map_err(|tripped| {
            let last = outcome.failures.last().map_or("", |failure| failure.reason.as_str());
            Interrupt::Pipeline(format!(
                "{} of {} records failed within {:?}, which is more than on_error.limit allows ({} %); the last: {last}",
                tripped.failures,
                tripped.records,
                tripped.limit.over,
                tripped.limit.rate * 100.0
            ))
        })
    }

    /// The decided records are in the transaction: the next offset is behind them.
    fn advance(&mut self, turn: &Turn, outcome: &Outcome) {
        let (Some(partition), Some(open)) = (self.partitions.at_mut(turn.slot), self.open.as_mut()) else {
            return;
        };
        let decided = partition.backlog.front(outcome.decided);
        for record in faulted(&outcome.failures).filter_map(|failure| decided.get(failure.record)) {
            self.suspects.verdict(&turn.id, record.offset());
        }
        let Some(last) = decided.last() else { return };
        let next = last.offset() + 1;
        if let Some(state) = &self.state {
            state.advance(&turn.id, decided.iter().map(Record::timestamp_ms));
        }
        let again = decided
            .iter()
            .filter(|record| record.offset() < partition.redelivered_below)
            .count();
        if let Some(judged) = &turn.judged {
            open.ids += judged.counts(decided.len());
        }
        open.records += decided.len();
        open.filtered += outcome.filtered;
        open.sample(decided.len(), decided.iter().map(Record::timestamp_ms));
        partition.records_in += decided.len() as u64;
        partition.redelivered += again as u64;
        partition.last_timestamp_ms = last.timestamp_ms();
        partition.next = next;
        open.bytes = open
            .bytes
            .saturating_add(partition.backlog.advance(outcome.decided));
        self.retries.passed(&turn.id, next);
    }

    /// Remembers why the batch was not decided to its end. Says whether the transaction must
    /// end here. To be called before the decided records leave the backlog.
    fn remember(&mut self, turn: &Turn, outcome: &mut Outcome) -> Result<bool, Interrupt> {
        let Some(partition) = self.partitions.at_mut(turn.slot) else {
            return Ok(false);
        };
        let offset = |index: usize| partition.backlog.offset_at(index);
        match outcome.stopped.take() {
            None => Ok(false),
            Some(Stopped::Retry { reason, stage }) => {
                let Some(at) = offset(outcome.decided) else {
                    return Ok(false);
                };
                let waiting = self.retries.asked(&turn.id, at, Instant::now());
                tracing::debug!(partition = %turn.id, offset = at, %stage, %reason, tried = waiting.tried, "retry");
                partition.held_until = Some(waiting.due);
                self.consumer
                    .pause(std::slice::from_ref(&turn.id))
                    .map_err(|error| Interrupt::Lane(error.to_string()))?;
                if let Some(open) = &mut self.open {
                    open.retried += 1;
                }
                Ok(waiting.delay > LONG_HOLD)
            }
            Some(Stopped::Suspects { range, likely, fault }) => {
                let (first, last) = (offset(range.start), offset(range.end.saturating_sub(1)));
                if let (Some(first), Some(last)) = (first, last) {
                    self.suspects
                        .suspect(&turn.id, first..last + 1, likely.and_then(offset));
                }
                tracing::warn!(
                    partition = %turn.id, from = first, to = last, %fault,
                    "a batch faulted: its records run again in transactions of their own"
                );
                Ok(true)
            }
            Some(Stopped::OutOfTime) => Ok(true),
            Some(Stopped::Pipeline { reason }) => {
                Err(self.local_trouble().unwrap_or(Interrupt::Pipeline(reason)))
            }
        }
    }

    /// A record that the broker refuses even when it stands alone has failed, unprocessed.
    fn fail_condemned(
        &mut self,
        turn: &mut Turn,
        kind: FailureKind,
        reason: String,
    ) -> Result<(), Interrupt> {
        // Its claim stands, so that repeats of it are dropped.
        if !self.judge(turn, 1)? {
            return Ok(());
        }
        self.begin()?.tried += 1;
        let last_stage = self
            .plan
            .stages
            .last()
            .map(|stage| stage.name.clone())
            .unwrap_or_default();
        let failure = Failure {
            record: 0,
            kind,
            reason,
            stage: last_stage,
            module_sha256: Arc::from(""),
            attempts: self.retries.tried(&turn.id, turn.next) + 1,
        };
        let mut outcome = Outcome {
            decided: 1,
            failures: vec![failure],
            filtered: 0,
            stopped: None,
            faults: Vec::new(),
            guest_time: Duration::ZERO,
        };
        self.conclude(turn, 1, &mut outcome)
    }
}
