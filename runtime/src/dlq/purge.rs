//! `strait dlq purge`: letters that nobody waits for any more, and deleting what is done with.
//!
//! Invariant: no letter is deleted before every one up to it has a mark. What another pipeline
//! has written into the same topic, or nobody knows, waits.

use std::ops::ControlFlow;

use super::Trouble;
use super::desk::{Desk, Read};
use super::ledger::{Entry, Ledger};
use super::letter::Place;
use super::marks::{Mark, Marks};
use super::replay;
use super::selection::Selection;
use crate::inquiry::{ANSWER, Progress, insist};
use crate::kafka::ProducerFactory;

/// Marks in one transaction.
const BATCH_LETTERS: usize = 5_000;

/// Of one partition: what lies before `before` is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    pub partition: i32,
    /// Where its log starts now.
    pub start: i64,
    pub before: i64,
}

/// What there is to do, or what was done.
#[derive(Debug, Default)]
pub struct Report {
    /// Letters that are given up.
    pub purged: u64,
    pub deletions: Vec<Deletion>,
}

/// What there is to do: letters to mark, if there is a selection, and what could be deleted then.
pub fn look(
    desk: &Desk,
    selection: Option<&Selection>,
    deletes: bool,
    progress: &mut Progress<'_>,
) -> Result<Report, Trouble> {
    let marks = desk.marks()?;
    let mut report = Report::default();
    if let Some(selection) = selection {
        desk.letters(selection, progress, &mut |_, read| {
            report.purged += u64::from(meant(selection, &marks, &read).is_some());
            Ok(ControlFlow::Continue(()))
        })?;
    }
    if deletes {
        report.deletions = deletions(desk, &marks, selection, progress)?;
    }
    Ok(report)
}

/// Does it.
pub fn carry_out(
    desk: &Desk,
    selection: Option<&Selection>,
    deletes: bool,
    progress: &mut Progress<'_>,
) -> Result<Report, Trouble> {
    let mut ledger = replay::open(desk, Vec::new())?;
    let mut report = Report::default();
    if let Some(selection) = selection {
        report.purged = mark(desk, &mut ledger, selection, progress)?;
    }
    if deletes {
        // By the marks that have committed.
        report.deletions = deletions(desk, ledger.marks(), None, progress)?;
        delete(desk, &mut ledger, &report.deletions)?;
    }
    Ok(report)
}

/// Says how many.
fn mark<F: ProducerFactory>(
    desk: &Desk,
    ledger: &mut Ledger<'_, F>,
    selection: &Selection,
    progress: &mut Progress<'_>,
) -> Result<u64, Trouble> {
    let (mut batch, mut marked) = (Vec::new(), 0);
    desk.letters(selection, progress, &mut |_, read| {
        let Some(place) = meant(selection, ledger.marks(), &read) else {
            return Ok(ControlFlow::Continue(()));
        };
        batch.push(Entry {
            place,
            mark: Some(Mark::Purged),
            record: None,
        });
        if batch.len() >= BATCH_LETTERS {
            marked += ledger.settle(std::mem::take(&mut batch))?.done;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    marked += ledger.settle(batch)?.done;
    Ok(marked as u64)
}

fn meant(selection: &Selection, marks: &Marks, read: &Read) -> Option<Place> {
    let Read::Ours(letter) = read else { return None };
    (selection.means(letter) && marks.of(letter.place).is_none()).then_some(letter.place)
}

/// What may be deleted of each partition, if `also` is done with too.
fn deletions(
    desk: &Desk,
    marks: &Marks,
    also: Option<&Selection>,
    progress: &mut Progress<'_>,
) -> Result<Vec<Deletion>, Trouble> {
    let mut deletions = Vec::new();
    for partition in desk.partitions() {
        let bounds = insist("ask for the bounds of the dead letters", || {
            desk.admin.bounds(&desk.partition(partition), ANSWER)
        })?;
        let mut deletion = Deletion {
            partition,
            start: bounds.start,
            before: bounds.end,
        };
        let of_partition = Selection {
            partition: Some(partition),
            ..Selection::default()
        };
        desk.letters(&of_partition, progress, &mut |_, read| {
            let (place, is_done) = match &read {
                Read::Ours(letter) => {
                    let is_meant = also.is_some_and(|also| also.means(letter));
                    (letter.place, is_meant || marks.of(letter.place).is_some())
                }
                Read::Others(letter) => (letter.place, false),
                Read::NoLetter(place) => (*place, false),
            };
            if is_done || place.offset >= bounds.end {
                return Ok(ControlFlow::Continue(()));
            }
            deletion.before = place.offset;
            Ok(ControlFlow::Break(()))
        })?;
        if deletion.before > deletion.start {
            deletions.push(deletion);
        }
    }
    Ok(deletions)
}

/// Deletes it for good. Then the marks of what is gone are taken back.
fn delete<F: ProducerFactory>(
    desk: &Desk,
    ledger: &mut Ledger<'_, F>,
    deletions: &[Deletion],
) -> Result<(), Trouble> {
    for deletion in deletions {
        insist("delete records of the dead letters", || {
            desk.admin
                .delete_before(&desk.partition(deletion.partition), deletion.before, ANSWER)
        })?;
    }
    for partition in desk.partitions() {
        let bounds = insist("ask for the bounds of the dead letters", || {
            desk.admin.bounds(&desk.partition(partition), ANSWER)
        })?;
        let gone = ledger.marks().before(partition, bounds.start);
        for places in gone.chunks(BATCH_LETTERS) {
            let back = |place: &Place| Entry {
                place: *place,
                mark: None,
                record: None,
            };
            ledger.settle(places.iter().map(back).collect())?;
        }
    }
    Ok(())
}
