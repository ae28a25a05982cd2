//! Corners the record that makes a whole batch fault, from left to right.
//!
//! The search walks the input of one stage. While all is well it hands out batch after batch.
//! After a fault it knows that the batch holds a culprit and hands out a part that begins
//! where the batch began: a part that runs clean moves the start, one that faults moves the
//! end, until one record stands alone. What ran clean is never handed out again, so results
//! come in order and each record has one.
//!
//! Records that descend from the same input record are never parted: they share its fate.
//! What a guest says of where it was chooses the first cut; once it was wrong, the middle is
//! taken, so that a lie cannot make the search long.

use std::ops::Range;

/// Which input record of the batch each input of a stage comes from. Never decreasing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origins<'a> {
    /// The first stage: this many records, each its own origin.
    Own(usize),
    /// The first stage, of a batch of which only these records enter it.
    Passing(&'a [u32]),
    /// A later stage.
    Table(&'a [Link]),
}

/// One input of a later stage: an emission of the stage before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) segment: u32,
    pub(super) entry: u32,
    pub(super) origin: u32,
}

impl Origins<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::Own(len) => len,
            Self::Passing(places) => places.len(),
            Self::Table(links) => links.len(),
        }
    }

    /// The origin of input `index`; past the end, one past all.
    #[inline]
    pub(super) fn of(self, index: usize) -> usize {
        match self {
            Self::Own(_) => index,
            Self::Passing(places) => places.get(index).map_or(usize::MAX, |place| *place as usize),
            Self::Table(links) => links.get(index).map_or(usize::MAX, |link| link.origin as usize),
        }
    }

    /// Origins of these inputs, which are not none.
    pub(super) fn of_range(self, range: &Range<usize>) -> Range<usize> {
        let last = self.of(range.end.saturating_sub(1).max(range.start));
        self.of(range.start)..last.saturating_add(1)
    }

    /// First input of the same origin.
    fn group_start(self, index: usize) -> usize {
        let origin = self.of(index);
        match self {
            Self::Own(_) | Self::Passing(_) => index,
            Self::Table(links) => links.partition_point(|link| (link.origin as usize) < origin),
        }
    }

    /// One past the last input of the same origin.
    pub(super) fn group_end(self, index: usize) -> usize {
        let origin = self.of(index);
        match self {
            Self::Own(_) | Self::Passing(_) => index.saturating_add(1),
            Self::Table(links) => links.partition_point(|link| link.origin as usize <= origin),
        }
    }
}

/// Where the search stands.
#[derive(Debug)]
pub(super) struct Search<'a> {
    origins: Origins<'a>,
    /// Everything before is decided.
    at: usize,
    /// `at..culprit_end` holds a culprit.
    culprit_end: Option<usize>,
    /// Where the guest said it was; at or past `at`.
    likely: Option<usize>,
    /// False once the guest was wrong about that.
    trusted: bool,
}

/// What a fault says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Culprit {
    /// This input record, for it stood alone.
    Found(usize),
    Among,
}

impl<'a> Search<'a> {
    pub(super) fn new(origins: Origins<'a>) -> Self {
        Self {
            origins,
            at: 0,
            culprit_end: None,
            likely: None,
            trusted: true,
        }
    }

    /// Inputs to hand in next. `cut` says how many make a batch, from an index on, while
    /// nothing is suspected.
    pub(super) fn next(&self, cut: impl FnOnce(usize) -> usize) -> Option<Range<usize>> {
        let len = self.origins.len();
        if self.at >= len {
            return None;
        }
        let end = match self.culprit_end {
            Some(end) => self.probe(end),
            None => self.at.saturating_add(cut(self.at).max(1)).min(len),
        };
        Some(self.at..end)
    }

    /// Inputs that hold a culprit, and which of them the guest said it was.
    pub(super) fn suspects(&self) -> Option<(Range<usize>, Option<usize>)> {
        let range = self.at..self.culprit_end?;
        let likely = self.likely.map(|index| self.origins.of(index));
        Some((self.origins.of_range(&range), likely))
    }

    /// Origin of the first input that is not decided.
    pub(super) fn origin(&self) -> usize {
        self.origins.of(self.at)
    }

