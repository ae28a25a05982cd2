//! One timed run: topics, the process, and what both tell afterwards.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::contender::{Contender, Job};
use crate::figures::Figures;
use crate::lab::Lab;
use crate::process::{Running, Sample, now_ms};
use crate::topics::Content;
use crate::work::Work;

/// A run that takes longer has failed.
const RUN_MAX: Duration = Duration::from_mins(10);

/// Records to work through.
#[derive(Debug, Clone)]
pub struct Input {
    pub topic: String,
    pub partitions: i32,
    pub records: u64,
    /// Keys and values.
    pub bytes: u64,
    /// Of the input, and of what is written.
    pub compression: Option<&'static str>,
}

/// How it is done.
#[derive(Debug, Clone)]
pub struct Task {
    pub contender: Contender,
    pub work: Work,
    pub lanes: usize,
    /// More of the pipeline's file.
    pub pipeline: Map<String, Value>,
}

impl Task {
    pub fn new(contender: Contender, work: Work) -> Self {
        Self {
            contender,
            work,
            lanes: 2,
            pipeline: Map::new(),
        }
    }
}

/// Runs it once over all of the input. Also says what came out.
pub fn once(lab: &mut Lab, task: &Task, input: &Input) -> Result<(Figures, Content)> {
    let name = lab.name();
    let outputs: Vec<String> = (0..task.work.outputs())
        .map(|n| format!("{name}.out{n}"))
        .collect();
    for output in &outputs {
        lab.topics.create(output, input.partitions, true)?;
    }
    let folder = tempfile::Builder::new().prefix("strait-bench-").tempdir()?;
    let job = Job {
        bootstrap: &lab.bootstrap(),
        name: &name,
        work: &task.work,
        input: &input.topic,
        outputs: &outputs,
        records: input.records,
        compression: input.compression,
        lanes: task.lanes,
        pipeline: task.pipeline.clone(),
        folder: folder.path(),
    };
    let label = task.contender.label(&lab.programs);
    let command = task
        .contender
        .command(std::slice::from_ref(&job), &lab.programs)?;
    let begun = now_ms();
    let mut running = Running::start(command, &folder.path().join("log"), lab.broker_pid()?)?;
    let used = running
        .wait(RUN_MAX)
        .with_context(|| format!("{label}, {}", task.work.name()))?;
    let samples = running.samples();
    let output = outputs.first().context("an output")?;
    let passed = lab
        .topics
        .passed(output, &[0.0, 0.5, 1.0], (begun, now_ms() + 1))?;
    let mut content = Content::default();
    for output in &outputs {
        let one = lab.topics.content(output)?;
        content.records += one.records;
        content.bytes += one.bytes;
        content.digest = content.digest.wrapping_add(one.digest);
        content.markers += one.markers;
    }
    lab.forget(&name)?;
    let figures = figures(label, input, used, &samples, &passed, content.markers)?;
    Ok((figures, content))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn figures(
    contender: String,
    input: &Input,
    used: Duration,
    samples: &[Sample],
    passed: &[(i64, i64)],
    markers: u64,
) -> Result<Figures> {
    let [(first, _), (half, at_half), (last, at_last)] = passed else {
        anyhow::bail!("three moments were asked for");
    };
    let records = input.records as f64;
    let seconds = (last - first).max(1) as f64 / 1e3;
    let settled_s = (last - half).max(1) as f64 / 1e3;
    // Of the outputs the share that came in the second half, as a share of the inputs.
    let settled_records = records * (at_last - at_half) as f64 / (*at_last).max(1) as f64;
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let (start, middle, end) = (
        samples.first().context("no samples")?,
        at(samples, *half)?,
        samples.last().context("no samples")?,
    );
    Ok(Figures {
        contender,
        records: input.records,
        seconds,
        records_per_s: records / seconds,
        mb_per_s: input.bytes as f64 / 1e6 / seconds,
        settled_records_per_s: settled_records / settled_s,
        client_us: micros(used) / records,
        settled_client_us: micros(used.saturating_sub(middle.client)) / settled_records,
        broker_us: micros(end.broker.saturating_sub(start.broker)) / records,
        peak_mib: end.peak_bytes as f64 / f64::from(1 << 20),
        markers,
    })
}

/// What was used by then.
fn at(samples: &[Sample], at_ms: i64) -> Result<&Sample> {
    let index = samples.partition_point(|sample| sample.at_ms < at_ms);
    samples
        .get(index)
        .or(samples.last())
        .context("the process ended before it was looked at")
}
