//! A process that has run for long uses what it used before: 100,000 small transactions,
//! 10,000 aborts and 1,000 new producers in one process, watched second by second.
//!
//! All of it is counted on the wire. Aborts come from refused offsets, new producers from
//! cut connections and refused requests in turn, both in step with the commits. The cluster
//! is one node of its own, so that the time goes into the process and not into replicas.
//!
//! What has to hold, of memory, open files and threads each:
//! - After a warm-up of the first fifth of the commits, a line through the samples does not
//!   rise: not by more than twice its standard error, or else by less over all that is judged
//!   than 2 % of the level, of memory, or than one file or thread for each 100 new producers,
//!   and one at least. What is too short for such a line is not judged, and has not run.
//! - Once the work is done, the process has no more files and threads than before the first fault.
//!
//! At a level of 64 MiB, memory may rise by 1.3 MiB: 16 bytes for each of the 80,000 judged
//! transactions, 1.6 KiB for each of the 800 new producers. A producer has 100 KiB of its own
//! and more: memory shows it if one in 50 is never let go of, and need not if it is one in 100.
//! Its threads and files do, for it has several of each; and after the end they show even one.
//!
//! `STRAIT_CHAOS_SOAK_SCALE` is the size in percent, 100 if it is not set: a small one shows
//! whether the scenario works. Samples go to `target/strait-tests/chaos/soak.csv` as they are
//! taken, and a picture of them to `soak.svg` at the end, also when the work was interrupted by
//! an error.

mod injection;
mod picture;

use std::env;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use strait_tests::binary;
use strait_tests::chaos::slope::{SAMPLES_MIN, Slope};
use strait_tests::chaos::vitals::{Sample, Vitals, Watch};
use strait_tests::chaos::{Load, NotRun, Run, Scenario, Selection};
use strait_tests::cluster::{Cluster, Kind};
use strait_tests::proxy::{Api, Proxy};
use strait_tests::wait;

use injection::{Goal, Injection, REFUSED_OFFSETS};
use picture::Phase;

pub const NUMBER: u8 = 30;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    number: NUMBER,
    name: "soak",
    expects: "memory, files and threads stay as they are",
    selection: Selection::Long,
    sabotage: None,
    run: soak,
}];

const WHOLE: Goal = Goal {
    commits: 100_000,
    aborts: 10_000,
    reloads: 1_000,
};
/// As many as there are partitions.
const LANES: u64 = 6;
/// A few for each transaction.
const RECORDS_PER_SECOND: u32 = 300;
/// How long threads of discarded producers may take to end.
const AT_REST_WITHIN: Duration = Duration::from_mins(2);

/// Of the level.
const MEMORY_RISE: f64 = 0.02;
const HANDLES_PER_RELOAD: f64 = 0.01;

fn soak(run: &mut Run) -> Result<()> {
    let goal = goal()?;
    let cluster = Arc::new(Cluster::start(Kind {
        nodes: 1,
        proxies: true,
        ..Kind::default()
    })?);
    let mut load = Load::of(run, Arc::clone(&cluster))?;
    load.set_lanes(LANES)?;
    let commit = json!({ "interval": "10ms", "idle": "1ms", "records": 5 });
    load.fixture.set("commit", commit)?;
    // A transaction then writes to one partition of each: the fewer, the less the node has to do.
    for (output, short) in [("default", "out"), ("audit", "audit")] {
        let output = format!("outputs.{output}");
        let topic = load.fixture.topic(short);
        load.fixture
            .set(&output, json!({ "topic": topic, "partition": "input" }))?;
    }
    load.feed_at(RECORDS_PER_SECOND)?;
    let mut command = load.command()?;
    // The kernel may join small pages into one of 2 MiB at any time, and count all of it.
    command.env("MIMALLOC_ALLOW_THP", "0");
    load.start_command(command)?;
    load.process(0)?.wait_ready()?;
    load.wait_moving(Duration::from_mins(1))?;

    let pid = load.process(0)?.pid();
    let injection = Injection::new(&cluster, &load.fixture, goal);
    let folder = binary::kept_folder("chaos")?;
    let mut csv = File::create(folder.join("soak.csv"))?;
    writeln!(
        csv,
        "seconds,anonymous_kib,resident_kib,files,threads,committed,aborted,inits"
    )?;
    let keep = move |sample: &Sample| write_line(&mut csv, sample);
    let prefix = injection.prefix().to_owned();
    let watch = Watch::start(pid, Arc::clone(cluster.wire()), prefix, keep)?;
    let before = Vitals::of(pid)?;
    let injected = injection.run();
    let worked = watch.samples().len();
    let rested = at_rest(&mut load, pid, before);
    let record = Record {
        samples: watch.stop()?,
        worked,
        commits_before: injection.commits_before(),
        goal,
    };
    record.draw(&folder.join("soak.svg"))?;
    let seen = injection.seen();
    let cuts: u64 = cluster.proxies().iter().map(Proxy::cuts).sum();
    run.fault(
        "offsets refused, so that transactions abort",
        format!(
            "{} refusals received, {} transactions aborted",
            seen.code(Api::TXN_OFFSET_COMMIT, REFUSED_OFFSETS),
            seen.aborted
        ),
    );
    run.fault(
        "replies cut and requests refused, so that producers are replaced",
        format!(
            "{cuts} connections cut, {} new epochs",
            seen.code(Api::INIT_PRODUCER_ID, 0)
        ),
    );
    injected?;
    let judged = record.judge();
    let said = judged
        .as_ref()
        .map_or_else(ToString::to_string, |course| course.said.clone());
    run.fault(format!("{} small transactions", seen.committed), &said);
    load.settle(run)?;
    rested.with_context(|| said.clone())?;
    ensure!(!judged?.rises, said);
    Ok(())
}

