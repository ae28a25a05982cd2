//! What a lane asks about the cluster, beyond its own consumer and producer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kafka::KafkaError;
use crate::lane::starts::Marks;

/// What the cluster says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// The topic's UUID, as text: a topic that is deleted and made again is another one.
    pub id: Arc<str>,
    pub partitions: i32,
}

/// Facts about the cluster, shared by the lanes of a pipeline.
pub trait Directory {
    fn cluster_id(&self) -> Arc<str>;

    /// From memory if it is known there to have more than `at_least` partitions, else asked.
    fn topic(&self, name: &str, at_least: i32) -> Result<TopicFacts, KafkaError>;

    /// The ids of topics, in their order, as told no longer ago than [`inputs`](super::inputs)
    /// allows.
    fn confirm(&self, topics: &[&str]) -> Result<Vec<Arc<str>>, KafkaError>;

    /// The group's marks, read from the control topic now.
    fn marks(&self) -> Result<Arc<Marks>, KafkaError>;

    /// Partitions of each topic that the input names or matches, by topic id.
    fn input(&self) -> Result<BTreeMap<String, i32>, KafkaError>;

    /// New marks were committed: what was read before is out of date.
    fn forget_marks(&self);

    /// The marks as they were read last; read now if they never were.
    fn known_marks(&self) -> Result<Arc<Marks>, KafkaError>;
}
