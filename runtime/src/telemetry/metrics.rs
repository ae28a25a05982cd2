//! Counting what a pipeline does, from the threads that do it.
//!
//! [`Metrics`] belongs to the process, [`PipelineMetrics`] to one pipeline; both are cheap to
//! clone, and every method may be called from any lane.
//!
//! Invariants: records are counted by those who call, at commit and not before; what can only
//! take a few label values is exported from the start, with zero, so that a first occurrence
//! is an increase; the series of a partition exist only while this process owns it.

mod claims;
mod labels;
mod pipeline;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge, Registry, TextEncoder};
use tracing::error;

use self::labels::{REDELIVERED, REPEATED, fault_label};
pub use self::labels::{RebalanceKind, TransactionOutcome, TransactionPhase};
use self::pipeline::Pipeline;
use super::catalogue;
use super::series::Series;
use crate::dedup::judge::Counts;
use crate::guest::FaultKind;
use crate::kafka::TopicPartition;
use crate::lane::state::LaneState;
use crate::plan::PipelineName;
use crate::stage::FailureKind;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of the process.
#[derive(Clone)]
pub struct Metrics(Arc<Process>);

struct Process {
    registry: Registry,
    pipelines: Mutex<BTreeMap<PipelineName, PipelineMetrics>>,
    /// Held for as long as it is to be exported.
    _build_info: Series<IntGauge>,
}

impl Metrics {
    /// `librdkafka_version` is what the library says of itself when it is loaded.
    pub fn new(librdkafka_version: &str) -> Self {
        let registry = Registry::new();
        let versions = [
            env!("CARGO_PKG_VERSION"),
            librdkafka_version,
            env!("STRAIT_WASMTIME_VERSION"),
        ];
        let build_info: Series<IntGauge> = Series::new(&registry, &catalogue::BUILD_INFO, &versions);
        build_info.with(|gauge| gauge.set(1));
        Self(Arc::new(Process {
            registry,
            pipelines: Mutex::default(),
            _build_info: build_info,
        }))
    }

    /// The metrics of a pipeline: the same ones each time, so that a pipeline that starts
    /// again goes on counting.
    pub fn pipeline(&self, name: &PipelineName) -> PipelineMetrics {
        let mut pipelines = self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pipelines.entry(name.clone());
        known
            .or_insert_with(|| PipelineMetrics(Arc::new(Pipeline::new(&self.0.registry, name.as_str()))))
            .clone()
    }

    /// Everything as Prometheus scrapes it, in the format that [`CONTENT_TYPE`] names.
    pub fn render(&self) -> String {
        let pipelines: Vec<_> = {
            let pipelines = self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
            pipelines.values().cloned().collect()
        };
        let now = Instant::now();
        for pipeline in pipelines {
            pipeline.0.measure_open_transactions(now);
            if let Some(claims) = pipeline.0.claims.get() {
                claims.measure();
            }
        }
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .unwrap_or_else(|failure| {
                error!(error = %failure, "metrics could not be rendered");
                String::new()
            })
    }
}

/// The metrics of one pipeline in this process.
#[derive(Clone)]
pub struct PipelineMetrics(Arc<Pipeline>);

impl PipelineMetrics {
    /// Input records of a partition were committed.
    pub fn records_in(&self, partition: &TopicPartition, records: u64) {
        self.0
            .records_in
            .with(partition, |counter| counter.inc_by(records));
    }

    /// Records were committed to an output topic.
    pub fn records_out(&self, topic: &str, records: u64) {
        self.0.records_out.with(topic, |counter| counter.inc_by(records));
    }

    pub fn filtered(&self, records: u64) {
        self.0.filtered.with(|counter| counter.inc_by(records));
    }

    pub fn skipped(&self, kind: FailureKind, records: u64) {
        self.0
            .skipped
            .with(kind.as_str(), |counter| counter.inc_by(records));
    }

    /// Records are handed to the transform once more because they asked for it.
    pub fn retried(&self, records: u64) {
        self.0.retried.with(|counter| counter.inc_by(records));
    }

    pub fn dead_lettered(&self, kind: FailureKind, records: u64) {
        self.0
            .dead_lettered
            .with(kind.as_str(), |counter| counter.inc_by(records));
    }

    /// Records were read again after an abort.
    pub fn redelivered(&self, records: u64) {
        self.0
            .duplicates
            .with(REDELIVERED, |counter| counter.inc_by(records));
    }

    /// What the message ids of committed records were.
    pub fn identified(&self, counts: Counts) {
        self.0
            .unidentified
            .with(|counter| counter.inc_by(counts.unidentified));
        if counts.checked > 0 {
            self.0
                .duplicates
                .with(REPEATED, |counter| counter.inc_by(counts.repeated));
            self.0.claims().found(counts.checked, counts.repeated);
        }
    }

    /// The message ids of one batch were claimed.
    pub fn claimed(&self, took: Duration) {
        self.0.claims().took(took);
    }

    /// So many ids are held by this lane; by all together if none is named.
    pub fn ids_held(&self, lane: Option<usize>, ids: usize) {
        self.0.claims().held(lane, ids);
    }

