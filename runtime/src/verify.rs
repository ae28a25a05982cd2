//! `strait verify`: does each input stand in the outputs exactly once?
//!
//! # The argument
//!
//! 1. *What must be there.* The committed offsets of the group are read first, stable ones
//!    only. Each input record below them was decided in a transaction that has committed, so
//!    each of its outputs is in the log already: below the high watermarks that are read
//!    next. The outputs are read, read-committed, up to these; where a transaction is still
//!    open below, the reader waits.
//! 2. *What may be there.* An output of an input at or past these offsets is only right if
//!    the group has committed its input since. The offsets are read again, stable, after the
//!    output was seen: its transaction has committed, so its offsets count too by then.
//! 3. *Whose it is.* An output carries its coordinate (`strait-source`), a dead letter too.
//!    What names another cluster, pipeline or topic id is counted, and never judged.
//! 4. *What it must be.* A missing output may have been filtered or lost; so the records are
//!    passed through the real stages once more, and what they become is compared with what
//!    stands there: part by part, by topic and digest.
//! 5. *Repeats.* What `dedup` drops has no outputs. Where claims belong to a partition, the rule
//!    is applied once more in the order of its records; elsewhere a record of which nothing
//!    stands is held against all others with its id (see [`twins`]).
//! 6. *Order.* Read in log order, the coordinates of an input partition must rise in each
//!    output partition.
//!
//! The inputs are read before the outputs: then each output is judged where it stands, and
//! what was not seen at the end is lost. In between a window of input offsets is kept, dense,
//! under a budget (see [`window`]); if the scope is larger, round follows round, and each
//! reads the outputs from the first record on that belongs to what is left.
//!
//! No consumer here is a member of the group, and nothing is committed or written.

pub mod account;
mod before;
mod digest;
pub mod finding;
pub mod range;
mod recompute;
pub mod report;
pub mod source;
mod survey;
mod trouble;
mod twins;
pub mod window;

use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::guest::Module;
use crate::inquiry::{GIVE_UP, Handler, Passed, Reader, Stretch, length, read};
use crate::kafka::{Consumer, TopicPartition};
use crate::plan::Pipeline;
use crate::stage::GuestFactory;

use account::{Account, Seeing};
use digest::Digests;
use range::Asked;
use recompute::{Expected, Recompute, Repeats};
use report::{ModuleName, Report};
use source::{Sources, Use};
use survey::Survey;

pub use trouble::Trouble;

/// What is to be proven, and how.
pub struct Request {
    pub plan: Arc<Pipeline>,
    /// In the order of the stages.
    pub modules: Vec<Module>,
    pub asked: Asked,
    /// Take what cannot be recomputed and is missing for filtered.
    pub assume_filtered: bool,
    /// For what is known of the inputs.
    pub memory_bytes: usize,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Passed(Passed),
    /// Inputs are read next.
    Inputs,
    Outputs,
}

/// Reads it all and judges.
pub fn run(request: &Request, progress: &mut dyn FnMut(Progress)) -> Result<Report, Trouble> {
    let plan = &request.plan;
    let (survey, group) = survey::ask(plan, &request.asked)?;
    let ids: Vec<TopicPartition> = survey.inputs.iter().map(|input| input.id.clone()).collect();
    // Where state decides, none of them recomputes anything.
    let recomputing = plan.stages.iter().zip(&request.modules);
    let recomputing = recomputing.filter(|_| plan.stores.is_empty());
    let modules: Vec<ModuleName> = recomputing.map(ModuleName::of).collect();
    let books = Books {
        assume_filtered: request.assume_filtered,
        memory_bytes: request.memory_bytes,
    };
    let mut committed = || survey::committed(&group, &ids);
    let mut proof = Proof::new(plan, &request.modules, survey, books, &mut committed, progress)?;
    let mut reader = Reader::open(plan, &survey::client_id(plan))?;
    let mut times = survey::Times::new(plan);
    let mut offset_at = |id: &TopicPartition, ms| times.offset_at(id, ms);
    reader.with(|consumer| {
        before::look_back(&mut proof, consumer, &mut offset_at)?;
        proof.rounds(consumer)
    })?;
    Ok(Report::new(plan, modules, proof.account))
}

/// How the books are kept.
#[derive(Debug, Clone, Copy)]
struct Books {
    assume_filtered: bool,
    memory_bytes: usize,
}

/// A proof under way.
struct Proof<'a, F: GuestFactory> {
    account: Account,
    recompute: Recompute<F>,
    sources: Sources,
    uses: Vec<Use>,
    memory_bytes: usize,
    /// The stable offsets of the group as they are now, by input.
    committed: &'a mut dyn FnMut() -> Result<Vec<Option<i64>>, Trouble>,
    /// Where the next round begins to read each output; `None`: nothing of it is left.
    starts: Vec<Option<i64>>,
    /// Found in this round.
    resume: Vec<Option<i64>>,
    progress: &'a mut dyn FnMut(Progress),
}

