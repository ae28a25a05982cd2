//! The judgement: what must stand in the outputs against what stands there. No I/O.
//!
//! A round covers a window of each input partition: [`Account::open`], what is expected of
//! each offset ([`Account::expect`]), then each record of the outputs in log order
//! ([`Account::see`]), then [`Account::settle`]. Rounds follow until the scope is covered; the
//! first sees all of the outputs, later ones at least from the first record on that belongs to
//! a window to come. What is missing and may repeat another record waits in the ledgers until
//! all is covered ([`Account::absent`], [`Account::judge_absent`]).
//!
//! Invariants: each output is judged in exactly one round; a finding is counted once, whatever
//! the sizes of the windows; nothing grows with the number of records but the windows, which
//! have a budget, ledgers of two bits an offset, and lists that have a bound.

mod inputs;
mod judge;
mod ledger;
mod order;
mod outcome;
mod settle;

use std::sync::Arc;

pub use inputs::{Input, InputFacts};
pub use ledger::{Stand, Twin};
pub use order::{Output, OutputTopic};
pub use outcome::{Ignored, Outcomes};

use super::finding::{Finding, Findings, Kind, Place};
use super::source::Seen;
use super::window::{Fate, Part, WRONG, Why, Window};
use inputs::Standing;
use ledger::Ledger;
use order::{Order, Step};

/// Outputs of inputs that were not committed at the start, until somebody asks again.
const AHEAD_MAX: usize = 65_536;

/// An output of an input that the group had not committed when the proof began.
struct Ahead {
    input: usize,
    offset: i64,
    output: Place,
}

/// The books of one proof.
pub struct Account {
    inputs: Vec<Input>,
    topics: Vec<OutputTopic>,
    outputs: Vec<Output>,
    assume_filtered: bool,
    /// Bytes of all windows of a round together.
    budget_bytes: usize,
    order: Order,
    ahead: Vec<Ahead>,
    /// By input, where they are kept.
    ledgers: Vec<Ledger>,
    /// Nobody but the inputs claims message ids.
    is_alone: bool,
    is_first_round: bool,
    pub findings: Findings,
    pub outcomes: Outcomes,
    pub ignored: Ignored,
}

/// What the reader of the outputs has to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeing {
    Done,
    /// It belongs to a window to come.
    Later,
    /// [`Account::judge_ahead`] must be called before the next.
    AskCommitted,
}

impl Account {
    /// `outputs` refer to `topics` by index.
    pub fn new(
        inputs: Vec<InputFacts>,
        topics: Vec<OutputTopic>,
        outputs: Vec<Output>,
        assume_filtered: bool,
        budget_bytes: usize,
    ) -> Self {
        let mut account = Self {
            inputs: inputs.into_iter().map(Input::new).collect(),
            order: Order::new(&outputs),
            topics,
            outputs,
            assume_filtered,
            budget_bytes,
            ahead: Vec::new(),
            ledgers: Vec::new(),
            is_alone: false,
            is_first_round: true,
            findings: Findings::default(),
            outcomes: Outcomes::default(),
            ignored: Ignored::default(),
        };
        for index in 0..account.inputs.len() {
            if let Some(gone) = account.inputs.get(index).and_then(Input::gone_at_start) {
                account.lose_sight(index, gone.start, gone.end);
            }
        }
        account
    }

    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub fn topics(&self) -> &[OutputTopic] {
        &self.topics
    }

    /// Everything in scope has been in a window.
    pub fn is_covered(&self) -> bool {
        self.inputs.iter().all(|input| input.next >= input.end())
    }

    /// Begins a round: each partition gets a share of the budget by what is left of it.
    pub fn open(&mut self) {
        let left: u128 = self.inputs.iter().map(|input| u128::from(input.left())).sum();
        for input in &mut self.inputs {
            let share = (self.budget_bytes as u128 * u128::from(input.left()))
                .checked_div(left)
                .unwrap_or(0);
            let start = input.next;
            input
                .window
                .open(start, usize::try_from(share).unwrap_or(usize::MAX));
        }
        self.order.restart();
    }

    /// What must become of the record at `offset`: the next that was read of this partition.
    /// False if the window is full; then it belongs to the next one.
    pub fn expect(&mut self, input: usize, offset: i64, fate: Fate, why: Why, parts: &[Part]) -> bool {
        let Some(input) = self.inputs.get_mut(input) else {
            return true;
        };
        if !input.pass_over(offset) || input.window.is_full() {
            return false;
        }
        input.window.push(fate, why, parts);
        input.next = offset + 1;
        true
    }

    /// Nothing more is read of this partition below `offset`. False if the window is full.
    pub fn expect_nothing_below(&mut self, input: usize, offset: i64) -> bool {
        self.inputs
            .get_mut(input)
            .is_none_or(|input| input.pass_over(offset))
    }

