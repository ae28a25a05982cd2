//! The clients' settings, as librdkafka's own keys.
//!
//! Three layers, a later one wins: what Strait prefers, what the pipeline's file
//! says, and what exactly-once stands on, which no file may change.

use std::time::Duration;

use super::KafkaError;
use super::ffi::conf::Conf;
use crate::plan::{Cluster, Timeouts};

/// What a consumer is opened with.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    pub cluster: Cluster,
    pub group: String,
    /// As brokers and log lines name this client.
    pub client_id: String,
    pub timeouts: Timeouts,
}

/// What a producer is opened with.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    pub cluster: Cluster,
    /// As brokers and log lines name this client.
    pub client_id: String,
    pub timeouts: Timeouts,
    /// [`super::Produce::topic`] refers to them by position.
    pub topics: Vec<OutputTopic>,
}

/// A topic to produce to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTopic {
    pub name: String,
    /// librdkafka's `compression.codec`; `None`: the producer's default.
    pub compression: Option<String>,
    /// The topic's `max.message.bytes`.
    pub max_message_bytes: usize,
}

/// Kafka's default `max.message.bytes`.
pub const MAX_MESSAGE_BYTES_DEFAULT: usize = 1_048_588;

/// librdkafka's default `batch.size`, a good one.
const BATCH_BYTES: usize = 1_000_000;
/// The range that librdkafka takes for `message.max.bytes`.
const MESSAGE_BYTES_RANGE: (usize, usize) = (1000, 1_000_000_000);

/// Cooperative-sticky by default: at a rebalance only the partitions that move stop.
/// A group whose members run with `range` or `roundrobin` must keep them, as the two
/// kinds do not mix in one group; the pipeline's file can say so.
const CONSUMER_PREFERRED: [(&str, &str); 10] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    // A full prefetch queue otherwise puts the fetcher to sleep for a second.
    ("fetch.queue.backoff.ms", "5"),
    // What is fetched ahead of a lane: enough for the length of a commit. librdkafka's own limits, five
    // times as many records, took 100 MiB more where a lane is slower than the broker, and were no faster.
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "32768"),
    ("fetch.message.max.bytes", "524288"),
    ("check.crcs", "true"),
    // How soon new topics and partitions are found.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("statistics.interval.ms", "1000"),
    ("reconnect.backoff.max.ms", "1000"),
    ("enable.metrics.push", "false"),
];

const CONSUMER_FIXED: [(&str, &str); 8] = [
    // KIP-848 in this librdkafka turns a long pause into a fatal error (5541).
    ("group.protocol", "classic"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Also what makes committed offsets wait for open transactions (KIP-447).
    ("isolation.level", "read_committed"),
    // Starts are resolved by the lane; any reset would lose or repeat records.
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "false"),
    ("allow.auto.create.topics", "false"),
    ("log_level", "6"),
];

const PRODUCER_PREFERRED: [(&str, &str); 8] = [
    ("linger.ms", "5"),
    ("max.in.flight.requests.per.connection", "5"),
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "131072"),
    // AddOffsetsToTxn and EndTxn wait this long where AddPartitionsToTxn waits 20 ms.
    ("retry.backoff.ms", "10"),
    ("retry.backoff.max.ms", "500"),
    ("reconnect.backoff.max.ms", "1000"),
    ("enable.metrics.push", "false"),
];

const PRODUCER_FIXED: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    // Java's default partitioner: murmur2 of the key, an empty key included; records
    // without a key spread.
    ("partitioner", "murmur2_random"),
    // No report for each record, and a flush that ends with the last acknowledgement.
    ("delivery.report.only.error", "true"),
    ("statistics.interval.ms", "0"),
    ("allow.auto.create.topics", "false"),
    ("log_level", "6"),
];

impl ConsumerSettings {
    pub(super) fn conf(&self) -> Result<Conf, KafkaError> {
        let mut conf = Conf::new()?;
        set_all(&mut conf, &CONSUMER_PREFERRED)?;
        set_file(&mut conf, &self.cluster.properties)?;
        set_file(&mut conf, &self.cluster.consumer_properties)?;
        set_all(&mut conf, &CONSUMER_FIXED)?;
        let t = &self.timeouts;
        set_common(&mut conf, &self.cluster, &self.client_id, t)?;
        conf.set("group.id", &self.group)?;
        conf.set("session.timeout.ms", &millis(t.session))?;
        conf.set("heartbeat.interval.ms", &millis(t.heartbeat))?;
        conf.set("max.poll.interval.ms", &millis(t.max_poll_interval))?;
        Ok(conf)
    }
}

