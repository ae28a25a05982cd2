//! Questions to the cluster, and the creation of topics: what is needed before a
//! pipeline runs. All calls wait; none joins a group.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic as RdNewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::ffi::admin::describe_topics;
use super::ffi::consume::ConsumerClient;
use super::ffi::error::of_code;
use super::ffi::groups;
use super::ffi::list::List;
use super::ffi::logs;
use super::settings::{MAX_MESSAGE_BYTES_DEFAULT, inquiry_conf};
use super::{Bounds, KafkaError, Position, TopicPartition, codes};
use crate::plan::Cluster;

pub use super::ffi::admin::Described as TopicDescription;
pub use super::ffi::groups::Member as GroupMember;

/// A connection to ask over.
pub struct Admin {
    client: AdminClient<Logging>,
    reader: ConsumerClient,
    cluster: Cluster,
    client_id: String,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    pub replication: i32,
    /// Kafka's topic configuration.
    pub config: Vec<(String, String)>,
}

/// A topic of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicListing {
    pub name: String,
    pub partitions: usize,
}

impl Admin {
    /// Creates the clients; they connect when something is asked.
    pub fn open(cluster: &Cluster, client_id: &str) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        for (key, value) in &cluster.properties {
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &cluster.bootstrap)
            .set("client.id", client_id);
        config
            .set("enable.metrics.push", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        Ok(Self {
            client: AdminClient::from_config_and_context(&config, Logging).map_err(|e| of_crate(&e))?,
            reader: ConsumerClient::new(inquiry_conf(cluster, client_id, client_id)?)?,
            cluster: cluster.clone(),
            client_id: client_id.to_owned(),
        })
    }

    /// The id that the cluster got when it was formatted.
    pub fn cluster_id(&self, timeout: Duration) -> Result<String, KafkaError> {
        let id = self.reader.client().cluster_id(timeout);
        id.ok_or_else(|| of_code(codes::LOCAL_TIMED_OUT, "the cluster did not tell its id in time"))
    }

    pub fn node_count(&self, timeout: Duration) -> Result<usize, KafkaError> {
        let metadata = self
            .client
            .inner()
            .fetch_metadata(None, timeout)
            .map_err(|e| of_crate(&e))?;
        Ok(metadata.brokers().len())
    }

