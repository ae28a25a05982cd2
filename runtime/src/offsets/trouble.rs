//! Why a verb could not be carried out.

use crate::dedup::store::StoreAway;
use crate::inquiry;
use crate::kafka::TransactionError;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    /// The cluster did not do what it was asked.
    #[error(transparent)]
    Cluster(#[from] inquiry::Trouble),
    #[error(transparent)]
    Store(#[from] StoreAway),
    #[error("cannot write marks: {0}; look at the brokers and run it again")]
    Transaction(TransactionError),
    /// It may be done later.
    #[error("{0}")]
    Refused(String),
    /// The user asked for what is not there, or has to choose.
    #[error("{0}")]
    Usage(String),
}
