//! A guest without WebAssembly: each record's value tells it what to do. It takes its input
//! through the real batch format, has a clock of its own, and checks how it is treated.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strait_sdk::batch::{self, Builder, Field, InputView, NewEmit, OutputView, RecordView};

use super::{Guest, GuestFactory};
use crate::guest::{CallError, FaultKind, GuestFault, Input, StateAccess};
use crate::plan::*;

pub const DEADLINE: Duration = Duration::from_secs(5);
/// Guest time of one record.
pub const COST: Duration = Duration::from_millis(1);
/// Indexes of the outputs of [`plan`].
pub const DEFAULT: u16 = 0;
pub const AUDIT: u16 = 1;

/// What a record makes the fake do. It is the record's value, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Act {
    Emit(Vec<Out>),
    Reject,
    /// Asks for another attempt as long as there were fewer; then passes through.
    RetryUntil(u32),
    Trap,
    Hang,
    Memory,
    /// Says that it does not fit the pipeline.
    Unfit,
    State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Out {
    pub to: u16,
    /// `None` inherits.
    pub value: Option<Box<Act>>,
    pub key: Key,
    pub headers: Option<Vec<(String, Option<String>)>>,
    pub timestamp_ms: Option<i64>,
    pub partition: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Key {
    #[default]
    Inherit,
    Null,
    Is(String),
}

impl Act {
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap()
    }

    pub fn pass() -> Self {
        Self::Emit(vec![Out::default()])
    }
}

/// What the fake says of where it was.
#[derive(Debug, Clone, Copy)]
pub enum Hint {
    None,
    Honest,
    Always(usize),
}

#[derive(Debug, Clone)]
pub struct FakeModule {
    pub name: &'static str,
    pub hint: Hint,
    /// Starts that fail, from the second on.
    pub broken: bool,
}

#[derive(Default)]
pub struct World {
    pub elapsed: Duration,
    pub instances: usize,
    pub starts: usize,
    /// Stage and number of records of each call.
    pub calls: Vec<(&'static str, usize)>,
    /// Address range of each result in guest memory.
    pub results: Vec<std::ops::Range<usize>>,
}

thread_local! {
    pub static WORLD: RefCell<World> = RefCell::default();
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The fakes' clock.
pub fn now() -> Instant {
    let start = START.get().unwrap_or_else(Instant::now);
    START.set(Some(start));
    start + WORLD.with_borrow(|world| world.elapsed)
}

fn take(time: Duration) {
    WORLD.with_borrow_mut(|world| world.elapsed += time);
}

pub struct FakeGuest {
    module: FakeModule,
    memory: Vec<u8>,
    /// The result that lies in memory.
    live: Option<u64>,
    spent: bool,
}

pub struct FakeProcessed(u64);

impl GuestFactory for FakeModule {
    type Guest = FakeGuest;

    fn instantiate(&self, _: Option<Rc<dyn StateAccess>>) -> Result<FakeGuest, GuestFault> {
        let starts = WORLD.with_borrow_mut(|world| {
            world.starts += 1;
            world.starts
        });
        if self.broken && starts > 1 {
            return Err(fault(FaultKind::Memory, None));
        }
        WORLD.with_borrow_mut(|world| world.instances += 1);
        Ok(FakeGuest {
            module: self.clone(),
            memory: Vec::new(),
            live: None,
            spent: false,
        })
    }

    fn sha256(&self) -> &str {
        self.name
    }
}

impl Drop for FakeGuest {
    fn drop(&mut self) {
        WORLD.with_borrow_mut(|world| world.instances -= 1);
    }
}

impl Guest for FakeGuest {
    type Processed = FakeProcessed;

    fn process<R: batch::Record>(
        &mut self,
        input: &Input<'_, R>,
        deadline: Option<Duration>,
    ) -> Result<FakeProcessed, CallError> {
        assert!(!self.spent, "an instance that faulted is called again");
        assert!(self.live.is_none(), "a result is overwritten");
        assert_eq!(deadline, Some(DEADLINE));
        assert!(!input.records.is_empty(), "a call for nothing");
        let call = WORLD.with_borrow_mut(|world| {
            world.calls.push((self.module.name, input.records.len()));
            world.calls.len() as u64
        });
        let input = batch::Input {
            topic: input.topic,
            partition: input.partition,
            now_ms: 0,
            records: input.records,
            stream_times_ms: input.stream_times_ms,
        };
        let mut bytes = vec![0; batch::encoded_len(&input).unwrap()];
        batch::encode(&input, &mut bytes).unwrap();
        self.spent = true;
        self.memory = self.answer(InputView::parse(&bytes).unwrap())?;
        self.spent = false;
        let limits = batch::Limits {
            records: u32::try_from(input.records.len()).unwrap(),
            outputs: 3,
            stores: 1,
        };
        OutputView::parse(&self.memory, limits).unwrap();
        self.live = Some(call);
        let range = self.memory.as_ptr_range();
        let range = range.start as usize..range.end as usize;
        WORLD.with_borrow_mut(|world| world.results.push(range));
        Ok(FakeProcessed(call))
    }

    fn output<'a>(&'a self, processed: &'a FakeProcessed) -> &'a [u8] {
        assert_eq!(self.live, Some(processed.0), "a result is read that is gone");
        &self.memory
    }

    fn release(&mut self, processed: FakeProcessed) -> Result<(), GuestFault> {
        assert_eq!(self.live.take(), Some(processed.0), "a result is released twice");
        self.memory.fill(0xAA);
        Ok(())
    }
}

impl FakeGuest {
    fn answer(&self, input: InputView<'_>) -> Result<Vec<u8>, CallError> {
        let mut out = Builder::new(input.len());
        for record in input.records() {
            let record = record.unwrap();
            take(COST);
            out.begin(record.index).unwrap();
            if !self.record(&record, &mut out)? {
                break;
            }
        }
        Ok(out.finish())
    }

    /// False ends the batch.
    fn record(&self, record: &RecordView<'_>, out: &mut Builder) -> Result<bool, CallError> {
        let hint = match self.module.hint {
            Hint::None => None,
            Hint::Honest => Some(record.index as usize),
            Hint::Always(index) => Some(index),
        };
        match serde_json::from_slice(record.value.unwrap()).unwrap() {
            Act::Emit(outs) => outs.iter().for_each(|emit| emit_one(emit, out)),
            Act::Reject => out.reject("rejected").unwrap(),
            Act::RetryUntil(attempt) if record.attempt < attempt => {
                out.retry("again").unwrap();
                return Ok(false);
            }
            Act::RetryUntil(_) => emit_one(&Out::default(), out),
            Act::State => out.state_put(0, b"k", b"v", None).unwrap(),
            Act::Trap => return Err(fault(FaultKind::Trap, hint).into()),
            Act::Memory => return Err(fault(FaultKind::Memory, hint).into()),
            Act::Unfit => return Err(CallError::Pipeline("no output nowhere".to_owned())),
            Act::Hang => {
                take(DEADLINE);
                return Err(fault(FaultKind::Deadline, hint).into());
            }
        }
        Ok(true)
    }
}

fn emit_one(emit: &Out, out: &mut Builder) {
    let value = emit.value.as_ref().map(|act| act.bytes());
    let new = NewEmit {
        output: emit.to,
        key: match &emit.key {
            Key::Inherit => Field::Inherit,
            Key::Null => Field::Null,
            Key::Is(key) => Field::Bytes(key.as_bytes()),
        },
        value: value.as_deref().map_or(Field::Inherit, Field::Bytes),
        timestamp_ms: emit.timestamp_ms,
        partition: emit.partition,
    };
    match &emit.headers {
        None => out.emit(&new).unwrap(),
        Some(headers) => {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_ref().map(String::as_bytes)));
            out.emit_with_headers(&new, headers).unwrap();
        }
    }
}