    /// All topics of the cluster, by name.
    pub fn topics(&self, timeout: Duration) -> Result<Vec<TopicListing>, KafkaError> {
        let metadata = self
            .client
            .inner()
            .fetch_metadata(None, timeout)
            .map_err(|e| of_crate(&e))?;
        let listing = |t: &rdkafka::metadata::MetadataTopic| TopicListing {
            name: t.name().to_owned(),
            partitions: t.partitions().len(),
        };
        let mut topics: Vec<_> = metadata.topics().iter().map(listing).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Ids and partition counts, in the order of `names`; an inner error says what is
    /// wrong with that topic (it may not exist). A broker that cannot describe topics
    /// (older than Kafka 2.8 knows no ids) makes the id `None`.
    pub fn describe(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<TopicDescription, KafkaError>>, KafkaError> {
        let mut once = names.to_vec();
        once.sort_unstable();
        once.dedup();
        if once.is_empty() {
            return Ok(Vec::new());
        }
        let described = describe_topics(self.reader.client(), &once, timeout)?;
        // A description with an error does not tell its name; they come in order.
        let by_name: BTreeMap<_, _> = once.into_iter().zip(described).collect();
        Ok(names
            .iter()
            .map(|name| by_name.get(name).cloned().unwrap_or_else(not_described))
            .collect())
    }

    /// The same of one topic.
    pub fn describe_topic(&self, name: &str, timeout: Duration) -> Result<TopicDescription, KafkaError> {
        let described = self.describe(&[name], timeout)?;
        described.into_iter().next().unwrap_or_else(not_described)
    }

    /// `max.message.bytes` of each topic, in the order of `names`.
    pub fn max_message_bytes(&self, names: &[&str], timeout: Duration) -> Result<Vec<usize>, KafkaError> {
        let mut once = names.to_vec();
        once.sort_unstable();
        once.dedup();
        if once.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = once.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(timeout));
        let answer = block_on(self.client.describe_configs(&asked, &options)).map_err(|e| of_crate(&e))?;
        let mut limits = BTreeMap::new();
        for (name, resource) in once.iter().zip(answer) {
            let resource = resource.map_err(|code| of_error_code(code, name))?;
            let limit = setting(&resource, name, "max.message.bytes")?;
            limits.insert(*name, limit.parse().unwrap_or(MAX_MESSAGE_BYTES_DEFAULT));
        }
        Ok(names
            .iter()
            .map(|name| limits.get(name).copied().unwrap_or(MAX_MESSAGE_BYTES_DEFAULT))
            .collect())
    }

    /// The value of one topic setting.
    pub fn topic_setting(&self, topic: &str, key: &str, timeout: Duration) -> Result<String, KafkaError> {
        let options = AdminOptions::new().request_timeout(Some(timeout));
        let asked = [ResourceSpecifier::Topic(topic)];
        let answer = block_on(self.client.describe_configs(&asked, &options)).map_err(|e| of_crate(&e))?;
        let resource = answer
            .into_iter()
            .next()
            .ok_or_else(|| of_code(codes::LOCAL_FAIL, "the answer is empty"))?;
        let resource = resource.map_err(|code| of_error_code(code, topic))?;
        setting(&resource, topic, key)
    }

    /// True if it was created, false if it was there already.
    pub fn create_topic(&self, topic: &NewTopic, timeout: Duration) -> Result<bool, KafkaError> {
        let replication = TopicReplication::Fixed(topic.replication);
        let mut new = RdNewTopic::new(&topic.name, topic.partitions, replication);
        for (key, value) in &topic.config {
            new = new.set(key, value);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(timeout))
            .operation_timeout(Some(timeout));
        let answers = block_on(self.client.create_topics([&new], &options)).map_err(|e| of_crate(&e))?;
        match answers.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((name, code))) => Err(of_error_code(code, &name)),
            None => Err(of_code(codes::LOCAL_FAIL, "the answer is empty")),
        }
    }

    /// Deletes a topic; one that is not there is fine. Nodes may know it for a moment yet.
    pub fn delete_topic(&self, topic: &str, timeout: Duration) -> Result<(), KafkaError> {
        let options = AdminOptions::new()
            .request_timeout(Some(timeout))
            .operation_timeout(Some(timeout));
        let answers = block_on(self.client.delete_topics(&[topic], &options)).map_err(|e| of_crate(&e))?;
        match answers.into_iter().next() {
            Some(Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Ok(()),
            Some(Err((name, code))) => Err(of_error_code(code, &name)),
            None => Err(of_code(codes::LOCAL_FAIL, "the answer is empty")),
        }
    }

    /// Deletes the records of a partition that lie before the offset.
    pub fn delete_before(
        &self,
        partition: &TopicPartition,
        offset: i64,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let mut before = TopicPartitionList::with_capacity(1);
        before
            .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))
            .map_err(|e| of_crate(&e))?;
        let options = AdminOptions::new()
            .request_timeout(Some(timeout))
            .operation_timeout(Some(timeout));
        let answer = block_on(self.client.delete_records(&before, &options)).map_err(|e| of_crate(&e))?;
        let failed = answer.elements().iter().find_map(|element| element.error().err());
        failed.map_or(Ok(()), |error| Err(of_crate(&error)))
    }

    /// First offset and last stable offset of a partition.
    pub fn bounds(&self, partition: &TopicPartition, timeout: Duration) -> Result<Bounds, KafkaError> {
        let (start, end) = self
            .reader
            .client()
            .bounds(&partition.topic, partition.partition, timeout)?;
        Ok(Bounds { start, end })
    }

    /// A look at a group's offsets, without being a member.
    pub fn group(&self, group: &str) -> Result<GroupOffsets, KafkaError> {
        Ok(GroupOffsets {
            reader: ConsumerClient::new(inquiry_conf(&self.cluster, &self.client_id, group)?)?,
        })
    }

    /// The same, but it does not wait for what open transactions may make of them.
    pub fn group_so_far(&self, group: &str) -> Result<GroupOffsets, KafkaError> {
        let mut conf = inquiry_conf(&self.cluster, &self.client_id, group)?;
        conf.set("isolation.level", "read_uncommitted")?;
        Ok(GroupOffsets {
            reader: ConsumerClient::new(conf)?,
        })
    }

    /// Who is in the group.
    pub fn members(&self, group: &str, timeout: Duration) -> Result<Vec<GroupMember>, KafkaError> {
        groups::members(self.reader.client(), group, timeout)
    }

    /// Sets these offsets of a group. Refused while somebody is in it
    /// (`UNKNOWN_MEMBER_ID`).
    pub fn alter_offsets(
        &self,
        group: &str,
        positions: &[Position],
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let offsets = List::of_positions(positions)?;
        groups::alter_offsets(self.reader.client(), group, &offsets, timeout)
    }
}

