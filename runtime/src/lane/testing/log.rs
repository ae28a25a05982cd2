//! A log with transactions, one group, one transactional id. Every call of the transaction
//! protocol may fail, before or after it took effect.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Rec;
use crate::fault::{self, Point};
use crate::kafka::{
    Bounds, Chunk, Consumer, FailedDelivery, Flaw, GroupEvent, GroupMember, KafkaError, Polled, Position,
    Produce, ProduceError, Producer, ProducerFactory, TopicPartition, TransactionError,
};
use crate::lane::directory::{Directory, TopicFacts};
use crate::lane::starts::Marks;

/// How often a call fails, out of 1000.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub transaction: u32,
    pub rebalance: u32,
    /// A delivered record that the broker refuses, by its value: as too large in the first
    /// topic, as invalid wherever it has a timestamp.
    pub flawed: Option<(&'static [u8], Flaw)>,
}

/// What was produced, as a `read_committed` reader would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Out {
    pub topic: usize,
    pub value: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Transaction {
    outputs: Vec<(u64, Out)>,
    offsets: Vec<(i32, i64)>,
    marks: Vec<(Vec<u8>, Vec<u8>)>,
    /// EndTxn(commit) reached the coordinator, and nobody was told.
    prepared: bool,
}

#[derive(Debug)]
pub struct State {
    pub inputs: Vec<Vec<Rec>>,
    /// Of the input; another one, once it is deleted and made again.
    pub topic_id: &'static str,
    /// Control records at the end of each partition.
    pub tail: i64,
    pub committed: HashMap<i32, i64>,
    pub outputs: Vec<Out>,
    pub epoch: u64,
    pub generation: i32,
    open: Option<Transaction>,
    rng: SmallRng,
    pub faults: Faults,
    pub injected: u32,
    /// Transactions that began, and those of them that committed.
    pub begun: u32,
    pub applied: u32,
    pub control: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The shared log.
#[derive(Debug, Clone)]
pub struct Log(pub Rc<RefCell<State>>);

impl Log {
    pub fn new(inputs: Vec<Vec<Rec>>, faults: Faults, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            inputs,
            topic_id: "topic-id",
            tail: 0,
            committed: HashMap::new(),
            outputs: Vec::new(),
            epoch: 0,
            generation: 1,
            open: None,
            rng: SmallRng::seed_from_u64(seed),
            faults,
            injected: 0,
            begun: 0,
            applied: 0,
            control: BTreeMap::new(),
        })))
    }

    pub fn consumer(&self) -> MemoryConsumer {
        MemoryConsumer {
            log: self.clone(),
            away: (0..self.0.borrow().inputs.len()).map(id).collect(),
            positions: BTreeMap::new(),
            moved: HashMap::new(),
        }
    }

    pub fn producers(&self) -> MemoryProducers {
        MemoryProducers(self.clone())
    }

    pub fn directory(&self) -> MemoryDirectory {
        MemoryDirectory(self.clone(), RefCell::default())
    }

    /// Whether everything was read and committed.
    pub fn is_done(&self) -> bool {
        let state = self.0.borrow();
        state.inputs.iter().enumerate().all(|(number, records)| {
            let end = i64::try_from(records.len()).unwrap() + state.tail;
            state.committed.get(&i32::try_from(number).unwrap()) == Some(&end)
        })
    }
}

impl State {
    fn fails(&mut self, per_mille: u32) -> bool {
        let fails = self.rng.random_range(0..1000) < per_mille;
        self.injected += u32::from(fails);
        fails
    }

    fn fault(&mut self) -> Option<TransactionError> {
        if !self.fails(self.faults.transaction) {
            return None;
        }
        Some(match self.rng.random_range(0..4) {
            0 => TransactionError::Fatal {
                fenced: false,
                cause: error("FATAL"),
            },
            1 => TransactionError::Fatal {
                fenced: true,
                cause: error("FENCED"),
            },
            2 => TransactionError::NoVerdict(error("TIMED_OUT")),
            _ => TransactionError::Abortable(error("ABORT")),
        })
    }

