//! What a pipeline's lanes ask about the cluster, answered from memory where that is safe.
//!
//! librdkafka keeps asking the node that it took for the controller, even if that one is dead.
//! So a client whose question went unanswered is replaced.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use regex::Regex;

use crate::kafka::admin::{Admin, TopicDescription};
use crate::kafka::{KafkaError, codes, control_topic};
use crate::lane::directory::{Directory, TopicFacts};
use crate::lane::inputs::{CONFIRMED_FOR, Confirmed};
use crate::lane::starts::Marks;
use crate::plan::{InputTopics, Pipeline};

/// One question to the cluster.
const ANSWER: Duration = Duration::from_secs(3);

/// The same, where a transaction waits for the answer.
const QUICK_ANSWER: Duration = Duration::from_secs(1);

/// How long what was told of a topic counts where nobody answers: as long as it may take to
/// find another node to ask.
const UNANSWERED_MAX: Duration = Duration::from_secs(30);

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
    topics: HashMap<Arc<str>, Told>,
    marks: Option<Arc<Marks>>,
    /// When ids were to be confirmed last, answered or not.
    confirming: Option<Instant>,
}

/// What the cluster said of a topic.
#[derive(Clone)]
struct Told {
    facts: TopicFacts,
    asked: Instant,
}

impl Known {
    /// Ids that were asked for within a time.
    fn ids(&self, topics: &[Arc<str>], within: Duration) -> Option<Confirmed> {
        let told: Option<Vec<&Told>> = topics.iter().map(|topic| self.topics.get(topic)).collect();
        let told = told?;
        let asked = told.iter().map(|told| told.asked).min()?;
        let ids = told.iter().map(|told| Arc::clone(&told.facts.id)).collect();
        (asked.elapsed() < within).then_some(Confirmed { ids, asked })
    }

    /// Whether it is time to ask again.
    fn is_due(&self) -> bool {
        self.confirming.is_none_or(|last| last.elapsed() >= CONFIRMED_FOR)
    }
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
        let asked = Instant::now();
        let mut admin = self.admin();
        let answer = admin.describe(&[name], ANSWER);
        let described = self.or_replaced(&mut admin, answer)?.pop();
        let described = described.ok_or_else(|| no_answer(name))?;
        Ok(self.remember(name, described?, asked))
    }

    fn ask_all(&self, admin: &mut Admin, topics: &[Arc<str>]) -> Result<Confirmed, KafkaError> {
        let asked = Instant::now();
        self.known().confirming = Some(asked);
        let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        let answer = admin.describe(&names, QUICK_ANSWER);
        let described = self.or_replaced(admin, answer)?;
        let ids = names
            .iter()
            .zip(described)
            .map(|(name, described)| Ok(self.remember(name, described?, asked).id));
        let ids = ids.collect::<Result<_, KafkaError>>()?;
        Ok(Confirmed { ids, asked })
    }

    fn remember(&self, name: &str, described: TopicDescription, asked: Instant) -> TopicFacts {
        // A broker that knows no topic ids: the name has to do.
        let id = described
            .id
            .map_or_else(|| Arc::from(name), |id| Arc::from(id.as_str()));
        let facts = TopicFacts {
            id,
            partitions: described.partitions,
        };
        let told = Told {
            facts: facts.clone(),
            asked,
        };
        self.known().topics.insert(name.into(), told);
        facts
    }

    fn or_replaced<T>(&self, admin: &mut Admin, answer: Result<T, KafkaError>) -> Result<T, KafkaError> {
        if answer
            .as_ref()
            .is_err_and(|error| codes::is_transient(error.code))
        {
            *admin = Admin::open(&self.plan.cluster, &format!("{}.directory", self.plan.name))?;
        }
        answer
    }
}

impl Directory for ClusterDirectory {
    fn cluster_id(&self) -> Arc<str> {
        Arc::clone(&self.cluster_id)
    }

    fn topic(&self, name: &str, partition: i32) -> Result<TopicFacts, KafkaError> {
        let known = self.known().topics.get(name).map(|told| told.facts.clone());
        match known {
            Some(facts) if facts.partitions > partition => Ok(facts),
            _ => self.ask(name),
        }
    }

    fn confirm(&self, topics: &[Arc<str>]) -> Result<Confirmed, KafkaError> {
        if let Some(known) = self.known().ids(topics, CONFIRMED_FOR) {
            return Ok(known);
        }
        // Another lane may be asking just now: its answer counts.
        let mut admin = self.admin();
        let (known, last, is_due) = {
            let known = self.known();
            let last = known.ids(topics, UNANSWERED_MAX);
            (known.ids(topics, CONFIRMED_FOR), last, known.is_due())
        };
        if let Some(known) = known.or_else(|| last.clone().filter(|_| !is_due)) {
            return Ok(known);
        }
        let answer = self.ask_all(&mut admin, topics);
        answer.or_else(|error| match last {
            Some(last) if codes::is_transient(error.code) => Ok(last),
            _ => Err(error),
        })
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
