//! One input partition: what of it is to be proven, and how far that has come.

use std::ops::Range;
use std::sync::Arc;

use crate::kafka::TopicPartition;
use crate::verify::finding::Place;
use crate::verify::window::{DOUBTFUL, Fate, Why, Window};

/// An input partition, as the cluster tells of it.
#[derive(Debug, Clone)]
pub struct InputFacts {
    pub id: TopicPartition,
    pub topic_id: Arc<str>,
    /// Where the group began.
    pub began: i64,
    /// What it had committed, stable, before the ends of the outputs were read.
    pub committed: i64,
    /// The first offset that is still there.
    pub log_start: i64,
    /// The topic is compacted, so that records may be missing.
    pub is_compacted: bool,
    /// What the user asked for.
    pub asked: Range<i64>,
}

impl InputFacts {
    /// Everything is read from where the group began.
    pub fn has_beginning(&self) -> bool {
        self.asked.start.max(self.log_start) <= self.began
    }
}

/// An input partition in the books.
#[derive(Debug)]
pub struct Input {
    pub facts: InputFacts,
    /// Below it everything has been in a window.
    pub next: i64,
    pub(super) window: Window,
    /// Deleted before they could be read.
    gone: Vec<Range<i64>>,
}

/// Where an offset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    OutOfRange,
    /// Before the group's first.
    BeforeStart(i64),
    /// Not committed when the proof began.
    Ahead,
    Gone,
    Earlier,
    Here,
    Later,
}

impl Input {
    pub(super) fn new(facts: InputFacts) -> Self {
        let next = facts.asked.start.max(facts.began);
        Self {
            facts,
            next,
            window: Window::default(),
            gone: Vec::new(),
        }
    }

    /// The first offset to prove.
    pub fn start(&self) -> i64 {
        self.facts.asked.start.max(self.facts.began)
    }

    /// The offset behind the last one to prove.
    pub fn end(&self) -> i64 {
        self.facts.asked.end.min(self.facts.committed)
    }

    /// Offsets that still need a window.
    pub fn left(&self) -> u64 {
        u64::try_from(self.end().saturating_sub(self.next)).unwrap_or_default()
    }

    /// Each of its records from where the group began can be looked at, or lies behind the scope.
    pub(super) fn is_whole(&self) -> bool {
        !self.facts.is_compacted && self.gone.is_empty() && self.facts.has_beginning()
    }

    /// What is gone already when the proof begins.
    pub(super) fn gone_at_start(&self) -> Option<Range<i64>> {
        let gone = self.start()..self.facts.log_start.min(self.end());
        (!gone.is_empty()).then_some(gone)
    }

    /// Takes a range out of what can be recomputed; gives the part of it that is in scope.
    pub(super) fn lose_sight(&mut self, from: i64, to: i64) -> Range<i64> {
        let from = from.max(self.next);
        let to = to.min(self.end()).max(from);
        if from < to {
            self.gone.push(from..to);
            if self.next == from {
                self.next = to;
            }
        }
        from..to
    }

    /// No record was read below `offset`. False if the window is full.
    pub(super) fn pass_over(&mut self, offset: i64) -> bool {
        let (fate, why) = if self.facts.is_compacted {
            (Fate::Unknown, Why::Compacted)
        } else {
            (Fate::Hole, Why::Plain)
        };
        let end = offset.min(self.end());
        if end <= self.window.end() {
            return true;
        }
        let all = self.window.fill(end, fate, why);
        self.next = self.window.end().max(self.next);
        all
    }

    pub(super) fn standing(&self, offset: i64) -> Standing {
        if !self.facts.asked.contains(&offset) {
            Standing::OutOfRange
        } else if offset >= self.facts.committed {
            Standing::Ahead
        } else if offset < self.facts.began {
            Standing::BeforeStart(self.facts.began)
        } else if self.gone.iter().any(|gone| gone.contains(&offset)) {
            Standing::Gone
        } else if offset < self.window.start() {
            Standing::Earlier
        } else if offset < self.window.end() {
            Standing::Here
        } else {
            Standing::Later
        }
    }

    pub(super) fn place(&self, offset: i64) -> Place {
        Place {
            topic: Arc::clone(&self.facts.id.topic),
            partition: self.facts.id.partition,
            offset,
        }
    }

    pub(super) fn mark(&mut self, offset: i64, mark: u8) {
        if let Some(cell) = self.window.cell_mut(offset) {
            cell.mark(mark);
        }
    }

    /// What was found of it may be right, and is not what was recomputed.
    pub(super) fn doubt(&mut self, offset: i64) {
        self.mark(offset, DOUBTFUL);
    }
}
