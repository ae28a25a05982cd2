//! Where logs end for a reader that waits for nobody, and where a time stands in them.
//!
//! Everything that a committed transaction has written lies below the high watermark that is
//! read after its commit, though its markers, and so the last stable offset, may follow later.
//!
//! librdkafka keeps asking the leader that it knows of a topic that nobody reads, even if that
//! one is dead. So a client whose question went unanswered is replaced.

use std::time::Duration;

use super::ffi::consume::ConsumerClient;
use super::ffi::list::List;
use super::settings::inquiry_conf;
use super::{Bounds, KafkaError, TopicPartition, codes};
use crate::plan::Cluster;

/// A client that asks for the ends of logs.
pub struct LogEnds {
    cluster: Cluster,
    client_id: String,
    client: ConsumerClient,
}

impl LogEnds {
    pub fn open(cluster: &Cluster, client_id: &str) -> Result<Self, KafkaError> {
        Ok(Self {
            cluster: cluster.clone(),
            client_id: client_id.to_owned(),
            client: open(cluster, client_id)?,
        })
    }

    /// The first offset and the high watermark, as the partition's leader tells them.
    pub fn bounds(&mut self, partition: &TopicPartition, timeout: Duration) -> Result<Bounds, KafkaError> {
        let client = self.client.client();
        let answer = client.bounds(&partition.topic, partition.partition, timeout);
        self.or_replaced(answer.map(|(start, end)| Bounds { start, end }))
    }

    /// The first offset of each partition whose record is not older; `None` where all are.
    pub fn offsets_at(
        &mut self,
        partitions: &[TopicPartition],
        timestamp_ms: i64,
        timeout: Duration,
    ) -> Result<Vec<Option<i64>>, KafkaError> {
        let mut list = List::new(partitions.len())?;
        for at in partitions {
            list.add(&at.topic, at.partition, timestamp_ms)?;
        }
        let asked = self.client.offsets_for_times(&list, timeout);
        self.or_replaced(asked.and_then(|()| list.check_elements()))?;
        let offsets = list.elements().into_iter().map(|element| element.offset);
        Ok(offsets.map(|offset| (offset >= 0).then_some(offset)).collect())
    }

    fn or_replaced<T>(&mut self, answer: Result<T, KafkaError>) -> Result<T, KafkaError> {
        if answer
            .as_ref()
            .is_err_and(|error| codes::is_transient(error.code))
        {
            self.client = open(&self.cluster, &self.client_id)?;
        }
        answer
    }
}

fn open(cluster: &Cluster, client_id: &str) -> Result<ConsumerClient, KafkaError> {
    let mut conf = inquiry_conf(cluster, client_id, client_id)?;
    conf.set("isolation.level", "read_uncommitted")?;
    ConsumerClient::new(conf)
}
