//! What a batch writes: outputs, and dead letters of the records that failed.

use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use crate::kafka::{Consumer, Header, Produce, ProduceError, Producer, ProducerFactory};
use crate::plan::Then;
use crate::stage::{Emission, GuestFactory, Outcome};

use super::Lane;
use super::control::Interrupt;
use super::dead_letter::{LetterHeaders, TRUNCATED};
use super::directory::Directory;
use super::outgoing::{Headers, Stamp, letter, partition_of, timestamp_of};
use super::partitions::origin;
use super::work::Turn;

/// How long a full producer queue may hold up a lane before the transaction is given up.
const PRODUCE_WAIT: Duration = Duration::from_secs(20);

/// What the producer said of a record, as the lane sees it.
pub fn produce_interrupt(error: ProduceError) -> Interrupt {
    match error {
        ProduceError::Transaction(error) => error.into(),
        ProduceError::TooLarge { .. } | ProduceError::NoSuchPartition { .. } => {
            Interrupt::Pipeline(error.to_string())
        }
    }
}

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    pub(super) fn produce_outputs(
        &mut self,
        turn: &Turn,
        count: usize,
        outcome: &Outcome,
    ) -> Result<(), Interrupt> {
        if outcome.failures.len() == outcome.decided {
            return Ok(());
        }
        let Self {
            plan,
            partitions,
            producer,
            open,
            stages,
            directory,
            ..
        } = self;
        let (Some(partition), Some(producer), Some(open)) =
            (partitions.at(turn.slot), producer.as_mut(), open.as_mut())
        else {
            return Ok(());
        };
        let records = partition.backlog.front(count);
        let deadline = Instant::now() + PRODUCE_WAIT;
        let cluster_id = directory.cluster_id();
        let mut stamp = Stamp::new(plan, &cluster_id, &partition.topic_id, turn.id.partition);
        stages.emissions(outcome, records, &mut |emission: &Emission<'_>| {
            let (Some(record), Some(output)) =
                (records.get(emission.origin), plan.outputs.get(emission.output.0))
            else {
                return Ok(());
            };
            let stamped = stamp.as_mut().map(|stamp| stamp.of(emission, record.offset()));
            let headers = Headers::new(emission.headers, stamped);
            let produce = Produce {
                topic: emission.output.0,
                partition: partition_of(output, emission, turn.id.partition),
                key: emission.key,
                value: emission.value,
                headers: headers.as_slice(),
                timestamp_ms: timestamp_of(output, emission, record),
                origin: origin(partition.tag, record.offset()),
            };
            open.count_produced(produce.topic, produce.wire_bytes());
            producer.produce(&produce, deadline).map_err(produce_interrupt)
        })
    }

    /// What becomes of the records that failed: skipped, or written to the dead letters in
    /// the same transaction as the offsets.
    pub(super) fn write_off(
        &mut self,
        turn: &Turn,
        count: usize,
        outcome: &Outcome,
    ) -> Result<(), Interrupt> {
        if outcome.failures.is_empty() {
            return Ok(());
        }
        let Self {
            plan,
            partitions,
            producer,
            open,
            report,
            condemned,
            ..
        } = self;
        let (Some(partition), Some(producer), Some(open)) =
            (partitions.at(turn.slot), producer.as_mut(), open.as_mut())
        else {
            return Ok(());
        };
        let records = partition.backlog.front(count);
        let deadline = Instant::now() + PRODUCE_WAIT;
        for failure in &outcome.failures {
            let Some(record) = records.get(failure.record) else {
                continue;
            };
            report.failed_record(&turn.id, record, failure);
            let (Then::DeadLetter { style, .. }, Some(topic)) =
                (&plan.on_error.then, plan.dead_letter_index())
            else {
                *open.skipped.entry(failure.kind).or_default() += 1;
                continue;
            };
            let letter = letter(
                plan,
                report.lane(),
                &turn.id,
                &partition.topic_id,
                record,
                failure,
            );
            let added = LetterHeaders::new(*style, &letter);
            // A dead letter that is refused as well would stop the pipeline.
            let redated = condemned
                .get(&turn.id)
                .is_some_and(|c| c.offset == record.offset() && !c.keeps_timestamp());
            let own = (0..record.header_count()).filter_map(|index| record.header(index));
            let headers: Vec<Header<'_>> = own.chain(added.iter()).collect();
            let produce = Produce {
                topic,
                partition: None,
                key: record.key(),
                value: record.value(),
                headers: &headers,
                timestamp_ms: Some(record.timestamp_ms()).filter(|timestamp| *timestamp >= 0 && !redated),
                origin: origin(partition.tag, record.offset()),
            };
            open.count_produced(topic, produce.wire_bytes());
            *open.dead_lettered.entry(failure.kind).or_default() += 1;
            match producer.produce(&produce, deadline) {
                // What it tells of the record matters more than the record.
                Err(ProduceError::TooLarge { .. }) => {
                    let headers: Vec<Header<'_>> = added.iter().chain([TRUNCATED]).collect();
                    let without = Produce {
                        key: None,
                        value: None,
                        headers: &headers,
                        ..produce
                    };
                    producer.produce(&without, deadline)
                }
                other => other,
            }
            .map_err(produce_interrupt)?;
        }
        Ok(())
    }
}
