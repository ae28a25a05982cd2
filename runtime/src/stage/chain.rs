//! All stages of one lane: how a batch gets through them.

use std::rc::Rc;
use std::time::Instant;

use strait_sdk::batch::Record;

use super::emission::{Carried, Emission, Tried};
use super::run::{DROPPED, FAILED, Run};
use super::search::Origins;
use super::visit::{levels, origins};
use super::wasm::WasmStage;
use super::{Allowance, Failure, GuestFactory, Outcome, Refusal, Sifted};
use crate::guest::{GuestFault, Module};
use crate::kafka::TopicPartition;
use crate::plan::Pipeline;
use crate::state::session::Session;

/// The output whose records go to the next stage, and from the last one to the topic of
/// that name.
const DEFAULT: &str = "default";

/// The output names to hand to the module of a stage, in the order in which its emissions
/// refer to them: those of the pipeline, in `OutputIndex` order. A stage that is not the last
/// always has `default`, even if the pipeline has no such output.
pub fn output_names(plan: &Pipeline, stage: usize) -> Vec<String> {
    let mut names: Vec<String> = plan.outputs.iter().map(|output| output.name.clone()).collect();
    let last = stage.saturating_add(1) >= plan.stages.len();
    if !last && !names.iter().any(|name| name == DEFAULT) {
        names.push(DEFAULT.to_owned());
    }
    names
}

/// The stages of one lane, each with its instance.
pub struct Stages<F: GuestFactory = Module> {
    pub(super) chain: Vec<WasmStage<F>>,
    /// How many outputs each record of the last run has, [`FAILED`] or [`DROPPED`].
    pub(super) parts: Vec<u32>,
    /// Which records of the last run entered the first stage, if not all did.
    pub(super) passing: Option<Vec<u32>>,
    /// How often the first record of the last run was tried before.
    tried: u32,
    /// No output of the last run is larger.
    largest_bytes: usize,
    now: fn() -> Instant,
    /// What the transforms read and write, if the pipeline keeps state.
    state: Option<Rc<Session>>,
}

impl<F: GuestFactory + Clone> Stages<F> {
    /// One module for each stage of the plan, loaded with [`output_names`].
    pub fn new(plan: &Pipeline, modules: &[F], state: Option<&Rc<Session>>) -> Result<Self, GuestFault> {
        debug_assert_eq!(plan.stages.len(), modules.len());
        let chain = plan
            .stages
            .iter()
            .zip(modules)
            .enumerate()
            .map(|(index, (stage, module))| {
                let last = index + 1 == plan.stages.len();
                let default = || output_names(plan, index).iter().position(|name| name == DEFAULT);
                let next = if last {
                    None
                } else {
                    default().and_then(|next| u16::try_from(next).ok())
                };
                WasmStage::new(stage, module.clone(), next, state.cloned())
            });
        Ok(Self {
            chain: chain.collect::<Result<_, _>>()?,
            parts: Vec::new(),
            passing: None,
            tried: 0,
            largest_bytes: 0,
            now: Instant::now,
            state: state.cloned(),
        })
    }
}

impl<F: GuestFactory> Stages<F> {
    /// Passes records of one partition through all stages. They are cut already to the
    /// limits of the first (see [`cut`](super::cut)). Results stay until `release`.
    pub fn run<R: Record>(
        &mut self,
        partition: &TopicPartition,
        records: &[R],
        allowance: Allowance,
    ) -> Outcome {
        self.run_sifted(partition, records, None, allowance)
    }

    /// The same, of a batch of which some records may be left out.
    pub fn run_sifted<R: Record>(
        &mut self,
        partition: &TopicPartition,
        records: &[R],
        sifted: Option<Sifted>,
        allowance: Allowance,
    ) -> Outcome {
        self.give_back();
        self.tried = allowance.tried;
        self.parts.resize(records.len(), 0);
        let failures = self.leave_out(sifted);
        if allowance.tried == 0 {
            return self.pass(partition, records, failures, allowance);
        }
        let attempts = std::iter::once(allowance.tried).chain(std::iter::repeat(0));
        let tried: Vec<Tried<'_, R>> = records
            .iter()
            .zip(attempts)
            .map(|(record, attempt)| Tried { record, attempt })
            .collect();
        self.pass(partition, &tried, failures, allowance)
    }

    /// Gives the failures of what is left out.
    fn leave_out(&mut self, sifted: Option<Sifted>) -> Vec<Failure> {
        self.passing = None;
        let Some(sifted) = sifted else { return Vec::new() };
        let failed = sifted.failures.iter().map(|failure| (failure.record, FAILED));
        let dropped = sifted.dropped.iter().map(|place| (*place as usize, DROPPED));
        for (record, fate) in failed.chain(dropped) {
            if let Some(parts) = self.parts.get_mut(record) {
                *parts = fate;
            }
        }
        self.passing = Some(sifted.passing);
        sifted.failures
    }

