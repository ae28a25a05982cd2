//! The same load over more and more partitions.

use anyhow::Result;

use super::{STRAIT, Scope, bars, steady_table, verdict};
use crate::report::{Bound, Chapter};
use crate::run::Task;
use crate::steady::Stream;
use crate::work::Work;

const PER_SECOND: u64 = 50_000;
/// How many, and the most that a record may cost against the first.
const PARTITIONS: [(i32, f64); 3] = [(6, 1.0), (60, 1.2), (600, 1.5)];

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let tasks: Vec<_> = PARTITIONS
        .iter()
        .map(|(partitions, _)| {
            let stream = Stream {
                per_second: PER_SECOND,
                partitions: *partitions,
                pipelines: 1,
            };
            let label = format!("Strait, {partitions} partitions");
            (label, Task::new(STRAIT, Work::Identity), stream)
        })
        .collect();
    let all = scope.steady(&tasks)?;
    let verdicts = PARTITIONS
        .iter()
        .zip(&all)
        .skip(1)
        .filter_map(|((partitions, bound), series)| {
            let what = format!("client CPU at {partitions} partitions / at 6, {PER_SECOND} records/s");
            verdict(
                'I',
                &what,
                (Some(series), all.first()),
                |run| run.client_us,
                Bound::AtMost(*bound),
            )
        })
        .collect();
    Ok(Chapter {
        name: "partitions",
        title: "Partitions",
        method: format!("Identity, exactly once, at {PER_SECOND} records/s."),
        tables: vec![steady_table(&all)],
        bars: vec![bars("partitions", "client CPU µs a record", &all, |run| {
            run.client_us
        })],
        verdicts,
        series: Vec::new(),
        steady: all,
    })
}
