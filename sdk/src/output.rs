//! Where a transform's records go.

use crate::batch::{BuildError, Builder, Progress};
use crate::error::Kind;
use crate::guest::Failure;
use crate::state::{Declared, Overlay, Store};
use crate::{Error, Outgoing, Record, Result};

/// The output that [`Output::emit`] writes to.
pub(crate) const DEFAULT: &str = "default";

/// Takes what a transform emits.
///
/// Nothing leaves before the whole batch is done, and a record that fails takes back what it
/// emitted.
#[derive(Debug)]
pub struct Output<'a> {
    builder: Builder,
    names: &'a [String],
    /// Place of [`DEFAULT`], which most records go to.
    default: Option<u16>,
    progress: Progress<'a>,
    now_ms: i64,
    failure: Option<Failure>,
    stores: &'a [Declared],
    overlay: Overlay,
    /// The time that state goes by: that of the record which began last.
    time_ms: i64,
    /// Attempts under way, one within the other.
    attempts: u32,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        builder: Builder,
        names: &'a [String],
        stores: &'a [Declared],
        progress: Progress<'a>,
        now_ms: i64,
    ) -> Self {
        Self {
            builder,
            names,
            default: place(names, DEFAULT),
            progress,
            now_ms,
            failure: None,
            stores,
            overlay: Overlay::default(),
            time_ms: 0,
            attempts: 0,
        }
    }

    /// Emits to the output `default`: a record (`out.emit(record)`), one with changes
    /// (`out.emit(record.with_value(b"x"))`), or a new one.
    #[inline]
    pub fn emit<'r>(&mut self, record: impl Into<Outgoing<'r>>) -> Result<()> {
        self.write(self.default, DEFAULT, &record.into())
    }

    /// Another output, by the name that the pipeline gives it. A name that the pipeline does
    /// not have stops the pipeline, as no record is to blame for it.
    #[inline]
    pub fn to<'o>(&'o mut self, name: &'o str) -> Named<'o, 'a> {
        Named { out: self, name }
    }

    /// A store of keyed state, by the name that the pipeline gives it. A name that the pipeline
    /// does not have stops the pipeline, as no record is to blame for it.
    ///
    /// ```
    /// # use strait_sdk::prelude::*;
    /// # fn record(record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
    /// let Some(key) = record.key() else { return Ok(()) };
    /// let mut seen = out.store("seen");
    /// let times = seen.get_json::<u64>(key)?.unwrap_or(0) + 1;
    /// seen.put_json(key, &times)
    /// # }
    /// ```
    #[inline]
    pub fn store<'o>(&'o mut self, name: &'o str) -> Store<'o, 'a> {
        Store::new(self, name)
    }

    /// The time that counts as now for this batch, in milliseconds since the epoch. It is the
    /// same for all of the batch.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Works on one record in [`Transform::batch`](crate::Transform::batch): what `work` emits
    /// belongs to the record, and an error that it returns is this record's alone. Records are
    /// taken in order; those that are passed over are filtered.
    ///
    /// After an error from here, nothing more can be emitted: return it.
    #[inline]
    pub fn attempt(&mut self, record: &Record<'_>, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.progress.at(record.index());
        if let Err(error) = self.builder.begin(record.index()) {
            return Err(self.refused(error));
        }
        self.overlay.begin(record.index());
        self.time_ms = record.state_time_ms();
        self.attempts += 1;
        let worked = work(self);
        self.attempts -= 1;
        match worked {
            Ok(()) if self.failure.is_none() => Ok(()),
            Ok(()) => Err(Error::ended("the batch has failed")),
            Err(error) => self.settle(error),
        }
    }

    /// Answers for the record at hand. Its first answer counts.
    fn settle(&mut self, error: Error) -> Result<()> {
        let answered = match error.kind() {
            _ if self.failure.is_some() => return Err(error),
            Kind::Ended => return Err(error),
            Kind::Reject => self.builder.reject(error.reason()),
            Kind::Retry => self.builder.retry(error.reason()),
        };
        self.overlay.take_back();
        match answered {
            Ok(()) | Err(BuildError::Answered) if self.builder.is_ended() => {
                Err(Error::ended("a record is to be tried again"))
            }
            Ok(()) | Err(BuildError::Answered) => Ok(()),
            Err(refused) => Err(self.refused(refused)),
        }
    }

    #[inline]
    fn write(&mut self, output: Option<u16>, name: &str, record: &Outgoing<'_>) -> Result<()> {
        let Some(output) = output else {
            return Err(self.unknown(name));
        };
        record
            .write(output, &mut self.builder)
            .map_err(|error| self.refused(error))
    }

    /// Forgets what the batch emitted.
    pub(crate) fn clear(&mut self) {
        self.builder.clear();
        self.overlay.clear();
    }

    /// The batch, or why there is none. `ended` says that the transform left before the last
    /// record: records that nobody answered for must not pass for filtered.
    pub(crate) fn finish(self, ended: bool) -> Result<Vec<u8>, Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None if ended && !self.builder.is_ended() => Err(Failure::Fault(
                "the transform returned an error of another record".to_owned(),
            )),
            None => Ok(self.builder.finish()),
        }
    }

    #[cold]
    fn refused(&mut self, error: BuildError) -> Error {
        match error {
            BuildError::Answered if self.builder.is_ended() => Error::ended(error.to_string()),
            BuildError::Answered | BuildError::Negative => Error::reject(error),
            BuildError::OutOfOrder => self.wrong(error),
            BuildError::TooLarge => self.fail(Failure::Fault(error.to_string())),
        }
    }

    /// Stores that the pipeline declares, in its order.
    pub(crate) fn declared(&self) -> &'a [Declared] {
        self.stores
    }

    /// The time that state goes by; `None` outside of an attempt.
    pub(crate) fn time_ms(&self) -> Option<i64> {
        (self.attempts > 0).then_some(self.time_ms)
    }

    /// One entry more of the record at hand.
    pub(crate) fn build(&mut self, entry: impl FnOnce(&mut Builder) -> Result<(), BuildError>) -> Result<()> {
        entry(&mut self.builder).map_err(|error| self.refused(error))
    }

    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    pub(crate) fn overlay_mut(&mut self) -> &mut Overlay {
        &mut self.overlay
    }

    /// For a scan, which may find that the runtime is wrong.
    pub(crate) fn overlay_and_failure(&mut self) -> (&Overlay, &mut Option<Failure>) {
        (&self.overlay, &mut self.failure)
    }

    #[cold]
    pub(crate) fn unknown_store(&mut self, name: &str) -> Error {
        let known: Vec<_> = self.stores.iter().map(|store| store.name.as_str()).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        let message = format!(
            "the transform keeps state in the store {name:?}, which the pipeline does not have \
             (it has: {known}); add it to `state`, as in `state: {{ {name}: {{ ttl: 30d }} }}`, or correct the transform"
        );
        self.fail(Failure::Pipeline(message))
    }

    /// The transform is wrong in a way that no record is to blame for.
    #[cold]
    pub(crate) fn wrong(&mut self, what: impl std::fmt::Display) -> Error {
        self.fail(Failure::Pipeline(format!("the transform is wrong: {what}")))
    }

    #[cold]
    fn unknown(&mut self, name: &str) -> Error {
        let known = self.names.join(", ");
        let message = format!(
            "the transform emits to the output {name:?}, which the pipeline does not have (it has: {known}); \
             add it to `outputs` or correct the transform"
        );
        self.fail(Failure::Pipeline(message))
    }

    /// The first failure counts.
    fn fail(&mut self, failure: Failure) -> Error {
        let error = Error::ended(failure.message());
        self.failure.get_or_insert(failure);
        error
    }
}

#[inline]
fn place(names: &[String], name: &str) -> Option<u16> {
    names
        .iter()
        .position(|have| have == name)
        .and_then(|place| u16::try_from(place).ok())
}

/// One of the outputs: see [`Output::to`].
#[derive(Debug)]
pub struct Named<'o, 'a> {
    out: &'o mut Output<'a>,
    name: &'o str,
}

impl Named<'_, '_> {
    /// Emits to this output.
    #[inline]
    pub fn emit<'r>(&mut self, record: impl Into<Outgoing<'r>>) -> Result<()> {
        self.out
            .write(place(self.out.names, self.name), self.name, &record.into())
    }
}
