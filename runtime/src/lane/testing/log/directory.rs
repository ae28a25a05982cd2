//! What the log tells of its topics.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Log;
use crate::kafka::KafkaError;
use crate::lane::directory::{Directory, TopicFacts};
use crate::lane::starts::Marks;

pub struct MemoryDirectory(pub(super) Log, pub(super) RefCell<Option<TopicFacts>>);

impl MemoryDirectory {
    fn ask(&self) -> TopicFacts {
        let facts = self.facts(self.0.0.borrow().topic_id);
        *self.1.borrow_mut() = Some(facts.clone());
        facts
    }

    fn facts(&self, id: &str) -> TopicFacts {
        TopicFacts {
            id: id.into(),
            partitions: i32::try_from(self.0.0.borrow().inputs.len()).unwrap(),
        }
    }
}

impl MemoryDirectory {
    /// What was told counts no more.
    pub fn forget(&self) {
        self.1.replace(None);
    }
}

impl Directory for MemoryDirectory {
    fn cluster_id(&self) -> Arc<str> {
        "memory".into()
    }

    fn topic(&self, name: &str, partition: i32) -> Result<TopicFacts, KafkaError> {
        if name.contains(".state.") {
            return Ok(self.facts(self.0.0.borrow().changelog_id));
        }
        let known = self.1.borrow().clone();
        Ok(known
            .filter(|facts| facts.partitions > partition)
            .unwrap_or_else(|| self.ask()))
    }

    fn confirm(&self, topics: &[&str]) -> Result<Vec<Arc<str>>, KafkaError> {
        let ids = topics.iter().map(|topic| Ok(self.topic(topic, 0)?.id));
        ids.collect()
    }

    fn input(&self) -> Result<BTreeMap<String, i32>, KafkaError> {
        let facts = self.ask();
        Ok(BTreeMap::from([(facts.id.to_string(), facts.partitions)]))
    }

    fn forget_marks(&self) {}

    fn marks(&self) -> Result<Arc<Marks>, KafkaError> {
        let state = self.0.0.borrow();
        let entries = state.control.iter();
        Ok(Arc::new(Marks::from_entries(
            entries.map(|(k, v)| (k.as_slice(), v.as_slice())),
        )))
    }

    fn known_marks(&self) -> Result<Arc<Marks>, KafkaError> {
        self.marks()
    }
}
