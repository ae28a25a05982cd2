//! What a lane tells the outside: its state, metrics, readiness, and the first failing
//! record of a kind. Records are counted here when they are committed, never before.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use strait_sdk::batch::Record;

use crate::dedup::judge::IdsHeld;
use crate::dedup::store::StoreAway;
use crate::guest::FaultKind;
use crate::health::PipelineHealth;
use crate::kafka::{KafkaError, TopicPartition, TransactionError};
use crate::plan::Pipeline;
use crate::restore::Progress;
use crate::stage::Failure;
use crate::telemetry::failures::FailureLog;
use crate::telemetry::metrics::{PipelineMetrics, RebalanceKind, TransactionOutcome, TransactionPhase};

use super::control::{Interrupt, LaneEnd};
use super::open::Open;
use super::partitions::Partition;
use super::state::LaneState;

/// The reporting side of one lane.
#[derive(Clone)]
pub struct Report {
    lane: usize,
    state: LaneState,
    metrics: PipelineMetrics,
    health: PipelineHealth,
    failures: Arc<FailureLog>,
    topics: Arc<[Arc<str>]>,
}

impl Report {
    /// `topics`: what the producer was opened with, in its order.
    /// `failures` is shared by the lanes of the pipeline.
    pub fn new(
        lane: usize,
        metrics: PipelineMetrics,
        health: PipelineHealth,
        failures: Arc<FailureLog>,
        topics: Arc<[Arc<str>]>,
    ) -> Self {
        Self {
            lane,
            state: LaneState::Joining,
            metrics,
            health,
            failures,
            topics,
        }
    }

    pub fn lane(&self) -> usize {
        self.lane
    }

    /// The lane begins its life.
    pub fn started(&self) {
        self.publish();
        self.metrics.transaction_open(self.lane, None);
    }

    pub fn current_state(&self) -> LaneState {
        self.state
    }

    /// Moves to a state. An illegal transition is a defect of this room: the lane ends.
    pub fn state(&mut self, next: LaneState) -> Result<(), Interrupt> {
        if !self.state.may_become(next) {
            return Err(Interrupt::Lane(format!(
                "illegal transition from {} to {next}",
                self.state
            )));
        }
        if self.state != next {
            tracing::debug!(lane = self.lane, from = %self.state, to = %next, "state");
            self.state = next;
            self.publish();
        }
        Ok(())
    }

    fn publish(&self) {
        self.metrics.lane_state(self.lane, self.state);
        self.health.lane(self.lane, self.state);
    }

    /// The lane made a round.
    pub fn beat(&self) {
        self.health.beat(self.lane);
    }

    pub fn degraded(&self, reason: Option<String>) {
        if let Some(reason) = &reason {
            tracing::warn!(lane = self.lane, %reason, "degraded");
        }
        self.health.degraded(self.lane, reason);
    }

    /// Message ids were claimed, or should have been.
    pub fn claimed(&self, took: Duration) {
        self.metrics.claimed(took);
    }

    pub fn ids_held(&self, held: IdsHeld) {
        match held {
            IdsHeld::ByThisLane(ids) => self.metrics.ids_held(Some(self.lane), ids),
            IdsHeld::ByAllLanes(ids) => self.metrics.ids_held(None, ids),
        }
    }

    /// Shows how far these stores of a partition are back, which come together.
    pub fn restoring(&self, stores: Vec<String>) -> Progress {
        let metrics = self.metrics.clone();
        Arc::new(move |partition, ratio| {
            for store in &stores {
                metrics.restored(store, partition, ratio);
            }
        })
    }

    pub fn store_away(&self, away: &StoreAway) {
        self.metrics.store_away();
        self.degraded(Some(away.to_string()));
    }

    pub fn assigned(&self, partitions: usize) {
        tracing::info!(lane = self.lane, partitions, "assigned");
        self.health.degraded(self.lane, None);
        self.health.assigned(self.lane, partitions);
    }

    /// Partitions were taken; `left` stay.
    pub fn revoked(&self, left: usize) {
        tracing::info!(lane = self.lane, left, "revoked");
        if left == 0 {
            self.health.unassigned(self.lane);
        } else {
            self.health.assigned(self.lane, left);
        }
    }

    pub fn rebalance(&self, kind: RebalanceKind) {
        self.metrics.rebalance(kind);
    }

    pub fn rebalance_took(&self, time: Duration) {
        self.metrics.rebalance_took(time);
    }