    /// What was handed out ran clean, up to here.
    pub(super) fn clean(&mut self, end: usize) {
        self.at = end;
        if self.likely.is_some_and(|likely| likely < end) {
            self.likely = None;
            self.trusted = false;
        }
        if self.culprit_end.is_some_and(|culprit_end| culprit_end <= end) {
            self.culprit_end = None;
            self.likely = None;
        }
    }

    /// What was handed out faulted. `hint` is an index into it.
    pub(super) fn fault(&mut self, range: &Range<usize>, hint: Option<usize>) -> Culprit {
        let origin = self.origins.of(range.start);
        let group_end = self.origins.group_end(range.start);
        if group_end >= range.end {
            // What follows the culprit is as good as anything else.
            self.at = group_end;
            self.culprit_end = None;
            self.likely = None;
            return Culprit::Found(origin);
        }
        if self.likely.is_some_and(|likely| likely >= range.end) {
            self.trusted = false;
        }
        self.culprit_end = Some(range.end);
        self.likely = hint
            .map(|hint| range.start.saturating_add(hint))
            .filter(|likely| self.trusted && range.contains(likely));
        Culprit::Among
    }

    /// How far to look next: less than up to `end`, unless a single origin is left.
    fn probe(&self, end: usize) -> usize {
        let middle = self.at + (end - self.at) / 2;
        let start = self.origins.group_start(self.likely.unwrap_or(middle));
        if start > self.at {
            start
        } else {
            self.origins.group_end(self.at).min(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_hint_needs_one_more_fault() {
        let mut search = Search::new(Origins::Own(1000));
        let all = search.next(|_| 1000).unwrap();
        assert_eq!(search.fault(&all, Some(600)), Culprit::Among);
        assert_eq!(search.suspects(), Some((0..1000, Some(600))));
        assert_eq!(search.next(|_| 1000), Some(0..600));
        search.clean(600);
        assert_eq!(search.next(|_| 1000), Some(600..601));
        assert_eq!(search.fault(&(600..601), Some(0)), Culprit::Found(600));
        assert_eq!(search.suspects(), None);
        assert_eq!(search.next(|_| 1000), Some(601..1000));
        search.clean(1000);
        assert_eq!(search.next(|_| 1000), None);
    }

    #[test]
    fn a_liar_is_believed_once() {
        let mut search = Search::new(Origins::Own(1000));
        search.fault(&(0..1000), Some(0));
        assert_eq!(search.next(|_| 1), Some(0..1));
        search.clean(1);
        assert_eq!(search.next(|_| 1), Some(1..500));
        search.fault(&(1..500), Some(0));
        assert_eq!(search.next(|_| 1), Some(1..250), "the middle, not the hint");

        let mut search = Search::new(Origins::Own(1000));
        search.fault(&(0..1000), Some(900));
        search.fault(&(0..900), Some(800));
        assert_eq!(search.next(|_| 1), Some(0..450), "what precedes 900 was not fine");
    }

    #[test]
    fn descendants_of_one_record_stay_together() {
        let links: Vec<Link> = [0, 0, 0, 0, 0, 3, 3, 7]
            .map(|origin| Link {
                segment: 0,
                entry: 0,
                origin,
            })
            .to_vec();
        let mut search = Search::new(Origins::Table(&links));
        assert_eq!(search.fault(&(0..8), None), Culprit::Among);
        assert_eq!(search.suspects(), Some((0..8, None)));
        assert_eq!(search.next(|_| 8), Some(0..5), "the middle is inside of record 0");
        search.clean(5);
        assert_eq!(search.next(|_| 8), Some(5..7));
        assert_eq!(search.fault(&(5..7), None), Culprit::Found(3));
        assert_eq!(search.next(|_| 8), Some(7..8));
    }

    #[test]
    fn a_culprit_that_a_batch_limit_parted_is_found_whole() {
        let links = [Link {
            segment: 0,
            entry: 0,
            origin: 4,
        }; 6];
        let mut search = Search::new(Origins::Table(&links));
        assert_eq!(search.next(|_| 2), Some(0..2));
        assert_eq!(search.fault(&(0..2), None), Culprit::Found(4));
        assert_eq!(search.next(|_| 2), None, "its other parts share its fate");
    }
}
