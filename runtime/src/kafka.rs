//! What a lane needs of Kafka, and how librdkafka gives it.
//!
//! A lane sees only the two traits of this module. They say nothing of
//! librdkafka, so that a producer that speaks transactions V2, or a log in
//! memory, can stand behind them.
//!
//! Invariants: `transaction` is the only file that calls begin, send offsets,
//! commit and abort; `ffi` is the only place with `unsafe`; no error of the
//! library is swallowed, each is put into one of the arms of
//! [`TransactionError`].

pub mod admin;
pub mod changelog;
pub mod codes;
pub mod consumer;
pub mod control_topic;
pub mod ends;
mod ffi;
mod guard;
pub mod hurry;
mod offsets;
mod patience;
pub mod plain;
mod producer;
mod reading;
pub mod settings;
mod statistics;
pub mod transaction;

#[cfg(test)]
#[cfg(feature = "slow-tests")]
pub(crate) mod tests;

pub use ffi::version as librdkafka_version;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strait_sdk::batch;

/// A topic and a partition of it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.topic, self.partition)
    }
}

/// The next offset to read of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub partition: TopicPartition,
    pub offset: i64,
}

/// Records of one input partition, in offset order.
#[derive(Debug)]
pub struct Chunk<R> {
    pub partition: TopicPartition,
    pub records: Vec<R>,
}

/// What one [`Consumer::poll`] brought.
#[derive(Debug)]
pub struct Polled<R> {
    /// In arrival order; a partition may occur more than once.
    pub chunks: Vec<Chunk<R>>,
    /// What happened meanwhile, before, between or after the chunks. To be served when the
    /// chunks are stored: what gives a partition back, or moves it, then drops them.
    pub events: Vec<GroupEvent>,
}

/// Something the consumer learned that is not a record.
#[derive(Debug, Clone)]
pub enum GroupEvent {
    /// New partitions. Nothing is fetched until [`Consumer::assign`] answers it.
    Assigned(Vec<TopicPartition>),
    /// Partitions to give back. [`Consumer::unassign`] answers it. `lost`: another
    /// member may own them already, so nothing of them may be committed.
    Revoked {
        partitions: Vec<TopicPartition>,
        lost: bool,
    },
    /// The position of a partition is not in its log (retention passed it).
    Gap { partition: TopicPartition },
    /// High watermark and last stable offset of a partition.
    Watermarks {
        partition: TopicPartition,
        high: i64,
        last_stable: i64,
    },
    /// An error that the client recovers from by itself, or a fatal one.
    Trouble(KafkaError),
}

/// The first and the next offset of a partition's log. `end` is the last stable offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub start: i64,
    pub end: i64,
}

/// Proof of membership in the group, taken right before it is used.
pub trait GroupMember {
    /// The group's generation when it was taken.
    fn generation(&self) -> i32;
}

/// The input side of a lane: a member of the group, `read_committed`.
pub trait Consumer {
    type Record: batch::Record;
    type Member: GroupMember;

    /// Joins the group.
    fn subscribe(&mut self, topics: &[&str]) -> Result<(), KafkaError>;

    /// Waits up to `timeout` for the first record, then takes what is there, up to
    /// `records_max`. Also what keeps the membership alive.
    fn poll(&mut self, records_max: usize, timeout: Duration) -> Result<Polled<Self::Record>, KafkaError>;

    /// Starts to fetch newly assigned partitions at these positions. An empty list
    /// must be answered too.
    fn assign(&mut self, positions: &[Position]) -> Result<(), KafkaError>;

    /// Gives partitions back.
    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError>;

    /// True once the group has taken the assignment away without asking.
    fn assignment_lost(&self) -> bool;

    /// Offsets the group has committed, stable ones only: waits for open transactions.
    /// `None`: none is committed.
    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>, KafkaError>;

    /// Asks the partition's leader.
    fn bounds(&self, partition: &TopicPartition, timeout: Duration) -> Result<Bounds, KafkaError>;

    /// Moves assigned partitions; what was fetched before is dropped. Returns when done.
    fn seek(&mut self, positions: &[Position], timeout: Duration) -> Result<(), KafkaError>;

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError>;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError>;

    /// Where the consumer stands, beyond control records and aborted records too.
    /// `None` until the first poll after an assign or a seek moved it.
    fn position(&self, partition: &TopicPartition) -> Option<i64>;

    /// `None` while this consumer has no member id: then nothing may be committed.
    fn member(&self) -> Option<Self::Member>;

    /// Commits outside any transaction, and waits. For the modes that are not exactly once.
    fn commit(&mut self, positions: &[Position]) -> Result<(), KafkaError>;

    /// Leaves the group and frees the client, waiting no longer than `timeout`.
    fn close(self, timeout: Duration);
}

/// A header as it is produced: name, and value or null.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record to produce. All slices are copied before `produce` returns.
#[derive(Debug, Clone, Copy)]
pub struct Produce<'a> {
    /// Position in the list of topics that the producer was opened with.
    pub topic: usize,
    /// `None`: by the key, as Java's default partitioner does.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
    /// `None`: now.
    pub timestamp_ms: Option<i64>,
    /// Comes back with a [`FailedDelivery`].
    pub origin: u64,
}

impl<'a> Produce<'a> {
    /// The origin of what comes from no input record.
    pub const OWN: u64 = u64::MAX;

