//! When a transaction ends: by time, by size, and early when the input is idle.
//!
//! A commit costs a broker milliseconds of CPU, so an early one keeps a distance to
//! the one before: `commit.idle`, and ten times what commits take here. All lanes
//! of the process share a budget of early commits on top ([`CommitBudget`]).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::plan::Commit;

/// An early commit waits at least this many times as long as a commit takes, so that
/// commits use at most a tenth of a lane's time.
const COST_FACTOR: u32 = 10;

/// Early commits a second, for the whole process.
const EARLY_COMMITS_PER_SECOND: f64 = 100.0;

/// What an open transaction holds.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub began: Instant,
    pub records: usize,
    /// Of inputs and outputs together.
    pub bytes: usize,
}

/// The answer of [`CommitPolicy::due`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    /// Not before this moment, if nothing else happens.
    At(Instant),
}

/// Remembers what commits cost, and decides when the next one is due.
#[derive(Debug)]
pub struct CommitPolicy {
    limits: Commit,
    cost: Duration,
    last_end: Option<Instant>,
}

impl CommitPolicy {
    pub fn new(limits: Commit) -> Self {
        Self {
            limits,
            cost: Duration::ZERO,
            last_end: None,
        }
    }

    /// A commit ended at `now` and took `cost`.
    pub fn committed(&mut self, now: Instant, cost: Duration) {
        self.cost = if self.last_end.is_none() {
            cost
        } else {
            (self.cost * 3 + cost) / 4
        };
        self.last_end = Some(now);
    }

    /// `idle`: there is nothing more to process at this moment.
    pub fn due(&self, open: Size, idle: bool, now: Instant) -> Due {
        if open.records >= self.limits.records.get() || open.bytes >= self.limits.bytes.get() {
            return Due::Now;
        }
        let by_interval = open.began + self.limits.interval;
        let at = if idle {
            self.earliest().map_or(now, |early| early.min(by_interval))
        } else {
            by_interval
        };
        if at <= now { Due::Now } else { Due::At(at) }
    }

    /// Whether `now` is before the transaction's interval is over, so that a commit
    /// now is an early one.
    pub fn is_early(&self, open: Size, now: Instant) -> bool {
        now < open.began + self.limits.interval
            && open.records < self.limits.records.get()
            && open.bytes < self.limits.bytes.get()
    }

    fn earliest(&self) -> Option<Instant> {
        let distance = self.limits.idle.max(self.cost * COST_FACTOR);
        self.last_end.map(|end| end + distance)
    }
}

/// A token bucket of early commits, shared by all lanes of a process.
#[derive(Debug)]
pub struct CommitBudget {
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl CommitBudget {
    pub fn new(now: Instant) -> Self {
        Self {
            bucket: Mutex::new(Bucket {
                tokens: EARLY_COMMITS_PER_SECOND,
                filled: now,
            }),
        }
    }

    /// Takes one early commit out of the budget, or says how long to wait for one.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut bucket = self
            .bucket
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * EARLY_COMMITS_PER_SECOND).min(EARLY_COMMITS_PER_SECOND);
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64(
                (1.0 - bucket.tokens) / EARLY_COMMITS_PER_SECOND,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> CommitPolicy {
        CommitPolicy::new(Commit {
            interval: 100 * MS,
            idle: 10 * MS,
            records: NonZeroUsize::new(1000).unwrap(),
            bytes: NonZeroUsize::new(1 << 20).unwrap(),
        })
    }

    fn size(began: Instant, records: usize, bytes: usize) -> Size {
        Size {
            began,
            records,
            bytes,
        }
    }

    #[test]
    fn a_full_transaction_ends_at_once() {
        let now = Instant::now();
        assert_eq!(policy().due(size(now, 1000, 0), false, now), Due::Now);
        assert_eq!(policy().due(size(now, 1, 1 << 20), false, now), Due::Now);
    }

    #[test]
    fn a_busy_one_ends_with_the_interval() {
        let now = Instant::now();
        let open = size(now, 10, 10);
        assert_eq!(policy().due(open, false, now), Due::At(now + 100 * MS));
        assert_eq!(policy().due(open, false, now + 100 * MS), Due::Now);
    }

    #[test]
    fn the_first_idle_one_ends_at_once() {
        let now = Instant::now();
        assert_eq!(policy().due(size(now, 1, 1), true, now), Due::Now);
    }

    #[test]
    fn idle_ones_keep_their_distance() {
        let now = Instant::now();
        let mut policy = policy();
        policy.committed(now, MS / 2);
        assert_eq!(policy.due(size(now, 1, 1), true, now), Due::At(now + 10 * MS));
        policy.committed(now, 10 * MS);
        let Due::At(at) = policy.due(size(now, 1, 1), true, now) else {
            panic!("due too early")
        };
        assert!(at > now + 10 * MS, "the measured cost stretches the distance");
        assert!(at <= now + 100 * MS, "but never beyond the interval");
    }

    #[test]
    fn the_budget_runs_out_and_comes_back() {
        let now = Instant::now();
        let budget = CommitBudget::new(now);
        let taken = (0..1000).take_while(|_| budget.take(now).is_ok()).count();
        assert_eq!(taken, 100);
        let wait = budget.take(now).unwrap_err();
        assert!(wait <= 10 * MS + MS);
        assert!(budget.take(now + wait + MS).is_ok());
    }
}
