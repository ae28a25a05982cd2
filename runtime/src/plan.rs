//! The validated pipeline: what `config` hands to the lanes.
//!
//! A value of [`Pipeline`] exists only if every check that needs no cluster has
//! passed, so nothing behind this module asks again whether a name resolves, a
//! duration is positive or two timeouts fit together. Nothing here does I/O.

mod address;
mod dedup;
mod store;
mod topics;

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use address::{RedisAddress, SqlAddress};
pub use dedup::{ClaimStore, Dedup, DedupMode, OnMissingId, OnStoreError};
pub use store::Store;

/// One pipeline, as it will run.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Consumer group id, and the stem of every transactional id.
    pub name: PipelineName,
    /// File that declared it, for messages.
    pub source: PathBuf,
    pub cluster: Cluster,
    pub input: Input,
    /// Comes before all stages.
    pub dedup: Option<Arc<Dedup>>,
    /// In the order in which a batch passes through them; at least one.
    pub stages: Vec<WasmStage>,
    /// Keyed state of the transforms, in the order of their names. Modules refer to stores by place.
    pub stores: Vec<Store>,
    /// Named outputs. `stages` and `Emission`s refer to them by [`OutputIndex`].
    pub outputs: Vec<Output>,
    pub on_error: OnError,
    pub delivery: Delivery,
    pub lanes: NonZeroUsize,
    pub commit: Commit,
    pub provenance: Provenance,
    pub internal_topics: InternalTopics,
    pub timeouts: Timeouts,
}

/// A name that is also a legal consumer group id, topic infix and metric label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineName(Arc<str>);

/// Why a pipeline name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 128 characters out of a-z, A-Z, 0-9, '.', '_' and '-', and is not '.' or '..'")]
pub struct InvalidName;

impl PipelineName {
    const LENGTH_MAX: usize = 128;

    /// Accepts what Kafka accepts in a topic name, since internal topics carry it.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = !name.is_empty() && name.len() <= Self::LENGTH_MAX;
        if fits && name != "." && name != ".." && name.chars().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic that keeps the claims of `dedup` on records of this input topic.
    pub fn claims_topic(&self, input: &str) -> String {
        format!("__strait.{}.dedup.{input}", self.0)
    }

    /// The topic that keeps what this store holds for records of this input topic.
    pub fn state_topic(&self, store: &str, input: &str) -> String {
        format!("__strait.{}.state.{store}.{input}", self.0)
    }

    /// The compacted topic that keeps what has become of dead letters.
    pub fn dead_letter_marks_topic(&self) -> String {
        format!("__strait.{}.dlq", self.0)
    }

