//! What one poll brings, sorted into chunks.

use std::sync::Arc;

use crate::kafka::ffi::consume::{Failure, Sink};
use crate::kafka::ffi::message::Message;
use crate::kafka::{Chunk, TopicPartition};

/// The chunks of one poll while they grow.
pub(super) struct Gathered<'a> {
    pub chunks: Vec<Chunk<Message>>,
    /// The topic handle of each chunk: comparing it is cheaper than the name.
    pub handles: Vec<usize>,
    pub names: &'a mut Vec<Arc<str>>,
    pub failures: Vec<Failure>,
}

impl Sink for Gathered<'_> {
    fn records(
        &mut self,
        topic_handle: usize,
        topic: &str,
        partition: i32,
        run: impl ExactSizeIterator<Item = Message>,
    ) {
        let mut chunks = self.handles.iter().zip(&mut self.chunks);
        let known = chunks.find(|(handle, c)| **handle == topic_handle && c.partition.partition == partition);
        if let Some((_, chunk)) = known {
            chunk.records.extend(run);
            return;
        }
        let topic = intern(self.names, topic);
        self.handles.push(topic_handle);
        self.chunks.push(Chunk {
            partition: TopicPartition { topic, partition },
            records: run.collect(),
        });
    }

    fn failure(&mut self, failure: Failure) {
        self.failures.push(failure);
    }
}

/// Each topic's name once, to be shared.
pub(super) fn intern(names: &mut Vec<Arc<str>>, topic: &str) -> Arc<str> {
    if let Some(name) = names.iter().find(|name| ***name == *topic) {
        return Arc::clone(name);
    }
    let name: Arc<str> = topic.into();
    names.push(Arc::clone(&name));
    name
}