fn write_line(csv: &mut File, sample: &Sample) -> Result<()> {
    let Sample { seconds, vitals, .. } = sample;
    let Vitals {
        anonymous_kib,
        resident_kib,
        files,
        threads,
    } = vitals;
    let (committed, aborted, inits) = (sample.committed, sample.aborted, sample.inits);
    writeln!(
        csv,
        "{seconds:.3},{anonymous_kib},{resident_kib},{files},{threads},{committed},{aborted},{inits}"
    )?;
    Ok(())
}

fn goal() -> Result<Goal> {
    let name = "STRAIT_CHAOS_SOAK_SCALE";
    let percent: u64 = match env::var(name) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{name} is {text:?}: write a percentage"))?,
        Err(_) => 100,
    };
    ensure!(percent > 0, "{name} is 0: write a percentage");
    Ok(WHOLE.scaled(percent))
}

/// No more input; then what is left must be what was there before.
fn at_rest(load: &mut Load, pid: u32, before: Vitals) -> Result<()> {
    load.stop_input()?;
    load.wait_worked_off()?;
    wait::until_true("as many files and threads as before", AT_REST_WITHIN, || {
        let now = Vitals::of(pid)?;
        ensure!(
            now.files <= before.files && now.threads <= before.threads,
            "{now:?}; before the first fault {before:?}"
        );
        Ok(true)
    })
}

/// What was sampled.
struct Record {
    samples: Vec<Sample>,
    /// Samples until the goal was reached.
    worked: usize,
    commits_before: u64,
    goal: Goal,
}

/// How all columns went, in words, and whether one of them has risen.
struct Course {
    said: String,
    rises: bool,
}

/// A column of the samples, with how much it may rise over the time that is judged, given
/// its level.
struct Column<'a> {
    name: &'static str,
    value: fn(&Vitals) -> u64,
    bound: &'a dyn Fn(f64) -> f64,
}

impl Record {
    fn warm(&self) -> usize {
        let from = self.commits_before + self.goal.commits / 5;
        self.samples.partition_point(|sample| sample.committed < from)
    }

    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn judge(&self) -> Result<Course> {
        let judged = self.samples.get(self.warm()..self.worked).unwrap_or_default();
        let (Some(first), Some(last)) = (judged.first(), judged.last()) else {
            bail!("no samples after the warm-up");
        };
        let seconds = last.seconds - first.seconds;
        let commits = (last.committed - first.committed) as f64;
        let reloads = (last.inits - first.inits) as f64;
        // What rises by less than one has not risen.
        let handles = |_: f64| (HANDLES_PER_RELOAD * reloads).max(1.0);
        let columns = [
            Column {
                name: "memory in KiB",
                value: |vitals| vitals.anonymous_kib,
                bound: &|level| MEMORY_RISE * level,
            },
            Column {
                name: "files",
                value: |vitals| vitals.files,
                bound: &handles,
            },
            Column {
                name: "threads",
                value: |vitals| vitals.threads,
                bound: &handles,
            },
        ];
        let mut said =
            format!("in {seconds:.0} s, {commits} commits and {reloads} new epochs after the warm-up");
        let mut rises = false;
        for Column { name, value, bound } in columns {
            let of = |sample: &Sample| (sample.seconds, value(&sample.vitals) as f64);
            let points: Vec<_> = judged.iter().map(of).collect();
            let Some(slope) = Slope::of(&points) else {
                let too_few = format!(
                    "{} s after the warm-up are too few for a line: {SAMPLES_MIN} at least",
                    points.len()
                );
                return Err(NotRun(too_few).into());
            };
            let level = points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64;
            let (rise, error, bound) = (slope.rise * seconds, slope.error * seconds, bound(level));
            let verdict = if slope.rises() && rise > bound {
                rises = true;
                "RISES"
            } else {
                "level"
            };
            let written = write!(
                said,
                "; {name}: {level:.1} on average, {rise:+.1} ± {error:.1} ({verdict}; bound {bound:.1})"
            );
            debug_assert!(written.is_ok());
        }
        Ok(Course { said, rises })
    }

    fn draw(&self, path: &Path) -> Result<()> {
        let Some(last) = self.samples.last() else {
            bail!("not one sample was taken");
        };
        let at = |place: usize| self.samples.get(place).unwrap_or(last).seconds;
        let phases = [
            Phase {
                from: 0.0,
                name: "warm-up",
            },
            Phase {
                from: at(self.warm()),
                name: "judged",
            },
            Phase {
                from: at(self.worked),
                name: "at rest",
            },
        ];
        picture::draw(path, &self.samples, &phases)
    }
}
