//! The circuit breaker of `on_error.limit`: a bad module must not dead-letter a whole topic.
//!
//! Counts records and failures over a sliding window. Does no I/O and reads no clock: the
//! caller passes the time. Invariants: memory is constant whatever the rate; nothing older
//! than the window counts; a verdict is given only once `at_least` records were seen in it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::plan::FailureLimit;

/// The window moves in steps of one bucket: 1/60 of it.
const BUCKETS: u32 = 60;

/// Watches the failures of one lane.
#[derive(Debug)]
pub struct Breaker {
    limit: FailureLimit,
    bucket: Duration,
    start: Instant,
    /// Which bucket since `start` is filled now.
    current: u64,
    ring: [Count; BUCKETS as usize],
    total: Count,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    records: u64,
    failures: u64,
}

/// More records failed than the pipeline allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tripped {
    pub records: u64,
    pub failures: u64,
    pub limit: FailureLimit,
}

impl Breaker {
    pub fn new(limit: FailureLimit, now: Instant) -> Self {
        let bucket = (limit.over / BUCKETS).max(Duration::from_nanos(1));
        Self {
            limit,
            bucket,
            start: now,
            current: 0,
            ring: [Count::default(); BUCKETS as usize],
            total: Count::default(),
        }
    }

    /// Counts decided records and how many of them failed. To be asked before anything of
    /// them is committed.
    pub fn observe(&mut self, now: Instant, records: u64, failures: u64) -> Result<(), Tripped> {
        self.advance(now);
        let slot = slot(self.current);
        if let Some(count) = self.ring.get_mut(slot) {
            count.records += records;
            count.failures += failures;
        }
        self.total.records += records;
        self.total.failures += failures;
        if self.exceeded() {
            return Err(Tripped {
                records: self.total.records,
                failures: self.total.failures,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// Empties the buckets that fell out of the window. Time that runs backwards counts as now.
    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let bucket = u64::try_from(elapsed / self.bucket.as_nanos()).unwrap_or(u64::MAX);
        let steps = bucket.saturating_sub(self.current).min(u64::from(BUCKETS));
        for step in 1..=steps {
            let slot = slot(self.current.saturating_add(step));
            if let Some(count) = self.ring.get_mut(slot) {
                self.total.records -= count.records;
                self.total.failures -= count.failures;
                *count = Count::default();
            }
        }
        // After a pause longer than the window every slot is empty, so where the ring
        // stands no longer matters.
        self.current = self.current.max(bucket);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of one window stay far below 2^52"
    )]
    fn exceeded(&self) -> bool {
        let Count { records, failures } = self.total;
        failures > 0
            && records >= u64::from(self.limit.at_least.get())
            && failures as f64 > self.limit.rate * records as f64
    }
}

fn slot(bucket: u64) -> usize {
    usize::try_from(bucket % u64::from(BUCKETS)).unwrap_or(0)
}

impl fmt::Display for Tripped {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.failures as f64 * 100.0 / (self.records.max(1)) as f64;
        write!(
            f,
            "{} of the last {} records failed ({percent:.1} %), and on_error.limit allows {:.1} % over {:?}: \
             mend the transform or its input, then start again; or raise on_error.limit",
            self.failures,
            self.records,
            self.limit.rate * 100.0,
            self.limit.over,
        )
    }
}

impl std::error::Error for Tripped {}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn limit(rate: f64, at_least: u32) -> FailureLimit {
        FailureLimit {
            rate,
            over: MINUTE,
            at_least: NonZeroU32::new(at_least).unwrap(),
        }
    }

    #[test]
    fn trips_above_the_rate_and_not_at_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(limit(0.05, 100), now);
        assert_eq!(breaker.observe(now, 100, 5), Ok(()));
        let tripped = breaker.observe(now, 1, 1).unwrap_err();
        assert_eq!((tripped.records, tripped.failures), (101, 6));
    }

    #[test]
    fn is_silent_until_enough_records_were_seen() {
        let now = Instant::now();
        let mut breaker = Breaker::new(limit(0.05, 100), now);
        assert_eq!(breaker.observe(now, 99, 99), Ok(()));
        assert!(breaker.observe(now, 1, 0).is_err());
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let now = Instant::now();
        let mut breaker = Breaker::new(limit(0.05, 100), now);
        assert_eq!(breaker.observe(now, 99, 99), Ok(()));
        assert_eq!(breaker.observe(now + MINUTE, 100, 5), Ok(()));
        assert_eq!(breaker.observe(now + MINUTE * 1000, 100, 5), Ok(()));
        assert_eq!(breaker.total.records, 100);
    }

    #[test]
    fn a_rate_of_zero_trips_on_the_first_failure_only() {
        let now = Instant::now();
        let mut breaker = Breaker::new(limit(0.0, 1), now);
        assert_eq!(breaker.observe(now, 1000, 0), Ok(()));
        assert!(breaker.observe(now, 1, 1).is_err());
    }

    proptest! {
        /// Equals a model that keeps every observation, up to the width of one bucket.
        #[test]
        fn equals_a_model_that_forgets_nothing_too_early(
            steps in prop::collection::vec((0_u64..20_000, 0_u64..50, 0_u64..50), 1..200),
        ) {
            let start = Instant::now();
            let mut breaker = Breaker::new(limit(1.0, 1), start);
            let mut model: VecDeque<(u64, u64, u64)> = VecDeque::new();
            let mut at_ms = 0;
            for (wait_ms, good, bad) in steps {
                at_ms += wait_ms;
                breaker.observe(start + Duration::from_millis(at_ms), good + bad, bad).unwrap();
                model.push_back((at_ms, good + bad, bad));
                // Buckets are a second wide: what shares one of the last 60 counts.
                model.retain(|(then_ms, ..)| at_ms / 1000 - then_ms / 1000 < 60);
                prop_assert_eq!(breaker.total.records, model.iter().map(|m| m.1).sum::<u64>());
                prop_assert_eq!(breaker.total.failures, model.iter().map(|m| m.2).sum::<u64>());
            }
        }
    }
}