fn fault(kind: FaultKind, record: Option<usize>) -> GuestFault {
    GuestFault {
        kind,
        message: format!("fake {kind}"),
        record,
    }
}

/// An input record.
#[derive(Debug, Clone)]
pub struct FakeRecord {
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl batch::Record for FakeRecord {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn timestamp_ms(&self) -> i64 {
        1000 + self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn value(&self) -> Option<&[u8]> {
        Some(&self.value)
    }

    fn header_count(&self) -> usize {
        self.headers.len()
    }

    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        self.headers
            .get(index)
            .map(|(name, value)| (name.as_slice(), value.as_deref()))
    }
}

/// Records with offsets from 100 on.
pub fn records(acts: &[Act]) -> Vec<FakeRecord> {
    let record = |(offset, act): (i64, &Act)| FakeRecord {
        offset,
        key: Some(format!("key {offset}").into_bytes()),
        value: act.bytes(),
        headers: vec![(b"trace".to_vec(), Some(b"1".to_vec())), (b"null".to_vec(), None)],
    };
    (100..).zip(acts).map(record).collect()
}

/// A pipeline with these many stages, outputs `default` and `audit`.
pub fn plan(stages: usize, batch: BatchLimits) -> Pipeline {
    let output = |name: &str| Output {
        name: name.to_owned(),
        topic: format!("out.{name}"),
        partition: PartitionBy::Key,
        timestamp: TimestampFrom::Input,
        compression: None,
    };
    let stage = |number: usize| WasmStage {
        name: format!("wasm-{number}").into(),
        module: ModuleSource::File("fake.wasm".into()),
        sha256: None,
        settings: serde_json::Value::Null,
        limits: Limits {
            memory_bytes: 1 << 20,
            batch_deadline: Some(DEADLINE),
            output_bytes: 1 << 20,
        },
        batch,
    };
    Pipeline {
        name: PipelineName::new("fake").unwrap(),
        source: "fake.yaml".into(),
        cluster: Cluster::default(),
        input: crate::plan::Input {
            topics: InputTopics::Named(vec!["in".to_owned()]),
            start: Start::Earliest,
            on_gap: OnGap::Stop,
        },
        dedup: None,
        stores: Vec::new(),
        stages: (1..=stages).map(stage).collect(),
        outputs: vec![output("default"), output("audit")],
        on_error: OnError {
            retry: Retry {
                attempts: 2,
                initial: Duration::from_millis(100),
                max: Duration::from_secs(5),
                factor: 2.0,
            },
            then: Then::Skip,
            limit: None,
        },
        delivery: Delivery::ExactlyOnce,
        lanes: 1.try_into().unwrap(),
        commit: Commit {
            interval: Duration::from_millis(100),
            idle: Duration::from_millis(10),
            records: 50_000.try_into().unwrap(),
            bytes: (32 << 20).try_into().unwrap(),
        },
        provenance: Provenance::None,
        internal_topics: InternalTopics {
            create: true,
            replication: None,
        },
        timeouts: Timeouts::default(),
    }
}
