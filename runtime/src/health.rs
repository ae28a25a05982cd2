//! Whether the process does what it was started for, and if not, which lane keeps it from it.
//!
//! Invariants: ready means that every lane of every pipeline has its assignment (an empty one
//! is one), goes round its loop, and gets somewhere; whatever is not ready is named with its
//! reason. A pipeline that finished its work is ready, one that failed never is again. A
//! hanging lane cannot hide: silence is measured by who asks, not told by the lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::lane::state::LaneState;
use crate::plan::PipelineName;

/// The health of the process. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Process>);

struct Process {
    silence_max: Duration,
    pipelines: Mutex<BTreeMap<PipelineName, PipelineHealth>>,
}

/// The health of one pipeline, told by its lanes and its supervisor. Cheap to clone.
#[derive(Clone)]
pub struct PipelineHealth(Arc<Pipeline>);

struct Pipeline {
    course: Mutex<Course>,
    lanes: Vec<Mutex<Lane>>,
}

#[derive(Clone)]
enum Course {
    Running,
    Failed(String),
    Finished,
}

struct Lane {
    state: LaneState,
    /// `None`: no assignment.
    partitions: Option<usize>,
    degraded: Option<String>,
    beat: Instant,
}

/// The answer to who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    pub pipelines: Vec<PipelineReadiness>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PipelineReadiness {
    pub name: String,
    pub ready: bool,
    /// `running`, `failed` or `finished`.
    pub state: &'static str,
    pub lanes: Vec<LaneReadiness>,
    /// Why it is not ready.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneReadiness {
    pub lane: usize,
    pub state: &'static str,
    /// How many it owns; `None` if it has no assignment.
    pub partitions: Option<usize>,
    /// Why it is not ready.
    pub reason: Option<String>,
}

impl Health {
    /// A lane that has not gone round its loop for longer than `silence_max` is not ready.
    /// The limit must exceed the longest single step of a lane, a flush or a guest call.
    pub fn new(silence_max: Duration) -> Self {
        Self(Arc::new(Process {
            silence_max,
            pipelines: Mutex::default(),
        }))
    }

    /// Begins to watch a pipeline, in place of an earlier one of the same name.
    pub fn pipeline(&self, name: &PipelineName, lanes: usize) -> PipelineHealth {
        let lane = || {
            Mutex::new(Lane {
                state: LaneState::Joining,
                partitions: None,
                degraded: None,
                beat: Instant::now(),
            })
        };
        let pipeline = PipelineHealth(Arc::new(Pipeline {
            course: Mutex::new(Course::Running),
            lanes: (0..lanes).map(|_| lane()).collect(),
        }));
        guard(&self.0.pipelines).insert(name.clone(), pipeline.clone());
        pipeline
    }

    /// How things stand. Not ready while there is no pipeline: then nothing has started.
    pub fn readiness(&self) -> Readiness {
        self.readiness_at(Instant::now())
    }

    fn readiness_at(&self, now: Instant) -> Readiness {
        let pipelines: Vec<_> = guard(&self.0.pipelines)
            .iter()
            .map(|(name, pipeline)| pipeline.readiness(name, now, self.0.silence_max))
            .collect();
        Readiness {
            ready: !pipelines.is_empty() && pipelines.iter().all(|pipeline| pipeline.ready),
            pipelines,
        }
    }
}

impl PipelineHealth {
    /// The lane came into a state.
    pub fn lane(&self, lane: usize, state: LaneState) {
        self.change(lane, |lane| lane.state = state);
    }

    /// The group gave the lane this many partitions, or none: that is an assignment too.
    pub fn assigned(&self, lane: usize, partitions: usize) {
        self.change(lane, |lane| lane.partitions = Some(partitions));
    }

    /// The lane has no assignment any more, not even an empty one.
    pub fn unassigned(&self, lane: usize) {
        self.change(lane, |lane| lane.partitions = None);
    }

    /// The lane went round its loop.
    pub fn beat(&self, lane: usize) {
        self.change(lane, |lane| lane.beat = Instant::now());
    }

    /// The lane goes round but gets nowhere, or with a part of its partitions only; `None`: it
    /// is well again.
    pub fn degraded(&self, lane: usize, reason: Option<String>) {
        self.change(lane, |lane| lane.degraded = reason);
    }

    /// The pipeline stopped for good.
    pub fn failed(&self, reason: String) {
        *guard(&self.0.course) = Course::Failed(reason);
    }

    /// The pipeline did what it was asked to, and ended. One that failed stays failed.
    pub fn finished(&self) {
        let mut course = guard(&self.0.course);
        if matches!(*course, Course::Running) {
            *course = Course::Finished;
        }
    }

    fn change(&self, lane: usize, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.0.lanes.get(lane) {
            change(&mut guard(lane));
        }
    }

    fn readiness(&self, name: &PipelineName, now: Instant, silence_max: Duration) -> PipelineReadiness {
        let course = guard(&self.0.course).clone();
        let finished = matches!(course, Course::Finished);
        let lanes: Vec<_> = (0..)
            .zip(&self.0.lanes)
            .map(|(number, lane)| {
                let lane = guard(lane);
                LaneReadiness {
                    lane: number,
                    state: lane.state.as_str(),
                    partitions: lane.partitions,
                    reason: if finished {
                        None
                    } else {
                        lane.hindrance(now, silence_max)
                    },
                }
            })
            .collect();
        let hindered = lanes
            .iter()
            .find_map(|lane| Some(format!("lane {}: {}", lane.lane, lane.reason.as_ref()?)));
        let (state, reason) = match course {
            Course::Running => ("running", hindered),
            Course::Failed(reason) => ("failed", Some(reason)),
            Course::Finished => ("finished", None),
        };
        PipelineReadiness {
            name: name.to_string(),
            ready: reason.is_none(),
            state,
            lanes,
            reason,
        }
    }
}

impl Lane {
    /// What keeps it from being ready; the gravest first.
    fn hindrance(&self, now: Instant, silence_max: Duration) -> Option<String> {
        let silent = now.saturating_duration_since(self.beat);
        match self.state {
            LaneState::Failed => Some(self.degraded.clone().unwrap_or_else(|| "failed".to_owned())),
            LaneState::Stopped => Some("stopped".to_owned()),
            _ if silent > silence_max => Some(format!(
                "no sign of life for {} s (limit {} s) in state {}",
                silent.as_secs(),
                silence_max.as_secs(),
                self.state
            )),
            _ if self.degraded.is_some() => self.degraded.clone(),
            LaneState::Draining => Some("draining".to_owned()),
            _ if self.partitions.is_none() => Some("no assignment yet".to_owned()),
            LaneState::Joining
            | LaneState::Restoring
            | LaneState::Running
            | LaneState::Committing
            | LaneState::Rewinding
            | LaneState::Reloading => None,
        }
    }
}

/// A thread that panicked while it held such a lock left a whole value behind: each change is
/// a single assignment.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
