//! How soon the first record is committed after a cold start, and how long a planned restart is felt.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Map;

use super::{NATIVE, STRAIT, STREAMS, Scope};
use crate::contender::{Contender, Job};
use crate::figures::Spread;
use crate::lab::{Lab, Wanted};
use crate::process::{Running, now_ms};
use crate::report::{Bound, Cell, Chapter, Table, Verdict};
use crate::stream::{Reader, Seen, Sender, longest_pause_ms};
use crate::work::Work;

const RECORDS: u64 = 100_000;
const PER_SECOND: u64 = 5_000;
const PARTITIONS: i32 = 6;
const PROCESSES: usize = 3;
/// In which the pause after a restart shows.
const AFTER: Duration = Duration::from_secs(8);
const LIMIT: Duration = Duration::from_mins(1);

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let contenders = scope.with_other(vec![STRAIT, NATIVE, STREAMS]);
    let mut starts: Vec<(Contender, Vec<f64>)> = contenders
        .into_iter()
        .map(|contender| (contender, Vec::new()))
        .collect();
    let mut pauses = Vec::new();
    for round in 0..scope.rounds {
        for (contender, seconds) in &mut starts {
            let took = first_commit(scope, contender)?;
            let label = contender.label(&scope.lab.programs);
            (scope.progress)(&format!("{}: {label}: first commit after {took:.2} s", round + 1));
            seconds.push(took);
        }
        let pause = restart(&scope.lab, scope.span.settle)?;
        (scope.progress)(&format!("{}: a restart is felt for {pause:.2} s", round + 1));
        pauses.push(pause);
    }
    let spread = |values: &[f64]| Spread::of(values.iter().copied());
    let ours = starts.first().and_then(|(_, seconds)| spread(seconds));
    let verdict = |target, what: &str, measured| Verdict {
        target,
        what: what.to_owned(),
        measured,
        bound: Bound::AtMost(1.0),
        unit: " s",
    };
    let pause = spread(&pauses);
    let verdicts = [
        ours.map(|seconds| verdict('M', "cold start to the first commit", seconds)),
        pause.map(|seconds| verdict('N', "pause at a planned restart, one process of three", seconds)),
    ];
    Ok(Chapter {
        name: "starts",
        title: "Starts",
        method: format!(
            "From the start of the process to the moment when a reader of committed records has the first one, with \
             the module compiled before and group.initial.rebalance.delay.ms=0. Then, with {PROCESSES} processes at \
             {PER_SECOND} records/s, one is ended and started again: the longest time in which nothing came through \
             of some partition."
        ),
        tables: vec![table(scope, &starts, &pauses)],
        bars: Vec::new(),
        verdicts: verdicts.into_iter().flatten().collect(),
        series: Vec::new(),
        steady: Vec::new(),
    })
}

fn table(scope: &Scope, starts: &[(Contender, Vec<f64>)], pauses: &[f64]) -> Table {
    let cell = |values: &[f64]| Cell::Spread {
        spread: Spread::of(values.iter().copied()),
        digits: 2,
    };
    let mut rows: Vec<_> = starts
        .iter()
        .map(|(contender, seconds)| {
            let label = contender.label(&scope.lab.programs);
            (format!("{label}: first commit after, s"), vec![cell(seconds)])
        })
        .collect();
    rows.push((
        "Strait: pause at a planned restart, s".to_owned(),
        vec![cell(pauses)],
    ));
    Table {
        columns: vec![String::new(), "seconds".to_owned()],
        rows,
    }
}

/// Seconds to the first committed record.
fn first_commit(scope: &mut Scope, contender: &Contender) -> Result<f64> {
    let input = scope.input(Wanted::plain(RECORDS))?;
    let lab = &scope.lab;
    let name = lab.name();
    let outputs = [format!("{name}.out0")];
    lab.topics.create(&outputs[0], PARTITIONS, false)?;
    let folder = tempfile::Builder::new().prefix("strait-bench-").tempdir()?;
    let bootstrap = lab.bootstrap();
    let job = job(&bootstrap, &name, &input.topic, &outputs, folder.path());
    let command = contender.command(&[job], &lab.programs)?;
    let reader = Reader::start(&bootstrap, &outputs, PARTITIONS)?;
    let begun = now_ms();
    let mut running = Running::start(command, &folder.path().join("log"), lab.broker_pid()?)?;
    reader.wait_for_one(LIMIT)?;
    if matches!(contender, Contender::Native(_)) {
        running.wait(LIMIT)?;
    } else {
        running.end(LIMIT)?;
    }
    let seen = reader.stop()?;
    lab.forget(&name)?;
    let first = seen.iter().map(Seen::came_ms).min();
    seconds(first.context("nothing came")? - begun)
}

/// Seconds for which some partition stood still.
fn restart(lab: &Lab, settle: Duration) -> Result<f64> {
    let name = lab.name();
    let (inputs, outputs) = ([format!("{name}.in")], [format!("{name}.out0")]);
    lab.topics.create(&inputs[0], PARTITIONS, true)?;
    lab.topics.create(&outputs[0], PARTITIONS, false)?;
    let bootstrap = lab.bootstrap();
    let folder = tempfile::Builder::new().prefix("strait-bench-").tempdir()?;
    let mut processes = Vec::new();
    for number in 0..PROCESSES {
        let own = folder.path().join(number.to_string());
        std::fs::create_dir(&own)?;
        let log = own.join("log");
        let command = instance(lab, &job(&bootstrap, &name, &inputs[0], &outputs, &own), number)?;
        processes.push(Running::start(command, &log, lab.broker_pid()?)?);
    }
    let reader = Reader::start(&bootstrap, &outputs, PARTITIONS)?;
    let sender = Sender::start(&bootstrap, &inputs, PER_SECOND)?;
    // The group settles; then these spans are what is measured.
    std::thread::sleep(settle);
    let from = now_ms();
    let own = folder.path().join("0");
    processes.swap_remove(0).end(LIMIT)?;
    let command = instance(lab, &job(&bootstrap, &name, &inputs[0], &outputs, &own), 0)?;
    processes.push(Running::start(command, &own.join("log"), lab.broker_pid()?)?);
    std::thread::sleep(AFTER);
    let to = now_ms();
    sender.stop()?;
    for process in &processes {
        process.signal(Signal::TERM)?;
    }
    for process in &mut processes {
        process.wait(LIMIT)?;
    }
    let seen = reader.stop()?;
    lab.forget(&name)?;
    ensure!(!seen.is_empty(), "nothing came through");
    seconds(longest_pause_ms(&seen, from, to))
}

fn instance(lab: &Lab, job: &Job<'_>, number: usize) -> Result<Command> {
    let mut command = STRAIT.command(std::slice::from_ref(job), &lab.programs)?;
    command.args(["--instance", &format!("process-{number}")]);
    Ok(command)
}

fn job<'a>(
    bootstrap: &'a str,
    name: &'a str,
    input: &'a str,
    outputs: &'a [String],
    folder: &'a Path,
) -> Job<'a> {
    Job {
        bootstrap,
        name,
        work: &Work::Identity,
        input,
        outputs,
        records: 0,
        compression: None,
        lanes: 2,
        pipeline: Map::new(),
        folder,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn seconds(ms: i64) -> Result<f64> {
    ensure!(ms >= 0, "the clock was set back");
    Ok(ms as f64 / 1e3)
}
