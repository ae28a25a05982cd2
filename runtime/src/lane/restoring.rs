//! What others have written of a partition is brought back before its first record is fetched: the
//! claims on its message ids, and the state of its keys.

use crate::kafka::{Consumer, Producer, ProducerFactory, TopicPartition};
use crate::stage::GuestFactory;

use super::Lane;
use super::control::Interrupt;
use super::directory::Directory;

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// The start of this partition is known now: what is committed cannot change any more but by us.
    pub(super) fn restore(&mut self, id: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(id) else {
            return;
        };
        if let Some(dedup) = &mut self.dedup {
            partition.restoring.claims = dedup.restore(id, &partition.topic_id);
        }
        if let Some(state) = &mut self.state {
            state.restore(id, &partition.topic_id);
            partition.restoring.state = true;
        }
    }

    /// Fetches nothing of those among them that are not whole yet.
    pub(super) fn hold_restoring(&mut self, ids: &[TopicPartition]) -> Result<(), Interrupt> {
        let restoring = |id: &&TopicPartition| self.partitions.get(id).is_some_and(|p| p.restoring.any());
        let restoring: Vec<TopicPartition> = ids.iter().filter(restoring).cloned().collect();
        if restoring.is_empty() {
            return Ok(());
        }
        self.consumer
            .pause(&restoring)
            .map_err(|error| Interrupt::Lane(format!("cannot pause: {error}")))
    }

    /// Lets partitions go that are whole.
    pub(super) fn take_restored(&mut self) -> Result<(), Interrupt> {
        let mut back = Vec::new();
        if let Some(dedup) = &mut self.dedup {
            for id in dedup.restored()? {
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.restoring.claims = false;
                    back.push(id);
                }
            }
        }
        if let Some(state) = &mut self.state {
            let (restored, ahead) = state.restored(&self.partitions)?;
            for id in restored {
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.restoring.state = false;
                    back.push(id);
                }
            }
            for ahead in ahead {
                self.look_again(&ahead)?;
            }
        }
        // What waits for a retry is fetched when that is due.
        let is_free = |id: &TopicPartition| {
            let partition = self.partitions.get(id);
            partition.is_some_and(|p| !p.restoring.any() && p.held_until.is_none())
        };
        back.retain(is_free);
        if back.is_empty() {
            return Ok(());
        }
        self.consumer
            .resume(&back)
            .map_err(|error| Interrupt::Lane(format!("cannot resume: {error}")))
    }

    /// These partitions belong to others now.
    pub(super) fn forget_restored(&mut self, ids: &[TopicPartition]) {
        for id in ids {
            if let Some(state) = &mut self.state {
                state.forget(id);
            }
            if let Some(dedup) = &mut self.dedup {
                dedup.forget(id);
            }
        }
        if let Some(dedup) = &self.dedup {
            self.report.ids_held(dedup.ids_held());
        }
    }
}
