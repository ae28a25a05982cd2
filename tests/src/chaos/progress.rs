//! Where the group's committed offsets stand, and how long until they move again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::fixture::Fixture;
use crate::wait;

/// How long nobody may know the group's offsets after a fault: a coordinator that is gone has
/// to be missed first.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);

/// Committed offsets of `in` by partition, and from when on their progress counts.
///
/// A mark belongs behind the fault: what was committed before it, or while it struck, is no
/// progress.
#[derive(Debug, Clone)]
pub struct Mark {
    pub at: Instant,
    pub committed: BTreeMap<i32, i64>,
}

impl Mark {
    pub fn set(fixture: &Fixture) -> Result<Self> {
        let committed = committed(fixture)?;
        Ok(Self {
            at: Instant::now(),
            committed,
        })
    }

    /// Where the offsets stand as soon as somebody tells after a fault; time counts from `at`, when
    /// it struck, or ended if it was to last.
    pub fn since(fixture: &Fixture, at: Instant) -> Result<Self> {
        let committed = wait::until("committed offsets after a fault", ANSWERED_WITHIN, || {
            Ok(Some(committed(fixture)?).filter(|committed| !committed.is_empty()))
        })?;
        Ok(Self { at, committed })
    }

    /// The same place, as of now. Right only for a fault that has just ended and during which
    /// nothing could be committed, because everything was frozen, dead or cut off; after any
    /// other, offsets may have moved since: [`Mark::since`].
    #[must_use]
    pub fn from_now(&self) -> Self {
        Self {
            at: Instant::now(),
            committed: self.committed.clone(),
        }
    }

    /// Waits until every partition is committed beyond the mark; gives how long that took
    /// from the mark on.
    pub fn passed(&self, fixture: &Fixture, limit: Duration) -> Result<Duration> {
        ensure!(
            !self.committed.is_empty(),
            "a mark without an offset would be passed by nothing"
        );
        wait::until_true("progress of every input partition", limit, || {
            let now = committed(fixture)?;
            let stuck: Vec<i32> = self
                .committed
                .iter()
                .filter(|(partition, offset)| now.get(partition).is_none_or(|at| at <= offset))
                .map(|(partition, _)| *partition)
                .collect();
            ensure!(
                stuck.is_empty(),
                "partitions {stuck:?} have not moved since {:?}",
                self.committed
            );
            Ok(true)
        })?;
        Ok(self.at.elapsed())
    }
}

/// Where the last transaction that committed left off. Offsets that an open one holds up count
/// with their old value: without them a mark would be passed before anything has moved.
fn committed(fixture: &Fixture) -> Result<BTreeMap<i32, i64>> {
    let topic = fixture.topic("in");
    let all = fixture.verifier().committed_so_far(fixture.name())?;
    let own = all.into_iter().filter(|((name, _), _)| *name == topic);
    Ok(own.map(|((_, partition), offset)| (partition, offset)).collect())
}