impl<'a, F: GuestFactory + Clone> Proof<'a, F> {
    fn new(
        plan: &Arc<Pipeline>,
        modules: &[F],
        survey: Survey,
        books: Books,
        committed: &'a mut dyn FnMut() -> Result<Vec<Option<i64>>, Trouble>,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Result<Self, Trouble> {
        let digests = Digests::default();
        let repeats = Repeats::new(plan, &survey.cluster_id, &survey.inputs);
        let sources = Sources::new(
            survey.cluster_id,
            plan.name.as_str().into(),
            survey.inputs.iter().map(|input| (&input.id, &input.topic_id)),
            modules.iter().map(|module| module.sha256().into()).collect(),
            digests.clone(),
        );
        let recompute = Recompute::new(
            Arc::clone(plan),
            modules,
            survey.capacities,
            survey.topic_of,
            digests,
            repeats,
        )
        .map_err(|fault| Trouble::Module(fault.to_string()))?;
        let starts = survey
            .outputs
            .iter()
            .map(|output| Some(output.log_start))
            .collect();
        let mut account = Account::new(
            survey.inputs,
            survey.topics,
            survey.outputs,
            books.assume_filtered,
            books.memory_bytes,
        );
        if let Some(dedup) = plan.dedup.as_ref().filter(|dedup| dedup.drops_by_arrival()) {
            account = account.with_ledgers(dedup.scope.is_none() && !survey.had_other_inputs);
        }
        Ok(Self {
            account,
            recompute,
            sources,
            uses: survey.uses,
            memory_bytes: books.memory_bytes,
            committed,
            resume: Vec::new(),
            starts,
            progress,
        })
    }
}

impl<F: GuestFactory> Proof<'_, F> {
    fn rounds<C: Consumer>(&mut self, consumer: &mut C) -> Result<(), Trouble> {
        loop {
            let (inputs, outputs) = (self.input_stretches(), self.output_stretches());
            self.announce(length(&inputs) + length(&outputs));
            self.account.open();
            read(consumer, inputs, GIVE_UP, &mut Inputs(self))?;
            (self.progress)(Progress::Outputs);
            self.resume = vec![None; self.starts.len()];
            read(consumer, outputs, GIVE_UP, &mut Outputs(self))?;
            if self.account.has_ahead() {
                self.judge_ahead()?;
            }
            self.account.settle();
            if self.account.is_covered() {
                return twins::judge(self, consumer);
            }
            self.starts = std::mem::take(&mut self.resume);
        }
    }

    /// So many offsets are read next, those of inputs first.
    fn announce(&mut self, offsets: u64) {
        (self.progress)(Progress::Passed(Passed::Total(offsets)));
        (self.progress)(Progress::Inputs);
    }

    fn passed(&mut self, offsets: u64) {
        (self.progress)(Progress::Passed(Passed::Offsets(offsets)));
    }

    fn judge_ahead(&mut self) -> Result<(), Trouble> {
        let committed = (self.committed)()?;
        self.account.judge_ahead(&committed);
        Ok(())
    }

    fn input_stretches(&self) -> Vec<Stretch> {
        let inputs = self.account.inputs().iter().enumerate();
        let open = inputs.filter(|(_, input)| input.next < input.end());
        open.map(|(index, input)| Stretch {
            index,
            partition: input.facts.id.clone(),
            from: input.next,
            to: input.end(),
        })
        .collect()
    }

    fn output_stretches(&self) -> Vec<Stretch> {
        let outputs = self.account.outputs().iter().zip(&self.starts).enumerate();
        outputs
            .filter_map(|(index, (output, start))| {
                let topic = self.account.topics().get(usize::from(output.topic))?;
                let from = (*start)?;
                (from < output.end).then(|| Stretch {
                    index,
                    partition: TopicPartition {
                        topic: Arc::clone(&topic.name),
                        partition: output.partition,
                    },
                    from,
                    to: output.end,
                })
            })
            .collect()
    }
}

/// Reads the inputs and works out what must become of them.
struct Inputs<'p, 'a, F: GuestFactory>(&'p mut Proof<'a, F>);

impl<F: GuestFactory, R: Record> Handler<R> for Inputs<'_, '_, F> {
    type Trouble = Trouble;

    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        let Proof {
            account, recompute, ..
        } = &mut *self.0;
        let mut has_room = true;
        let mut take = |expected: &Expected<'_>| {
            has_room = account.expect(
                stretch.index,
                expected.offset,
                expected.fate,
                expected.why,
                expected.parts,
            );
            has_room
        };
        recompute
            .records(&stretch.partition, records, &mut take)
            .map_err(Trouble::Module)?;
        Ok(has_room)
    }

    fn gap(&mut self, stretch: &Stretch, from: i64, to: i64) {
        self.0.account.lose_sight(stretch.index, from, to);
        self.0.recompute.lose_sight(&stretch.partition);
    }

    fn end(&mut self, stretch: &Stretch) {
        self.0.account.expect_nothing_below(stretch.index, stretch.to);
    }

    fn progress(&mut self, offsets: u64) {
        self.0.passed(offsets);
    }
}

/// Reads the outputs and judges them.
struct Outputs<'p, 'a, F: GuestFactory>(&'p mut Proof<'a, F>);

impl<F: GuestFactory, R: Record> Handler<R> for Outputs<'_, '_, F> {
    type Trouble = Trouble;

    fn records(&mut self, stretch: &Stretch, records: &[R]) -> Result<bool, Trouble> {
        let at = stretch.index;
        let topic = self
            .0
            .account
            .outputs()
            .get(at)
            .map(|output| usize::from(output.topic));
        let Some(used) = topic.and_then(|topic| self.0.uses.get(topic)).copied() else {
            return Ok(true);
        };
        for record in records {
            let seen = self.0.sources.look(record, used);
            match self.0.account.see(at, record.offset(), &seen) {
                Seeing::Done => {}
                Seeing::AskCommitted => self.0.judge_ahead()?,
                Seeing::Later => {
                    if let Some(resume) = self.0.resume.get_mut(at) {
                        resume.get_or_insert(record.offset());
                    }
                }
            }
        }
        Ok(true)
    }

    /// What was deleted meanwhile may have been anything.
    fn gap(&mut self, stretch: &Stretch, _from: i64, to: i64) {
        self.0.account.output_begins(stretch.index, to);
    }

    fn progress(&mut self, offsets: u64) {
        self.0.passed(offsets);
    }
}

#[cfg(test)]
mod tests;
