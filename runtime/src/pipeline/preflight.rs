//! What must be true of the cluster before the first record: the topics are there, and fit.
//!
//! `strait check` asks the same questions, and changes nothing; a run makes the control topic
//! where it may.

mod internal;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::admin::Admin;
use crate::kafka::settings::ProducerSettings;
use crate::kafka::transaction::LibrdProducerFactory;
use crate::kafka::{KafkaError, Producer, ProducerFactory, TransactionError, codes};
use crate::lane::outgoing::Capacity;
use crate::plan::{InputTopics, PartitionBy, Pipeline};

use super::cluster::{ClusterDirectory, input_topics};

/// One question to the cluster.
const ANSWER: Duration = Duration::from_secs(3);

/// Ending what a stale id left waits for the coordinator.
const FENCE: Duration = Duration::from_secs(5);

/// What the cluster said, as the lanes need it.
#[derive(Clone)]
pub struct Facts {
    pub directory: Arc<ClusterDirectory>,
    /// In the order of [`Pipeline::produced_topics`].
    pub capacities: Arc<[Capacity]>,
}

/// Something about the cluster that somebody has to change, or the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The key of the pipeline file that it is about.
    pub key: String,
    pub what: String,
    pub remedy: String,
}

/// Why there are no facts.
pub enum Refusal {
    /// At least one.
    Misfits(Vec<Misfit>),
    /// Ask again later.
    Unreachable(KafkaError),
}

impl From<KafkaError> for Refusal {
    fn from(error: KafkaError) -> Self {
        Self::Unreachable(error)
    }
}

/// Asks the cluster, and makes the control topic if it may.
pub fn ask(plan: &Arc<Pipeline>) -> Result<Facts, Refusal> {
    let admin = open(plan)?;
    let cluster_id = admin.cluster_id(ANSWER)?;
    let mut misfits = Vec::new();
    let mut capacities = survey(&admin, plan, &mut misfits)?;
    if misfits.is_empty() {
        capacities.extend(internal::find_or_make(&admin, plan, &mut misfits)?);
    }
    if !misfits.is_empty() {
        return Err(Refusal::Misfits(misfits));
    }
    let directory = ClusterDirectory::new(Arc::clone(plan), admin, cluster_id.into());
    Ok(Facts {
        directory: Arc::new(directory),
        capacities: capacities.into(),
    })
}

/// Everything about the cluster that does not fit, and nothing is changed.
pub fn look(plan: &Arc<Pipeline>) -> Result<Vec<Misfit>, KafkaError> {
    let mut misfits = Vec::new();
    match open(plan).and_then(|admin| Ok(survey(&admin, plan, &mut misfits)?)) {
        Ok(_) => Ok(misfits),
        Err(Refusal::Misfits(found)) => Ok(found),
        Err(Refusal::Unreachable(error)) => Err(error),
    }
}

/// Finds the topic of the dead letters' marks, or makes it where it may.
pub fn dead_letter_marks(plan: &Pipeline) -> Result<Capacity, Refusal> {
    let mut misfits = Vec::new();
    let found = internal::find_or_make_marks(&open(plan)?, plan, &mut misfits)?;
    found.into_iter().next().ok_or(Refusal::Misfits(misfits))
}

/// Initialises a transactional id once and closes it: ends what it left open.
pub fn fence(plan: &Pipeline, transactional_id: &str) -> Result<(), TransactionError> {
    let settings = ProducerSettings {
        cluster: plan.cluster.clone(),
        client_id: transactional_id.to_owned(),
        timeouts: plan.timeouts,
        topics: Vec::new(),
    };
    let producer =
        LibrdProducerFactory::new(settings, transactional_id.to_owned()).open(Instant::now() + FENCE)?;
    producer.discard();
    Ok(())
}

fn open(plan: &Pipeline) -> Result<Admin, Refusal> {
    Admin::open(&plan.cluster, &format!("{}.preflight", plan.name)).map_err(|error| {
        Refusal::Misfits(vec![Misfit {
            key: "kafka".to_owned(),
            what: format!("cannot create a client: {error}"),
            remedy: "correct kafka.bootstrap and kafka.properties".to_owned(),
        }])
    })
}

/// Looks at inputs, outputs and dead letters. What it returns is complete only if nothing is amiss.
fn survey(admin: &Admin, plan: &Pipeline, misfits: &mut Vec<Misfit>) -> Result<Vec<Capacity>, KafkaError> {
    let widest = widest_input(admin, plan, misfits)?;
    let outputs = plan
        .outputs
        .iter()
        .map(|output| (output.topic.as_str(), format!("outputs.{}", output.name)));
    let letters = plan
        .dead_letter_topic()
        .map(|topic| (topic, "on_error.dead_letter".to_owned()));
    let topics: Vec<(&str, String)> = outputs.chain(letters).collect();
    let names: Vec<&str> = topics.iter().map(|(name, _)| *name).collect();
    let mut found = Vec::new();
    for (index, ((name, key), described)) in topics.iter().zip(admin.describe(&names, ANSWER)?).enumerate() {
        let Some(partitions) = exists(name, key, described.map(|topic| topic.partitions), misfits)? else {
            continue;
        };
        let follows = plan
            .outputs
            .get(index)
            .is_some_and(|output| output.partition == PartitionBy::Input);
        if follows && partitions < widest {
            misfits.push(Misfit {
                key: key.clone(),
                what: format!("{name} has {partitions} partitions and follows an input of {widest}"),
                remedy: format!("give it {widest}, or do not write `partition: input`"),
            });
        }
        found.push((*name, partitions));
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let limits = admin.max_message_bytes(&names, ANSWER)?;
    Ok(found
        .iter()
        .zip(limits)
        .map(|((_, partitions), limit)| Capacity::new(limit, *partitions))
        .collect())
}

/// Checks that the inputs exist; says how many partitions the widest has.
fn widest_input(admin: &Admin, plan: &Pipeline, misfits: &mut Vec<Misfit>) -> Result<i32, KafkaError> {
    let inputs = input_topics(plan, admin)?;
    let key = if matches!(plan.input.topics, InputTopics::Pattern(_)) {
        "input.pattern"
    } else {
        "input.topics"
    };
    if let Some(looped) = plan.own_topic_among(inputs.iter().map(String::as_str)) {
        misfits.push(Misfit {
            key: key.to_owned(),
            what: format!("the input matches {looped}, which this pipeline writes to"),
            remedy: "change it so that it does not: the pipeline would feed itself".to_owned(),
        });
    }
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let mut widest = 0;
    for (name, described) in names.iter().zip(admin.describe(&names, ANSWER)?) {
        let partitions = exists(name, key, described.map(|topic| topic.partitions), misfits)?;
        widest = widest.max(partitions.unwrap_or(0));
    }
    Ok(widest)
}

/// The partitions of a topic, or a misfit if it is not there or not ours to use.
fn exists(
    topic: &str,
    key: &str,
    partitions: Result<i32, KafkaError>,
    misfits: &mut Vec<Misfit>,
) -> Result<Option<i32>, KafkaError> {
    let (what, remedy) = match partitions {
        Ok(partitions) => return Ok(Some(partitions)),
        Err(error) if error.code == codes::UNKNOWN_TOPIC_OR_PART => (
            format!("topic {topic} does not exist"),
            "create it, or correct its name".to_owned(),
        ),
        Err(error) if error.retriable => return Err(error),
        Err(error) => (
            format!("cannot use topic {topic}: {error}"),
            "grant this user the right to describe it".to_owned(),
        ),
    };
    misfits.push(Misfit {
        key: key.to_owned(),
        what,
        remedy,
    });
    Ok(None)
}
