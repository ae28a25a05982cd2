//! Why a verb could not be carried out.

use crate::inquiry;
use crate::kafka::TransactionError;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    /// The cluster did not do what it was asked.
    #[error(transparent)]
    Cluster(#[from] inquiry::Trouble),
    #[error(
        "another replay or purge of {pipeline} has begun meanwhile, or the transaction took too long: what had \
         committed before stays; run it again when the other one is done"
    )]
    Fenced { pipeline: String },
    #[error(
        "cannot write to the topics: {0}; look at the brokers and run it again, nothing is replayed twice"
    )]
    Transaction(TransactionError),
    #[error("{what}; {remedy}")]
    Misfit { what: String, remedy: String },
    #[error(
        "the topic {topic} holds more than {max} marks; delete what is done with: strait dlq purge --delete"
    )]
    TooManyMarks { topic: String, max: usize },
    /// The user asked for what is not there.
    #[error("{0}")]
    Usage(String),
}
