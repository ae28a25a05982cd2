//! The topics that a pipeline writes to, in one order that lane and producer share:
//! the outputs, then the dead letters if there are any, then the control topic.

use std::sync::Arc;

use super::{Pipeline, Then};

impl Pipeline {
    /// All topics that this pipeline produces to. An output keeps its own index.
    pub fn produced_topics(&self) -> Arc<[Arc<str>]> {
        let outputs = self.outputs.iter().map(|output| Arc::from(output.topic.as_str()));
        let letters = self.dead_letter_topic().map(Arc::from);
        let control = Arc::from(self.name.control_topic());
        outputs.chain(letters).chain([control]).collect()
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
}
