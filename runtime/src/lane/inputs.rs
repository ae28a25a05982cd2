//! Whether the input topics are still those that were assigned.
//!
//! A topic that is deleted and made again is another one, with offsets that begin anew.
//! librdkafka reads on in it at the old position without a word, and if that lies within the
//! new log, everything before it would be lost. So right before offsets are committed the
//! cluster must have confirmed the id of their topic within [`CONFIRMED_FOR`], or within
//! [`UNANSWERED_MAX`] while it does not answer; a lane that finds another one begins afresh,
//! and the new topic from its own start.
//!
//! What goes unseen is a topic that is deleted, made again and filled beyond the old position
//! in less time than that: offsets are committed by the topic's name, so nothing could close
//! this gap wholly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::kafka::{
    Consumer, KafkaError, Position, Producer, ProducerFactory, TopicPartition, TransactionError,
};
use crate::stage::GuestFactory;

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;

/// How long an answer counts, a standstill of the process included. A question a second costs
/// next to nothing.
pub const CONFIRMED_FOR: Duration = Duration::from_secs(1);

/// How long it counts where nobody answers: as long as it may take to find another node to ask.
pub const UNANSWERED_MAX: Duration = Duration::from_secs(30);

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// To be called right before these positions are committed.
    pub(super) fn confirm_inputs(&self, positions: &[Position]) -> Result<(), Interrupt> {
        let assigned = positions
            .iter()
            .filter_map(|position| self.partitions.get(&position.partition))
            .map(|partition| (&partition.id.topic, &partition.topic_id));
        let by_topic = by_topic(assigned);
        let topics: Vec<&str> = by_topic.keys().map(|topic| &***topic).collect();
        if topics.is_empty() {
            return Ok(());
        }
        let told = self
            .directory
            .confirm(&topics)
            .map_err(TransactionError::Abortable)?;
        for ((topic, ids), told) in by_topic.iter().zip(told) {
            if let Some(other) = ids.iter().find(|id| ***id != told) {
                return Err(self.made_again(topic, other, &told));
            }
        }
        Ok(())
    }

    /// Whether a position out of the log is one of another topic: asked now, whatever was told.
    pub(super) fn is_same_topic(&self, id: &TopicPartition) -> Result<bool, Interrupt> {
        let Some(assigned) = self.partitions.get(id).map(|partition| &partition.topic_id) else {
            return Ok(false);
        };
        match self.directory.topic(&id.topic, i32::MAX) {
            Ok(facts) if facts.id == *assigned => Ok(true),
            Ok(facts) => Err(self.made_again(&id.topic, assigned, &facts.id)),
            Err(_) => Ok(false),
        }
    }

    fn made_again(&self, topic: &str, assigned: &str, told: &str) -> Interrupt {
        match self.told_again(topic, assigned, told) {
            Ok(()) => Interrupt::Lane(format!(
                "{topic} was deleted and made again: its id is {told}, and was {assigned}; starting afresh"
            )),
            Err(doubt) => doubt,
        }
    }

    /// A node may not have heard of the new topic yet, or of the end of the old one: the next
    /// question goes to another.
    pub(super) fn told_again(&self, topic: &str, assigned: &str, told: &str) -> Result<(), Interrupt> {
        let again = self.directory.topic(topic, i32::MAX);
        if again.is_ok_and(|facts| &*facts.id == told) {
            return Ok(());
        }
        let message = format!("nodes disagree on the id of {topic}: {told} or {assigned}");
        Err(TransactionError::Abortable(KafkaError::own("TOPIC_UNCONFIRMED", &message, true)).into())
    }
}

fn by_topic<'p>(
    assigned: impl Iterator<Item = (&'p Arc<str>, &'p Arc<str>)>,
) -> BTreeMap<&'p Arc<str>, Vec<&'p Arc<str>>> {
    let mut topics: BTreeMap<&Arc<str>, Vec<&Arc<str>>> = BTreeMap::new();
    for (topic, id) in assigned {
        let ids = topics.entry(topic).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    topics
}
