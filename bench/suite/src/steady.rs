//! One run at a steady rate: how long records take, and what it costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::contender::Job;
use crate::lab::Lab;
use crate::process::{Running, Sample, now_ms};
use crate::run::Task;
use crate::series::Series;
use crate::stream::{Reader, Sender, percentile, within};
use crate::work::Work;

/// How long a run takes.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Before anything counts: code is compiled, groups have settled.
    pub settle: Duration,
    /// What counts.
    pub measure: Duration,
}

impl Span {
    pub const WHOLE: Self = Self {
        settle: Duration::from_secs(10),
        measure: Duration::from_secs(15),
    };
    pub const QUICK: Self = Self {
        settle: Duration::from_secs(4),
        measure: Duration::from_secs(3),
    };
}

/// The last records come through.
const DRAIN: Duration = Duration::from_secs(2);
const END_MAX: Duration = Duration::from_mins(1);

/// What flows.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// Over all pipelines.
    pub per_second: u64,
    /// Of each topic.
    pub partitions: i32,
    /// In one process, each with a topic of its own.
    pub pipelines: usize,
}

/// Of one run. Times in milliseconds, CPU in microseconds a record.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Steady {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub client_us: f64,
    pub broker_us: f64,
    pub peak_mib: f64,
}

/// Runs it once.
pub fn once(lab: &Lab, task: &Task, stream: Stream, span: Span) -> Result<Steady> {
    let (name, bootstrap) = (lab.name(), lab.bootstrap());
    let names: Vec<String> = (0..stream.pipelines).map(|n| format!("{name}.{n}")).collect();
    let inputs: Vec<String> = names.iter().map(|name| format!("{name}.in")).collect();
    let outputs: Vec<String> = names.iter().map(|name| format!("{name}.out")).collect();
    for (input, output) in inputs.iter().zip(&outputs) {
        lab.topics.create(input, stream.partitions, true)?;
        lab.topics.create(output, stream.partitions, false)?;
    }
    let folder = tempfile::Builder::new().prefix("strait-bench-").tempdir()?;
    let jobs: Vec<Job<'_>> = names
        .iter()
        .zip(&inputs)
        .zip(&outputs)
        .map(|((name, input), output)| Job {
            bootstrap: &bootstrap,
            name,
            work: &task.work,
            input,
            outputs: std::slice::from_ref(output),
            records: 0,
            compression: None,
            lanes: task.lanes,
            pipeline: task.pipeline.clone(),
            folder: folder.path(),
        })
        .collect();
    let command = task.contender.command(&jobs, &lab.programs)?;
    let reader = Reader::start(&bootstrap, &outputs, stream.partitions)?;
    let sender = Sender::start(&bootstrap, &inputs, stream.per_second)?;
    let mut running = Running::start(command, &folder.path().join("log"), lab.broker_pid()?)?;
    // These spans are the measurement itself: there is no condition to wait for.
    std::thread::sleep(span.settle);
    let from = now_ms();
    std::thread::sleep(span.measure);
    let to = now_ms();
    std::thread::sleep(DRAIN);
    sender.stop()?;
    let samples = running.samples();
    running.end(END_MAX)?;
    let took = within(&reader.stop()?, from, to)?;
    lab.forget(&name)?;
    let kept = if task.work == Work::Json { 4 } else { 5 };
    let expected = usize::try_from(stream.per_second * span.measure.as_secs() * kept / 5)?;
    ensure!(
        took.len() * 10 > expected * 9,
        "only {} of some {expected} records came through; {}",
        took.len(),
        running.said()
    );
    figures(&took, &samples, (from, to), stream)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn figures(took: &[i64], samples: &[Sample], (from, to): (i64, i64), stream: Stream) -> Result<Steady> {
    let inside: Vec<&Sample> = samples
        .iter()
        .filter(|sample| (from..to).contains(&sample.at_ms))
        .collect();
    let (first, last) = (
        inside.first().context("no samples")?,
        inside.last().context("no samples")?,
    );
    let records = stream.per_second as f64 * (last.at_ms - first.at_ms) as f64 / 1e3;
    let per_record =
        |of: fn(&Sample) -> Duration| of(last).saturating_sub(of(first)).as_secs_f64() * 1e6 / records;
    Ok(Steady {
        p50_ms: percentile(took, 0.5),
        p99_ms: percentile(took, 0.99),
        p999_ms: percentile(took, 0.999),
        client_us: per_record(|sample| sample.client),
        broker_us: per_record(|sample| sample.broker),
        peak_mib: last.peak_bytes as f64 / f64::from(1 << 20),
    })
}

/// All tasks in turn, so often.
pub fn rounds(
    lab: &Lab,
    tasks: &[(String, Task, Stream)],
    (count, span): (usize, Span),
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Series<Steady>>> {
    let mut all: Vec<Series<Steady>> = tasks
        .iter()
        .map(|(label, ..)| Series {
            label: label.clone(),
            runs: Vec::new(),
        })
        .collect();
    for round in 0..count {
        for ((label, task, stream), series) in tasks.iter().zip(&mut all) {
            let run = once(lab, task, *stream, span).with_context(|| label.clone())?;
            progress(&format!(
                "{}/{count} {label}: p50 {} ms, p99 {} ms, client {:.1} µs, broker {:.1} µs, {:.0} MiB",
                round + 1,
                run.p50_ms,
                run.p99_ms,
                run.client_us,
                run.broker_us,
                run.peak_mib
            ));
            series.runs.push(run);
        }
    }
    Ok(all)
}
