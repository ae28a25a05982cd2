//! Timers: what is to be done for a key at a time.

use super::queue::Queue;
use crate::state::{Raw, author_key, key};
use crate::{Output, Result};

const QUEUE: Queue = Queue(b't');
/// For each key that has a timer, when it is due.
const BY_KEY: u8 = b'k';

/// Timers, one for a key, kept in a state store.
///
/// They may share a store with what the author keeps under the same keys.
///
/// ```
/// # use strait_sdk::prelude::*;
/// use strait_sdk::event_time::Timers;
///
/// const SILENCE: Timers = Timers::new("devices");
///
/// # fn record(record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
/// SILENCE.fire(out, |out, silent| {
///     out.to("silent").emit(strait_sdk::Outgoing::new().with_key(silent.key))
/// })?;
/// let device = record.key().unwrap_or(b"nobody");
/// SILENCE.set(out, device, record.stream_time().unwrap_or(0) + 60_000)?;
/// out.emit(record)
/// # }
/// ```
#[derive(Debug)]
pub struct Timers {
    store: &'static str,
}

/// A timer that has fired, and is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    pub key: Vec<u8>,
    /// When it was due, which the stream time has reached or passed.
    pub due_ms: i64,
}

impl Timers {
    /// Timers in the store that the pipeline gives this name.
    pub const fn new(store: &'static str) -> Self {
        Self { store }
    }

    /// Calls `fired` for the timers that are due with the record at hand, the earliest first. Call
    /// it for every record.
    ///
    /// A timer that `fired` sets is for later records, even if it is due. An error from `fired` is
    /// an error of the record at hand, and the timers will fire with the next one.
    pub fn fire<'a>(
        &self,
        out: &mut Output<'a>,
        mut fired: impl FnMut(&mut Output<'a>, Fired) -> Result<()>,
    ) -> Result<()> {
        let mut raw = Raw::open(out, self.store)?;
        let due = QUEUE.take(&mut raw)?;
        for due in &due {
            raw.delete(&by_key(&due.about))?;
        }
        for due in due {
            let timer = Fired {
                key: due.about,
                due_ms: due.at_ms,
            };
            fired(out, timer)?;
        }
        Ok(())
    }

    /// Sets the timer of a key, in place of the one that it had. It fires with the first record
    /// that brings the stream time to `due_ms`.
    pub fn set(&self, out: &mut Output<'_>, key: impl AsRef<[u8]>, due_ms: i64) -> Result<()> {
        self.cancel(out, &key)?;
        let (key, due_ms) = (key.as_ref(), due_ms.max(0));
        let mut raw = Raw::open(out, self.store)?;
        raw.put(&by_key(key), &due_ms.to_be_bytes(), Some(i64::MAX))?;
        QUEUE.put(&mut raw, &QUEUE.key(due_ms, &[key]), &[])
    }

    /// When the timer of a key is due; `None` if it has none.
    pub fn due(&self, out: &mut Output<'_>, key: impl AsRef<[u8]>) -> Result<Option<i64>> {
        author_key(key.as_ref())?;
        let raw = Raw::open(out, self.store)?;
        let due = raw.get(&by_key(key.as_ref()));
        Ok(due.and_then(|due| Some(i64::from_be_bytes(*due.first_chunk()?))))
    }

    /// Takes the timer of a key away, if it has one.
    pub fn cancel(&self, out: &mut Output<'_>, key: impl AsRef<[u8]>) -> Result<()> {
        let key = key.as_ref();
        let Some(due_ms) = self.due(out, key)? else {
            return Ok(());
        };
        let mut raw = Raw::open(out, self.store)?;
        raw.delete(&by_key(key))?;
        raw.delete(&QUEUE.key(due_ms, &[key]))
    }
}

fn by_key(key: &[u8]) -> Vec<u8> {
    [&key::own(BY_KEY)[..], key].concat()
}