    /// No output of the last run has more bytes of key, value and headers.
    pub fn largest_bytes(&self) -> usize {
        self.largest_bytes
    }

    /// To be asked before anything is produced: turns records into failures that have an
    /// output which `check` refuses. Costs nothing unless an output has more than
    /// `bytes_max` of key, value and headers; `check` then sees every output.
    pub fn screen<R: Record>(
        &mut self,
        outcome: &mut Outcome,
        records: &[R],
        bytes_max: usize,
        check: &mut dyn FnMut(&Emission<'_>) -> Result<(), Refusal>,
    ) {
        if self.largest_bytes <= bytes_max {
            return;
        }
        let mut refused: Vec<(usize, usize, Refusal)> = Vec::new();
        let visited: Result<(), std::convert::Infallible> =
            self.emissions(outcome, records, &mut |emission| {
                let known = refused.last().is_some_and(|last| last.0 == emission.origin);
                if !known && let Err(refusal) = check(emission) {
                    refused.push((emission.origin, emission.stage, refusal));
                }
                Ok(())
            });
        debug_assert_eq!(visited, Ok(()));
        for (record, stage, refusal) in refused {
            self.fail(outcome, record, stage, refusal);
        }
    }

    /// Makes a decided record a failed one: its outputs are visited no more. For what only
    /// the broker finds out. A record that has failed before keeps its first failure.
    pub fn fail(&mut self, outcome: &mut Outcome, record: usize, stage: usize, refusal: Refusal) {
        let (Some(parts), Some(stage)) = (self.parts.get_mut(record), self.chain.get(stage)) else {
            return;
        };
        match std::mem::replace(parts, FAILED) {
            FAILED => return,
            0 => outcome.filtered = outcome.filtered.saturating_sub(1),
            _ => {}
        }
        let place = outcome
            .failures
            .partition_point(|failure| failure.record < record);
        let attempts = if record == 0 {
            self.tried.saturating_add(1)
        } else {
            1
        };
        outcome.failures.insert(
            place,
            Failure {
                record,
                kind: refusal.kind,
                reason: refusal.reason,
                stage: stage.name.clone(),
                module_sha256: stage.sha256.clone(),
                attempts,
            },
        );
    }

    /// Takes back the fate of `record` and all that follow it: they emit nothing, and count
    /// as not decided.
    pub fn stop_before(&mut self, outcome: &mut Outcome, record: usize) {
        self.parts.truncate(record);
        outcome.decided = outcome.decided.min(record);
        outcome.failures.retain(|failure| failure.record < record);
        outcome.filtered = self.parts.iter().filter(|parts| **parts == 0).count() as u64;
        outcome.stopped = None;
    }

    /// Gives guest memory back. Must follow each `run`; nothing is visited after it.
    pub fn release(&mut self, outcome: Outcome) {
        drop(outcome);
        self.give_back();
    }

    /// Drops all instances: guest memory is a cache that must not outlive an abort.
    pub fn reset(&mut self) {
        self.chain.iter_mut().for_each(WasmStage::reset);
        self.parts.clear();
    }

    fn give_back(&mut self) {
        self.chain.iter_mut().for_each(WasmStage::release);
        self.parts.clear();
    }

    fn pass<R: Record>(
        &mut self,
        partition: &TopicPartition,
        records: &[R],
        failures: Vec<Failure>,
        allowance: Allowance,
    ) -> Outcome {
        let entering = entering(self.passing.as_deref(), records.len());
        let session = self.state.as_deref();
        let mut run = Run::new(partition, &mut self.parts, failures, allowance, self.now, session);
        for index in 0..self.chain.len() {
            let (before, after) = self.chain.split_at_mut(index);
            let Some(stage) = after.first_mut() else { break };
            let Some(previous) = before.last() else {
                match entering {
                    Origins::Passing(places) => {
                        let passing = places.iter().filter_map(|place| records.get(*place as usize));
                        let passing: Vec<_> = passing.map(Carried::new).collect();
                        run.pass(stage, &passing, entering);
                    }
                    Origins::Own(_) | Origins::Table(_) => run.pass(stage, records, entering),
                }
                continue;
            };
            let mut links = std::mem::take(&mut stage.links);
            run.link(previous, origins(before, entering), &mut links);
            let inputs = levels(before, entering, &links, records)
                .pop()
                .unwrap_or_default();
            run.pass(stage, &inputs, Origins::Table(&links));
            stage.links = links;
        }
        let (outcome, largest_bytes) = run.finish();
        self.largest_bytes = largest_bytes;
        outcome
    }
}

/// What enters the first stage of a batch of this many records.
pub(super) fn entering(passing: Option<&[u32]>, records: usize) -> Origins<'_> {
    passing.map_or(Origins::Own(records), Origins::Passing)
}

#[cfg(test)]
impl<F: GuestFactory> Stages<F> {
    /// Measures guest time with another clock.
    pub(super) fn with_clock(mut self, now: fn() -> Instant) -> Self {
        self.now = now;
        self
    }
}
