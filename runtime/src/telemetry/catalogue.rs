//! Every metric: its name, what it counts, its labels. Names and labels are a contract with
//! those who scrape; `docs/metrics.md` is held against this list by a test.
//!
//! Bucket bounds are in seconds. Each histogram spans from what the step costs when nothing
//! is wrong to the limit that ends it, so that neither end hides in one bucket.

/// How a metric is exposed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

impl Kind {
    /// As the text format names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition {
        name,
        help,
        kind: Kind::Counter,
        labels,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition {
        name,
        help,
        kind: Kind::Gauge,
        labels,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Definition {
    Definition {
        name,
        help,
        kind: Kind::Histogram(buckets),
        labels,
    }
}

/// A transaction phase: a local broker answers in about a millisecond, and a transaction
/// times out at 30 s.
const PHASE_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0,
];

/// A batch through the stages: a small batch takes some 100 µs, guest time in a transaction
/// ends at 10 s.
const PROCESSING_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Claims of a batch: tens of microseconds in this process, a round trip to a server, and what a
/// server may take before it counts as away.
const STORE_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Record timestamp to commit: the best case is a round trip or two; beyond a minute it is a
/// backlog, of which the order of magnitude suffices.
const END_TO_END_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];

/// A rebalance: an incremental one is served in milliseconds; one that waits for a member
/// that is gone takes the session timeout of 10 s, at worst the poll interval of 120 s.
const REBALANCE_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

const PARTITION: &[&str] = &["pipeline", "topic", "partition"];
const PIPELINE: &[&str] = &["pipeline"];
const KIND: &[&str] = &["pipeline", "kind"];