    /// A record of Strait's own: a mark, a claim, a change of the state.
    pub fn own(topic: usize, key: &'a [u8], value: Option<&'a [u8]>) -> Self {
        Self {
            topic,
            partition: None,
            key: Some(key),
            value,
            headers: &[],
            timestamp_ms: None,
            origin: Self::OWN,
        }
    }

    /// See [`wire_bytes`].
    pub fn wire_bytes(&self) -> usize {
        wire_bytes(self.key, self.value, self.headers)
    }
}

/// An upper bound of what a record takes in a batch of its own: the batch's header, the
/// record's lengths and deltas as the longest varints, and its bytes. As Java's producer
/// does, without counting on compression.
pub fn wire_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> usize {
    const BATCH_HEADER: usize = 61;
    const RECORD_HEADER: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
    const HEADER: usize = 5 + 5;
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers: usize = headers
        .iter()
        .map(|(name, value)| HEADER + name.len() + length(*value))
        .sum();
    BATCH_HEADER + RECORD_HEADER + headers + length(key) + length(value)
}

/// A produced record that the broker refused for good.
#[derive(Debug, Clone)]
pub struct FailedDelivery {
    pub origin: u64,
    /// As [`Produce::topic`].
    pub topic: usize,
    /// `None`: nothing is wrong with the record itself.
    pub flaw: Option<Flaw>,
    pub error: KafkaError,
}

/// What a broker holds against a record, and would again however often it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    TooLarge,
    /// The topic does not take such a record: a compacted one none without a key, most none
    /// that is dated too far ahead (`message.timestamp.after.max.ms`).
    Invalid,
}

/// The output side of a lane: one transactional producer (or a plain one, for the
/// modes that are not exactly once, where `begin` and `send_offsets` do nothing
/// and `abort` only forgets what is queued).
///
/// Each call waits until it has a verdict or `deadline` has passed, calling the
/// library again where it says so.
pub trait Producer {
    type Member: GroupMember;

    fn begin(&mut self) -> Result<(), TransactionError>;

    /// Queues a record; waits while the queue is full.
    fn produce(&mut self, record: &Produce<'_>, deadline: Instant) -> Result<(), ProduceError>;

    /// Returns when every queued record is acknowledged or refused.
    fn flush(&mut self, deadline: Instant) -> Result<(), TransactionError>;

    fn send_offsets(
        &mut self,
        positions: &[Position],
        member: &Self::Member,
        deadline: Instant,
    ) -> Result<(), TransactionError>;

    fn commit(&mut self, deadline: Instant) -> Result<(), TransactionError>;

    fn abort(&mut self, deadline: Instant) -> Result<(), TransactionError>;

    /// Why this producer must be replaced before the next transaction: a request of
    /// the transaction protocol went unanswered, so a late copy of it may yet act.
    fn suspicion(&self) -> Option<String>;

    /// Refused records since the last call.
    fn failed_deliveries(&mut self) -> Vec<FailedDelivery>;

    /// Frees the client without waiting for it.
    fn discard(self);
}

/// Opens producers that carry on one transactional id: each open fences the one before
/// and ends its transaction.
pub trait ProducerFactory {
    type Producer: Producer;

    fn open(&self, deadline: Instant) -> Result<Self::Producer, TransactionError>;
}

/// Why a record could not be queued.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProduceError {
    /// It alone is larger than its topic takes.
    #[error(
        "a record of {bytes} bytes is larger than the {limit} that {topic} takes: raise its max.message.bytes"
    )]
    TooLarge {
        topic: String,
        bytes: usize,
        limit: usize,
    },
    /// The topic has no such partition.
    #[error("{topic} has no partition {partition}")]
    NoSuchPartition { topic: String, partition: i32 },
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

/// The arms of an error under transactions, in the order in which they are tested.
/// The third of the library's, retriable, never leaves `kafka`: there the call is
/// made again until its deadline.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransactionError {
    /// The producer is of no more use; whether the transaction committed is unknown
    /// if it happened in `commit`. Replace it, then resolve.
    #[error("fatal: {cause}")]
    Fatal { fenced: bool, cause: KafkaError },
    /// The transaction must be aborted; nothing of it will be seen.
    #[error("transaction must be aborted: {0}")]
    Abortable(KafkaError),
    /// No verdict before the deadline. Replace the producer, then resolve.
    #[error("no verdict in time: {0}")]
    NoVerdict(KafkaError),
}

impl KafkaError {
    /// One that neither the library nor the broker has made.
    pub fn own(name: &str, message: &str, retriable: bool) -> Self {
        Self {
            code: codes::LOCAL_FAIL,
            name: name.to_owned(),
            message: message.to_owned(),
            fatal: false,
            retriable,
        }
    }
}

impl TransactionError {
    /// What was behind it.
    pub fn cause(&self) -> &KafkaError {
        match self {
            Self::Fatal { cause, .. } | Self::Abortable(cause) | Self::NoVerdict(cause) => cause,
        }
    }
}

/// An error of the client library, or of the broker through it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct KafkaError {
    /// librdkafka's error code; below zero it is the client's own.
    pub code: i32,
    /// Kafka's name of it, such as `INVALID_PRODUCER_EPOCH`.
    pub name: String,
    pub message: String,
    pub fatal: bool,
    pub retriable: bool,
}
