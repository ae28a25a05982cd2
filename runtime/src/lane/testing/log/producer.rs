//! The log's producers: every call may fail, before or after it took effect.

use std::time::Instant;

use rand::Rng;

use super::{Log, Member, Out, Place, Transaction, error};
use crate::fault::{self, Point};
use crate::kafka::{
    FailedDelivery, Flaw, Position, Produce, ProduceError, Producer, ProducerFactory, TransactionError,
};

/// One output, dead letters, the control topic; what comes behind them are changelogs.
const FIRST_CHANGELOG: usize = 3;

pub struct MemoryProducers(pub(super) Log);

impl ProducerFactory for MemoryProducers {
    type Producer = MemoryProducer;

    fn open(&self, _: Instant) -> Result<MemoryProducer, TransactionError> {
        let state = &mut *self.0.0.borrow_mut();
        if let Some(fault @ TransactionError::NoVerdict(_)) = state.fault() {
            return Err(fault);
        }
        state.epoch += 1;
        // InitProducerId finishes what was prepared and aborts what was not.
        if let Some(open) = state.open.take()
            && open.prepared
        {
            state.apply(open);
        }
        Ok(MemoryProducer {
            log: self.0.clone(),
            epoch: state.epoch,
            failed: Vec::new(),
            late: Vec::new(),
            suspect: false,
        })
    }
}

pub struct MemoryProducer {
    log: Log,
    epoch: u64,
    failed: Vec<FailedDelivery>,
    /// Refused, and not told yet: a flush may tell, an abort does.
    late: Vec<FailedDelivery>,
    suspect: bool,
}

impl MemoryProducer {
    /// A fault before the call takes effect.
    fn check(&mut self) -> Result<(), TransactionError> {
        let state = &mut *self.log.0.borrow_mut();
        if self.epoch != state.epoch {
            return Err(TransactionError::Fatal {
                fenced: true,
                cause: error("FENCED"),
            });
        }
        // A request that went unanswered once, and was answered when it was made again.
        self.suspect |= state.fails(state.faults.transaction / 4);
        let fault = state.fault();
        self.suspect |= matches!(fault, Some(TransactionError::NoVerdict(_)));
        fault.map_or(Ok(()), Err)
    }
}

impl MemoryProducer {
    /// A broker refuses a batch as a whole, the innocent records in it too. Here it is all that the
    /// transaction has for the topic.
    fn refuse_batch(&mut self) {
        let state = self.log.0.borrow();
        let told: Vec<u64> = self.failed.iter().map(|delivery| delivery.origin).collect();
        let mut late = std::mem::take(&mut self.late);
        late.dedup_by_key(|delivery| delivery.topic);
        for first in late {
            let open = state.open.iter();
            let outputs = open.clone().flat_map(|open| &open.outputs);
            let outputs = outputs.map(|(origin, out)| (*origin, out.topic));
            let changes = open.flat_map(|open| &open.changes);
            let changes = changes.map(|(place, _)| (place.origin, place.topic));
            let batch = outputs.chain(changes);
            let refused = batch.filter(|(origin, topic)| *topic == first.topic && !told.contains(origin));
            self.late.extend(refused.map(|(origin, _)| FailedDelivery {
                origin,
                ..first.clone()
            }));
        }
    }
}

impl Producer for MemoryProducer {
    type Member = Member;

    fn begin(&mut self) -> Result<(), TransactionError> {
        assert!(!self.suspect, "a producer under suspicion began a transaction");
        let state = &mut *self.log.0.borrow_mut();
        assert!(
            state.open.is_none() || self.epoch != state.epoch,
            "two transactions at once"
        );
        state.open = Some(Transaction::default());
        state.begun += 1;
        Ok(())
    }

