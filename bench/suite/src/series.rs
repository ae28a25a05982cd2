//! Rounds: all contenders in turn, again and again, so that what drifts meets all of them.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::contender::Delivery;
use crate::figures::{Figures, Spread};
use crate::lab::Lab;
use crate::run::{self, Input, Task};
use crate::topics::Content;

/// What came of one contender, round by round.
#[derive(Debug, Clone, Serialize)]
pub struct Series<R = Figures> {
    pub label: String,
    pub runs: Vec<R>,
}

impl<R> Series<R> {
    pub fn values(&self, of: fn(&R) -> f64) -> Vec<f64> {
        self.runs.iter().map(of).collect()
    }

    pub fn spread(&self, of: fn(&R) -> f64) -> Option<Spread> {
        Spread::of(self.values(of))
    }
}

/// Runs them all so often. What they write must be the same.
pub fn rounds(
    lab: &mut Lab,
    input: &Input,
    tasks: &[Task],
    count: usize,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Series>> {
    let label = |task: &Task| format!("{}, {}", task.contender.label(&lab.programs), task.work.name());
    let mut series: Vec<Series> = tasks
        .iter()
        .map(|task| Series {
            label: label(task),
            runs: Vec::new(),
        })
        .collect();
    let mut first: Option<(String, Content)> = None;
    for round in 0..count {
        for (task, series) in tasks.iter().zip(&mut series) {
            let (figures, content) = run::once(lab, task, input)?;
            progress(&format!(
                "{}/{count} {}: {:.2} µs, {:.0} records/s, broker {:.2} µs, {:.0} MiB",
                round + 1,
                series.label,
                figures.client_us,
                figures.records_per_s,
                figures.broker_us,
                figures.peak_mib
            ));
            series.runs.push(figures);
            let (whose, expected) = first.get_or_insert_with(|| (series.label.clone(), content));
            let same = match task.contender.delivery() {
                Delivery::ExactlyOnce => {
                    (content.records, content.digest) == (expected.records, expected.digest)
                }
                // The first is one that delivers exactly once.
                Delivery::AtLeastOnce => content.records >= expected.records,
            };
            ensure!(
                same,
                "{} wrote {content:?}, {whose} wrote {expected:?}",
                series.label
            );
        }
    }
    Ok(series)
}
