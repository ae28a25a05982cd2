//! Transactions of marks, and of the records whose replay they tell of.
//!
//! Invariants:
//! - whoever holds a ledger has fenced all others of its pipeline before it read the marks;
//! - a record is produced only in the transaction that holds its mark;
//! - after an error of a transaction nothing is taken for committed or not: a producer is opened
//!   anew and the marks are read again, or the transaction was aborted for certain.

use std::time::{Duration, Instant};

use super::Trouble;
use super::letter::Place;
use super::marks::{self, Mark, Marks};
use crate::fault::{self, Point};
use crate::kafka::{
    FailedDelivery, Flaw, KafkaError, Produce, ProduceError, Producer, ProducerFactory, TransactionError,
    wire_bytes,
};

/// So many times in a row nothing may come of a batch.
const ATTEMPTS_MAX: u32 = 5;

/// What is to become of a letter.
#[derive(Debug, Clone)]
pub struct Entry {
    pub place: Place,
    /// `None`: its mark is taken back.
    pub mark: Option<Mark>,
    /// Produced with it.
    pub record: Option<Outgoing>,
}

/// A record to put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Index among the producer's topics, and its name.
    pub topic: usize,
    pub name: String,
    /// `None`: by the key.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// `None`: now.
    pub timestamp_ms: Option<i64>,
}

impl Outgoing {
    fn headers(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (name.as_slice(), value.as_deref()))
            .collect()
    }

    pub fn bytes(&self) -> usize {
        wire_bytes(self.key.as_deref(), self.value.as_deref(), &self.headers())
    }
}

/// What became of some entries.
#[derive(Debug, Default)]
pub struct Settled {
    /// Committed: so many.
    pub done: usize,
    /// A broker refuses the record, and would again.
    pub refused: Vec<(Place, String)>,
}

type ReadMarks<'a> = Box<dyn FnMut() -> Result<Marks, Trouble> + 'a>;

/// The marks, and the right to change them.
pub struct Ledger<'a, F: ProducerFactory> {
    factory: F,
    read_marks: ReadMarks<'a>,
    producer: Option<F::Producer>,
    marks: Marks,
    /// Index of the topic of the marks among the producer's.
    marks_topic: usize,
    pipeline: String,
    /// One call.
    patience: Duration,
    now_ms: i64,
    failures: u32,
}

impl<'a, F: ProducerFactory> Ledger<'a, F> {
    /// Fences all others, then reads the marks.
    pub fn open(
        factory: F,
        marks_topic: usize,
        pipeline: &str,
        patience: Duration,
        now_ms: i64,
        read_marks: ReadMarks<'a>,
    ) -> Result<Self, Trouble> {
        let mut ledger = Self {
            factory,
            read_marks,
            producer: None,
            marks: Marks::new(""),
            marks_topic,
            pipeline: pipeline.to_owned(),
            patience,
            now_ms,
            failures: 0,
        };
        ledger.ready()?;
        Ok(ledger)
    }

    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Commits all of them. After an error what had committed before stays.
    pub fn settle(&mut self, entries: Vec<Entry>) -> Result<Settled, Trouble> {
        let mut left = entries;
        let mut settled = Settled::default();
        let mut alone = false;
        loop {
            self.ready()?;
            // Also those of a commit whose outcome nobody told.
            let before = left.len();
            left.retain(|entry| self.marks.of(entry.place).is_some() != entry.mark.is_some());
            settled.done += before - left.len();
            let count = if alone { 1 } else { left.len() };
            let Some(now) = left.get(..count).filter(|now| !now.is_empty()) else {
                return Ok(settled);
            };
            let mut refused = Vec::new();
            match self.attempt(now, &mut refused) {
                Ok(()) => {
                    self.failures = 0;
                    for entry in now {
                        self.marks.set(entry.place, entry.mark);
                    }
                }
                Err(error) => {
                    let flaw = self.give_up(&error, refused)?;
                    match (flaw, now) {
                        // A broker may refuse the innocent with the guilty.
                        (Some(_), [_, _, ..]) => alone = true,
                        (Some(why), _) => {
                            settled.refused.push((left.remove(0).place, why));
                            self.failures = 0;
                        }
                        (None, _) => self.count_failure(error)?,
                    }
                }
            }
        }
    }

