//! What a pipeline's lanes ask about the cluster, answered from memory where that is safe.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regex::Regex;

use crate::kafka::admin::Admin;
use crate::kafka::{KafkaError, control_topic};
use crate::lane::directory::{Directory, TopicFacts};
use crate::lane::starts::Marks;
use crate::plan::{InputTopics, Pipeline};

/// One question to the cluster.
const ANSWER: Duration = Duration::from_secs(3);

/// Reading the control topic to its end.
const READ: Duration = Duration::from_secs(5);

/// Shared by the lanes of a pipeline.
pub struct ClusterDirectory {
    plan: Arc<Pipeline>,
    admin: Mutex<Admin>,
    cluster_id: Arc<str>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    topics: HashMap<Arc<str>, TopicFacts>,
    marks: Option<Arc<Marks>>,
}

impl ClusterDirectory {
    pub fn new(plan: Arc<Pipeline>, admin: Admin, cluster_id: Arc<str>) -> Self {
        Self {
            plan,
            admin: Mutex::new(admin),
            cluster_id,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn admin(&self) -> MutexGuard<'_, Admin> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, name: &str) -> Result<TopicFacts, KafkaError> {
        let mut described = self.admin().describe(&[name], ANSWER)?;
        let topic = described.pop().ok_or_else(|| no_answer(name))??;
        // A broker that knows no topic ids: the name has to do.
        let id = topic
            .id
            .map_or_else(|| Arc::from(name), |id| Arc::from(id.as_str()));
        let facts = TopicFacts {
            id,
            partitions: topic.partitions,
        };
        self.known().topics.insert(name.into(), facts.clone());
        Ok(facts)
    }
}

impl Directory for ClusterDirectory {
    fn cluster_id(&self) -> Arc<str> {
        Arc::clone(&self.cluster_id)
    }

    fn topic(&self, name: &str, partition: i32) -> Result<TopicFacts, KafkaError> {
        let known = self.known().topics.get(name).cloned();
        match known {
            Some(facts) if facts.partitions > partition => Ok(facts),
            _ => self.ask(name),
        }
    }

    fn input(&self) -> Result<BTreeMap<String, i32>, KafkaError> {
        let names = input_topics(&self.plan, &self.admin())?;
        let facts = names.iter().map(|name| self.ask(name));
        facts
            .map(|facts| facts.map(|facts| (facts.id.to_string(), facts.partitions)))
            .collect()
    }

    fn forget_marks(&self) {
        self.known().marks = None;
    }

    fn marks(&self) -> Result<Arc<Marks>, KafkaError> {
        let topic = self.plan.name.control_topic();
        let client_id = format!("{}.control", self.plan.name);
        let entries = control_topic::read(&self.plan.cluster, &client_id, &topic, READ)?;
        let marks = Marks::from_entries(
            entries
                .iter()
                .map(|(key, value)| (key.as_slice(), value.as_slice())),
        );
        let marks = Arc::new(marks);
        self.known().marks = Some(Arc::clone(&marks));
        Ok(marks)
    }

    fn known_marks(&self) -> Result<Arc<Marks>, KafkaError> {
        let known = self.known().marks.clone();
        known.map_or_else(|| self.marks(), Ok)
    }
}

/// Names of the topics that the input names or matches now.
pub fn input_topics(plan: &Pipeline, admin: &Admin) -> Result<Vec<String>, KafkaError> {
    match &plan.input.topics {
        InputTopics::Named(names) => Ok(names.clone()),
        InputTopics::Pattern(pattern) => {
            // The configuration has compiled it once already.
            let Ok(pattern) = Regex::new(pattern) else {
                return Ok(Vec::new());
            };
            let topics = admin.topics(ANSWER)?;
            Ok(topics
                .into_iter()
                .map(|topic| topic.name)
                .filter(|name| pattern.is_match(name))
                .collect())
        }
    }
}

fn no_answer(name: &str) -> KafkaError {
    KafkaError::own("NO_ANSWER", &format!("the cluster did not describe {name}"), true)
}
