//! Whether the input topics are still those that were assigned.
//!
//! A topic that is deleted and made again is another one, with offsets that begin anew.
//! librdkafka reads on in it at the old position without a word, and if that lies within the
//! new log, everything before it would be lost. So nothing of a topic is committed unless the
//! cluster has confirmed its id within [`CONFIRMED_FOR`]; a lane that finds another one begins
//! afresh, and the new topic from its own start.
//!
//! What goes unseen is a topic that is deleted, made again and filled beyond the old position
//! in less time than that: offsets are committed by the topic's name, so nothing could close
//! this gap wholly.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::{Consumer, Producer, ProducerFactory, TransactionError};
use crate::stage::GuestFactory;

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;
use super::partitions::Standing;

/// How long an answer counts. A standstill of the process counts too.
pub const CONFIRMED_FOR: Duration = Duration::from_secs(5);

/// Ids of some topics, in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    pub ids: Vec<Arc<str>>,
    /// When the oldest of the questions was asked.
    pub asked: Instant,
}

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// To be called after the last poll of what is to be committed, and before it is.
    pub(super) fn confirm_inputs(&mut self) -> Result<(), Interrupt> {
        if self
            .inputs_confirmed
            .is_some_and(|asked| asked.elapsed() < CONFIRMED_FOR)
        {
            return Ok(());
        }
        let known = || {
            self.partitions
                .iter()
                .filter(|p| p.standing != Standing::Resolving)
        };
        let topics: BTreeSet<&Arc<str>> = known().map(|p| &p.id.topic).collect();
        if topics.is_empty() {
            return Ok(());
        }
        let topics: Vec<Arc<str>> = topics.into_iter().cloned().collect();
        let confirmed = self
            .directory
            .confirm(&topics)
            .map_err(TransactionError::Abortable)?;
        for (topic, id) in topics.iter().zip(&confirmed.ids) {
            if let Some(other) = known().find(|p| p.id.topic == *topic && p.topic_id != *id) {
                return Err(Interrupt::Lane(format!(
                    "{topic} was deleted and made again: its id is {id}, and was {}; starting afresh",
                    other.topic_id
                )));
            }
        }
        self.inputs_confirmed = Some(confirmed.asked);
        Ok(())
    }
}
