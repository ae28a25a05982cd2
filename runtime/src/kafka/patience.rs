//! How long sending offsets is waited for.
//!
//! Where librdkafka has lost the coordinator, waiting does not help: soon given up is soon
//! mended. Where the coordinator is merely slow, giving up helps nobody, and a bound that it
//! never keeps would be an endless round of new producers. So the bound doubles with each time in
//! a row that it was not enough, and outlives the producer that it was too short for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than any healthy call takes.
const FIRST: Duration = Duration::from_secs(5);

/// With this many times in a row the bound is beyond every transaction's timeout.
const DOUBLINGS_MAX: u32 = 6;

/// Shared by the producers that follow each other under one transactional id.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    exhausted_in_a_row: Arc<AtomicU32>,
}

impl Patience {
    /// What the next call gets, unless its transaction ends before.
    pub fn bound(&self) -> Duration {
        let times = self.exhausted_in_a_row.load(Ordering::Relaxed);
        FIRST * 2_u32.pow(times.min(DOUBLINGS_MAX))
    }

    /// The bound was not enough.
    pub fn exhausted(&self) {
        self.exhausted_in_a_row.fetch_add(1, Ordering::Relaxed);
    }

    /// The coordinator has answered.
    pub fn answered(&self) {
        self.exhausted_in_a_row.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_until_an_answer_comes() {
        let patience = Patience::default();
        let successor = patience.clone();
        let mut bounds = Vec::new();
        for _ in 0..9 {
            bounds.push(successor.bound().as_secs());
            patience.exhausted();
        }
        assert_eq!(bounds, [5, 10, 20, 40, 80, 160, 320, 320, 320]);
        successor.answered();
        assert_eq!(patience.bound(), FIRST);
    }
}