impl ProducerSettings {
    /// `None`: a plain, idempotent producer.
    pub(super) fn conf(&self, transactional_id: Option<&str>) -> Result<Conf, KafkaError> {
        let mut conf = Conf::new()?;
        set_all(&mut conf, &PRODUCER_PREFERRED)?;
        set_file(&mut conf, &self.cluster.properties)?;
        set_file(&mut conf, &self.cluster.producer_properties)?;
        set_all(&mut conf, &PRODUCER_FIXED)?;
        set_common(&mut conf, &self.cluster, &self.client_id, &self.timeouts)?;
        let transaction = millis(self.timeouts.transaction);
        if let Some(id) = transactional_id {
            conf.set("transactional.id", id)?;
            conf.set("transaction.timeout.ms", &transaction)?;
        }
        // Not the topic's own key of the same name: this one every topic inherits.
        conf.set("message.timeout.ms", &transaction)?;
        conf.set("message.max.bytes", &self.message_bytes_max().to_string())?;
        conf.set("batch.size", &self.batch_bytes().to_string())?;
        Ok(conf)
    }

    /// What the most generous topic takes.
    fn message_bytes_max(&self) -> usize {
        let most = self.topics.iter().map(|t| t.max_message_bytes).max();
        most.unwrap_or(MAX_MESSAGE_BYTES_DEFAULT)
            .clamp(MESSAGE_BYTES_RANGE.0, MESSAGE_BYTES_RANGE.1)
    }

    /// No batch is larger than the least that a topic takes, whatever the file says.
    fn batch_bytes(&self) -> usize {
        let file = &self.cluster.producer_properties;
        let wanted = file.iter().rev().find(|(key, _)| key == "batch.size");
        let wanted = wanted
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(BATCH_BYTES);
        let least = self.topics.iter().map(|t| t.max_message_bytes).min();
        wanted.min(least.unwrap_or(usize::MAX)).max(1)
    }
}

/// A consumer that only asks questions, in the name of a group that it never joins.
pub(super) fn inquiry_conf(cluster: &Cluster, client_id: &str, group: &str) -> Result<Conf, KafkaError> {
    let mut conf = Conf::new()?;
    set_file(&mut conf, &cluster.properties)?;
    set_file(&mut conf, &cluster.consumer_properties)?;
    set_all(&mut conf, &CONSUMER_FIXED)?;
    conf.set("statistics.interval.ms", "0")?;
    conf.set("enable.metrics.push", "false")?;
    conf.set("client.id", client_id)?;
    conf.set("bootstrap.servers", &cluster.bootstrap)?;
    conf.set("group.id", group)?;
    conf.record_notices();
    Ok(conf)
}

fn set_common(
    conf: &mut Conf,
    cluster: &Cluster,
    client_id: &str,
    timeouts: &Timeouts,
) -> Result<(), KafkaError> {
    conf.set("bootstrap.servers", &cluster.bootstrap)?;
    conf.set("client.id", client_id)?;
    conf.set("socket.timeout.ms", &millis(timeouts.socket))
}

fn set_all(conf: &mut Conf, pairs: &[(&str, &str)]) -> Result<(), KafkaError> {
    pairs.iter().try_for_each(|(key, value)| conf.set(key, value))
}

fn set_file(conf: &mut Conf, pairs: &[(String, String)]) -> Result<(), KafkaError> {
    pairs.iter().try_for_each(|(key, value)| conf.set(key, value))
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(limits: &[usize], file: &[(&str, &str)]) -> ProducerSettings {
        let topic = |max_message_bytes: &usize| OutputTopic {
            name: "out".into(),
            compression: None,
            max_message_bytes: *max_message_bytes,
        };
        ProducerSettings {
            cluster: Cluster {
                bootstrap: "localhost:1".into(),
                producer_properties: file.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
                ..Cluster::default()
            },
            client_id: "test".into(),
            timeouts: Timeouts::default(),
            topics: limits.iter().map(topic).collect(),
        }
    }

    #[test]
    fn a_batch_fits_every_topic_and_a_record_the_most_generous_one() {
        let settings = producer(&[5_000, 2_000_000], &[]);
        assert_eq!(
            (settings.batch_bytes(), settings.message_bytes_max()),
            (5_000, 2_000_000)
        );
        let settings = producer(&[5_000], &[("batch.size", "900000")]);
        assert_eq!(settings.batch_bytes(), 5_000);
        let settings = producer(&[5_000_000], &[]);
        assert_eq!(settings.batch_bytes(), BATCH_BYTES);
    }

    #[test]
    fn every_key_is_one_that_the_library_knows() {
        assert!(producer(&[5_000], &[]).conf(Some("id")).is_ok());
        assert!(producer(&[5_000], &[]).conf(None).is_ok());
        let consumer = ConsumerSettings {
            cluster: Cluster {
                bootstrap: "localhost:1".into(),
                ..Cluster::default()
            },
            group: "g".into(),
            client_id: "c".into(),
            timeouts: Timeouts::default(),
        };
        assert!(consumer.conf().is_ok());
        assert!(producer(&[1], &[("no.such.key", "1")]).conf(None).is_err());
    }
}
