//! Why there is no verdict.

use crate::inquiry;
use crate::kafka::TopicPartition;

/// The proof could not be led to its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    /// The cluster did not do what it was asked.
    #[error(transparent)]
    Cluster(#[from] inquiry::Trouble),
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