    /// What a store remembers of a partition is back so far; `None`: the partition is not ours.
    pub fn restored(&self, store: &str, partition: &TopicPartition, ratio: Option<f64>) {
        // In place of the topic stands the store, which is one for each topic.
        let key = TopicPartition {
            topic: format!("{store}.{}", partition.topic).into(),
            partition: partition.partition,
        };
        match ratio {
            Some(ratio) => self.0.restore.with(&key, |gauge| gauge.set(ratio)),
            None => self.0.restore.remove(&key),
        }
    }

    /// The store of message ids did not answer.
    pub fn store_away(&self) {
        self.0.claims().failed();
    }

    /// How far a partition is behind the end that may be read.
    pub fn lag(&self, partition: &TopicPartition, records: i64, seconds: f64) {
        self.0.lag_records.with(partition, |gauge| gauge.set(records));
        self.0.lag_seconds.with(partition, |gauge| gauge.set(seconds));
    }

    /// High watermark less last stable offset of an input partition.
    pub fn last_stable_offset_lag(&self, partition: &TopicPartition, records: i64) {
        self.0
            .last_stable_offset_lag
            .with(partition, |gauge| gauge.set(records));
    }

    /// The partition is no longer this process's to report.
    pub fn forget_partition(&self, partition: &TopicPartition) {
        self.0.records_in.remove(partition);
        self.0.lag_records.remove(partition);
        self.0.lag_seconds.remove(partition);
        self.0.last_stable_offset_lag.remove(partition);
    }

    /// The pipeline ended: it has no partitions and no transactions any more. Its counters and
    /// the state of its lanes stay, for whoever asks why.
    pub fn ended(&self) {
        self.0.records_in.clear();
        self.0.lag_records.clear();
        self.0.lag_seconds.clear();
        self.0.last_stable_offset_lag.clear();
        self.0
            .open_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.0.transaction_open.clear();
        self.0.restore.clear();
    }

    pub fn rebalance(&self, kind: RebalanceKind) {
        self.0.rebalances.with(kind.as_str(), IntCounter::inc);
    }

    /// A lane is in this generation of the group. Counted once, whichever lanes tell it and
    /// however often. A group that was deleted begins at 1 again.
    pub fn generation(&self, generation: i32) {
        let mut newest = self.0.generation.lock().unwrap_or_else(PoisonError::into_inner);
        if generation > *newest || (generation == 1 && *newest > 1) {
            *newest = generation;
            self.0.generations.with(IntCounter::inc);
        }
    }

    /// From the change of an assignment to running again.
    pub fn rebalance_took(&self, time: Duration) {
        self.0
            .rebalance_seconds
            .with(|histogram| histogram.observe(time.as_secs_f64()));
    }

    pub fn transaction(&self, outcome: TransactionOutcome) {
        self.0.transactions.with(outcome.as_str(), IntCounter::inc);
    }

    /// What a transaction spent in one phase.
    pub fn phase(&self, phase: TransactionPhase, time: Duration) {
        self.0
            .phases
            .with(phase.as_str(), |histogram| histogram.observe(time.as_secs_f64()));
    }

    /// The lane's transaction began then, or `None`: it has none open. Its age is measured
    /// when it is asked for, so that a lane that hangs is seen to age.
    pub fn transaction_open(&self, lane: usize, began: Option<Instant>) {
        self.0
            .open_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(lane, began);
    }

    /// One batch went through the stages.
    pub fn processing(&self, time: Duration) {
        self.0
            .processing
            .with(|histogram| histogram.observe(time.as_secs_f64()));
    }

    /// From the timestamp of an input record to the commit of its transaction.
    pub fn end_to_end(&self, time: Duration) {
        self.0
            .end_to_end
            .with(|histogram| histogram.observe(time.as_secs_f64()));
    }

    /// A producer was replaced. `reason` is one of a few fixed words.
    pub fn producer_reload(&self, reason: &'static str) {
        self.0.producer_reloads.with(reason, IntCounter::inc);
    }

    /// A call into a module failed as a whole.
    pub fn module_trap(&self, kind: FaultKind) {
        self.0.module_traps.with(fault_label(kind), IntCounter::inc);
    }

    /// A module is in use. It replaces one of the same name.
    pub fn module_info(&self, name: &str, sha256: &str, version: &str) {
        let mut modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        // The old series goes first: the new one may have the same labels.
        modules.remove(name);
        let labels = [self.0.name.as_str(), name, sha256, version];
        let series: Series<IntGauge> = Series::new(&self.0.registry, &catalogue::MODULE_INFO, &labels);
        series.with(|gauge| gauge.set(1));
        modules.insert(name.to_owned(), series);
    }

    /// A lane came into a state.
    pub fn lane_state(&self, lane: usize, state: LaneState) {
        let mut states = self.0.lane_states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = states.insert(lane, state) {
            self.0.lanes.with(before.as_str(), IntGauge::dec);
        }
        self.0.lanes.with(state.as_str(), IntGauge::inc);
    }
}

#[cfg(test)]
mod tests;
