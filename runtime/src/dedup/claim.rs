//! What is asked of a store, and what it answers.

use std::fmt;
use std::sync::Arc;

use super::message_id::MessageId;

/// Where a record stands, for good: a topic that is made again has another id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Coordinate {
    pub topic_id: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for Coordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic_id, self.partition, self.offset)
    }
}

/// A record that wants to be the first with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: MessageId,
    pub coordinate: Coordinate,
}

/// What a store says to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds the claim, since now or since it was read before.
    First,
    /// Another record holds it.
    Repeated,
}