pub const RECORDS_IN: Definition = counter(
    "strait_records_in_total",
    PARTITION,
    "Input records whose offsets are committed",
);
pub const RECORDS_OUT: Definition = counter(
    "strait_records_out_total",
    &["pipeline", "topic"],
    "Records committed to an output topic",
);
pub const RECORDS_FILTERED: Definition = counter(
    "strait_records_filtered_total",
    PIPELINE,
    "Input records for which the transform emitted nothing",
);
pub const RECORDS_SKIPPED: Definition = counter(
    "strait_records_skipped_total",
    KIND,
    "Records that failed for good and were skipped",
);
pub const RECORDS_RETRIED: Definition = counter(
    "strait_records_retried_total",
    PIPELINE,
    "Further attempts at records that asked to be tried again",
);
pub const RECORDS_DEAD_LETTERED: Definition = counter(
    "strait_records_dead_lettered_total",
    KIND,
    "Records that failed for good and went to the dead letter topic",
);
pub const DUPLICATES: Definition = counter(
    "strait_duplicates_total",
    KIND,
    "Records met more than once, by how that came about",
);
pub const RECORDS_UNIDENTIFIED: Definition = counter(
    "strait_records_unidentified_total",
    PIPELINE,
    "Input records without a message id, where dedup looks for one",
);
pub const DUPLICATE_RATIO: Definition = gauge(
    "strait_duplicate_ratio",
    PIPELINE,
    "Repeated records of those checked, over the last minute",
);
pub const DEDUP_STORE_SECONDS: Definition = histogram(
    "strait_dedup_store_seconds",
    PIPELINE,
    STORE_BUCKETS,
    "Finding the repeats of one batch",
);
pub const DEDUP_STORE_ERRORS: Definition = counter(
    "strait_dedup_store_errors_total",
    PIPELINE,
    "Batches for which the store of message ids did not answer",
);
pub const DEDUP_IDS: Definition = gauge(
    "strait_dedup_ids",
    PIPELINE,
    "Message ids that this process holds",
);
pub const STATE_RESTORE_RATIO: Definition = gauge(
    "strait_state_restore_ratio",
    &["pipeline", "store", "partition"],
    "How much of what a partition remembers is back, from 0 to 1",
);
pub const LAG_RECORDS: Definition = gauge(
    "strait_consumer_lag_records",
    PARTITION,
    "Offsets between the position and the end that may be read",
);
pub const LAG_SECONDS: Definition = gauge(
    "strait_consumer_lag_seconds",
    PARTITION,
    "Age of the oldest record not yet committed",
);
pub const LAST_STABLE_OFFSET_LAG: Definition = gauge(
    "strait_last_stable_offset_lag",
    PARTITION,
    "Offsets between the last stable offset and the high watermark of an input partition",
);
pub const TRANSACTION_OPEN: Definition = gauge(
    "strait_transaction_open_seconds",
    &["pipeline", "lane"],
    "How long the lane's transaction has been open, 0 if none is",
);
pub const REBALANCES: Definition = counter("strait_rebalances_total", KIND, "Changes of a lane's assignment");
pub const GROUP_GENERATIONS: Definition = counter(
    "strait_group_generations_total",
    PIPELINE,
    "Generations of the consumer group that this process has taken part in",
);
pub const REBALANCE_SECONDS: Definition = histogram(
    "strait_rebalance_seconds",
    PIPELINE,
    REBALANCE_BUCKETS,
    "Time from a change of the assignment to running again",
);
pub const TRANSACTIONS: Definition = counter(
    "strait_transactions_total",
    &["pipeline", "outcome"],
    "Transactions by how they ended; an ambiguous one is counted beside its resolution",
);
pub const TRANSACTION_SECONDS: Definition = histogram(
    "strait_transaction_seconds",
    &["pipeline", "phase"],
    PHASE_BUCKETS,
    "Time that one transaction spent in a phase",
);
pub const PROCESSING_SECONDS: Definition = histogram(
    "strait_processing_seconds",
    PIPELINE,
    PROCESSING_BUCKETS,
    "Time of one batch through the stages",
);
pub const END_TO_END_SECONDS: Definition = histogram(
    "strait_end_to_end_seconds",
    PIPELINE,
    END_TO_END_BUCKETS,
    "Time from the timestamp of an input record to the commit of its transaction",
);
pub const PRODUCER_RELOADS: Definition = counter(
    "strait_producer_reloads_total",
    &["pipeline", "reason"],
    "Producers replaced by a fresh one with the same transactional id",
);
pub const MODULE_TRAPS: Definition = counter(
    "strait_module_traps_total",
    KIND,
    "Calls into a module that failed as a whole",
);
pub const MODULE_INFO: Definition = gauge(
    "strait_module_info",
    &["pipeline", "module", "sha256", "version"],
    "1 for each module that is loaded",
);
pub const LANES: Definition = gauge(
    "strait_lanes",
    &["pipeline", "state"],
    "Lanes of this process in each state",
);
pub const BUILD_INFO: Definition = gauge(
    "strait_build_info",
    &["version", "librdkafka", "wasmtime"],
    "1, labelled with the versions that this process is built from",
);

/// All of them.
pub const ALL: &[&Definition] = &[
    &RECORDS_IN,
    &RECORDS_OUT,
    &RECORDS_FILTERED,
    &RECORDS_SKIPPED,
    &RECORDS_RETRIED,
    &RECORDS_DEAD_LETTERED,
    &DUPLICATES,
    &RECORDS_UNIDENTIFIED,
    &DUPLICATE_RATIO,
    &DEDUP_STORE_SECONDS,
    &DEDUP_STORE_ERRORS,
    &DEDUP_IDS,
    &STATE_RESTORE_RATIO,
    &LAG_RECORDS,
    &LAG_SECONDS,
    &LAST_STABLE_OFFSET_LAG,
    &TRANSACTION_OPEN,
    &REBALANCES,
    &GROUP_GENERATIONS,
    &REBALANCE_SECONDS,
    &TRANSACTIONS,
    &TRANSACTION_SECONDS,
    &PROCESSING_SECONDS,
    &END_TO_END_SECONDS,
    &PRODUCER_RELOADS,
    &MODULE_TRAPS,
    &MODULE_INFO,
    &LANES,
    &BUILD_INFO,
];

#[cfg(test)]
mod tests;
