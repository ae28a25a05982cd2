//! Somebody has asked for the end, and waits for it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long a call may still take from then on, or one that begins later.
pub const HURRIED_MAX: Duration = Duration::from_secs(2);

/// Brings deadlines forward, also those of calls that are being made.
#[derive(Debug, Clone, Default)]
pub struct Hurry(Arc<OnceLock<Instant>>);

impl Hurry {
    /// For good.
    pub fn ask(&self) {
        self.0.get_or_init(Instant::now);
    }

    pub fn is_asked(&self) -> bool {
        self.0.get().is_some()
    }

    /// The deadline of a call that began at `started`.
    pub fn brought_forward(&self, deadline: Instant, started: Instant) -> Instant {
        let hurried = self.0.get().map(|asked| (*asked).max(started) + HURRIED_MAX);
        hurried.map_or(deadline, |hurried| hurried.min(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_later_is_brought_forward() {
        let hurry = Hurry::default();
        let started = Instant::now();
        let (soon, late) = (
            started + Duration::from_millis(1),
            started + Duration::from_mins(1),
        );
        assert_eq!(hurry.brought_forward(late, started), late);
        hurry.ask();
        assert_eq!(hurry.brought_forward(soon, started), soon);
        assert!(hurry.brought_forward(late, started) <= Instant::now() + HURRIED_MAX);
        // What begins later has as long from there.
        assert_eq!(
            hurry.brought_forward(late, started + HURRIED_MAX),
            started + 2 * HURRIED_MAX
        );
    }
}
