//! Why there is no verdict.

use crate::kafka::{KafkaError, TopicPartition};

/// The proof could not be led to its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    #[error("cannot {doing}: {error}; {}", remedy(.error))]
    Kafka { doing: String, error: KafkaError },
    #[error("{what}; {remedy}")]
    Stalled { what: String, remedy: String },
    #[error(
        "the group {group} has committed nothing, so there is nothing to prove; run the pipeline first, or correct \
         its name or --bootstrap"
    )]
    NothingCommitted { group: String },
    #[error(
        "{0}: the group began there, and has no offset for it any more (expired, or deleted), so nobody knows \
         how far the pipeline came; set the offset again (strait offsets reset)"
    )]
    OffsetGone(TopicPartition),
    /// The module cannot recompute.
    #[error("{0}; give the module that ran with --module PATH")]
    Module(String),
    /// The user asked for what is not there.
    #[error("{0}")]
    Usage(String),
}

fn remedy(error: &KafkaError) -> &'static str {
    use crate::kafka::codes;
    match error.code {
        codes::UNKNOWN_TOPIC_OR_PART | codes::LOCAL_UNKNOWN_TOPIC | codes::LOCAL_UNKNOWN_PARTITION => {
            "create the topic, or correct its name in the pipeline's file"
        }
        codes::UNSTABLE_OFFSET_COMMIT => "a transaction of the group is open: try again when it has ended",
        code if error.retriable || codes::is_transient(code) => {
            "start the cluster, or correct kafka.bootstrap or --bootstrap, and try again"
        }
        _ => "grant this user the right to read the group, its topics and their settings",
    }
}
