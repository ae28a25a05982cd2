//! The outputs, and the order in which the records of an input partition reach them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::verify::source::Claim;

/// A topic that outputs or dead letters go to.
#[derive(Debug, Clone)]
pub struct OutputTopic {
    pub name: Arc<str>,
    /// It is compacted, so that what is missing may have been replaced.
    pub is_compacted: bool,
}

/// One partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Index of the topic.
    pub topic: u16,
    pub partition: i32,
    /// The first offset that is still there.
    pub log_start: i64,
    /// The high watermark that was read after the committed offsets.
    pub end: i64,
}

/// How a record follows the one before it of the same input partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Ahead,
    Same,
    Behind,
}

/// Input partitions against output partitions: as many entries as there are pairs.
#[derive(Debug)]
pub(super) struct Order {
    last: HashMap<(usize, usize), (i64, u32)>,
    /// Of outputs that lost their beginning: the first input offset that is still there.
    first: HashMap<(usize, usize), i64>,
    /// Those outputs, by topic.
    cut: HashMap<u16, Vec<usize>>,
    is_first_round: bool,
}

impl Order {
    pub(super) fn new(outputs: &[Output]) -> Self {
        let mut cut: HashMap<u16, Vec<usize>> = HashMap::new();
        for (index, output) in outputs.iter().enumerate().filter(|(_, o)| o.log_start > 0) {
            cut.entry(output.topic).or_default().push(index);
        }
        Self {
            last: HashMap::new(),
            first: HashMap::new(),
            cut,
            is_first_round: true,
        }
    }

    /// This output lost its beginning. What it held is not known any more.
    pub(super) fn cut(&mut self, at: usize, topic: u16) {
        let cut = self.cut.entry(topic).or_default();
        if !cut.contains(&at) {
            cut.push(at);
        }
        self.first.retain(|(_, of), _| *of != at);
    }

    /// The outputs are read again: from the first record on that belongs to what is left.
    pub(super) fn restart(&mut self) {
        self.is_first_round &= self.last.is_empty();
        self.last.clear();
    }

    /// The next record of the output with index `at`.
    pub(super) fn step(&mut self, at: usize, claim: &Claim) -> Step {
        let key = (claim.input, at);
        let place = (claim.offset, claim.part);
        if self.is_first_round && self.cut.values().flatten().any(|cut| *cut == at) {
            self.first.entry(key).or_insert(claim.offset);
        }
        let last = self.last.entry(key).or_insert((i64::MIN, 0));
        match place.cmp(last) {
            std::cmp::Ordering::Greater => {
                *last = place;
                Step::Ahead
            }
            std::cmp::Ordering::Equal => Step::Same,
            std::cmp::Ordering::Less => Step::Behind,
        }
    }

    /// An output of this input may have stood in the part of the topic's log that is gone.
    pub(super) fn may_be_gone(&self, input: usize, offset: i64, topic: u16) -> bool {
        let cut = self.cut.get(&topic);
        cut.is_some_and(|cut| {
            cut.iter()
                .any(|at| self.first.get(&(input, *at)).is_none_or(|first| *first >= offset))
        })
    }
}
