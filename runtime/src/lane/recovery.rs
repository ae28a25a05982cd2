//! What follows when a transaction cannot commit.
//!
//! | error | what happens |
//! | --- | --- |
//! | abortable | abort; back to the offsets that this lane knows to be committed |
//! | fatal, no verdict, a failed abort | a new producer with the same id, which ends the old transaction either way; back to the offsets that the group has committed |
//! | the same, out of the commit call | in between, what is committed is held against the transaction (`unknown`, by the rule of [`resync`](super::resync)) |
//!
//! A producer under suspicion (a request of the transaction protocol went unanswered) is
//! replaced before the next begin: a late copy of that request could act on the next
//! transaction, since librdkafka's protocol keeps one epoch for many (KIP-890).

mod unknown;

use std::time::{Duration, Instant};

use crate::fault::{self, Point, Sabotage};
use crate::kafka::{
    Consumer, KafkaError, Position, Producer, ProducerFactory, TopicPartition, TransactionError,
};
use crate::plan::Delivery;
use crate::stage::GuestFactory;
use crate::telemetry::metrics::{TransactionOutcome, TransactionPhase};

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;
use super::partitions::Standing;
use super::state::LaneState;

/// One try to open a producer, or to read committed offsets; between two tries the group is served.
const TRY: Duration = Duration::from_secs(5);

/// Fenced this often in a row, another process must be using the same id.
const FENCED_MAX: u32 = 5;