    /// Records were deleted before they could be read.
    pub fn lose_sight(&mut self, input: usize, from: i64, to: i64) {
        let assume_filtered = self.assume_filtered;
        let Some(input) = self.inputs.get_mut(input) else {
            return;
        };
        let range = input.lose_sight(from, to);
        let count = u64::try_from(range.end - range.start).unwrap_or_default();
        if count == 0 {
            return;
        }
        if assume_filtered {
            self.outcomes.assumed += count;
            return;
        }
        let place = input.place(range.start);
        self.findings.add_many(Kind::Unproven, count, || Finding {
            input: place,
            until: Some(range.end),
            output: None,
            what: "is no longer in the input (retention): what became of it cannot be recomputed".to_owned(),
        });
    }

    /// Retention has reached an output while it was read: what stood below may have been
    /// anything.
    pub fn output_begins(&mut self, at: usize, log_start: i64) {
        if let Some(output) = self.outputs.get_mut(at) {
            output.log_start = output.log_start.max(log_start);
            self.order.cut(at, output.topic);
        }
    }

    /// Judges a record of an output: that at `offset` of the output with index `at`.
    pub fn see(&mut self, at: usize, offset: i64, seen: &Seen) -> Seeing {
        let Some(place) = self.place(at, offset) else {
            return Seeing::Done;
        };
        let claim = match seen {
            Seen::Foreign(foreign) => {
                if self.is_first_round {
                    self.ignored.count(*foreign);
                }
                return Seeing::Done;
            }
            Seen::Output(part) => part.claim,
            Seen::Letter(letter) => letter.claim,
        };
        let Some(input) = self.inputs.get(claim.input) else {
            return Seeing::Done;
        };
        match input.standing(claim.offset) {
            Standing::OutOfRange if self.is_first_round => self.ignored.outside_range += 1,
            Standing::BeforeStart(start) if self.is_first_round => {
                let what = format!("must have no outputs: the group began at offset {start}; one stands");
                self.wrong(Kind::Unexpected, claim.input, claim.offset, Some(place), what);
            }
            Standing::Ahead if self.is_first_round => {
                self.ahead.push(Ahead {
                    input: claim.input,
                    offset: claim.offset,
                    output: place,
                });
                if self.ahead.len() >= AHEAD_MAX {
                    return Seeing::AskCommitted;
                }
            }
            Standing::Gone if self.is_first_round => self.see_gone(at, &claim, place),
            Standing::Later => {
                self.order.step(at, &claim);
                return Seeing::Later;
            }
            Standing::Here => {
                let step = self.order.step(at, &claim);
                let is_new = match seen {
                    Seen::Output(part) => self.see_output(at, part, &place),
                    Seen::Letter(letter) => self.see_letter(letter, &place),
                    Seen::Foreign(_) => false,
                };
                if is_new && step != Step::Ahead {
                    let what = format!("{} stands behind a later one of its partition,", claim.name());
                    self.wrong(Kind::OutOfOrder, claim.input, claim.offset, Some(place), what);
                }
            }
            _ => {}
        }
        Seeing::Done
    }

    /// Judges what stood ahead, now that the group has committed `committed` (stable, read
    /// after the last record that was seen), by input.
    pub fn judge_ahead(&mut self, committed: &[Option<i64>]) {
        for Ahead {
            input,
            offset,
            output,
        } in std::mem::take(&mut self.ahead)
        {
            let now = committed.get(input).copied().flatten();
            if now.is_some_and(|now| offset < now) {
                self.ignored.committed_since += 1;
                continue;
            }
            let now = now.map_or_else(|| "nothing".to_owned(), |now| format!("offset {now}"));
            let what = format!(
                "must have no outputs yet: the group has committed {now} of its partition; one stands"
            );
            self.wrong(Kind::Unexpected, input, offset, Some(output), what);
        }
    }

    /// Something stood ahead that nobody has judged yet.
    pub fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn wrong(&mut self, kind: Kind, input: usize, offset: i64, output: Option<Place>, what: String) {
        let Some(input) = self.inputs.get_mut(input) else {
            return;
        };
        input.mark(offset, WRONG);
        let place = input.place(offset);
        self.findings.add(kind, || Finding {
            input: place,
            until: None,
            output,
            what,
        });
    }

    fn place(&self, at: usize, offset: i64) -> Option<Place> {
        let output = self.outputs.get(at)?;
        let topic = self.topics.get(usize::from(output.topic))?;
        Some(Place {
            topic: Arc::clone(&topic.name),
            partition: output.partition,
            offset,
        })
    }
}

#[cfg(test)]
mod tests;
