//! One batch on its way through the stages: who has failed, who emits how much, and where
//! it ends.

use std::ops::ControlFlow;
use std::ops::Range;
use std::time::{Duration, Instant};

use strait_sdk::batch::{Emit, Entry, Field, Headers, Record, StateOp};

use super::emission::{self, cut};
use super::search::{Culprit, Link, Origins, Search};
use super::wasm::WasmStage;
use super::{Allowance, Failure, FailureKind, GuestFactory, Outcome, Stopped};
use crate::guest::{CallError, FaultKind, GuestFault};
use crate::kafka::TopicPartition;
use crate::state::session::{Refused, Session};

/// Stands where the number of a record's outputs would.
pub(super) const FAILED: u32 = u32::MAX;

/// The same of a record that was left out of the stages.
pub(super) const DROPPED: u32 = FAILED - 1;

/// The state of one run.
pub(super) struct Run<'r> {
    partition: &'r TopicPartition,
    allowance: Allowance,
    now: fn() -> Instant,
    state: Option<&'r Session>,
    /// How many outputs each record has so far, [`FAILED`] or [`DROPPED`].
    parts: &'r mut Vec<u32>,
    /// Records from here on are not decided. Falls when a stage stops early.
    decided: usize,
    stopped: Option<Stopped>,
    /// In the order of their stages.
    failures: Vec<Failure>,
    faults: Vec<FaultKind>,
    last_fault: Option<GuestFault>,
    guest_time: Duration,
    largest_bytes: usize,
}

impl<'r> Run<'r> {
    /// `failures`: those of records that failed before the first stage.
    pub(super) fn new(
        partition: &'r TopicPartition,
        parts: &'r mut Vec<u32>,
        failures: Vec<Failure>,
        allowance: Allowance,
        now: fn() -> Instant,
        state: Option<&'r Session>,
    ) -> Self {
        Self {
            partition,
            allowance,
            now,
            state,
            decided: parts.len(),
            parts,
            stopped: None,
            failures,
            faults: Vec::new(),
            last_fault: None,
            guest_time: Duration::ZERO,
            largest_bytes: 0,
        }
    }

    /// Collects what the previous stage passes on, of records that are still alive.
    pub(super) fn link<F: GuestFactory>(
        &self,
        previous: &WasmStage<F>,
        origins: Origins<'_>,
        links: &mut Vec<Link>,
    ) {
        links.clear();
        for (place, emit) in previous.emits() {
            let origin = origins.of(place.input);
            if origin >= self.decided {
                break;
            }
            if Some(emit.output) == previous.next && !self.has_failed(origin) {
                // A batch holds less than 2^32 records, since the format counts them so.
                let origin = u32::try_from(origin).unwrap_or(u32::MAX);
                links.push(Link {
                    segment: place.segment,
                    entry: place.entry,
                    origin,
                });
            }
        }
    }

    /// Passes the input of one stage through it.
    pub(super) fn pass<F: GuestFactory, T: Record>(
        &mut self,
        stage: &mut WasmStage<F>,
        inputs: &[T],
        origins: Origins<'_>,
    ) {
        let first = !matches!(origins, Origins::Table(_));
        let times_ms = self.times_ms(origins);
        let mut search = Search::new(origins);
        loop {
            let limits = stage.batch;
            let rest = |at: usize| inputs.get(at..).unwrap_or_default();
            let batch = |at| {
                if first {
                    inputs.len()
                } else {
                    cut(rest(at), &limits)
                }
            };
            let Some(range) = search.next(batch) else { return };
            if self.is_out_of_time(&search) {
                return;
            }
            let records = inputs.get(range.clone()).unwrap_or_default();
            let began = (self.now)();
            let times_ms = times_ms.get(range.clone()).unwrap_or_default();
            let called = stage.call(self.partition, records, times_ms, range.start);
            self.guest_time += (self.now)().saturating_duration_since(began);
            let goes_on = match called {
                Ok(()) => self
                    .scan(stage, inputs, origins, range.end)
                    .map_continue(|end| search.clean(end)),
                Err(CallError::Fault(fault)) => self.fault(stage, &mut search, &range, fault),
                Err(CallError::Pipeline(reason)) => self.stop(search.origin(), Stopped::Pipeline { reason }),
            };
            if goes_on.is_break() {
                return;
            }
        }
    }

    /// What became of the batch, and the size of the largest output.
    pub(super) fn finish(mut self) -> (Outcome, usize) {
        self.parts.truncate(self.decided);
        self.failures.retain(|failure| failure.record < self.decided);
        self.failures.sort_by_key(|failure| failure.record);
        let filtered = self.parts.iter().filter(|parts| **parts == 0).count();
        let outcome = Outcome {
            decided: self.decided,
            failures: self.failures,
            filtered: filtered as u64,
            stopped: self.stopped,
            faults: self.faults,
            guest_time: self.guest_time,
        };
        (outcome, self.largest_bytes)
    }