    fn apply(&mut self, transaction: Transaction) {
        self.applied += 1;
        for (_, out) in transaction.outputs {
            self.outputs.push(out);
        }
        self.committed.extend(transaction.offsets);
        self.control.extend(transaction.marks);
    }
}

fn error(name: &str) -> KafkaError {
    KafkaError {
        code: -1,
        name: name.to_owned(),
        message: "as told".to_owned(),
        fatal: false,
        retriable: false,
    }
}

pub struct Member(i32);

impl GroupMember for Member {
    fn generation(&self) -> i32 {
        self.0
    }
}

pub struct MemoryConsumer {
    log: Log,
    /// To be assigned with the next poll.
    away: Vec<TopicPartition>,
    positions: BTreeMap<i32, i64>,
    moved: HashMap<i32, i64>,
}

fn id(number: usize) -> TopicPartition {
    TopicPartition {
        topic: "in".into(),
        partition: i32::try_from(number).unwrap(),
    }
}

impl Consumer for MemoryConsumer {
    type Record = Rec;
    type Member = Member;

    fn subscribe(&mut self, _: &[&str]) -> Result<(), KafkaError> {
        Ok(())
    }

    /// Assigns all partitions first. Later some of them are revoked now and then, in the same
    /// poll that brings records of them all, and come back with the next one.
    fn poll(&mut self, records_max: usize, _: Duration) -> Result<Polled<Rec>, KafkaError> {
        let state = &mut *self.log.0.borrow_mut();
        if !self.away.is_empty() {
            let back = std::mem::take(&mut self.away);
            return Ok(Polled {
                chunks: Vec::new(),
                events: vec![GroupEvent::Assigned(back)],
            });
        }
        let mut chunks = Vec::new();
        for (number, offset) in &mut self.positions {
            let log = &state.inputs[usize::try_from(*number).unwrap()];
            let from = usize::try_from(*offset).unwrap().min(log.len());
            let take = state.rng.random_range(0..=records_max.min(7));
            let records: Vec<Rec> = log[from..].iter().take(take).cloned().collect();
            if records.is_empty() && take > 0 && from == log.len() {
                *offset = i64::try_from(log.len()).unwrap() + state.tail;
                self.moved.insert(*number, *offset);
                continue;
            }
            if records.is_empty() {
                continue;
            }
            *offset += i64::try_from(records.len()).unwrap();
            self.moved.insert(*number, *offset);
            chunks.push(Chunk {
                partition: id(usize::try_from(*number).unwrap()),
                records,
            });
        }
        let mut events = Vec::new();
        if !self.positions.is_empty() && state.fails(state.faults.rebalance) {
            state.generation += 1;
            let lost = state.rng.random_bool(0.3);
            let leaves = |_: &&i32| lost || state.rng.random_bool(0.5);
            let partitions = self
                .positions
                .keys()
                .filter(leaves)
                .map(|n| id(usize::try_from(*n).unwrap()));
            events.push(GroupEvent::Revoked {
                partitions: partitions.collect(),
                lost,
            });
        }
        Ok(Polled { chunks, events })
    }

    fn assign(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        let state = self.log.0.borrow();
        let end = |number: i32| i64::try_from(state.inputs[usize::try_from(number).unwrap()].len()).unwrap();
        let start = |p: &Position| {
            if p.offset < 0 {
                end(p.partition.partition)
            } else {
                p.offset
            }
        };
        self.positions
            .extend(positions.iter().map(|p| (p.partition.partition, start(p))));
        Ok(())
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        for partition in partitions {
            self.positions.remove(&partition.partition);
            self.moved.remove(&partition.partition);
        }
        self.away.extend_from_slice(partitions);
        Ok(())
    }

