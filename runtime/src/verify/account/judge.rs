//! One record of an output against what must become of its input.

use crate::verify::finding::{Kind, Place};
use crate::verify::source::{Claim, Letter, Output};
use crate::verify::window::{DOUBTFUL, Fate, LEARNED, UNTRACKED, Why, depends_on_the_moment};

use super::Account;
use super::order::Step;

impl Account {
    /// Its input cannot be read any more: what is left is that it stands once and in order,
    /// as far as its neighbours tell.
    pub(super) fn see_gone(&mut self, at: usize, claim: &Claim, place: Place) {
        self.outcomes.by_coordinate += 1;
        let (kind, what) = match self.order.step(at, claim) {
            Step::Ahead => return,
            Step::Same => (Kind::Doubled, "stands again"),
            Step::Behind => (Kind::OutOfOrder, "stands behind a later one of its partition,"),
        };
        let what = format!("{} {what}", claim.name());
        self.wrong(kind, claim.input, claim.offset, Some(place), what);
    }

    /// Says whether it is the first of its kind, and one that may be there.
    pub(super) fn see_output(&mut self, at: usize, seen: &Output, place: &Place) -> bool {
        let claim = seen.claim;
        let Some(topic) = self.outputs.get(at).map(|output| output.topic) else {
            return false;
        };
        let Some(input) = self.inputs.get_mut(claim.input) else {
            return false;
        };
        let window = &mut input.window;
        let Some(mut cell) = window.cell(claim.offset) else {
            return false;
        };
        let follows = cell.fate == Fate::Unknown
            || (cell.why.is_doubtful() && (cell.fate != Fate::Outputs || cell.parts != claim.parts));
        if follows && !cell.has(LEARNED) {
            if cell.has(UNTRACKED) || !window.learn(claim.offset, claim.parts) {
                return true;
            }
            cell = window.cell(claim.offset).unwrap_or(cell);
        }
        let (kind, what) = match window.part(cell, claim.part) {
            _ if cell.fate == Fate::Hole => (
                Kind::Unexpected,
                "is no committed record, and must have no outputs; one stands".to_owned(),
            ),
            _ if !cell.has(LEARNED) && matches!(cell.fate, Fate::Letter | Fate::Skipped) => {
                let why = cell.why.clause();
                (
                    Kind::Unexpected,
                    format!("must have no outputs: {why}; {} stands", claim.name()),
                )
            }
            None if cell.parts == 0 => (
                Kind::Unexpected,
                format!("is filtered when recomputed, and {} stands", claim.name()),
            ),
            None => (
                Kind::Unexpected,
                format!("has {} outputs, and {} stands", cell.parts, claim.name()),
            ),
            Some((Some(expected), ..)) if expected != topic => {
                let name = self.topics.get(usize::from(expected));
                let name = name.map_or("another topic", |topic| &*topic.name);
                (
                    Kind::Unexpected,
                    format!("{} belongs to {name} and stands", claim.name()),
                )
            }
            Some((_, _, true)) => (Kind::Doubled, format!("{} stands again", claim.name())),
            Some((expected, digest, false)) => {
                window.mark_seen(cell, claim.part);
                let wrong = if cell.parts != claim.parts {
                    format!("{} should be one of {}, and stands", claim.name(), cell.parts)
                } else if expected.is_some() && digest != seen.digest {
                    format!(
                        "{} is not what the module makes of it, where it stands",
                        claim.name()
                    )
                } else {
                    return true;
                };
                if cell.why.is_doubtful() {
                    // Another attempt, another output.
                    input.doubt(claim.offset);
                } else {
                    self.wrong(
                        Kind::Differs,
                        claim.input,
                        claim.offset,
                        Some(place.clone()),
                        wrong,
                    );
                }
                return true;
            }
        };
        self.wrong(kind, claim.input, claim.offset, Some(place.clone()), what);
        false
    }

    pub(super) fn see_letter(&mut self, letter: &Letter, place: &Place) -> bool {
        let claim = letter.claim;
        let Some(input) = self.inputs.get_mut(claim.input) else {
            return false;
        };
        let Some(cell) = input.window.cell(claim.offset) else {
            return false;
        };
        let expected = input.window.part(cell, 1);
        if let Some(cell) = input.window.cell_mut(claim.offset) {
            cell.letters = cell.letters.saturating_add(1);
        }
        let doubtful = letter.is_of_another_module || letter.kind.is_some_and(depends_on_the_moment);
        let (kind, what) = match (cell.fate, expected) {
            (Fate::Hole, _) => (
                Kind::Unexpected,
                "is no committed record, and must have no dead letter; one stands".to_owned(),
            ),
            _ if cell.letters > 0 => (Kind::Doubled, "its dead letter stands again".to_owned()),
            _ if cell.why == Why::Repeat => (
                Kind::Unexpected,
                "repeats another record, and its dead letter stands".to_owned(),
            ),
            (Fate::Letter, Some((_, digest, false))) if !cell.has(LEARNED) => {
                input.window.mark_seen(cell, 1);
                match letter.digest {
                    Some(found) if found != digest => (
                        Kind::Differs,
                        "its dead letter does not carry the record, where it stands".to_owned(),
                    ),
                    _ => return true,
                }
            }
            (Fate::Outputs, _) if !cell.why.is_doubtful() && !doubtful => {
                let kind = letter.kind.map_or("a failure", |kind| kind.as_str());
                (
                    Kind::Differs,
                    format!(
                        "does not fail when recomputed ({} outputs), and its dead letter ({kind}) stands",
                        cell.parts
                    ),
                )
            }
            (Fate::Outputs, _) => {
                input.mark(claim.offset, DOUBTFUL);
                return true;
            }
            _ => return true,
        };
        self.wrong(kind, claim.input, claim.offset, Some(place.clone()), what);
        kind == Kind::Differs
    }
}
