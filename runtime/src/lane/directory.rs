//! What a lane asks about the cluster, beyond its own consumer and producer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kafka::KafkaError;
use crate::lane::inputs::Confirmed;
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

    /// The ids of topics, as told within [`CONFIRMED_FOR`](super::inputs::CONFIRMED_FOR); a little
    /// longer where nobody answers.
    fn confirm(&self, topics: &[Arc<str>]) -> Result<Confirmed, KafkaError>;

    /// The group's marks, read from the control topic now.
    fn marks(&self) -> Result<Arc<Marks>, KafkaError>;

    /// Partitions of each topic that the input names or matches, by topic id.
    fn input(&self) -> Result<BTreeMap<String, i32>, KafkaError>;

    /// New marks were committed: what was read before is out of date.
    fn forget_marks(&self);

    /// The marks as they were read last; read now if they never were.
    fn known_marks(&self) -> Result<Arc<Marks>, KafkaError>;
}
