//! Reading a compacted topic as a map: what a group shares across restarts. Writing
//! is part of a lane's transaction and not done here.
//!
//! Invariant: what is returned is the whole topic up to the last stable offset that
//! was asked for at the start, or an error; never a part of it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use super::ffi::consume::ConsumerClient;
use super::ffi::error::of_code;
use super::reading::{Stretch, read_to_ends};
use super::settings::inquiry_conf;
use super::{KafkaError, codes};
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
    let mut stretches = Vec::new();
    for partition in 0..partition_count(&client, topic, left())? {
        let (start, end) = client.client().bounds(topic, partition, left())?;
        stretches.push(Stretch {
            partition,
            start,
            end,
        });
    }
    let mut latest = BTreeMap::new();
    let mut goes_on = |_: &BTreeMap<i32, i64>| {
        if left().is_zero() {
            let message = format!("{topic} could not be read to its end in time");
            return Err(of_code(codes::LOCAL_TIMED_OUT, &message));
        }
        Ok(POLL.min(left()))
    };
    read_to_ends(&client, topic, &stretches, &mut goes_on, |record| {
        match (record.key(), record.value()) {
            (Some(key), Some(value)) => {
                latest.insert(key.to_vec(), value.to_vec());
            }
            (Some(key), None) => {
                latest.remove(key);
            }
            (None, _) => {}
        }
        if latest.len() > KEYS_MAX {
            let message = format!("the control topic has more than {KEYS_MAX} keys");
            return Err(of_code(codes::LOCAL_FAIL, &message));
        }
        Ok(())
    })?;
    Ok(latest)
}

fn partition_count(client: &ConsumerClient, topic: &str, timeout: Duration) -> Result<i32, KafkaError> {
    let described = super::ffi::admin::describe_topics(client.client(), &[topic], timeout)?;
    let missing = || Err(of_code(codes::UNKNOWN_TOPIC_OR_PART, topic));
    let described = described.into_iter().next().unwrap_or_else(missing)?;
    Ok(described.partitions)
}
