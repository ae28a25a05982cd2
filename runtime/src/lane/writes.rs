//! What a batch writes: outputs, and dead letters of the records that failed.

use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use crate::kafka::{Consumer, Header, Produce, ProduceError, Producer, ProducerFactory};
use crate::plan::{HeaderStyle, Then};
use crate::stage::{Emission, GuestFactory, Outcome};

use super::Lane;
use super::condemned::Condemned;
use super::control::Interrupt;
use super::dead_letter::{DeadLetter, LetterHeaders, TRUNCATED};
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
            capacities,
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
            *open.dead_lettered.entry(failure.kind).or_default() += 1;
            let capacity = capacities.get(topic);
            let slot = LetterSlot {
                topic,
                style: *style,
                bytes_max: capacity.map_or(usize::MAX, |capacity| capacity.message_bytes_max),
                condemned: condemned.get(&turn.id).filter(|c| c.offset == record.offset()),
                origin: origin(partition.tag, record.offset()),
            };
            slot.put(record, &letter, |produce| {
                open.count_produced(topic, produce.wire_bytes());
                producer.produce(produce, deadline)
            })
            .map_err(produce_interrupt)?;
        }
        Ok(())
    }
}

/// Where a dead letter goes, and what it must be like.
struct LetterSlot<'a> {
    topic: usize,
    style: HeaderStyle,
    /// What the topic takes.
    bytes_max: usize,
    /// What is known of the record. A dead letter that is refused as well would stop the pipeline.
    condemned: Option<&'a Condemned>,
    origin: u64,
}

impl LetterSlot<'_> {
    /// The letter with its record, or without if the topic does not take both: what is told of the
    /// record matters more than the record.
    fn put<R: Record>(
        &self,
        record: &R,
        letter: &DeadLetter<'_>,
        produce: impl FnOnce(&Produce<'_>) -> Result<(), ProduceError>,
    ) -> Result<(), ProduceError> {
        let is = |known: fn(&Condemned) -> bool| self.condemned.is_some_and(known);
        let timestamp_ms = Some(record.timestamp_ms()).filter(|timestamp| *timestamp >= 0);
        let added = LetterHeaders::new(self.style, letter);
        let own = (0..record.header_count()).filter_map(|index| record.header(index));
        let headers: Vec<Header<'_>> = own.chain(added.iter()).collect();
        let whole = Produce {
            topic: self.topic,
            partition: None,
            key: record.key(),
            value: record.value(),
            headers: &headers,
            timestamp_ms: timestamp_ms.filter(|_| !is(Condemned::is_redated)),
            origin: self.origin,
        };
        if !is(Condemned::is_cut) && whole.wire_bytes() <= self.bytes_max {
            return produce(&whole);
        }
        let added = LetterHeaders::alone(self.style, letter, self.bytes_max);
        let headers: Vec<Header<'_>> = added.iter().chain([TRUNCATED]).collect();
        produce(&Produce {
            key: None,
            value: None,
            headers: &headers,
            ..whole
        })
    }
}
