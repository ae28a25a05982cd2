//! What a reset comes to: which partition goes from where to where, and what must be chosen for that.
//! No I/O.

use std::ops::Range;
use std::sync::Arc;

use super::goal::{Goals, Spot};
use crate::kafka::{Bounds, TopicPartition};

/// What the cluster tells of one input partition.
#[derive(Debug, Clone)]
pub struct Facts {
    pub id: TopicPartition,
    pub topic_id: Arc<str>,
    /// What the group has committed, stable.
    pub committed: Option<i64>,
    /// Where the group began.
    pub began: Option<i64>,
    pub bounds: Bounds,
}

impl Facts {
    /// As the command line names it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.id.topic, self.id.partition)
    }

    /// `None`: nobody knows how far the group has come.
    pub fn lag(&self) -> Option<i64> {
        let committed = self.committed?;
        Some((self.bounds.end - committed.max(self.bounds.start)).max(0))
    }

    /// There was an offset once, or is one.
    fn was_read(&self) -> bool {
        self.committed.is_some() || self.began.is_some()
    }

    fn within(&self, offset: i64) -> Result<i64, String> {
        let Bounds { start, end } = self.bounds;
        if (start..=end).contains(&offset) {
            return Ok(offset);
        }
        Err(format!(
            "{} has offsets from {start} to {end}, and {offset} is none of them; name one of these, earliest or latest",
            self.name()
        ))
    }
}

/// One partition, and where its offset is to be.
#[derive(Debug, Clone)]
pub struct Move {
    pub facts: Facts,
    pub to: i64,
}

impl Move {
    pub fn is_change(&self) -> bool {
        self.facts.committed != Some(self.to)
    }

    /// How many offsets of the log will be read once more.
    pub fn again(&self) -> i64 {
        let start = self.to.max(self.facts.bounds.start);
        let end = self.facts.committed.unwrap_or(self.to).min(self.facts.bounds.end);
        (end - start).max(0)
    }

    /// Offsets that were never committed, and are not read any more. Where the offset is lost nobody
    /// knows: all from where the group began.
    pub fn passed_over(&self) -> Range<i64> {
        let from = self.facts.committed.or(self.facts.began);
        from.unwrap_or(self.to).min(self.to)..self.to
    }
}

/// Which partitions move where. `at_time`: in the order of `facts`, where the time that was asked for
/// stands; `None`: it is later than all records.
pub fn moves(facts: &[Facts], goals: &Goals, at_time: &[Option<i64>]) -> Result<Vec<Move>, String> {
    let is_input = |id: &&TopicPartition| facts.iter().any(|facts| facts.id == **id);
    if let Some(unknown) = goals.ones.keys().find(|id| !is_input(id)) {
        let names: Vec<String> = facts.iter().map(Facts::name).collect();
        let TopicPartition { topic, partition } = unknown;
        return Err(format!(
            "{topic}:{partition} is no partition of the input; name one of {}",
            names.join(", ")
        ));
    }
    let mut moves = Vec::new();
    for (index, facts) in facts.iter().enumerate() {
        let Bounds { start, end } = facts.bounds;
        let to = match (goals.ones.get(&facts.id), goals.all) {
            (Some(offset), _) => facts.within(*offset)?,
            (None, Some(Spot::Offset(offset))) => facts.within(offset)?,
            (None, Some(Spot::Earliest)) => start,
            (None, Some(Spot::Latest)) => end,
            (None, Some(Spot::Time(_))) => {
                let offset = at_time.get(index).copied().flatten();
                offset.unwrap_or(end).clamp(start, end)
            }
            (None, None) => continue,
        };
        let facts = facts.clone();
        moves.push(Move { facts, to });
    }
    Ok(moves)
}

/// What the pipeline keeps beside its offsets.
#[derive(Debug, Clone, Copy)]
pub struct Keeps {
    /// Claims in a store that others share, and repeats are dropped.
    pub claims: bool,
    /// Keyed state.
    pub state: bool,
}

/// What is to become of claims on records that are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OfClaims {
    /// Repeats of records that never came through are dropped
    Keep,
    /// Delete them, so that repeats pass
    Drop,
}

/// What is to become of keyed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OfState {
    /// Delete it, and count anew from the new offsets
    Clear,
    /// Go on with it: what is read again counts twice, what is passed over never
    Keep,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Choices {
    pub claims: Option<OfClaims>,
    pub state: Option<OfState>,
}

impl Choices {
    /// The error says what must be chosen, and what it is about, or what cannot be.
    pub fn check(self, keeps: Keeps, facts: &[Facts], moves: &[Move]) -> Result<(), String> {
        if self.claims == Some(OfClaims::Drop) && !keeps.claims {
            return Err(
                "--claims drop is for a dedup in mode drop whose store is redis or sql; leave it out"
                    .to_owned(),
            );
        }
        if self.state.is_some() && !keeps.state {
            return Err("the pipeline keeps no state; leave --state out".to_owned());
        }
        let passed_over = moves.iter().any(|step| !step.passed_over().is_empty());
        if keeps.claims && passed_over && self.claims.is_none() {
            return Err(CLAIMS.to_owned());
        }
        let counted = moves.iter().any(|step| step.is_change() && step.facts.was_read());
        if keeps.state && counted && self.state.is_none() {
            return Err(STATE.to_owned());
        }
        if self.state == Some(OfState::Clear) && moves.len() < facts.len() {
            return Err(
                "state is kept in topics of all partitions, which are deleted as a whole: with --state clear set \
                 all partitions of the input"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

const CLAIMS: &str = "records are passed over, and some may hold claims in the store of dedup without ever having \
                      been committed: their repeats would be dropped, though none of them came through. Say --claims \
                      drop to delete the claims of what is passed over, so that repeats of it pass; or --claims keep";

const STATE: &str = "the pipeline keeps state, which has counted the records before the present offsets. Say --state \
                     clear to delete it and count anew from the new offsets; or --state keep to go on with it: what \
                     is read again counts twice, and what is passed over never";

#[cfg(test)]
mod tests;
