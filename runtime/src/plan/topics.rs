//! The topics that a pipeline writes to, in one order that lane and producer share:
//! the outputs, then the dead letters if there are any, then the control topic, then the claims of
//! each input topic if they are kept in topics, then each store's state of each input topic.

use std::sync::Arc;

use super::{ClaimStore, InputTopics, Pipeline, Then};

impl Pipeline {
    /// All topics that this pipeline produces to. An output keeps its own index.
    pub fn produced_topics(&self) -> Arc<[Arc<str>]> {
        let outputs = self.outputs.iter().map(|output| Arc::from(output.topic.as_str()));
        let letters = self.dead_letter_topic().map(Arc::from);
        let control = Arc::from(self.name.control_topic());
        let claims = self
            .inputs_with_claims()
            .iter()
            .map(|input| Arc::from(self.name.claims_topic(input)));
        let state = self.state_topics();
        let state = state
            .iter()
            .map(|(store, input)| Arc::from(self.name.state_topic(store, input)));
        outputs
            .chain(letters)
            .chain([control])
            .chain(claims)
            .chain(state)
            .collect()
    }

    /// The first of these that this pipeline writes to. An input that is also an output would
    /// feed itself for ever.
    pub fn own_topic_among<'t>(&self, mut topics: impl Iterator<Item = &'t str>) -> Option<&'t str> {
        let own = self.produced_topics();
        topics.find(|topic| own.iter().any(|mine| **mine == **topic))
    }

    /// Where dead letters go, if the policy writes any.
    pub fn dead_letter_topic(&self) -> Option<&str> {
        match &self.on_error.then {
            Then::DeadLetter { topic, .. } => Some(topic),
            Then::Stop | Then::Skip => None,
        }
    }

    /// Index of the dead letters' topic among [`Pipeline::produced_topics`].
    pub fn dead_letter_index(&self) -> Option<usize> {
        self.dead_letter_topic().map(|_| self.outputs.len())
    }

    /// Index of the control topic among [`Pipeline::produced_topics`].
    pub fn control_topic_index(&self) -> usize {
        self.outputs.len() + usize::from(self.dead_letter_topic().is_some())
    }

    /// Input topics whose claims are kept in topics.
    pub fn inputs_with_claims(&self) -> &[String] {
        let in_topics = self
            .dedup
            .as_ref()
            .is_some_and(|dedup| matches!(dedup.store, ClaimStore::Changelog { .. }));
        match &self.input.topics {
            InputTopics::Named(names) if in_topics => names,
            InputTopics::Named(_) | InputTopics::Pattern(_) => &[],
        }
    }

    /// Index of the topic of claims on records of this input topic among
    /// [`Pipeline::produced_topics`].
    pub fn claims_topic_index(&self, input: &str) -> Option<usize> {
        let place = self.inputs_with_claims().iter().position(|name| name == input)?;
        Some(self.control_topic_index() + 1 + place)
    }

    /// Store and input topic of each topic that keeps state.
    pub fn state_topics(&self) -> Vec<(&str, &str)> {
        let InputTopics::Named(inputs) = &self.input.topics else {
            return Vec::new();
        };
        let mut topics = Vec::with_capacity(self.stores.len() * inputs.len());
        for store in &self.stores {
            topics.extend(inputs.iter().map(|input| (store.name.as_str(), input.as_str())));
        }
        topics
    }

    /// Index of the topic of this store (by its place) for this input topic among
    /// [`Pipeline::produced_topics`].
    pub fn state_topic_index(&self, store: usize, input: &str) -> Option<usize> {
        let InputTopics::Named(inputs) = &self.input.topics else {
            return None;
        };
        let place = inputs.iter().position(|name| name == input)?;
        let first = self.control_topic_index() + 1 + self.inputs_with_claims().len();
        Some(first + store * inputs.len() + place)
    }
}
