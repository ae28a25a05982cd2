//! Why the cluster did not do what it was asked, and what to do about it.

use crate::kafka::{KafkaError, codes};

#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    #[error("cannot {doing}: {error}; {}", remedy(.error))]
    Kafka { doing: String, error: KafkaError },
    #[error("{what}; {remedy}")]
    Stalled { what: String, remedy: String },
}

impl Trouble {
    pub fn of(doing: &str, error: KafkaError) -> Self {
        Self::Kafka {
            doing: doing.to_owned(),
            error,
        }
    }

    /// Of a client that could not be made.
    pub fn opening(error: KafkaError) -> Self {
        Self::of("create a client", error)
    }
}

fn remedy(error: &KafkaError) -> &'static str {
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
