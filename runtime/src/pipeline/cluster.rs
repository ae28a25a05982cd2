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
use crate::lane::inputs::{CONFIRMED_FOR, UNANSWERED_MAX};
use crate::lane::starts::Marks;
use crate::plan::{InputTopics, Pipeline};

/// One question to the cluster.
const ANSWER: Duration = Duration::from_secs(3);

/// The same, where a transaction waits for the answer.
const QUICK_ANSWER: Duration = Duration::from_secs(1);

/// Distance of two questions that nobody answers.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A client that has not been open for so long may still be connecting.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// Reading the control topic to its end.
const READ: Duration = Duration::from_secs(5);

/// Shared by the lanes of a pipeline.
pub struct ClusterDirectory {
    plan: Arc<Pipeline>,
    inquirer: Mutex<Inquirer>,
    cluster_id: Arc<str>,
    known: Mutex<Known>,
}

/// Who asks, and since when.
struct Inquirer {
    admin: Admin,
    opened: Instant,
}

#[derive(Default)]
struct Known {
    topics: HashMap<Arc<str>, Told>,
    marks: Option<Arc<Marks>>,
}

/// What the cluster said of a topic.
#[derive(Clone)]
struct Told {
    facts: TopicFacts,
    /// When the question was asked that was answered with it.
    asked: Instant,
    /// When the last one was asked, answered or not.
    tried: Instant,
}

impl Told {
    /// What counts without another question.
    fn id(&self) -> Option<Arc<str>> {
        let is_fresh = self.asked.elapsed() < CONFIRMED_FOR;
        // Nobody answered a moment ago.
        let is_tried = self.tried > self.asked && self.tried.elapsed() < ASK_AGAIN;
        let counts = is_fresh || (is_tried && self.asked.elapsed() < UNANSWERED_MAX);
        counts.then(|| Arc::clone(&self.facts.id))
    }

    /// What counts if that question is not answered.
    fn id_if_unanswered(&self) -> Option<Arc<str>> {
        (self.asked.elapsed() < UNANSWERED_MAX).then(|| Arc::clone(&self.facts.id))
    }
}

impl Known {
    fn ids(&self, topics: &[&str], id: impl Fn(&Told) -> Option<Arc<str>>) -> Option<Vec<Arc<str>>> {
        topics.iter().map(|topic| id(self.topics.get(*topic)?)).collect()
    }
}

impl ClusterDirectory {
    pub fn new(plan: Arc<Pipeline>, admin: Admin, cluster_id: Arc<str>) -> Self {
        Self {
            plan,
            inquirer: Mutex::new(Inquirer {
                admin,
                opened: Instant::now(),
            }),
            cluster_id,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For longer questions: whoever holds it holds up the others.
    pub fn with_admin<T>(&self, ask: impl FnOnce(&Admin) -> T) -> T {
        ask(&self.inquirer().admin)
    }

    fn inquirer(&self) -> MutexGuard<'_, Inquirer> {
        self.inquirer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, name: &str) -> Result<TopicFacts, KafkaError> {
        let mut told = self.ask_all(&mut self.inquirer(), &[name], ANSWER)?;
        told.pop().ok_or_else(|| no_answer(name))
    }

    /// One question. An error of one topic is one of all.
    fn ask_all(
        &self,
        inquirer: &mut Inquirer,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicFacts>, KafkaError> {
        let asked = Instant::now();
        for name in names {
            if let Some(told) = self.known().topics.get_mut(*name) {
                told.tried = asked;
            }
        }
        let described = match inquirer.admin.describe(names, timeout) {
            Ok(described) => described,
            Err(error) => {
                self.replace_if_stuck(inquirer, &error)?;
                return Err(error);
            }
        };
        let topics = names.iter().zip(described);
        topics
            .map(|(name, described)| {
                let described = described.inspect_err(|error| self.unlearn(name, error))?;
                Ok(self.learn(name, described, asked))
            })
            .collect()
    }

    /// An answer too: what was told before is not true any more.
    fn unlearn(&self, name: &str, error: &KafkaError) {
        if !codes::is_transient(error.code) {
            self.known().topics.remove(name);
        }
    }

    fn learn(&self, name: &str, described: TopicDescription, asked: Instant) -> TopicFacts {
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
            tried: asked,
        };
        self.known().topics.insert(name.into(), told);
        facts
    }

    fn replace_if_stuck(&self, inquirer: &mut Inquirer, error: &KafkaError) -> Result<(), KafkaError> {
        if !codes::is_transient(error.code) || inquirer.opened.elapsed() < CONNECTED_WITHIN {
            return Ok(());
        }
        let admin = Admin::open(&self.plan.cluster, &format!("{}.directory", self.plan.name))?;
        let old = std::mem::replace(&mut inquirer.admin, admin);
        inquirer.opened = Instant::now();
        // It may take its time to end, and nobody has to wait for that.
        let thread = std::thread::Builder::new().name("kafka-admin-end".to_owned());
        if let Err(error) = thread.spawn(move || drop(old)) {
            tracing::debug!(%error, "no thread to end an administrative client on");
        }
        Ok(())
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

    fn confirm(&self, topics: &[&str]) -> Result<Vec<Arc<str>>, KafkaError> {
        if let Some(ids) = self.known().ids(topics, Told::id) {
            return Ok(ids);
        }
        let mut inquirer = self.inquirer();
        // Another lane may have asked meanwhile.
        if let Some(ids) = self.known().ids(topics, Told::id) {
            return Ok(ids);
        }
        let last = self.known().ids(topics, Told::id_if_unanswered);
        let timeout = if last.is_some() { QUICK_ANSWER } else { ANSWER };
        match (self.ask_all(&mut inquirer, topics, timeout), last) {
            (Err(error), Some(last)) if codes::is_transient(error.code) => Ok(last),
            (answer, _) => Ok(answer?.into_iter().map(|facts| facts.id).collect()),
        }
    }

    fn input(&self) -> Result<BTreeMap<String, i32>, KafkaError> {
        let names = self.with_admin(|admin| input_topics(&self.plan, admin))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(asked_s: u64, tried_s: u64) -> Told {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let facts = TopicFacts {
            id: "id".into(),
            partitions: 1,
        };
        Told {
            facts,
            asked: ago(asked_s),
            tried: ago(tried_s),
        }
    }

    #[test]
    fn what_was_told_counts_for_a_moment() {
        assert!(told(0, 0).id().is_some());
        assert!(told(6, 6).id().is_none());
        // As after a standstill: nobody has tried meanwhile.
        assert!(told(20, 20).id().is_none());
    }

    #[test]
    fn and_longer_while_nobody_answers() {
        assert!(told(20, 1).id().is_some());
        assert!(told(20, 6).id().is_none(), "it is time to ask again");
        assert!(told(20, 6).id_if_unanswered().is_some());
        for too_old in [told(31, 1).id(), told(31, 31).id_if_unanswered()] {
            assert!(too_old.is_none());
        }
    }

    #[test]
    fn all_topics_count_or_none() {
        let topics = [("a", told(0, 0)), ("b", told(9, 9))];
        let known = Known {
            topics: topics.map(|(name, told)| (Arc::from(name), told)).into(),
            marks: None,
        };
        assert!(known.ids(&["a"], Told::id).is_some());
        assert!(known.ids(&["a", "b"], Told::id).is_none());
        assert!(known.ids(&["a", "c"], Told::id).is_none());
    }
}
