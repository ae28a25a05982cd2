//! What must stand in the outputs for some input offsets in a row, and what was seen of it.
//!
//! Dense by offset, so that looking one up costs nothing: [`CELL_BYTES`] for each offset and
//! [`PART_BYTES`] for each output that is expected of it. An input with one output takes 27
//! bytes.

use crate::stage::FailureKind;

/// Bytes of one offset.
pub const CELL_BYTES: usize = size_of::<Cell>();
/// Bytes of one expected output.
pub const PART_BYTES: usize = size_of::<u64>() + size_of::<u16>() + size_of::<u8>();

/// An input whose outputs claim to be more cannot be followed part by part.
const LEARNED_PARTS_MAX: u32 = 4096;
/// Stands where the topic would if any will do.
const ANY: u16 = u16::MAX;

/// One output that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Index of its topic.
    pub topic: u16,
    pub digest: u64,
}

/// What must become of an input record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Fate {
    /// There is no record at this offset.
    #[default]
    Hole,
    /// Its parts; none if it is filtered.
    Outputs,
    /// A dead letter: its only part.
    Letter,
    /// Nothing, by the policy on failures or because it repeats another record.
    Skipped,
    /// Not known. Its outputs tell how many they are.
    Unknown,
}

/// What is special about a fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Why {
    #[default]
    Plain,
    /// The record fails for good.
    Failure(FailureKind),
    /// It asked for another attempt before it became what it is.
    Retried,
    /// It has the message id of a record before it, and `dedup` drops it.
    Repeat,
    /// It has a message id, and `dedup` may have dropped it as a repeat.
    Identified,
    /// It has a message id that is claimed in all partitions: if nothing of it stands, another
    /// one must have come through.
    Shared,
    /// Compaction may have taken the record.
    Compacted,
    /// The record fails, and the policy is to stop: the group cannot have passed it.
    Stopped,
    /// What becomes of it depends on keyed state.
    Stateful,
}

/// Failures that depend on more than the record and the module.
pub const fn depends_on_the_moment(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Retry | FailureKind::Deadline | FailureKind::Memory | FailureKind::TooLarge
    )
}

impl Why {
    /// Another run may have decided otherwise.
    pub const fn is_doubtful(self) -> bool {
        match self {
            Self::Plain | Self::Repeat | Self::Identified | Self::Shared => false,
            Self::Failure(kind) => depends_on_the_moment(kind),
            Self::Retried | Self::Compacted | Self::Stopped | Self::Stateful => true,
        }
    }

    /// Nothing of it need be in the outputs.
    pub const fn may_be_missing(self) -> bool {
        self.is_doubtful() || matches!(self, Self::Identified | Self::Shared)
    }

    /// As a clause about the input.
    pub fn clause(self) -> String {
        match self {
            Self::Plain => "it is recomputed".to_owned(),
            Self::Failure(kind) => format!("it fails when recomputed ({})", kind.as_str()),
            Self::Retried => "it asked for retries when recomputed".to_owned(),
            Self::Repeat => "it repeats another record".to_owned(),
            Self::Identified => "it may repeat another record, which cannot be looked at".to_owned(),
            Self::Shared => "it may repeat any other record".to_owned(),
            Self::Compacted => "compaction took its record".to_owned(),
            Self::Stopped => "it fails when recomputed, where the policy is to stop".to_owned(),
            Self::Stateful => "it depends on state, which is not recomputed".to_owned(),
        }
    }
}

/// One offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    first: u32,
    pub parts: u32,
    pub fate: Fate,
    pub why: Why,
    /// Dead letters seen.
    pub letters: u8,
    marks: u8,
}

/// Something was found that speaks against it.
pub const WRONG: u8 = 1;
/// Its number of parts is what its outputs say.
pub const LEARNED: u8 = 2;
/// Too many parts to follow.
pub const UNTRACKED: u8 = 4;
/// What was seen of it is not what was recomputed, and may be right all the same.
pub const DOUBTFUL: u8 = 8;

impl Cell {
    pub const fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    pub const fn mark(&mut self, mark: u8) {
        self.marks |= mark;
    }
}

/// Offsets in a row of one input partition.
#[derive(Debug, Default)]
pub struct Window {
    start: i64,
    cells: Vec<Cell>,
    digests: Vec<u64>,
    topics: Vec<u16>,
    seen: Vec<bool>,
    /// Offsets whose outputs will tell how many they are: most have one.
    unknown: usize,
    budget_bytes: usize,
}

impl Window {
    /// Starts over, at another offset. Keeps its memory.
    pub fn open(&mut self, start: i64, budget_bytes: usize) {
        self.start = start;
        self.cells.clear();
        self.digests.clear();
        self.topics.clear();
        self.seen.clear();
        self.unknown = 0;
        self.budget_bytes = budget_bytes;
    }

    pub fn start(&self) -> i64 {
        self.start
    }

    /// The offset behind the last.
    pub fn end(&self) -> i64 {
        self.start.saturating_add_unsigned(self.cells.len() as u64)
    }

    pub fn bytes(&self) -> usize {
        self.cells.len() * CELL_BYTES + self.digests.len() * PART_BYTES
    }

    /// Another offset would go beyond the budget. The first never does.
    pub fn is_full(&self) -> bool {
        let set_aside = self.unknown * PART_BYTES;
        !self.cells.is_empty() && self.bytes() + set_aside + CELL_BYTES + PART_BYTES > self.budget_bytes
    }

    /// Fills up to `offset` with `fate`; stops at the budget. False if it did.
    pub fn fill(&mut self, offset: i64, fate: Fate, why: Why) -> bool {
        while self.end() < offset {
            if self.is_full() {
                return false;
            }
            self.push(fate, why, &[]);
        }
        true
    }