    fn produce(&mut self, record: &Produce<'_>, _: Instant) -> Result<(), ProduceError> {
        self.check()?;
        let state = &mut *self.log.0.borrow_mut();
        let value = record.value.map(<[u8]>::to_vec);
        let is_flawed = |flaw: Flaw| match flaw {
            Flaw::TooLarge => record.topic == 0,
            Flaw::Invalid => record.timestamp_ms.is_some(),
        };
        let flawed = state.faults.flawed;
        let flawed = flawed.filter(|(bad, flaw)| value.as_deref() == Some(bad) && is_flawed(*flaw));
        let takes = state.takes.get(&record.topic);
        let too_large = takes.is_some_and(|takes| record.wire_bytes() > *takes);
        let too_large = too_large.then_some(Flaw::TooLarge);
        if let Some(flaw) = flawed.map(|(_, flaw)| flaw).or(too_large) {
            self.late.push(FailedDelivery {
                origin: record.origin,
                topic: record.topic,
                flaw: Some(flaw),
                error: error("REFUSED"),
            });
        }
        let Some(open) = &mut state.open else {
            return Ok(());
        };
        if let Some(key) = record.key.filter(|key| key.starts_with(b"start")) {
            open.marks.push((key.to_vec(), value.unwrap_or_default()));
        } else if record.key == Some(state.topic_id.as_bytes()) {
            let partition = record.partition.unwrap();
            open.claims.push((partition, value.unwrap_or_default()));
        } else if let Some(key) = record.key.filter(|_| record.topic >= FIRST_CHANGELOG) {
            let place = Place {
                topic: record.topic,
                partition: record.partition.unwrap(),
                origin: record.origin,
            };
            open.changes.push((place, (key.to_vec(), value)));
        } else {
            open.outputs.push((
                record.origin,
                Out {
                    topic: record.topic,
                    value,
                },
            ));
        }
        Ok(())
    }

    fn flush(&mut self, _: Instant) -> Result<(), TransactionError> {
        self.check()?;
        if self.late.is_empty() {
            return Ok(());
        }
        self.refuse_batch();
        let state = &mut *self.log.0.borrow_mut();
        // The client tells of one after the other: whoever asks early hears of the first only.
        if state.rng.random_bool(0.5) {
            self.failed.push(self.late.remove(0));
            return Ok(());
        }
        Err(TransactionError::Abortable(error("REFUSED")))
    }

    fn send_offsets(
        &mut self,
        positions: &[Position],
        member: &Member,
        _: Instant,
    ) -> Result<(), TransactionError> {
        self.check()?;
        let state = &mut *self.log.0.borrow_mut();
        if member.0 != state.generation {
            return Err(TransactionError::Abortable(error("ILLEGAL_GENERATION")));
        }
        if let Some(open) = &mut state.open {
            open.offsets
                .extend(positions.iter().map(|p| (p.partition.partition, p.offset)));
        }
        fault::pass(Point::DuringSendOffsets);
        Ok(())
    }

    fn commit(&mut self, _: Instant) -> Result<(), TransactionError> {
        let checked = self.check();
        let state = &mut *self.log.0.borrow_mut();
        match checked {
            Ok(()) => {
                if let Some(open) = &mut state.open {
                    open.prepared = true;
                }
                fault::pass(Point::DuringEndTxn);
                if let Some(open) = state.open.take() {
                    state.apply(open);
                }
                Ok(())
            }
            Err(abortable @ TransactionError::Abortable(_)) => Err(abortable),
            Err(unknown) => {
                let prepared = state.rng.random_bool(0.5);
                if let Some(open) = &mut state.open {
                    open.prepared = prepared;
                }
                Err(unknown)
            }
        }
    }

    fn abort(&mut self, _: Instant) -> Result<(), TransactionError> {
        self.check()?;
        self.refuse_batch();
        self.failed.append(&mut self.late);
        self.log.0.borrow_mut().open = None;
        fault::pass(Point::DuringEndTxn);
        Ok(())
    }

    fn suspicion(&self) -> Option<String> {
        self.suspect.then(|| "as told".to_owned())
    }

    fn failed_deliveries(&mut self) -> Vec<FailedDelivery> {
        std::mem::take(&mut self.failed)
    }

    fn discard(self) {}
}