    pub fn generation(&self, generation: i32) {
        self.metrics.generation(generation);
    }

    pub fn trouble(&self, error: &KafkaError) {
        tracing::warn!(lane = self.lane, %error, "the client reports trouble, and goes on");
    }

    pub fn transaction_failed(&self, error: &TransactionError) {
        tracing::warn!(lane = self.lane, %error, "the transaction cannot commit");
    }

    pub fn transaction(&self, outcome: TransactionOutcome) {
        self.metrics.transaction(outcome);
    }

    pub fn transaction_open(&self, began: Option<Instant>) {
        self.metrics.transaction_open(self.lane, began);
    }

    pub fn phase(&self, phase: TransactionPhase, time: Duration) {
        self.metrics.phase(phase, time);
    }

    pub fn processing(&self, time: Duration) {
        self.metrics.processing(time);
    }

    /// A record failed for good.
    pub fn failed_record<R: Record>(&self, partition: &TopicPartition, record: &R, failure: &Failure) {
        self.failures
            .failed(partition, record.offset(), failure, record.value());
    }

    pub fn trap(&self, kind: FaultKind) {
        self.metrics.module_trap(kind);
    }

    pub fn producer_reload(&self, reason: &'static str) {
        self.metrics.producer_reload(reason);
    }

    pub fn last_stable_offset_lag(&self, partition: &TopicPartition, records: i64) {
        self.metrics.last_stable_offset_lag(partition, records.max(0));
    }

    /// Lag in records and in seconds: how old the last committed record is, while there are more.
    pub fn lag<R: Record>(&self, partition: &Partition<R>) {
        let Some(records) = partition.lag() else { return };
        let age = if records > 0 {
            age_of(partition.last_timestamp_ms)
        } else {
            Duration::ZERO
        };
        self.metrics.lag(&partition.id, records, age.as_secs_f64());
    }

    /// The partition is no longer ours: its series go.
    pub fn forget(&self, partition: &TopicPartition) {
        self.metrics.forget_partition(partition);
    }

    /// A transaction committed: its records count.
    pub fn committed<'p, R: Record + 'p>(
        &self,
        plan: &Pipeline,
        open: &Open,
        partitions: impl Iterator<Item = &'p Partition<R>>,
    ) {
        for partition in partitions.filter(|p| p.records_in > 0) {
            self.metrics.records_in(&partition.id, partition.records_in);
            self.metrics.redelivered(partition.redelivered);
        }
        // Outputs and dead letters; the marks behind them are no one's business.
        let written = self
            .topics
            .iter()
            .zip(&open.produced)
            .take(plan.control_topic_index());
        for (topic, count) in written {
            if *count > 0 {
                self.metrics.records_out(topic, *count);
            }
        }
        self.metrics.filtered(open.filtered);
        self.metrics.retried(open.retried);
        self.metrics.identified(open.ids);
        for (kind, count) in &open.skipped {
            self.metrics.skipped(*kind, *count);
        }
        for (kind, count) in &open.dead_lettered {
            self.metrics.dead_lettered(*kind, *count);
        }
        for timestamp_ms in open.timestamps_ms() {
            self.metrics.end_to_end(age_of(*timestamp_ms));
        }
    }

    /// The lane ended.
    pub fn ended(&mut self, end: &LaneEnd) {
        let state = match end {
            LaneEnd::Failed(_) => LaneState::Failed,
            LaneEnd::Drained => LaneState::Stopped,
            LaneEnd::Restart(_) | LaneEnd::Panicked => LaneState::Joining,
        };
        self.state = state;
        self.publish();
        self.health.unassigned(self.lane);
        match end {
            LaneEnd::Failed(reason) => tracing::error!(lane = self.lane, %reason, "the lane failed"),
            LaneEnd::Restart(reason) => tracing::warn!(lane = self.lane, %reason, "the lane starts afresh"),
            LaneEnd::Drained => tracing::info!(lane = self.lane, "the lane stopped"),
            LaneEnd::Panicked => tracing::error!(lane = self.lane, "the lane panicked"),
        }
    }
}

/// Time since a timestamp; zero for one in the future or none at all.
fn age_of(timestamp_ms: i64) -> Duration {
    let Ok(timestamp_ms) = u64::try_from(timestamp_ms) else {
        return Duration::ZERO;
    };
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(timestamp_ms);
    SystemTime::now().duration_since(then).unwrap_or_default()
}