    /// Adds the next offset. The caller has asked whether it is full.
    pub fn push(&mut self, fate: Fate, why: Why, parts: &[Part]) {
        let Ok(first) = u32::try_from(self.digests.len()) else {
            return;
        };
        self.unknown += usize::from(fate == Fate::Unknown);
        reserve(&mut self.cells, 1);
        self.cells.push(Cell {
            first,
            parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            fate,
            why,
            ..Cell::default()
        });
        self.reserve_parts(parts.len());
        self.digests.extend(parts.iter().map(|part| part.digest));
        self.topics.extend(parts.iter().map(|part| part.topic));
        self.seen.resize(self.digests.len(), false);
    }

    fn reserve_parts(&mut self, count: usize) {
        reserve(&mut self.digests, count);
        reserve(&mut self.topics, count);
        reserve(&mut self.seen, count);
    }

    pub fn cell_mut(&mut self, offset: i64) -> Option<&mut Cell> {
        let index = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.cells.get_mut(index)
    }

    pub fn cell(&self, offset: i64) -> Option<Cell> {
        let index = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.cells.get(index).copied()
    }

    /// Learns from an output of how many parts it is one. False if they cannot be followed.
    pub fn learn(&mut self, offset: i64, parts: u32) -> bool {
        let room = self.budget_bytes.max(self.bytes());
        let bytes = self.bytes() + parts as usize * PART_BYTES;
        let first = u32::try_from(self.digests.len());
        let fits = parts <= LEARNED_PARTS_MAX && bytes <= room.saturating_add(room / 4);
        let Some(cell) = self.cell_mut(offset) else {
            return false;
        };
        match first {
            Ok(first) if fits => {
                cell.first = first;
                cell.parts = parts;
                cell.mark(LEARNED);
            }
            _ => {
                cell.mark(UNTRACKED);
                return false;
            }
        }
        let length = self.digests.len() + parts as usize;
        self.reserve_parts(parts as usize);
        self.digests.resize(length, 0);
        self.topics.resize(length, ANY);
        self.seen.resize(length, false);
        true
    }

    /// Part `part`, from 1: where it belongs (`None`: anywhere), what it says, whether it
    /// was seen.
    pub fn part(&self, cell: Cell, part: u32) -> Option<(Option<u16>, u64, bool)> {
        let index = Self::index(cell, part)?;
        let topic = *self.topics.get(index)?;
        Some((
            Some(topic).filter(|topic| *topic != ANY),
            *self.digests.get(index)?,
            *self.seen.get(index)?,
        ))
    }

    pub fn mark_seen(&mut self, cell: Cell, part: u32) {
        if let Some(seen) = Self::index(cell, part).and_then(|index| self.seen.get_mut(index)) {
            *seen = true;
        }
    }

    /// How many of its parts were seen.
    pub fn seen_count(&self, cell: Cell) -> u32 {
        let first = cell.first as usize;
        let seen = self.seen.get(first..first + cell.parts as usize);
        seen.map_or(0, |seen| seen.iter().fold(0, |sum, seen| sum + u32::from(*seen)))
    }

    fn index(cell: Cell, part: u32) -> Option<usize> {
        let at = part.checked_sub(1).filter(|at| *at < cell.parts)?;
        Some(cell.first as usize + at as usize)
    }
}

/// Grows by a quarter: doubling would take the budget twice.
fn reserve<T>(list: &mut Vec<T>, count: usize) {
    if list.capacity() - list.len() < count {
        list.reserve_exact(count.max(list.len() / 4).max(1024));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_what_the_manual_says() {
        assert_eq!((CELL_BYTES, PART_BYTES), (16, 11));
    }

    #[test]
    fn keeps_what_is_expected_and_what_was_seen() {
        let mut window = Window::default();
        window.open(100, 1 << 20);
        let part = |topic, digest| Part { topic, digest };
        window.push(Fate::Outputs, Why::Plain, &[part(0, 7), part(1, 8)]);
        assert!(window.fill(102, Fate::Hole, Why::Plain));
        window.push(Fate::Unknown, Why::Compacted, &[]);
        assert_eq!((window.start(), window.end()), (100, 103));
        let cell = window.cell(100).unwrap();
        assert_eq!(window.part(cell, 2), Some((Some(1), 8, false)));
        assert_eq!(window.part(cell, 3), None);
        assert_eq!(window.part(cell, 0), None);
        window.mark_seen(cell, 2);
        assert_eq!(window.seen_count(cell), 1);
        assert!(window.learn(102, 3));
        let learned = window.cell(102).unwrap();
        assert_eq!(window.part(learned, 3), Some((None, 0, false)));
        assert!(!window.learn(102, u32::MAX));
        assert!(window.cell(102).unwrap().has(UNTRACKED));
        assert_eq!(window.cell(99), None);
        assert_eq!(window.cell(103), None);
    }

    #[test]
    fn stops_at_its_budget_but_takes_at_least_one() {
        let mut window = Window::default();
        window.open(0, 0);
        assert!(!window.is_full());
        window.push(Fate::Outputs, Why::Plain, &[]);
        assert!(window.is_full());
        window.open(0, 10 * CELL_BYTES + PART_BYTES);
        assert!(!window.fill(1000, Fate::Hole, Why::Plain));
        assert_eq!(window.end(), 10);
        // Of what is not known one output is to be learned.
        window.open(0, 10 * (CELL_BYTES + PART_BYTES));
        assert!(!window.fill(1000, Fate::Unknown, Why::Stateful));
        assert_eq!(window.end(), 10);
        assert!((0..10).all(|offset| window.learn(offset, 1)));
    }
}
