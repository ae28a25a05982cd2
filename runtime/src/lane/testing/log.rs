//! A log with transactions, one group, one transactional id. Every call of the transaction
//! protocol may fail, before or after it took effect.

mod consumer;
mod directory;
mod producer;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Rec;
use crate::kafka::{Flaw, KafkaError, TransactionError};

pub use consumer::{Member, MemoryConsumer};
pub use directory::MemoryDirectory;
pub use producer::MemoryProducers;

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
    claims: Vec<(i32, Vec<u8>)>,
    changes: Vec<(Place, Change)>,
    /// EndTxn(commit) reached the coordinator, and nobody was told.
    prepared: bool,
}

#[derive(Debug)]
pub struct State {
    pub inputs: Vec<Vec<Rec>>,
    /// Of the input; another one, once it is deleted and made again.
    pub topic_id: &'static str,
    /// Of the changelogs of the state.
    pub changelog_id: &'static str,
    /// Where the logs of the input begin.
    pub start: i64,
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
    /// Committed claims of each partition.
    pub claims: BTreeMap<i32, Vec<Vec<u8>>>,
    /// Committed changes of the state of each partition.
    pub changes: BTreeMap<i32, Vec<Change>>,
    /// So large a record the broker takes into these topics, and any into others.
    pub takes: BTreeMap<usize, usize>,
}

/// Where a change of the state goes, and where it comes from.
#[derive(Debug, Clone, Copy)]
struct Place {
    topic: usize,
    partition: i32,
    origin: u64,
}

/// Key and value of a record of a changelog.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// The shared log.
#[derive(Debug, Clone)]
pub struct Log(pub Rc<RefCell<State>>);

impl Log {
    pub fn new(inputs: Vec<Vec<Rec>>, faults: Faults, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            inputs,
            topic_id: "topic-id",
            changelog_id: "changelog",
            start: 0,
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
            claims: BTreeMap::new(),
            changes: BTreeMap::new(),
            takes: BTreeMap::new(),
        })))
    }

    pub fn consumer(&self) -> MemoryConsumer {
        MemoryConsumer {
            log: self.clone(),
            away: (0..self.0.borrow().inputs.len()).map(consumer::id).collect(),
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
        for (partition, claims) in transaction.claims {
            self.claims.entry(partition).or_default().push(claims);
        }
        for (place, change) in transaction.changes {
            self.changes.entry(place.partition).or_default().push(change);
        }
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
