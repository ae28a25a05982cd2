//! A mock cluster of several nodes, which the client crate's own does not let go one by one.

use std::ptr::NonNull;

use rdkafka::bindings as rd;

use super::client::{Client, Kind};
use super::conf::{Conf, c_string};
use super::error::{check, text};
use crate::kafka::KafkaError;

/// Nodes are counted from 1.
pub struct MockNodes {
    raw: NonNull<rd::rd_kafka_mock_cluster_t>,
    _host: Client,
}

// SAFETY: each call is a message to the cluster's own thread, and waits for its answer.
unsafe impl Sync for MockNodes {}

impl MockNodes {
    pub fn new(count: i32) -> Result<Self, KafkaError> {
        let host = Client::new(Kind::Producer, Conf::new()?)?;
        // SAFETY: live client, which hosts the cluster and outlives it (see `drop`).
        let raw = NonNull::new(unsafe { rd::rd_kafka_mock_cluster_new(host.raw(), count) });
        let raw = raw.ok_or_else(|| KafkaError::own("NO_MOCK", "no mock cluster", false))?;
        Ok(Self { raw, _host: host })
    }

    pub fn bootstrap(&self) -> String {
        // SAFETY: live cluster, which owns the text.
        text(unsafe { rd::rd_kafka_mock_cluster_bootstraps(self.raw.as_ptr()) })
    }

    /// With one partition, led by that node.
    pub fn create_topic(&self, topic: &str, leader: i32) -> Result<(), KafkaError> {
        let topic = c_string(topic)?;
        // SAFETY: live cluster and C string, which is copied.
        unsafe {
            check(rd::rd_kafka_mock_topic_create(
                self.raw.as_ptr(),
                topic.as_ptr(),
                1,
                1,
            ))?;
            check(rd::rd_kafka_mock_partition_set_leader(
                self.raw.as_ptr(),
                topic.as_ptr(),
                0,
                leader,
            ))
        }
    }

    /// `kind` is `group` or `transaction`.
    pub fn coordinate(&self, kind: &str, key: &str, node: i32) -> Result<(), KafkaError> {
        let (kind, key) = (c_string(kind)?, c_string(key)?);
        // SAFETY: live cluster and C strings, which are copied.
        check(unsafe {
            rd::rd_kafka_mock_coordinator_set(self.raw.as_ptr(), kind.as_ptr(), key.as_ptr(), node)
        })
    }

    /// Nothing listens there any more.
    pub fn take_down(&self, node: i32) -> Result<(), KafkaError> {
        // SAFETY: live cluster.
        check(unsafe { rd::rd_kafka_mock_broker_set_down(self.raw.as_ptr(), node) })
    }

    /// It is gone from the metadata too.
    pub fn fence(&self, node: i32) -> Result<(), KafkaError> {
        // SAFETY: live cluster.
        check(unsafe { rd::rd_kafka_mock_broker_decommission(self.raw.as_ptr(), node) })
    }
}

impl Drop for MockNodes {
    fn drop(&mut self) {
        // SAFETY: owned; the client that hosts it is freed after this.
        unsafe { rd::rd_kafka_mock_cluster_destroy(self.raw.as_ptr()) };
    }
}