    fn assignment_lost(&self) -> bool {
        false
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        _: Duration,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>, KafkaError> {
        let state = &mut *self.log.0.borrow_mut();
        // Stable offsets only: an open transaction of an earlier owner must be over.
        if state.open.as_ref().is_some_and(|open| !open.offsets.is_empty()) {
            return Err(error("UNSTABLE_OFFSET_COMMIT"));
        }
        Ok(partitions
            .iter()
            .map(|p| (p.clone(), state.committed.get(&p.partition).copied()))
            .collect())
    }

    fn bounds(&self, partition: &TopicPartition, _: Duration) -> Result<Bounds, KafkaError> {
        let state = self.log.0.borrow();
        let len = state.inputs[usize::try_from(partition.partition).unwrap()].len();
        Ok(Bounds {
            start: 0,
            end: i64::try_from(len).unwrap(),
        })
    }

    fn seek(&mut self, positions: &[Position], _: Duration) -> Result<(), KafkaError> {
        for position in positions {
            self.positions
                .insert(position.partition.partition, position.offset);
            self.moved.remove(&position.partition.partition);
        }
        Ok(())
    }

    fn pause(&mut self, _: &[TopicPartition]) -> Result<(), KafkaError> {
        Ok(())
    }

    fn resume(&mut self, _: &[TopicPartition]) -> Result<(), KafkaError> {
        Ok(())
    }

    fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.moved.get(&partition.partition).copied()
    }

    fn member(&self) -> Option<Member> {
        Some(Member(self.log.0.borrow().generation))
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        let committed = positions.iter().map(|p| (p.partition.partition, p.offset));
        self.log.0.borrow_mut().committed.extend(committed);
        Ok(())
    }

    fn close(self, _: Duration) {}
}

pub struct MemoryProducers(Log);

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
    /// A broker refuses a batch as a whole, the innocent records in it too.
    fn refuse_batch(&mut self) {
        let state = self.log.0.borrow();
        let told: Vec<u64> = self.failed.iter().map(|delivery| delivery.origin).collect();
        let batch = state.open.iter().flat_map(|open| &open.outputs);
        let refused = batch.filter(|(origin, out)| out.topic == 0 && !told.contains(origin));
        if let Some(first) = self.late.first().cloned() {
            self.late = refused
                .map(|(origin, _)| FailedDelivery {
                    origin: *origin,
                    ..first.clone()
                })
                .collect();
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
        if let Some((_, flaw)) =
            flawed.filter(|(bad, flaw)| value.as_deref() == Some(bad) && is_flawed(*flaw))
        {
            self.late.push(FailedDelivery {
                origin: record.origin,
                flaw: Some(flaw),
                error: error("REFUSED"),
            });
        }
        let Some(open) = &mut state.open else {
            return Ok(());
        };
        if let Some(key) = record.key.filter(|key| key.starts_with(b"start")) {
            open.marks.push((key.to_vec(), value.unwrap_or_default()));
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

pub struct MemoryDirectory(Log, RefCell<Option<TopicFacts>>);

impl MemoryDirectory {
    fn ask(&self) -> TopicFacts {
        let state = self.0.0.borrow();
        let facts = TopicFacts {
            id: state.topic_id.into(),
            partitions: i32::try_from(state.inputs.len()).unwrap(),
        };
        *self.1.borrow_mut() = Some(facts.clone());
        facts
    }
}

impl MemoryDirectory {
    /// What was told counts no more.
    pub fn forget(&self) {
        self.1.replace(None);
    }
}

impl Directory for MemoryDirectory {
    fn cluster_id(&self) -> Arc<str> {
        "memory".into()
    }

    fn topic(&self, _: &str, partition: i32) -> Result<TopicFacts, KafkaError> {
        let known = self.1.borrow().clone();
        Ok(known
            .filter(|facts| facts.partitions > partition)
            .unwrap_or_else(|| self.ask()))
    }

    fn confirm(&self, topics: &[&str]) -> Result<Vec<Arc<str>>, KafkaError> {
        let ids = topics.iter().map(|topic| Ok(self.topic(topic, 0)?.id));
        ids.collect()
    }

    fn input(&self) -> Result<BTreeMap<String, i32>, KafkaError> {
        let facts = self.ask();
        Ok(BTreeMap::from([(facts.id.to_string(), facts.partitions)]))
    }

    fn forget_marks(&self) {}

    fn marks(&self) -> Result<Arc<Marks>, KafkaError> {
        let state = self.0.0.borrow();
        let entries = state.control.iter();
        Ok(Arc::new(Marks::from_entries(
            entries.map(|(k, v)| (k.as_slice(), v.as_slice())),
        )))
    }

    fn known_marks(&self) -> Result<Arc<Marks>, KafkaError> {
        self.marks()
    }
}
