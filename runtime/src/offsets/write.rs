//! Records of Strait's own, in one transaction.

use std::time::Instant;

use super::Trouble;
use crate::kafka::settings::{MAX_MESSAGE_BYTES_DEFAULT, OutputTopic, ProducerSettings};
use crate::kafka::transaction::LibrdProducerFactory;
use crate::kafka::{Produce, ProduceError, Producer, ProducerFactory, TopicPartition, TransactionError};
use crate::plan::Pipeline;

/// A mark to write.
pub struct Written {
    pub at: TopicPartition,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Writes all of them or none. Of two resets at once the first is fenced.
pub fn write(plan: &Pipeline, records: &[Written]) -> Result<(), Trouble> {
    if records.is_empty() {
        return Ok(());
    }
    let mut topics: Vec<&str> = records.iter().map(|record| &*record.at.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    // A lane's ends in a number, so this is none of a lane.
    let transactional_id = format!("{}.offsets", plan.name);
    let settings = ProducerSettings {
        cluster: plan.cluster.clone(),
        client_id: transactional_id.clone(),
        timeouts: plan.timeouts,
        topics: topics
            .iter()
            .map(|name| OutputTopic {
                name: (*name).to_owned(),
                compression: None,
                max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT,
            })
            .collect(),
    };
    let factory = LibrdProducerFactory::new(settings, transactional_id);
    let deadline = Instant::now() + plan.timeouts.transaction;
    let mut producer = factory.open(deadline).map_err(Trouble::Transaction)?;
    let committed = transact(&mut producer, &topics, records, deadline);
    producer.discard();
    committed
}

/// What became of it is not asked: marks may be written again.
fn transact(
    producer: &mut impl Producer,
    topics: &[&str],
    records: &[Written],
    deadline: Instant,
) -> Result<(), Trouble> {
    producer.begin().map_err(Trouble::Transaction)?;
    for record in records {
        let topic = topics.iter().position(|topic| *topic == &*record.at.topic);
        let mark = Produce {
            partition: Some(record.at.partition),
            ..Produce::own(topic.unwrap_or_default(), &record.key, Some(&record.value))
        };
        producer.produce(&mark, deadline).map_err(|error| match error {
            ProduceError::Transaction(error) => Trouble::Transaction(error),
            other => Trouble::Refused(format!("cannot write into {}: {other}", record.at)),
        })?;
    }
    producer.flush(deadline).map_err(Trouble::Transaction)?;
    if let Some(refused) = producer.failed_deliveries().into_iter().next() {
        return Err(Trouble::Transaction(TransactionError::Abortable(refused.error)));
    }
    producer.commit(deadline).map_err(Trouble::Transaction)
}
