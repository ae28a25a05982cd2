//! Creating the topics of a pipeline that the cluster does not have.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::plan::{InputTopics, Pipeline, Then};

const ASK_WITHIN: Duration = Duration::from_secs(10);
const CREATE_WITHIN: Duration = Duration::from_secs(30);
/// As many as the broker's `default.replication.factor` says.
const REPLICATION_OF_THE_BROKER: i32 = -1;

/// Why topics could not be created.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    #[error("the cluster at {bootstrap} does not answer: {cause}; check the address, and that it runs")]
    Unreachable { bootstrap: String, cause: KafkaError },
    #[error("the topic {topic} could not be created: {code}; create it by hand, or allow it")]
    Refused { topic: String, code: RDKafkaErrorCode },
    #[error("the request to create topics failed: {0}")]
    Request(#[from] KafkaError),
    #[error("waiting for the cluster failed: {0}")]
    Runtime(#[from] std::io::Error),
}

/// All topics that a pipeline names: inputs, outputs, dead letters.
pub fn named(pipeline: &Pipeline) -> BTreeSet<&str> {
    let inputs = match &pipeline.input.topics {
        InputTopics::Named(names) => names.as_slice(),
        InputTopics::Pattern(_) => &[],
    };
    let outputs = pipeline.outputs.iter().map(|output| &output.topic);
    let dead_letters = match &pipeline.on_error.then {
        Then::DeadLetter { topic, .. } => Some(topic),
        Then::Stop | Then::Skip => None,
    };
    inputs
        .iter()
        .chain(outputs)
        .chain(dead_letters)
        .map(String::as_str)
        .collect()
}

/// Creates what is missing of these and of what the pipeline names, each with this many
/// partitions, and tells which those were.
pub fn create_missing(
    pipeline: &Pipeline,
    fed: &BTreeSet<&str>,
    partitions: i32,
) -> Result<Vec<String>, TopicsError> {
    let cluster = &pipeline.cluster;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    for (key, value) in &cluster.properties {
        config.set(key, value);
    }
    let client: AdminClient<DefaultClientContext> = config.create()?;
    let metadata = client.inner().fetch_metadata(None, ASK_WITHIN);
    let metadata = metadata.map_err(|cause| TopicsError::Unreachable {
        bootstrap: cluster.bootstrap.clone(),
        cause,
    })?;
    let there: BTreeSet<&str> = metadata
        .topics()
        .iter()
        .map(rdkafka::metadata::MetadataTopic::name)
        .collect();
    let wanted = &named(pipeline) | fed;
    let missing: Vec<NewTopic<'_>> = wanted
        .difference(&there)
        .map(|name| {
            NewTopic::new(
                name,
                partitions,
                TopicReplication::Fixed(REPLICATION_OF_THE_BROKER),
            )
        })
        .collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let options = AdminOptions::new().operation_timeout(Some(CREATE_WITHIN));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut created = Vec::new();
    for result in runtime.block_on(client.create_topics(&missing, &options))? {
        match result {
            Ok(topic) => created.push(topic),
            // Another process was quicker.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(TopicsError::Refused { topic, code }),
        }
    }
    Ok(created)
}
