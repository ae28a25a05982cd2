//! Windows: what records of a key come to in a stretch of time.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ms;
use super::queue::{Due, Queue};
use crate::state::{Raw, author_key, write_json};
use crate::{Error, Output, Record, Result};

const QUEUE: Queue = Queue(b'w');

/// A record is in no more windows than this.
const OVERLAP_MAX: i64 = 64;

/// Windows of one length, in a state store of their own, with a value for each key.
///
/// A window is closed when the stream time reaches its end and the grace period. Until then records
/// count in it, in whatever order they come; what comes later is late, and is handed back.
///
/// ```
/// # use strait_sdk::prelude::*;
/// use std::time::Duration;
/// use strait_sdk::Outgoing;
/// use strait_sdk::event_time::{Arrival, Windows};
///
/// const MINUTES: Windows<u64> =
///     Windows::tumbling("minutes", Duration::from_secs(60)).with_grace(Duration::from_secs(10));
///
/// # fn record(record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
/// let minutes = MINUTES.advance(out, |out, closed| {
///     out.emit(Outgoing::new().with_key(closed.key).with_json(&closed.value)?)
/// })?;
/// match minutes.update(out, record, record.key().unwrap_or(b"none"), |count| *count += 1)? {
///     Arrival::OnTime => Ok(()),
///     Arrival::Late(_) => out.to("late").emit(record),
/// }
/// # }
/// ```
pub struct Windows<T> {
    store: &'static str,
    size: Duration,
    every: Duration,
    grace: Duration,
    values: PhantomData<fn(T) -> T>,
}

/// A stretch of time, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub start_ms: i64,
    /// The first moment that is not in it.
    pub end_ms: i64,
}

/// A window that takes no more records, with what those of one key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed<T> {
    pub window: Window,
    pub key: Vec<u8>,
    pub value: T,
}

/// What became of a record that was to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a late record is missing from a window: say what becomes of it"]
pub enum Arrival {
    /// It counts in all its windows.
    OnTime,
    Late(Late),
}

/// A record some of whose windows were closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// The last window that it has missed.
    pub window: Window,
    /// Windows that it has missed.
    pub missed: u32,
    /// Windows in which it counts: sliding ones overlap, and the later may be open.
    pub counted: u32,
}

impl<T> Windows<T> {
    /// Windows that follow each other, from the epoch on.
    pub const fn tumbling(store: &'static str, size: Duration) -> Self {
        Self::sliding(store, size, size)
    }

    /// Windows of which one begins at each multiple of `every` since the epoch, so that they overlap.
    pub const fn sliding(store: &'static str, size: Duration, every: Duration) -> Self {
        Self {
            store,
            size,
            every,
            grace: Duration::ZERO,
            values: PhantomData,
        }
    }

    /// How long a window waits for records behind its end; not at all unless told.
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    fn close_ms(&self, window: Window) -> i64 {
        window.end_ms.saturating_add(ms(self.grace))
    }

    /// The windows that a moment is in, the earliest first.
    pub(super) fn windows(&self, time_ms: i64) -> impl Iterator<Item = Window> {
        let (size_ms, every_ms) = (ms(self.size), ms(self.every));
        let newest_ms = time_ms - time_ms.rem_euclid(every_ms);
        let overlap = 1 + (size_ms - 1) / every_ms;
        let starts = (0..overlap)
            .rev()
            .filter_map(move |n| newest_ms.checked_sub(n.checked_mul(every_ms)?));
        starts
            .map(move |start_ms| Window {
                start_ms,
                end_ms: start_ms.saturating_add(size_ms),
            })
            .filter(move |window| window.start_ms >= 0 && time_ms - window.start_ms < size_ms)
    }

    fn is_possible(&self) -> bool {
        let (size_ms, every_ms) = (ms(self.size), ms(self.every));
        every_ms > 0 && every_ms <= size_ms && (size_ms - 1) / every_ms < OVERLAP_MAX
    }
}

