//! A mock cluster and clients of it.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::kafka::consumer::LibrdConsumer;
use crate::kafka::settings::{ConsumerSettings, OutputTopic, ProducerSettings};
use crate::kafka::transaction::LibrdProducerFactory;
use crate::kafka::{Consumer, GroupEvent, Polled, Position, Produce, TopicPartition};
use crate::plan::{Cluster, Timeouts};

pub type Reader = LibrdConsumer;
pub type Mock = MockCluster<'static, DefaultProducerContext>;

pub fn mock(topics: &[(&str, i32)]) -> Mock {
    let mock = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        mock.create_topic(topic, *partitions, 1).unwrap();
    }
    mock
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub fn timeouts() -> Timeouts {
    Timeouts {
        transaction: Duration::from_secs(10),
        session: Duration::from_secs(6),
        heartbeat: Duration::from_secs(1),
        max_poll_interval: Duration::from_mins(1),
        socket: Duration::from_secs(2),
    }
}

/// Where a client connects to.
pub trait Bootstrap {
    fn bootstrap(&self) -> String;
}

impl Bootstrap for Mock {
    fn bootstrap(&self) -> String {
        self.bootstrap_servers()
    }
}

impl Bootstrap for str {
    fn bootstrap(&self) -> String {
        self.to_owned()
    }
}

pub fn cluster(at: &(impl Bootstrap + ?Sized)) -> Cluster {
    Cluster {
        bootstrap: at.bootstrap(),
        ..Cluster::default()
    }
}

pub fn consumer(mock: &(impl Bootstrap + ?Sized), group: &str, properties: &[(&str, &str)]) -> LibrdConsumer {
    let mut cluster = cluster(mock);
    cluster.consumer_properties = properties
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    LibrdConsumer::open(&ConsumerSettings {
        cluster,
        group: group.into(),
        client_id: "test".into(),
        timeouts: timeouts(),
    })
    .unwrap()
}

pub fn producer_settings(mock: &(impl Bootstrap + ?Sized), topics: &[&str]) -> ProducerSettings {
    let topic = |name: &&str| OutputTopic {
        name: (*name).into(),
        compression: None,
        max_message_bytes: 1_048_588,
    };
    ProducerSettings {
        cluster: cluster(mock),
        client_id: "test".into(),
        timeouts: timeouts(),
        topics: topics.iter().map(topic).collect(),
    }
}

pub fn factory(mock: &(impl Bootstrap + ?Sized), topics: &[&str]) -> LibrdProducerFactory {
    LibrdProducerFactory::new(producer_settings(mock, topics), format!("{}.0.0", topics[0]))
}

pub fn record(value: &[u8]) -> Produce<'_> {
    Produce {
        topic: 0,
        partition: Some(0),
        key: None,
        value: Some(value),
        headers: &[],
        timestamp_ms: None,
        origin: 0,
    }
}

/// Polls, answering every rebalance with a start at `offset`, until `done`.
pub fn poll_until<R>(
    consumer: &mut LibrdConsumer,
    offset: i64,
    mut done: impl FnMut(&Polled<<LibrdConsumer as Consumer>::Record>) -> Option<R>,
) -> R {
    let deadline = soon();
    loop {
        assert!(Instant::now() < deadline, "nothing happened in time");
        let polled = consumer.poll(1000, Duration::from_millis(100)).unwrap();
        for event in &polled.events {
            answer(consumer, event, offset);
        }
        if let Some(result) = done(&polled) {
            return result;
        }
    }
}

pub fn answer(consumer: &mut LibrdConsumer, event: &GroupEvent, offset: i64) {
    match event {
        GroupEvent::Assigned(partitions) => {
            let at = |partition: &TopicPartition| Position {
                partition: partition.clone(),
                offset,
            };
            consumer
                .assign(&partitions.iter().map(at).collect::<Vec<_>>())
                .unwrap();
        }
        GroupEvent::Revoked { partitions, .. } => consumer.unassign(partitions).unwrap(),
        _ => {}
    }
}
