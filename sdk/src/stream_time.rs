//! How far the records of a partition have come in time, by their own timestamps.
//!
//! What lasts is decided by this time and by no clock: what expires, which window is closed,
//! which timer is due. So it must be the same when a record is read again, and a record with a
//! wrong timestamp must not carry it off.

/// What a record may be ahead of the time that is reached, and be believed at once.
const STEP_MS: i64 = 60 * 60 * 1000;

/// So many timestamps are asked about a larger jump.
const ASKED: usize = 16;

const FORMAT: u8 = 1;
const LEN: usize = 1 + 8 * (1 + ASKED);

/// The time of one partition: a function of the timestamps of its records in their order, and
/// of nothing else.
///
/// It looks at the last 16 timestamps, or at as many as there were; a record without a timestamp
/// (a negative one) changes nothing. With each timestamp, in this order:
///
/// 1. From the second one on, the time goes on to their lower median. So a jump of any length
///    needs more than half of them: one record from the future, or any minority, moves nothing.
/// 2. If the timestamp is ahead of the time by no more than one hour, the time goes on to it.
///
/// It never goes back. The one exception is at the very start: the first timestamp has none to
/// be compared with, so it counts as the time until the second one, and no longer. Before
/// any timestamp the time is 0.
///
/// ```
/// # use strait_sdk::StreamTime;
/// let mut time = StreamTime::default();
/// assert_eq!(time.observe(1_000), 1_000);
/// assert_eq!(time.observe(5_000), 5_000);
/// assert_eq!(time.observe(4_000), 5_000); // late
/// assert_eq!(time.observe(i64::MAX), 5_000); // from the future
/// assert_eq!(time.observe(6_000), 6_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTime {
    /// Negative until there were two timestamps.
    reached_ms: i64,
    /// The last timestamps, the newest at the end; negative where there was none.
    last_ms: [i64; ASKED],
}

impl Default for StreamTime {
    fn default() -> Self {
        Self {
            reached_ms: -1,
            last_ms: [-1; ASKED],
        }
    }
}

impl StreamTime {
    /// Takes the next record's timestamp, and says which time it is with this record.
    pub fn observe(&mut self, timestamp_ms: i64) -> i64 {
        if timestamp_ms >= 0 {
            self.remember(timestamp_ms);
            self.jump();
            self.step(timestamp_ms);
        }
        self.reached_ms().or(self.first_ms()).unwrap_or(0)
    }

    /// The time that is reached for good: `None` before the second timestamp.
    pub fn reached_ms(&self) -> Option<i64> {
        (self.reached_ms >= 0).then_some(self.reached_ms)
    }

    /// All of it, for [`StreamTime::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(FORMAT);
        for time_ms in std::iter::once(&self.reached_ms).chain(&self.last_ms) {
            bytes.extend(time_ms.to_le_bytes());
        }
        bytes
    }

    /// `None` if these bytes are none that [`StreamTime::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, times) = bytes.split_first()? else {
            return None;
        };
        let (times, []) = times.as_chunks::<8>() else {
            return None;
        };
        let (reached, last) = times.split_first()?;
        let last: &[[u8; 8]; ASKED] = last.try_into().ok()?;
        let time = Self {
            reached_ms: i64::from_le_bytes(*reached),
            last_ms: last.map(i64::from_le_bytes),
        };
        time.is_possible().then_some(time)
    }

    fn remember(&mut self, timestamp_ms: i64) {
        self.last_ms.rotate_left(1);
        if let Some(newest) = self.last_ms.last_mut() {
            *newest = timestamp_ms;
        }
    }

    fn known(&self) -> usize {
        self.last_ms.iter().filter(|time_ms| **time_ms >= 0).count()
    }

    /// Goes on to what more than half of the last timestamps have reached.
    fn jump(&mut self) {
        let known = self.known();
        let below = self.last_ms.iter().filter(|time_ms| **time_ms <= self.reached_ms);
        let behind = below.count() - (ASKED - known);
        // Of most records the time is known to stay, without sorting.
        if known < 2 || behind > (known - 1) / 2 {
            return;
        }
        let mut sorted = self.last_ms;
        sorted.sort_unstable(); // what is not known comes first
        let median_ms = sorted.get(ASKED - known + (known - 1) / 2);
        self.reached_ms = median_ms.copied().unwrap_or(-1).max(self.reached_ms);
    }

    fn step(&mut self, timestamp_ms: i64) {
        if self.reached_ms >= 0 && timestamp_ms.saturating_sub(self.reached_ms) <= STEP_MS {
            self.reached_ms = self.reached_ms.max(timestamp_ms);
        }
    }

    /// The only timestamp that there was.
    fn first_ms(&self) -> Option<i64> {
        self.last_ms.last().copied().filter(|time_ms| *time_ms >= 0)
    }

    /// Timestamps are known from the end on, and the time is reached with the second.
    fn is_possible(&self) -> bool {
        let known = self.known();
        let at_the_end = self.last_ms.iter().rev().take(known);
        at_the_end.copied().all(|time_ms| time_ms >= 0)
            && self.last_ms.iter().all(|time_ms| *time_ms >= -1)
            && self.reached_ms >= -1
            && (known >= 2) == (self.reached_ms >= 0)
    }
}

#[cfg(test)]
mod tests;
