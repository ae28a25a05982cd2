//! The pipeline file as its author writes it: one struct a map, one doc comment a
//! key. The JSON Schema is derived from these types, the parse that keeps spans
//! walks that schema, and the layers are extracted into these types; there is no
//! second list of keys to keep in step.
//!
//! Nothing here says whether values fit together: `assemble` does.

mod dedup;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use dedup::{ChangelogStore, Dedup, MemoryStore, RedisStore, SqlStore, StoreChoice, StoreMap};

use super::units::{Deadline, Rate, Size, Span, Topic};

/// A pipeline: records move from the input, through the stages, into the outputs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Strait pipeline", inline)]
pub struct Document {
    /// Names the pipeline: it is the consumer group id, and transactional ids derive from it.
    #[schemars(required, extend("x-strait" = "name", "examples" = ["orders"]))]
    pub name: Option<String>,
    #[schemars(required, extend("x-example" = "kafka: { bootstrap: \"localhost:9092\" }"))]
    pub kafka: Option<Kafka>,
    #[schemars(required, extend("x-example" = "input: { topics: [orders] }"))]
    pub input: Option<Input>,
    /// What a batch passes through, in this order. The `default` output of one wasm stage is the input of the next.
    #[schemars(required, length(min = 1, max = 16), extend("x-example" = "stages: [{ wasm: { module: FILE } }]"))]
    pub stages: Option<Vec<Stage>>,
    /// Named stores of keyed state.
    #[schemars(extend("x-strait-keys" = "output"))]
    pub state: BTreeMap<String, StateStore>,
    /// Names that transforms write to, each with its topic.
    #[schemars(required, extend("x-strait-keys" = "output", "minProperties" = 1, "maxProperties" = 1000, "x-example" = "outputs: { default: TOPIC }"))]
    pub outputs: Option<BTreeMap<String, OutputChoice>>,
    pub on_error: OnError,
    /// What a crash may do to a record: nothing, repeat it, or lose it.
    pub delivery: Delivery,
    /// Threads, each a consumer, a producer and an instance of every module. Unless told: the number of cores.
    #[schemars(range(min = 1, max = 256))]
    pub lanes: Option<NonZeroUsize>,
    pub commit: Commit,
    /// Whether outputs carry the header `strait-source`.
    pub provenance: Provenance,
    /// Who creates Strait's own topics.
    pub internal_topics: InternalTopicsChoice,
}

/// The cluster, and librdkafka's settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Kafka {
    /// Brokers to ask first: `host:port`, several with commas between them.
    #[schemars(required, length(min = 1), extend("examples" = ["localhost:9092"]))]
    pub bootstrap: Option<String>,
    /// librdkafka settings for all clients.
    pub properties: BTreeMap<String, Property>,
    /// librdkafka settings for consumers.
    pub consumer: BTreeMap<String, Property>,
    /// librdkafka settings for producers.
    pub producer: BTreeMap<String, Property>,
}

/// The value of a librdkafka setting, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Property(pub String);

impl JsonSchema for Property {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Property".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer", "number", "boolean"], "x-strait": "property" })
    }
}

/// Where records come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Input {
    /// Topics by name; or say `pattern`.
    #[schemars(length(min = 1, max = 1000), extend("x-example" = "topics: [orders]"))]
    pub topics: Option<Vec<Topic>>,
    /// A POSIX extended regular expression that begins with `^`; or say `topics`.
    #[schemars(extend("x-strait" = "pattern", "examples" = ["^orders\\.in\\..*"]))]
    pub pattern: Option<String>,
    /// Where a group that never committed begins.
    pub start: Start,
    /// What to do when a committed offset is out of range.
    pub on_gap: OnGap,
}

/// A closed list of words. The first is the default.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $(#[$first_doc:meta])* $first:ident $(, $(#[$word_doc:meta])* $word:ident)* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[schemars(inline)]
        pub enum $name {
            $(#[$first_doc])*
            #[default]
            $first,
            $($(#[$word_doc])* $word,)*
        }
    };
}

words!(Start { Earliest, Latest });
words!(OnGap {
    Stop,
    Earliest,
    Latest
});
words!(DedupMode { Drop, Observe });
words!(OnMissingId {
    Pass,
    DeadLetter,
    Stop
});
words!(OnStoreError { Stop, Pass });
words!(StoreName { Changelog, Memory });
words!(PartitionBy { Key, Input, Explicit });
words!(TimestampFrom { Input, Now });
words!(Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd
});
words!(Then {
    Stop,
    Skip,
    DeadLetter
});
words!(HeaderStyle {
    Strait,
    Streams,
    Spring,
    Connect
});
words!(LimitThen { Stop });
words!(Off { None });
words!(Delivery {
    ExactlyOnce,
    AtLeastOnce,
    AtMostOnce
});
words!(Provenance { None, Headers });
words!(InternalTopics { Create, Require });

/// One stage: `dedup` or `wasm`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Stage {
    pub dedup: Option<Dedup>,
    pub wasm: Option<Wasm>,
}