/// What a group has committed, as an onlooker sees it.
pub struct GroupOffsets {
    reader: ConsumerClient,
}

impl GroupOffsets {
    /// Stable offsets only; `None`: nothing.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>, KafkaError> {
        committed(&self.reader, partitions, timeout)
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("bootstrap", &self.cluster.bootstrap)
            .finish_non_exhaustive()
    }
}

/// Committed offsets; an element's error is an error, never "none".
pub(super) fn committed(
    client: &ConsumerClient,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<Vec<(TopicPartition, Option<i64>)>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let list = List::of_partitions(partitions)?;
    client.committed(&list, timeout)?;
    list.check_elements()?;
    let offsets = list
        .elements()
        .into_iter()
        .map(|e| (e.offset >= 0).then_some(e.offset));
    Ok(partitions.iter().cloned().zip(offsets).collect())
}

fn not_described() -> Result<TopicDescription, KafkaError> {
    Err(of_code(codes::UNKNOWN_TOPIC_OR_PART, ""))
}

/// Every topic has every setting, be it by default. But a node that has not heard of a new topic
/// yet answers with none at all, so that nothing may be concluded from it.
fn setting(resource: &ConfigResource, topic: &str, key: &str) -> Result<String, KafkaError> {
    let value = resource.get(key).and_then(|entry| entry.value.clone());
    value.ok_or_else(|| {
        let message = format!("the node that was asked does not know {key} of {topic} yet");
        KafkaError::own("SETTINGS_UNKNOWN", &message, true)
    })
}

/// Sends the crate's log lines where all others go.
struct Logging;

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        logs::write(level as i32, "admin", facility, line);
    }

    fn error(&self, error: RdError, reason: &str) {
        tracing::debug!(target: "librdkafka", client = "admin", %error, reason, "trouble the client recovers from");
    }
}

fn of_crate(error: &RdError) -> KafkaError {
    let code = match error {
        // Which the crate does not count among the errors with a code.
        RdError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(code) => of_error_code(code, &error.to_string()),
        None => of_code(codes::LOCAL_FAIL, &error.to_string()),
    }
}

fn of_error_code(code: RDKafkaErrorCode, about: &str) -> KafkaError {
    let error = of_code(code as i32, "");
    KafkaError {
        message: format!("{about}: {}", error.message),
        ..error
    }
}

/// Waits for an answer of the crate's, which its own thread brings; each request
/// carries a timeout.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::OwnedResourceSpecifier;

    use super::*;

    #[test]
    fn a_node_that_does_not_know_the_topic_yet_is_asked_again() {
        let resource = ConfigResource {
            specifier: OwnedResourceSpecifier::Topic("new".to_owned()),
            entries: Vec::new(),
        };
        let error = setting(&resource, "new", "cleanup.policy").unwrap_err();
        assert!(error.retriable && !error.fatal, "{error}");
    }

    #[test]
    fn a_question_without_an_answer_may_be_asked_again() {
        assert!(of_crate(&RdError::AdminOp(RDKafkaErrorCode::OperationTimedOut)).retriable);
        assert!(of_crate(&RdError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure)).retriable);
        assert!(!of_crate(&RdError::AdminOp(RDKafkaErrorCode::ClusterAuthorizationFailed)).retriable);
    }
}
