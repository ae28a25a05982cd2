//! Claims on message ids that are part of the transaction: written with its offsets, and dropped
//! with what aborts.

use std::time::Instant;

use crate::kafka::{Consumer, Produce, Producer, ProducerFactory};
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
                    partition: Some(partition.id.partition),
                    timestamp_ms: Some(timestamp_ms),
                    ..Produce::own(topic, key, Some(value))
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