/// Calls a WebAssembly transform.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Wasm {
    /// A `.wasm` file, or a crate's folder; relative to the pipeline file.
    #[schemars(required, length(min = 1), extend("examples" = ["orders.wasm"]))]
    pub module: Option<String>,
    /// The digest that the file must have.
    #[schemars(extend("x-strait" = "sha256"))]
    pub sha256: Option<String>,
    /// Handed to the transform.
    pub settings: serde_json::Map<String, serde_json::Value>,
    pub limits: Limits,
    pub batch: Batch,
}

/// What a module may use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Limits {
    /// Linear memory of one instance.
    pub memory: Size,
    /// How long one batch may take. `none` trusts the module to return, and runs it faster.
    pub batch_deadline: Deadline,
    /// Size of what one batch may give.
    pub output_bytes: Size,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Size(64 << 20),
            batch_deadline: Deadline(Some(Span(Duration::from_secs(5)))),
            output_bytes: Size(16 << 20),
        }
    }
}

/// How much a module is handed at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Batch {
    #[schemars(range(min = 1, max = 1_000_000))]
    pub records: NonZeroUsize,
    pub bytes: Size,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            records: NonZeroUsize::MIN.saturating_add(999),
            bytes: Size(4 << 20),
        }
    }
}

/// A named store.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct StateStore {
    /// How long an entry lives after it was last written. Unless told: for ever.
    pub ttl: Option<Span>,
}

/// A topic, or a map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OutputChoice {
    Topic(Topic),
    Map(Output),
}

/// A topic, and how records are written to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Output {
    #[schemars(required)]
    pub topic: Option<Topic>,
    /// `key`: murmur2 as Java's, and a null key spreads. `input`: the input record's partition. `explicit`: the transform names it.
    pub partition: PartitionBy,
    /// The input record's timestamp, or the time of writing.
    pub timestamp: TimestampFrom,
    /// Unless told: as `kafka.producer` says, else none.
    pub compression: Option<Compression>,
}

/// What becomes of a record that failed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct OnError {
    pub retry: Retry,
    /// What to do with a record that failed for good.
    pub then: Then,
    /// The topic of `then: dead_letter`.
    pub dead_letter: Option<Topic>,
    /// Which names the headers of a dead letter have.
    pub header_style: HeaderStyle,
    /// The circuit breaker; `none` switches it off.
    pub limit: LimitChoice,
}

/// How often, and how far apart, a record that asks for it is tried again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Retry {
    /// Attempts after the first.
    #[schemars(range(min = 0, max = 1000))]
    pub attempts: u32,
    /// The first pause.
    pub initial: Span,
    /// The longest pause.
    pub max: Span,
    /// How much longer each pause is than the one before.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub factor: f64,
}

impl Default for Retry {
    fn default() -> Self {
        let (initial, max) = (Span(Duration::from_millis(100)), Span(Duration::from_secs(5)));
        Self {
            attempts: 3,
            initial,
            max,
            factor: 2.0,
        }
    }
}

/// `none`, or a map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum LimitChoice {
    Off(Off),
    Limit(Limit),
}

impl Default for LimitChoice {
    fn default() -> Self {
        Self::Limit(Limit::default())
    }
}

/// Stops the pipeline when too many records fail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Limit {
    /// The share of failed records that is too many.
    pub rate: Rate,
    /// Over how long it is taken.
    pub over: Span,
    /// How many records that time must hold.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub at_least: NonZeroU32,
    pub then: LimitThen,
}

impl Default for Limit {
    fn default() -> Self {
        let at_least = NonZeroU32::MIN.saturating_add(99);
        Self {
            rate: Rate(0.05),
            over: Span(Duration::from_mins(1)),
            at_least,
            then: LimitThen::Stop,
        }
    }
}

/// When a transaction ends: at whichever comes first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Commit {
    pub interval: Span,
    /// The least distance of two commits when the input is idle.
    pub idle: Span,
    #[schemars(range(min = 1, max = 10_000_000))]
    pub records: NonZeroUsize,
    pub bytes: Size,
}

impl Default for Commit {
    fn default() -> Self {
        let (interval, idle) = (Span(Duration::from_millis(100)), Span(Duration::from_millis(10)));
        Self {
            interval,
            idle,
            records: NonZeroUsize::MIN.saturating_add(49_999),
            bytes: Size(32 << 20),
        }
    }
}

/// A word, or a map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum InternalTopicsChoice {
    Mode(InternalTopics),
    Map(InternalTopicsMap),
}

impl Default for InternalTopicsChoice {
    fn default() -> Self {
        Self::Mode(InternalTopics::Create)
    }
}

/// Who creates Strait's own topics, and with how many replicas.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct InternalTopicsMap {
    pub mode: InternalTopics,
    /// Unless told: three where the cluster has three nodes, else one.
    #[schemars(range(min = 1, max = 100))]
    pub replication: Option<u16>,
}