    /// The compacted topic that keeps what the group shares across restarts.
    pub fn control_topic(&self) -> String {
        format!("__strait.{}.control", self.0)
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to reach the cluster. The property lists hold librdkafka's own keys, none
/// of which is one that exactly-once stands on: `config` refuses those.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub bootstrap: String,
    pub properties: Vec<(String, String)>,
    pub consumer_properties: Vec<(String, String)>,
    pub producer_properties: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct Input {
    pub topics: InputTopics,
    pub start: Start,
    pub on_gap: OnGap,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputTopics {
    /// At least one name.
    Named(Vec<String>),
    /// A regular expression that begins with `^`, as librdkafka wants it.
    Pattern(String),
}

impl InputTopics {
    /// What to subscribe to.
    pub fn subscription(&self) -> Vec<&str> {
        match self {
            Self::Named(names) => names.iter().map(String::as_str).collect(),
            Self::Pattern(pattern) => vec![pattern.as_str()],
        }
    }
}

/// Where a group that never committed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
}

/// What to do when a committed offset is no longer (or not yet) in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    Stop,
    Earliest,
    Latest,
}

/// A stage that calls a WebAssembly transform.
#[derive(Debug, Clone)]
pub struct WasmStage {
    /// Its place among the stages, as messages and dead letters name it (`wasm` or `wasm-2`).
    pub name: Arc<str>,
    pub module: ModuleSource,
    /// Lower-case hexadecimal SHA-256 that the file must have, if pinned.
    pub sha256: Option<String>,
    /// Handed to the transform as JSON.
    pub settings: serde_json::Value,
    pub limits: Limits,
    pub batch: BatchLimits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleSource {
    /// A compiled `.wasm` file.
    File(PathBuf),
    /// A crate's folder, and the `.wasm` file that `strait build` makes of it.
    Crate { folder: PathBuf, artifact: PathBuf },
}

impl ModuleSource {
    /// The file to load.
    pub fn artifact(&self) -> &PathBuf {
        match self {
            Self::File(path) => path,
            Self::Crate { artifact, .. } => artifact,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Wall-clock time for one batch; `None` compiles the module without checks.
    pub batch_deadline: Option<Duration>,
    /// Size of one result batch.
    pub output_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    pub records: NonZeroUsize,
    pub bytes: NonZeroUsize,
}

/// Position in [`Pipeline::outputs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutputIndex(pub usize);

#[derive(Debug, Clone)]
pub struct Output {
    /// The name a transform writes to.
    pub name: String,
    pub topic: String,
    pub partition: PartitionBy,
    pub timestamp: TimestampFrom,
    /// librdkafka's `compression.codec`.
    pub compression: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionBy {
    /// Java's murmur2 of the key; records without a key spread. A partition that
    /// the transform names wins.
    Key,
    /// The input record's partition number.
    Input,
    /// The transform must name it.
    Explicit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFrom {
    /// The input record's, unless the transform sets one.
    Input,
    Now,
}

#[derive(Debug, Clone)]
pub struct OnError {
    pub retry: Retry,
    pub then: Then,
    /// The circuit breaker; `None` if switched off.
    pub limit: Option<FailureLimit>,
}

/// How often and how far apart a record that asked for it is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: u32,
    pub initial: Duration,
    pub max: Duration,
    pub factor: f64,
}

/// What becomes of a record that failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    Stop,
    Skip,
    DeadLetter { topic: String, style: HeaderStyle },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderStyle {
    Strait,
    Streams,
    Spring,
    Connect,
}

/// Stops the pipeline when more than `rate` of the records of the last `over`
/// failed, once `at_least` records have been seen in that time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailureLimit {
    /// Between 0 and 1.
    pub rate: f64,
    pub over: Duration,
    pub at_least: NonZeroU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
    AtMostOnce,
}

/// When a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub interval: Duration,
    /// Least distance of two commits when the input is idle.
    pub idle: Duration,
    pub records: NonZeroUsize,
    pub bytes: NonZeroUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    None,
    /// Outputs carry the header `strait-source`.
    Headers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InternalTopics {
    pub create: bool,
    /// `None`: three where the cluster has three nodes, else one.
    pub replication: Option<i32>,
}

/// Timeouts that `config` has found to fit together (see `docs/guarantees.md`):
/// guest time in one transaction stays below a third of `transaction`, and
/// `max_poll_interval` holds two transactions and a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub transaction: Duration,
    pub session: Duration,
    pub heartbeat: Duration,
    pub max_poll_interval: Duration,
    pub socket: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            transaction: Duration::from_secs(30),
            session: Duration::from_secs(10),
            heartbeat: Duration::from_millis(500),
            max_poll_interval: Duration::from_mins(2),
            socket: Duration::from_secs(10),
        }
    }
}

impl Timeouts {
    /// How long guests may run inside one transaction.
    pub fn guest_time_max(&self) -> Duration {
        self.transaction / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_topic_may_carry() {
        assert!(PipelineName::new("orders.v2-eu_1").is_ok());
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(129)] {
            assert_eq!(PipelineName::new(bad), Err(InvalidName), "{bad:?}");
        }
    }
}