/// How long a lane tries to move its consumer back.
const SEEK_MAX: Duration = Duration::from_secs(30);

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Ends a transaction that cannot commit, and brings the lane back to what is committed.
    pub(super) fn recover(&mut self, error: &TransactionError, in_commit: bool) -> Result<(), Interrupt> {
        self.report.state(LaneState::Rewinding)?;
        self.report.transaction_failed(error);
        let open = self.open.take();
        self.report.transaction_open(None);
        let aborted = matches!(error, TransactionError::Abortable(_)) && self.abort();
        // The call that failed may say no more than that something had failed before it.
        let error = &match (error, self.note_refused_records(open.as_ref())?) {
            (TransactionError::Abortable(_), Some(refusal)) => TransactionError::Abortable(refusal),
            _ => error.clone(),
        };
        if aborted {
            self.report.transaction(TransactionOutcome::Aborted);
            self.stages.reset();
            self.rest(error);
            fault::pass(Point::AfterAbort);
            if !fault::has(Sabotage::NoRewind) {
                self.rewind(None)?;
            }
        } else {
            self.report.producer_reload(reason(error));
            self.replace_fenced(error)?;
            self.stages.reset();
            self.resync(open.as_ref(), error, in_commit)?;
        }
        let next = if self.partitions.is_empty() {
            LaneState::Joining
        } else {
            LaneState::Running
        };
        self.report.state(next)
    }

    /// Whether the abort succeeded.
    fn abort(&mut self) -> bool {
        let started = Instant::now();
        let deadline = started + self.plan.timeouts.transaction;
        let Some(producer) = &mut self.producer else {
            return false;
        };
        match producer.abort(deadline) {
            Ok(()) => {
                self.report.phase(TransactionPhase::Abort, started.elapsed());
                true
            }
            Err(error) => {
                tracing::warn!(%error, "abort failed; the producer is replaced");
                false
            }
        }
    }

    /// After failures in a row, a pause before the next record.
    fn rest(&mut self, error: &TransactionError) {
        let wait = self.backoff.fail();
        if self.backoff.failures() > 1 {
            self.resting_until = Some(Instant::now() + wait);
            self.report.degraded(Some(format!(
                "{} transactions in a row did not commit, the last one because: {error}",
                self.backoff.failures()
            )));
        }
    }

    /// Why the producer must not begin another transaction.
    pub(super) fn suspicion(&self) -> Option<String> {
        if fault::has(Sabotage::NoGuard) {
            return None;
        }
        self.producer.as_ref().and_then(Producer::suspicion)
    }

    /// Replaces a producer that is under suspicion. Between two transactions only.
    pub(super) fn refuse_suspicious_producer(&mut self) -> Result<(), Interrupt> {
        if self.open.is_some() {
            return Ok(());
        }
        let Some(suspicion) = self.suspicion() else {
            return Ok(());
        };
        tracing::warn!(%suspicion, "replacing the producer: a late request could reach the next transaction");
        self.report.producer_reload("suspect");
        if self.partitions.is_empty() {
            self.replace_producer()?;
            // What came while the group was served has lost records to that.
            return if self.partitions.is_empty() {
                Ok(())
            } else {
                self.rewind(None)
            };
        }
        let before = self.report.current_state();
        self.report.state(LaneState::Rewinding)?;
        self.replace_producer()?;
        self.rewind(None)?;
        self.report.state(before)
    }

    fn replace_fenced(&mut self, error: &TransactionError) -> Result<(), Interrupt> {
        if let TransactionError::Fatal { fenced: true, .. } = error {
            self.report.transaction(TransactionOutcome::Fenced);
            self.fenced_in_a_row += 1;
            if self.fenced_in_a_row >= FENCED_MAX {
                return Err(Interrupt::Pipeline(format!(
                    "fenced {FENCED_MAX} times in a row: another process uses the same transactional id ({error}); \
                     give each process its own --instance, or let Strait choose"
                )));
            }
        }
        self.replace_producer()
    }

    /// Opens a new producer with the same id, however long the cluster needs, serving the
    /// group in between.
    pub(super) fn replace_producer(&mut self) -> Result<(), Interrupt> {
        if let Some(old) = self.producer.take() {
            old.discard();
        }
        loop {
            match self.producers.open(Instant::now() + TRY) {
                Ok(producer) => {
                    self.producer = Some(producer);
                    fault::pass(Point::AfterInit);
                    return Ok(());
                }
                Err(TransactionError::Fatal { fenced: false, cause }) if is_final(&cause) => {
                    return Err(Interrupt::Pipeline(format!(
                        "cannot open the transactional producer: {cause}"
                    )));
                }
                Err(error) => {
                    self.report
                        .degraded(Some(format!("waiting for the transaction coordinator: {error}")));
                    self.wait_out()?;
                }
            }
        }
    }

    /// Serves the group for a moment while nothing can be processed. What it hands out
    /// meanwhile is dropped: a seek follows.
    fn wait_out(&mut self) -> Result<(), Interrupt> {
        if self.control.is_draining() {
            return Err(Interrupt::Lane(
                "asked to stop while the cluster was away".to_owned(),
            ));
        }
        self.report.beat();
        let until = Instant::now() + self.backoff.fail();
        while Instant::now() < until && !self.control.is_draining() {
            let wait = until
                .saturating_duration_since(Instant::now())
                .min(super::IDLE_WAIT_MAX);
            if !self.subscribed {
                // There is no group to serve yet.
                std::thread::sleep(wait);
                continue;
            }
            self.serve_once(wait)?;
        }
        Ok(())
    }

    fn serve_once(&mut self, wait: Duration) -> Result<(), Interrupt> {
        if self.control.is_draining() {
            return Err(Interrupt::Lane(
                "asked to stop before the outcome of its last transaction was known".to_owned(),
            ));
        }
        self.report.beat();
        let polled = self
            .consumer
            .poll(1, wait)
            .map_err(|error| Interrupt::Lane(format!("cannot poll: {error}")))?;
        self.serve(polled.events)
    }

    /// Moves every partition back to what is committed: as the group says, or as this lane
    /// knows if the history is unambiguous.
    pub(super) fn rewind(
        &mut self,
        committed: Option<&[(TopicPartition, Option<i64>)]>,
    ) -> Result<(), Interrupt> {
        self.claims_aborted();
        self.state_aborted();
        let mut moved = Vec::new();
        for partition in self.partitions.iter_mut() {
            let asked = committed.and_then(|list| list.iter().find(|(id, _)| *id == partition.id));
            let offset = match (asked, &partition.standing) {
                (Some((_, Some(offset))), Standing::Starting) => {
                    partition.standing = Standing::Steady;
                    *offset
                }
                (Some((_, Some(offset))), Standing::Steady) => *offset,
                (Some((id, None)), Standing::Steady) if self.plan.delivery != Delivery::AtMostOnce => {
                    return Err(Interrupt::Pipeline(format!(
                        "{id}: its committed offset {} is gone from the group; set it again \
                         (strait offsets reset) to where the pipeline shall go on",
                        partition.committed
                    )));
                }
                _ => partition.committed,
            };
            if offset != partition.committed && partition.standing == Standing::Steady {
                moved.push(partition.id.clone());
            }
            partition.rewind(offset);
        }
        self.seek_to_next()?;
        // Somebody has committed behind our back; it may have been the transaction whose outcome
        // nobody told. What it wrote is not in our hands.
        for id in &moved {
            self.restore(id);
        }
        self.hold_restoring(&moved)
    }

    /// Makes the consumer go on at every partition's next offset.
    fn seek_to_next(&mut self) -> Result<(), Interrupt> {
        let give_up = Instant::now() + SEEK_MAX;
        loop {
            let positions: Vec<Position> = self
                .partitions
                .iter()
                .filter(|p| p.standing != Standing::Resolving)
                .map(super::partitions::Partition::position)
                .collect();
            if positions.is_empty() {
                return Ok(());
            }
            let Err(error) = self.consumer.seek(&positions, TRY) else {
                return Ok(());
            };
            if Instant::now() >= give_up {
                return Err(Interrupt::Lane(format!(
                    "cannot move back to the committed offsets: {error}"
                )));
            }
            self.wait_out()?;
        }
    }
}

/// Errors that no retry mends: somebody has to grant a right or change a setting.
fn is_final(cause: &KafkaError) -> bool {
    matches!(
        cause.name.as_str(),
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
            | "CLUSTER_AUTHORIZATION_FAILED"
            | "INVALID_TRANSACTION_TIMEOUT"
            | "UNSUPPORTED_VERSION"
            | "UNSUPPORTED_FEATURE"
    )
}

/// The `reason` label of a reload.
fn reason(error: &TransactionError) -> &'static str {
    match error {
        TransactionError::Fatal { fenced: true, .. } => "fenced",
        TransactionError::Fatal { fenced: false, .. } => "fatal",
        TransactionError::Abortable(_) => "abort_failed",
        TransactionError::NoVerdict(_) => "no_verdict",
    }
}
