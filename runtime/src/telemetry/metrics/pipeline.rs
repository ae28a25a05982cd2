//! The series of one pipeline, before anything is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};

use super::claims::Claims;
use super::labels::{
    FAILURES, FAULTS, REDELIVERED, REPEATED, RebalanceKind, TransactionOutcome, TransactionPhase, fault_label,
};
use crate::kafka::TopicPartition;
use crate::lane::state::LaneState;
use crate::telemetry::catalogue;
use crate::telemetry::series::{Family, Series};

pub(super) struct Pipeline {
    pub(super) name: String,
    pub(super) registry: Registry,
    pub(super) records_in: Family<TopicPartition, IntCounter>,
    pub(super) records_out: Family<String, IntCounter>,
    pub(super) filtered: Series<IntCounter>,
    pub(super) skipped: Family<String, IntCounter>,
    pub(super) retried: Series<IntCounter>,
    pub(super) dead_lettered: Family<String, IntCounter>,
    pub(super) duplicates: Family<String, IntCounter>,
    pub(super) unidentified: Series<IntCounter>,
    pub(super) restore: Family<TopicPartition, Gauge>,
    /// Since the first batch that was checked.
    pub(super) claims: OnceLock<Claims>,
    pub(super) lag_records: Family<TopicPartition, IntGauge>,
    pub(super) lag_seconds: Family<TopicPartition, Gauge>,
    pub(super) last_stable_offset_lag: Family<TopicPartition, IntGauge>,
    pub(super) rebalances: Family<String, IntCounter>,
    pub(super) generations: Series<IntCounter>,
    /// The newest that was counted; the group's first is 1.
    pub(super) generation: Mutex<i32>,
    pub(super) rebalance_seconds: Series<Histogram>,
    pub(super) transactions: Family<String, IntCounter>,
    pub(super) phases: Family<String, Histogram>,
    pub(super) transaction_open: Family<usize, Gauge>,
    /// When the open transaction of each lane began.
    pub(super) open_since: Mutex<BTreeMap<usize, Option<Instant>>>,
    pub(super) processing: Series<Histogram>,
    pub(super) end_to_end: Series<Histogram>,
    pub(super) producer_reloads: Family<String, IntCounter>,
    pub(super) module_traps: Family<String, IntCounter>,
    /// By the module's name.
    pub(super) modules: Mutex<HashMap<String, Series<IntGauge>>>,
    pub(super) lanes: Family<String, IntGauge>,
    pub(super) lane_states: Mutex<BTreeMap<usize, LaneState>>,
}

impl Pipeline {
    pub(super) fn new(registry: &Registry, name: &str) -> Self {
        let pipeline = Self {
            name: name.to_owned(),
            registry: registry.clone(),
            records_in: Family::new(registry, &catalogue::RECORDS_IN, name),
            records_out: Family::new(registry, &catalogue::RECORDS_OUT, name),
            filtered: Series::new(registry, &catalogue::RECORDS_FILTERED, &[name]),
            skipped: Family::new(registry, &catalogue::RECORDS_SKIPPED, name),
            retried: Series::new(registry, &catalogue::RECORDS_RETRIED, &[name]),
            dead_lettered: Family::new(registry, &catalogue::RECORDS_DEAD_LETTERED, name),
            duplicates: Family::new(registry, &catalogue::DUPLICATES, name),
            unidentified: Series::new(registry, &catalogue::RECORDS_UNIDENTIFIED, &[name]),
            restore: Family::new(registry, &catalogue::STATE_RESTORE_RATIO, name),
            claims: OnceLock::new(),
            lag_records: Family::new(registry, &catalogue::LAG_RECORDS, name),
            lag_seconds: Family::new(registry, &catalogue::LAG_SECONDS, name),
            last_stable_offset_lag: Family::new(registry, &catalogue::LAST_STABLE_OFFSET_LAG, name),
            rebalances: Family::new(registry, &catalogue::REBALANCES, name),
            generations: Series::new(registry, &catalogue::GROUP_GENERATIONS, &[name]),
            generation: Mutex::default(),
            rebalance_seconds: Series::new(registry, &catalogue::REBALANCE_SECONDS, &[name]),
            transactions: Family::new(registry, &catalogue::TRANSACTIONS, name),
            phases: Family::new(registry, &catalogue::TRANSACTION_SECONDS, name),
            transaction_open: Family::new(registry, &catalogue::TRANSACTION_OPEN, name),
            open_since: Mutex::default(),
            processing: Series::new(registry, &catalogue::PROCESSING_SECONDS, &[name]),
            end_to_end: Series::new(registry, &catalogue::END_TO_END_SECONDS, &[name]),
            producer_reloads: Family::new(registry, &catalogue::PRODUCER_RELOADS, name),
            module_traps: Family::new(registry, &catalogue::MODULE_TRAPS, name),
            modules: Mutex::default(),
            lanes: Family::new(registry, &catalogue::LANES, name),
            lane_states: Mutex::default(),
        };
        pipeline.start_at_zero();
        pipeline
    }

    /// Without this the first occurrence of anything rare would be no increase that an alert
    /// could see.
    fn start_at_zero(&self) {
        for kind in FAILURES {
            self.skipped.with(kind.as_str(), |_| ());
            self.dead_lettered.with(kind.as_str(), |_| ());
        }
        for kind in FAULTS {
            self.module_traps.with(fault_label(kind), |_| ());
        }
        for kind in RebalanceKind::ALL {
            self.rebalances.with(kind.as_str(), |_| ());
        }
        for outcome in TransactionOutcome::ALL {
            self.transactions.with(outcome.as_str(), |_| ());
        }
        for phase in TransactionPhase::ALL {
            self.phases.with(phase.as_str(), |_| ());
        }
        for state in LaneState::ALL {
            self.lanes.with(state.as_str(), |_| ());
        }
        for kind in [REDELIVERED, REPEATED] {
            self.duplicates.with(kind, |_| ());
        }
    }

    pub(super) fn claims(&self) -> &Claims {
        self.claims
            .get_or_init(|| Claims::new(&self.registry, &self.name))
    }

    pub(super) fn measure_open_transactions(&self, now: Instant) {
        let open_since = self.open_since.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, began) in open_since.iter() {
            let open = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
            self.transaction_open
                .with(lane, |gauge| gauge.set(open.as_secs_f64()));
        }
    }
}
