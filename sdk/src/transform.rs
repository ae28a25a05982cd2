//! What an author implements.

use std::cell::Cell;
use std::ops::Range;

use serde::de::DeserializeOwned;

use crate::batch::{InputView, Malformed};
use crate::{Output, Record, Result};

/// A transform: what becomes of each record.
///
/// It may keep things between records, but only as a cache: the runtime makes a new instance
/// whenever a transaction is aborted, a record makes the transform trap, or a partition moves.
pub trait Transform: Sized + 'static {
    /// What the pipeline's `settings` hold; `{}` if it has none. A transform without settings
    /// takes `()`.
    type Settings: DeserializeOwned;

    /// Called once for each instance. An error is a mistake in the pipeline's settings.
    fn new(settings: Self::Settings) -> Result<Self>;

    /// Answers for one record: emit any number of records and return `Ok`, or return an error,
    /// which takes back what this record emitted. `Ok` without anything emitted filters it.
    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()>;

    /// Answers for a whole batch, for transforms that gain from seeing many records at once.
    /// Unless it is written, it calls [`Transform::record`] for each record.
    ///
    /// Emit inside of [`Output::attempt`]. If an error leaves this method that no attempt has
    /// taken, the outputs of the batch are discarded and the method is called again for each
    /// record alone, so that the error is that of one record.
    fn batch(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        for record in batch {
            out.attempt(&record, |out| self.record(&record, out))?;
        }
        Ok(())
    }
}

/// The records of one call, all of one partition.
#[derive(Debug)]
pub struct Batch<'a> {
    view: InputView<'a>,
    range: Range<u32>,
    malformed: Cell<Option<Malformed>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(view: InputView<'a>) -> Self {
        Self {
            view,
            range: 0..view.len(),
            malformed: Cell::new(None),
        }
    }

    /// One record as a batch of its own.
    pub(crate) fn only(&self, index: u32) -> Self {
        Self {
            view: self.view,
            range: index..index.saturating_add(1),
            malformed: Cell::new(None),
        }
    }

    pub(crate) fn indices(&self) -> Range<u32> {
        self.range.clone()
    }

    pub(crate) fn record(&self, index: u32) -> Result<Record<'a>, Malformed> {
        self.view.record(index).map(Record::new)
    }

    /// What was wrong with a record, at which [`Records`] then ended.
    pub(crate) fn malformed(&self) -> Option<Malformed> {
        self.malformed.get()
    }

    pub fn len(&self) -> usize {
        self.range.len()
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The records, in order.
    pub fn iter(&self) -> Records<'_, 'a> {
        Records {
            batch: self,
            range: self.range.clone(),
        }
    }
}

impl<'b, 'a> IntoIterator for &'b Batch<'a> {
    type Item = Record<'a>;
    type IntoIter = Records<'b, 'a>;

    fn into_iter(self) -> Records<'b, 'a> {
        self.iter()
    }
}

/// Walks the records of a [`Batch`].
#[derive(Debug)]
pub struct Records<'b, 'a> {
    batch: &'b Batch<'a>,
    range: Range<u32>,
}

impl<'a> Iterator for Records<'_, 'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        match self.batch.record(self.range.next()?) {
            Ok(record) => Some(record),
            Err(malformed) => {
                self.batch.malformed.set(Some(malformed));
                self.range = 0..0;
                None
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}
