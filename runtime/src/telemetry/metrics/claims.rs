//! What `dedup` found, and what its store took for it. Exported for pipelines that have one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};

use crate::telemetry::catalogue;
use crate::telemetry::series::Series;

/// Seconds that the ratio looks back.
const WINDOW_S: usize = 60;

pub(super) struct Claims {
    began: Instant,
    minute: Mutex<Minute>,
    ratio: Series<Gauge>,
    store_seconds: Series<Histogram>,
    store_errors: Series<IntCounter>,
    ids: Series<IntGauge>,
    /// Ids of each lane, or of all.
    by_lane: Mutex<BTreeMap<Option<usize>, usize>>,
}

impl Claims {
    pub fn new(registry: &Registry, pipeline: &str) -> Self {
        Self {
            began: Instant::now(),
            minute: Mutex::default(),
            ratio: Series::new(registry, &catalogue::DUPLICATE_RATIO, &[pipeline]),
            store_seconds: Series::new(registry, &catalogue::DEDUP_STORE_SECONDS, &[pipeline]),
            store_errors: Series::new(registry, &catalogue::DEDUP_STORE_ERRORS, &[pipeline]),
            ids: Series::new(registry, &catalogue::DEDUP_IDS, &[pipeline]),
            by_lane: Mutex::default(),
        }
    }

    pub fn took(&self, time: Duration) {
        self.store_seconds
            .with(|histogram| histogram.observe(time.as_secs_f64()));
    }

    pub fn held(&self, lane: Option<usize>, ids: usize) {
        let mut by_lane = self.by_lane.lock().unwrap_or_else(PoisonError::into_inner);
        by_lane.insert(lane, ids);
        let all: usize = by_lane.values().sum();
        self.ids
            .with(|gauge| gauge.set(i64::try_from(all).unwrap_or(i64::MAX)));
    }

    pub fn failed(&self) {
        self.store_errors.with(IntCounter::inc);
    }

    pub fn found(&self, checked: u64, repeated: u64) {
        let second = self.began.elapsed().as_secs();
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        minute.add(second, checked, repeated);
    }

    /// At the scrape, so that it falls when nothing comes any more.
    pub fn measure(&self) {
        let second = self.began.elapsed().as_secs();
        let minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        self.ratio.with(|gauge| gauge.set(minute.ratio(second)));
    }
}

/// The last minute, second by second.
#[derive(Debug)]
struct Minute([Second; WINDOW_S]);

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    at: u64,
    checked: u64,
    repeated: u64,
}

impl Default for Minute {
    fn default() -> Self {
        Self([Second::default(); WINDOW_S])
    }
}

impl Minute {
    fn add(&mut self, at: u64, checked: u64, repeated: u64) {
        let place = usize::try_from(at).unwrap_or_default() % WINDOW_S;
        let Some(second) = self.0.get_mut(place) else {
            return;
        };
        if second.at != at {
            *second = Second {
                at,
                ..Second::default()
            };
        }
        second.checked += checked;
        second.repeated += repeated;
    }

    /// 0 if nothing was checked.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn ratio(&self, now: u64) -> f64 {
        let is_recent = |second: &&Second| now.saturating_sub(second.at) < WINDOW_S as u64;
        let (checked, repeated) = self.0.iter().filter(is_recent).fold((0, 0), |sum, second| {
            (sum.0 + second.checked, sum.1 + second.repeated)
        });
        if checked == 0 {
            return 0.0;
        }
        repeated as f64 / checked as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let mut minute = Minute::default();
        let percent = |minute: &Minute, now| format!("{:.0}", minute.ratio(now) * 100.0);
        assert_eq!(percent(&minute, 0), "0");
        minute.add(3, 10, 10);
        minute.add(3, 10, 0);
        assert_eq!(percent(&minute, 3), "50");
        assert_eq!(percent(&minute, 62), "50");
        assert_eq!(percent(&minute, 63), "0");
        minute.add(63, 4, 1);
        assert_eq!(percent(&minute, 63), "25", "the same place, a minute later");
    }
}
