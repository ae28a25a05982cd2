//! Which record of each partition asked to be tried again, how often, and when.
//!
//! A retry of a record holds up its own partition and nothing else, so there is at most one
//! waiting record per partition. Does no I/O and reads no clock. Invariants: the count of a
//! record never falls until it has passed, whatever is read again in between; delays grow by
//! the factor and never exceed the maximum.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::kafka::TopicPartition;
use crate::plan::Retry;

/// The waiting records of one lane.
#[derive(Debug)]
pub struct Retries {
    policy: Retry,
    waiting: HashMap<TopicPartition, Waiting>,
}

/// A record that asked for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub offset: i64,
    /// Attempts made so far.
    pub tried: u32,
    /// Not to be tried again before.
    pub due: Instant,
    /// How long `due` was away when the record asked.
    pub delay: Duration,
}

impl Retries {
    pub fn new(policy: Retry) -> Self {
        Self {
            policy,
            waiting: HashMap::new(),
        }
    }

    /// Attempts after the first that a record gets.
    pub fn max(&self) -> u32 {
        self.policy.attempts
    }

    /// The record asked to be tried again.
    pub fn asked(&mut self, partition: &TopicPartition, offset: i64, now: Instant) -> Waiting {
        let tried = self.tried(partition, offset).saturating_add(1);
        let delay = self.delay(tried);
        let waiting = Waiting {
            offset,
            tried,
            due: now.checked_add(delay).unwrap_or(now),
            delay,
        };
        self.waiting.insert(partition.clone(), waiting);
        waiting
    }

    /// How often the record was tried before.
    pub fn tried(&self, partition: &TopicPartition, offset: i64) -> u32 {
        match self.waiting.get(partition) {
            Some(waiting) if waiting.offset == offset => waiting.tried,
            _ => 0,
        }
    }

    /// Everything before `next` has its fate.
    pub fn passed(&mut self, partition: &TopicPartition, next: i64) {
        if self
            .waiting
            .get(partition)
            .is_some_and(|waiting| waiting.offset < next)
        {
            self.waiting.remove(partition);
        }
    }

    /// Before attempt `tried` + 1.
    fn delay(&self, tried: u32) -> Duration {
        let Retry {
            initial, max, factor, ..
        } = self.policy;
        let exponent = i32::try_from(tried.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = initial.as_secs_f64() * factor.max(1.0).powi(exponent);
        // An overflow is infinite, and infinite is more than the maximum.
        Duration::try_from_secs_f64(seconds).map_or(max, |delay| delay.min(max))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> Retry {
        Retry {
            attempts: 3,
            initial: Duration::from_millis(100),
            max: Duration::from_secs(5),
            factor: 2.0,
        }
    }

    fn partition(number: i32) -> TopicPartition {
        TopicPartition {
            topic: "in".into(),
            partition: number,
        }
    }

    #[test]
    fn delays_grow_up_to_the_maximum() {
        let mut retries = Retries::new(policy());
        let now = Instant::now();
        let delays: Vec<u128> = (0..8)
            .map(|_| retries.asked(&partition(0), 7, now).delay.as_millis())
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(retries.tried(&partition(0), 7), 8);
    }

    #[test]
    fn a_record_is_counted_until_it_has_passed_even_if_read_again() {
        let mut retries = Retries::new(policy());
        let now = Instant::now();
        retries.asked(&partition(0), 7, now);
        retries.passed(&partition(0), 7);
        assert_eq!(
            retries.tried(&partition(0), 7),
            1,
            "offset 7 itself has not passed"
        );
        retries.passed(&partition(0), 3);
        assert_eq!(retries.tried(&partition(0), 7), 1, "a rewind forgets nothing");
        retries.passed(&partition(0), 8);
        assert_eq!(retries.tried(&partition(0), 7), 0);
    }

    #[test]
    fn another_record_of_the_partition_begins_anew() {
        let mut retries = Retries::new(policy());
        let now = Instant::now();
        retries.asked(&partition(0), 7, now);
        assert_eq!(retries.tried(&partition(0), 8), 0);
        assert_eq!(retries.asked(&partition(0), 8, now).tried, 1);
    }

    #[test]
    fn partitions_wait_for_themselves() {
        let mut retries = Retries::new(policy());
        let now = Instant::now();
        retries.asked(&partition(0), 7, now);
        retries.asked(&partition(0), 7, now);
        let first = retries.asked(&partition(1), 7, now);
        assert_eq!(first.tried, 1);
        retries.passed(&partition(1), 8);
        assert_eq!(retries.tried(&partition(1), 7), 0);
        assert_eq!(retries.tried(&partition(0), 7), 2);
    }

    proptest! {
        #[test]
        fn no_policy_overflows(
            initial_ms in 0_u64..u64::MAX / 2,
            max_ms in 0_u64..10_000_000,
            factor in 0.0_f64..1e300,
            asked in 1_usize..200,
        ) {
            let max = Duration::from_millis(max_ms);
            let initial = Duration::from_millis(initial_ms);
            let mut retries = Retries::new(Retry { attempts: 3, initial, max, factor });
            let mut last = Duration::ZERO;
            for _ in 0..asked {
                let waiting = retries.asked(&partition(0), 1, Instant::now());
                prop_assert!(waiting.delay <= max && waiting.delay >= last);
                last = waiting.delay;
            }
        }
    }
}
