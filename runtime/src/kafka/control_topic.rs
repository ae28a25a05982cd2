//! Reading a compacted topic as a map: what a group shares across restarts. Writing
//! is part of a lane's transaction and not done here.
//!
//! Invariant: what is returned is the whole topic up to the last stable offset that
//! was asked for at the start, or an error; never a part of it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use super::ffi::consume::{ConsumerClient, Failure, Scratch, Sink};
use super::ffi::error::of_code;
use super::ffi::list::List;
use super::ffi::message::Message;
use super::settings::inquiry_conf;
use super::{KafkaError, Position, TopicPartition, codes};
use crate::plan::Cluster;

/// More live keys than this is not a control topic.
const KEYS_MAX: usize = 100_000;
const POLL: Duration = Duration::from_millis(100);

/// The latest value of each key. A key whose latest value is null is absent, and so
/// are records without a key.
pub fn read(
    cluster: &Cluster,
    client_id: &str,
    topic: &str,
    timeout: Duration,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, KafkaError> {
    let deadline = Instant::now() + timeout;
    let left = || deadline.saturating_duration_since(Instant::now());
    let client = Rc::new(ConsumerClient::new(inquiry_conf(cluster, client_id, client_id)?)?);
    let mut ends = BTreeMap::new();
    let mut starts = Vec::new();
    for partition in 0..partition_count(&client, topic, left())? {
        let at = TopicPartition {
            topic: topic.into(),
            partition,
        };
        let (start, end) = client.client().bounds(topic, partition, left())?;
        if start < end {
            ends.insert(partition, end);
            starts.push(Position {
                partition: at,
                offset: start,
            });
        }
    }
    let mut latest = Latest::default();
    if !starts.is_empty() {
        client.assign(Some(&List::of_positions(&starts)?))?;
        let mut scratch = Scratch::default();
        while !ends.is_empty() {
            if left().is_zero() {
                let message = format!("{topic} could not be read to its end in time");
                return Err(of_code(codes::LOCAL_TIMED_OUT, &message));
            }
            client.fetch(&mut scratch, 1000, POLL.min(left()), &mut latest);
            latest.check()?;
            drop_finished(&client, topic, &mut ends)?;
        }
        client.assign(None)?;
    }
    Ok(latest.values)
}

fn partition_count(client: &ConsumerClient, topic: &str, timeout: Duration) -> Result<i32, KafkaError> {
    let described = super::ffi::admin::describe_topics(client.client(), &[topic], timeout)?;
    let missing = || Err(of_code(codes::UNKNOWN_TOPIC_OR_PART, topic));
    let described = described.into_iter().next().unwrap_or_else(missing)?;
    Ok(described.partitions)
}

/// The position counts control records too, so it reaches an end that a record does not.
fn drop_finished(
    client: &ConsumerClient,
    topic: &str,
    ends: &mut BTreeMap<i32, i64>,
) -> Result<(), KafkaError> {
    let mut list = List::new(ends.len())?;
    for partition in ends.keys() {
        list.add(topic, *partition, -1)?;
    }
    client.position(&list)?;
    for element in list.elements() {
        if ends
            .get(&element.partition)
            .is_some_and(|end| element.offset >= *end)
        {
            ends.remove(&element.partition);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Latest {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    failure: Option<Failure>,
}

impl Latest {
    fn check(&mut self) -> Result<(), KafkaError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure.error);
        }
        if self.values.len() > KEYS_MAX {
            let message = format!("the control topic has more than {KEYS_MAX} keys");
            return Err(of_code(codes::LOCAL_FAIL, &message));
        }
        Ok(())
    }
}

impl Sink for Latest {
    fn records(
        &mut self,
        _topic_handle: usize,
        _topic: &str,
        _partition: i32,
        run: impl ExactSizeIterator<Item = Message>,
    ) {
        for record in run {
            match (record.key(), record.value()) {
                (Some(key), Some(value)) => {
                    self.values.insert(key.to_vec(), value.to_vec());
                }
                (Some(key), None) => {
                    self.values.remove(key);
                }
                (None, _) => {}
            }
        }
    }

    fn failure(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }
}
