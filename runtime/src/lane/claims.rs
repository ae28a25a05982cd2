//! Claims on message ids that are part of the transaction: back before a partition's first record
//! is fetched, written with its offsets, and dropped with what aborts.

use std::time::Instant;

use crate::kafka::{Consumer, Produce, Producer, ProducerFactory, TopicPartition};
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
    pub(super) fn restore_claims(&mut self, id: &TopicPartition) {
        if let (Some(dedup), Some(partition)) = (&mut self.dedup, self.partitions.get_mut(id)) {
            partition.restoring = dedup.restore(id, &partition.topic_id);
        }
    }

    /// Fetches nothing of those among them whose claims are not back yet.
    pub(super) fn hold_restoring(&mut self, ids: &[TopicPartition]) -> Result<(), Interrupt> {
        let restoring = |id: &&TopicPartition| self.partitions.get(id).is_some_and(|p| p.restoring);
        let restoring: Vec<TopicPartition> = ids.iter().filter(restoring).cloned().collect();
        if restoring.is_empty() {
            return Ok(());
        }
        self.consumer
            .pause(&restoring)
            .map_err(|error| Interrupt::Lane(format!("cannot pause: {error}")))
    }

    /// Lets partitions go whose claims are back.
    pub(super) fn take_restored(&mut self) -> Result<(), Interrupt> {
        let Some(dedup) = &mut self.dedup else {
            return Ok(());
        };
        let mut restored = dedup.restored().map_err(Interrupt::Pipeline)?;
        restored.retain(|id| {
            let partition = self.partitions.get_mut(id);
            partition.is_some_and(|partition| std::mem::replace(&mut partition.restoring, false))
        });
        if restored.is_empty() {
            return Ok(());
        }
        self.consumer
            .resume(&restored)
            .map_err(|error| Interrupt::Lane(format!("cannot resume: {error}")))
    }

    pub(super) fn forget_claims(&mut self, ids: &[TopicPartition]) {
        if let Some(dedup) = &mut self.dedup {
            for id in ids {
                dedup.forget(id);
            }
            self.report.ids_held(dedup.ids_held());
        }
    }

    /// Writes the claims of the records that the open transaction holds.
    pub(super) fn write_claims(&mut self, deadline: Instant) -> Result<(), Interrupt> {
        let (Some(dedup), Some(producer)) = (&mut self.dedup, &mut self.producer) else {
            return Ok(());
        };
        for partition in self.partitions.iter() {
            let Some(writes) = dedup.write(&partition.id, partition.next) else {
                continue;
            };
            let Some(topic) = self.plan.claims_topic_index(&partition.id.topic) else {
                continue;
            };
            for (key, value, timestamp_ms) in writes.records() {
                let record = Produce {
                    topic,
                    partition: Some(partition.id.partition),
                    key: Some(key),
                    value: Some(value),
                    headers: &[],
                    timestamp_ms: Some(timestamp_ms),
                    origin: u64::MAX,
                };
                producer
                    .produce(&record, deadline)
                    .map_err(super::writes::produce_interrupt)?;
            }
        }
        Ok(())
    }

    /// The transaction committed, up to the next offset of each partition.
    pub(super) fn claims_committed(&mut self) {
        let Some(dedup) = &mut self.dedup else { return };
        let now = Instant::now();
        for partition in self.partitions.iter() {
            dedup.committed(&partition.id, partition.next, now);
        }
    }

    /// The transaction is gone.
    pub(super) fn claims_aborted(&mut self) {
        let Some(dedup) = &mut self.dedup else { return };
        for partition in self.partitions.iter() {
            dedup.aborted(&partition.id);
        }
    }
}