    /// One transaction.
    fn attempt(
        &mut self,
        entries: &[Entry],
        refused: &mut Vec<FailedDelivery>,
    ) -> Result<(), TransactionError> {
        let deadline = Instant::now() + self.patience;
        let Some(producer) = &mut self.producer else {
            return Ok(());
        };
        producer.begin()?;
        for (entry, origin) in entries.iter().zip(0..) {
            if let Some(record) = &entry.record {
                put(producer, record, origin, deadline, refused)?;
            }
        }
        for entry in entries {
            let key = self.marks.key(entry.place);
            let to = entry.record.as_ref().map(|record| record.name.as_str());
            let value = entry.mark.map(|mark| marks::written(mark, self.now_ms, to));
            let mark = Produce {
                partition: Some(0),
                ..Produce::own(self.marks_topic, &key, value.as_deref())
            };
            produce(producer, &mark, deadline, refused)?;
        }
        producer.flush(deadline)?;
        refused.extend(producer.failed_deliveries());
        if let Some(first) = refused.first() {
            return Err(TransactionError::Abortable(first.error.clone()));
        }
        fault::pass(Point::ReplayBeforeCommit);
        producer.commit(Instant::now() + self.patience)?;
        fault::pass(Point::ReplayAfterCommit);
        Ok(())
    }

    /// Ends a transaction that failed. Says what is wrong with a record, if that is why.
    fn give_up(
        &mut self,
        error: &TransactionError,
        mut refused: Vec<FailedDelivery>,
    ) -> Result<Option<String>, Trouble> {
        match error {
            TransactionError::Fatal { fenced: true, .. } => return Err(self.fenced()),
            TransactionError::Abortable(_) => {
                let deadline = Instant::now() + self.patience;
                let aborted = self.producer.as_mut().map(|producer| producer.abort(deadline));
                refused.extend(self.producer.iter_mut().flat_map(Producer::failed_deliveries));
                match aborted {
                    Some(Ok(())) => {}
                    Some(Err(TransactionError::Fatal { fenced: true, .. })) => return Err(self.fenced()),
                    _ => self.discard(),
                }
            }
            TransactionError::Fatal { .. } | TransactionError::NoVerdict(_) => {
                // Whether it has committed, the marks tell.
                self.discard();
                return Ok(None);
            }
        }
        let flawed = refused
            .into_iter()
            .find(|delivery| delivery.flaw.is_some() && delivery.origin != Produce::OWN);
        Ok(flawed.map(|delivery| delivery.error.to_string()))
    }

    fn count_failure(&mut self, error: TransactionError) -> Result<(), Trouble> {
        self.failures += 1;
        if self.failures >= ATTEMPTS_MAX {
            return Err(Trouble::Transaction(error));
        }
        tracing::debug!(%error, "once more");
        Ok(())
    }

    /// A producer above suspicion; with a new one the marks are read again.
    fn ready(&mut self) -> Result<(), Trouble> {
        let is_trusted = |producer: &F::Producer| producer.suspicion().is_none();
        while !self.producer.as_ref().is_some_and(is_trusted) {
            self.discard();
            match self.factory.open(Instant::now() + self.patience) {
                Ok(producer) => {
                    self.producer = Some(producer);
                    self.marks = (self.read_marks)()?;
                }
                Err(error @ TransactionError::NoVerdict(_)) => self.count_failure(error)?,
                Err(TransactionError::Fatal { fenced: true, .. }) => return Err(self.fenced()),
                Err(error) => return Err(Trouble::Transaction(error)),
            }
        }
        Ok(())
    }

    fn fenced(&self) -> Trouble {
        Trouble::Fenced {
            pipeline: self.pipeline.clone(),
        }
    }

    fn discard(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.discard();
        }
    }
}

impl<F: ProducerFactory> Drop for Ledger<'_, F> {
    fn drop(&mut self) {
        self.discard();
    }
}

fn put<P: Producer>(
    producer: &mut P,
    record: &Outgoing,
    origin: u64,
    deadline: Instant,
    refused: &mut Vec<FailedDelivery>,
) -> Result<(), TransactionError> {
    let outgoing = Produce {
        topic: record.topic,
        partition: record.partition,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers(),
        timestamp_ms: record.timestamp_ms,
        origin,
    };
    produce(producer, &outgoing, deadline, refused)
}

/// What the client refuses by itself counts as refused by the broker.
fn produce<P: Producer>(
    producer: &mut P,
    record: &Produce<'_>,
    deadline: Instant,
    refused: &mut Vec<FailedDelivery>,
) -> Result<(), TransactionError> {
    match producer.produce(record, deadline) {
        Ok(()) => Ok(()),
        Err(ProduceError::Transaction(error)) => Err(error),
        Err(refusal) => {
            let flaw = match &refusal {
                ProduceError::TooLarge { .. } => Flaw::TooLarge,
                _ => Flaw::Invalid,
            };
            let error = KafkaError::own("REFUSED", &refusal.to_string(), false);
            refused.push(FailedDelivery {
                origin: record.origin,
                topic: record.topic,
                flaw: Some(flaw),
                error: error.clone(),
            });
            Err(TransactionError::Abortable(error))
        }
    }
}

#[cfg(test)]
mod tests;