impl<T: DeserializeOwned> Windows<T> {
    /// Goes on to the time of the record at hand: calls `closed` for the windows that it closes, the
    /// earliest first. What it returns takes the record. Call it for every record.
    ///
    /// An error from `closed` is an error of the record at hand, and the windows will be closed with
    /// the next one; do not let a window fail for what it holds.
    pub fn advance<'a>(
        &self,
        out: &mut Output<'a>,
        mut closed: impl FnMut(&mut Output<'a>, Closed<T>) -> Result<()>,
    ) -> Result<Open<'_, T>> {
        if !self.is_possible() {
            return Err(out.wrong(format_args!(
                "{self:?}: they begin every millisecond or more, and a moment is in 1 to {OVERLAP_MAX} of them"
            )));
        }
        let due = QUEUE.take(&mut Raw::open(out, self.store)?)?;
        for due in due {
            let Some(window) = read(&due) else {
                return Err(out.wrong(format_args!(
                    "{self:?}: what its store holds for {:?} is no such window",
                    String::from_utf8_lossy(&due.about)
                )));
            };
            closed(out, window)?;
        }
        Ok(Open { windows: self })
    }
}

impl<T> fmt::Debug for Windows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (store, size, every) = (self.store, self.size, self.every);
        write!(f, "windows of {size:?} every {every:?} in the store {store:?}")
    }
}

/// Windows at the time of a record: see [`Windows::advance`].
#[derive(Debug)]
pub struct Open<'w, T> {
    windows: &'w Windows<T>,
}

impl<T: Default + Serialize + DeserializeOwned> Open<'_, T> {
    /// Changes the value that a key has in the windows of the record's timestamp; a default one
    /// where there is none yet. A record without a timestamp counts at the stream time.
    pub fn update(
        &self,
        out: &mut Output<'_>,
        record: &Record<'_>,
        key: impl AsRef<[u8]>,
        change: impl FnMut(&mut T),
    ) -> Result<Arrival> {
        let time_ms = record.timestamp().unwrap_or(record.state_time_ms());
        self.update_at(out, time_ms, key, change)
    }

    /// The same at a time that the author knows better, in milliseconds since the epoch.
    pub fn update_at(
        &self,
        out: &mut Output<'_>,
        time_ms: i64,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(&mut T),
    ) -> Result<Arrival> {
        let key = key.as_ref();
        author_key(key)?;
        if time_ms < 0 {
            return Err(Error::reject(format_args!("{time_ms} is no time of a record")));
        }
        let windows = self.windows;
        let now_ms = Raw::open(out, windows.store)?.time_ms();
        let (mut counted, mut missed, mut last) = (0, 0, None);
        for window in windows.windows(time_ms) {
            if windows.close_ms(window) <= now_ms {
                missed += 1;
                last = Some(window);
            } else {
                counted += 1;
                self.change(out, window, key, &mut change)?;
            }
        }
        Ok(last.map_or(Arrival::OnTime, |window| {
            Arrival::Late(Late {
                window,
                missed,
                counted,
            })
        }))
    }

    fn change(
        &self,
        out: &mut Output<'_>,
        window: Window,
        key: &[u8],
        change: impl FnOnce(&mut T),
    ) -> Result<()> {
        let start = window.start_ms.to_be_bytes();
        let entry = QUEUE.key(self.windows.close_ms(window), &[&start, key]);
        let mut raw = Raw::open(out, self.windows.store)?;
        let stored = raw
            .get(&entry)
            .map(|stored| split(&stored).and_then(|(_, value)| value));
        let mut value: T = match stored {
            None => T::default(),
            Some(Some(value)) => value,
            Some(None) => {
                return Err(out.wrong(format_args!(
                    "{:?}: what its store holds for {:?} is of another type",
                    self.windows,
                    String::from_utf8_lossy(key)
                )));
            }
        };
        change(&mut value);
        let stored = [&window.end_ms.to_be_bytes()[..], &write_json(&value)?].concat();
        QUEUE.put(&mut raw, &entry, &stored)
    }
}

impl Arrival {
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Late(_))
    }
}

/// The end of a window and its value, if that fits.
fn split<T: DeserializeOwned>(stored: &[u8]) -> Option<(i64, Option<T>)> {
    let (end, value) = stored.split_first_chunk()?;
    Some((i64::from_be_bytes(*end), serde_json::from_slice(value).ok()))
}

fn read<T: DeserializeOwned>(due: &Due) -> Option<Closed<T>> {
    let (start, key) = due.about.split_first_chunk()?;
    let (end_ms, value) = split(&due.value)?;
    Some(Closed {
        window: Window {
            start_ms: i64::from_be_bytes(*start),
            end_ms,
        },
        key: key.to_vec(),
        value: value?,
    })
}