    /// Reads what the last call says of each record. Goes on behind the last record that it
    /// answers.
    fn scan<F: GuestFactory, T: Record>(
        &mut self,
        stage: &WasmStage<F>,
        inputs: &[T],
        origins: Origins<'_>,
        end: usize,
    ) -> ControlFlow<(), usize> {
        let Some(answer) = stage.last_answer() else {
            return ControlFlow::Continue(end);
        };
        for entry in answer.entries {
            let index = answer.first.saturating_add(entry.origin() as usize);
            let origin = origins.of(index);
            match entry {
                Entry::Emit(emit) if Some(emit.output) == stage.next => {}
                Entry::Emit(emit) => self.count(origin, &emit, inputs.get(index)),
                Entry::Reject { reason, .. } => {
                    self.fail(stage, origin, FailureKind::Reject, reason);
                }
                Entry::Retry { reason, .. } => {
                    let tried = self.tried(origin);
                    if !self.has_failed(origin) && tried < self.allowance.retries_max {
                        let (reason, stage) = (reason.to_owned(), stage.name.clone());
                        self.stop(origin, Stopped::Retry { reason, stage })?;
                    }
                    self.fail(stage, origin, FailureKind::Retry, reason);
                    // A retry ends what the guest answers, so what follows is handed in again.
                    return ControlFlow::Continue(origins.group_end(index));
                }
                Entry::State(op) => self.change(stage, origin, &op)?,
            }
        }
        ControlFlow::Continue(end)
    }

    /// The stream time at each input of a stage; none if the pipeline keeps no state.
    fn times_ms(&self, origins: Origins<'_>) -> Vec<i64> {
        let times_ms =
            |session: &Session| session.times_ms((0..origins.len()).map(|index| origins.of(index)));
        self.state.map(times_ms).unwrap_or_default()
    }

    /// A record changes the state. What it cannot change makes it a failed one.
    fn change<F: GuestFactory>(
        &mut self,
        stage: &WasmStage<F>,
        origin: usize,
        op: &StateOp<'_>,
    ) -> ControlFlow<()> {
        let Some(session) = self.state else {
            let reason = format!(
                "stage {}: the transform writes state, and the pipeline declares no store; add it to `state`",
                stage.name
            );
            return self.stop(origin, Stopped::Pipeline { reason });
        };
        if self.has_failed(origin) {
            session.touch(origin);
            return ControlFlow::Continue(());
        }
        match session.write(origin, op) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Refused::Entry(reason)) => {
                self.fail(stage, origin, FailureKind::TooLarge, &reason);
                ControlFlow::Continue(())
            }
            Err(Refused::Pipeline(reason)) => self.stop(origin, Stopped::Pipeline { reason }),
        }
    }

    fn fault<F: GuestFactory>(
        &mut self,
        stage: &WasmStage<F>,
        search: &mut Search<'_>,
        range: &Range<usize>,
        fault: GuestFault,
    ) -> ControlFlow<()> {
        self.faults.push(fault.kind);
        match search.fault(range, fault.record) {
            Culprit::Found(origin) => {
                self.fail(stage, origin, fault.kind.into(), &fault.message);
                ControlFlow::Continue(())
            }
            // To look closer would cost another deadline.
            Culprit::Among if fault.kind == FaultKind::Deadline => self.suspect(search, fault),
            Culprit::Among => {
                self.last_fault = Some(fault);
                ControlFlow::Continue(())
            }
        }
    }

    /// Whether there is no guest time for another call; then the run has been stopped.
    fn is_out_of_time(&mut self, search: &Search<'_>) -> bool {
        if self.guest_time < self.allowance.guest_time_left {
            return false;
        }
        match self.last_fault.take() {
            Some(fault) if search.suspects().is_some() => self.suspect(search, fault).is_break(),
            // Without anything decided, the same would happen again.
            _ if search.origin() == 0 => false,
            _ => self.stop(search.origin(), Stopped::OutOfTime).is_break(),
        }
    }

    fn suspect(&mut self, search: &Search<'_>, fault: GuestFault) -> ControlFlow<()> {
        let (range, likely) = search.suspects().unwrap_or_default();
        self.stop(range.start, Stopped::Suspects { range, likely, fault })
    }

    fn stop(&mut self, origin: usize, stopped: Stopped) -> ControlFlow<()> {
        self.decided = self.decided.min(origin);
        self.stopped = Some(stopped);
        ControlFlow::Break(())
    }

    /// The first failure of a record is the one that counts.
    fn fail<F: GuestFactory>(
        &mut self,
        stage: &WasmStage<F>,
        record: usize,
        kind: FailureKind,
        reason: &str,
    ) {
        let attempts = self.tried(record).saturating_add(1);
        match self.parts.get_mut(record) {
            Some(parts) if *parts != FAILED => *parts = FAILED,
            _ => return,
        }
        self.failures.push(Failure {
            record,
            kind,
            reason: reason.to_owned(),
            stage: stage.name.clone(),
            module_sha256: stage.sha256.clone(),
            attempts,
        });
    }

    #[inline]
    fn count<T: Record>(&mut self, origin: usize, emit: &Emit<'_>, input: Option<&T>) {
        if let (Some(parts), Some(input)) = (self.parts.get_mut(origin), input)
            && *parts != FAILED
        {
            *parts += 1;
            self.largest_bytes = self.largest_bytes.max(emit_bytes(emit, input));
        }
    }

    fn has_failed(&self, record: usize) -> bool {
        self.parts.get(record) == Some(&FAILED)
    }

    /// How often the record was tried before this run.
    fn tried(&self, record: usize) -> u32 {
        if record == 0 { self.allowance.tried } else { 0 }
    }
}

/// Key, value and headers of an output.
#[inline]
fn emit_bytes<T: Record>(emit: &Emit<'_>, input: &T) -> usize {
    let field = |field: Field<'_>, inherited: Option<&[u8]>| match field {
        Field::Inherit => inherited.map_or(0, <[u8]>::len),
        Field::Null => 0,
        Field::Bytes(bytes) => bytes.len(),
    };
    let headers = match emit.headers {
        Headers::Inherit => emission::headers_bytes(input),
        Headers::List(list) => list.iter().map(emission::header_bytes).sum(),
    };
    field(emit.key, input.key()) + field(emit.value, input.value()) + headers
}
