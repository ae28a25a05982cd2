//! How long a record takes at a rate that leaves room.

use anyhow::Result;

use super::{STRAIT, STREAMS, Scope, bars, steady_table, verdict};
use crate::report::{Bound, Chapter};
use crate::run::Task;
use crate::series::Series;
use crate::steady::{Steady, Stream};
use crate::work::Work;

const STREAM: Stream = Stream {
    per_second: 5_000,
    partitions: 6,
    pipelines: 1,
};

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let tasks: Vec<_> = scope
        .with_other(vec![STRAIT, STREAMS])
        .into_iter()
        .map(|contender| {
            let label = contender.label(&scope.lab.programs);
            (label, Task::new(contender, Work::Json), STREAM)
        })
        .collect();
    let all = scope.steady(&tasks)?;
    let title = format!("end to end at {} records/s", STREAM.per_second);
    let pictures = vec![
        bars("latency-p50", &format!("{title}: p50, ms"), &all, |run| {
            run.p50_ms
        }),
        bars("latency-p99", &format!("{title}: p99, ms"), &all, |run| {
            run.p99_ms
        }),
    ];
    Ok(Chapter {
        name: "latency",
        title: "End-to-end latency",
        method: format!(
            "JSON work at {} records/s, exactly once, defaults on both sides: from the moment when the input was \
             appended to the moment when a reader of committed records has the output, in milliseconds. {} s count, \
             after {} s to settle.",
            STREAM.per_second,
            scope.span.measure.as_secs(),
            scope.span.settle.as_secs()
        ),
        tables: vec![steady_table(&all)],
        bars: pictures,
        verdicts: judge(&all),
        series: Vec::new(),
        steady: all,
    })
}

fn judge(all: &[Series<Steady>]) -> Vec<crate::report::Verdict> {
    let pair = (all.first(), all.last());
    let third = Bound::AtMost(1.0 / 3.0);
    let what = |what: &str| format!("{what} / Kafka Streams', {} records/s", STREAM.per_second);
    [
        verdict('G', &what("p50"), pair, |run| run.p50_ms, third),
        verdict('G', &what("p99"), pair, |run| run.p99_ms, third),
        verdict(
            'G',
            &what("broker CPU"),
            pair,
            |run| run.broker_us,
            Bound::AtMost(1.0),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
