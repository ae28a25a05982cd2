//! Time as it should not be: clocks that jump, records from far away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::strike::kill_in_transaction;
use strait_tests::chaos::{Load, Run, Scenario, Selection, Violation};
use strait_tests::orders::{ORDERS, order};
use strait_tests::produce::Message;
use strait_tests::stream::Stream;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 29,
        name: "clock_jumps",
        expects: "an hour forth, two back: transactions, sessions and pauses go by, as they do not go by this clock",
        selection: Selection::Long,
        sabotage: None,
        run: clock_jumps,
    },
    Scenario {
        number: 29,
        name: "timestamps_far_away",
        expects: "records of 1970 and of 2100 pass with their timestamps",
        selection: Selection::Long,
        sabotage: None,
        run: far_away,
    },
];

/// A clock that a process believes in, as libfaketime tells it.
struct Clock {
    libraries: String,
    offset: PathBuf,
}

impl Clock {
    fn new(run: &Run, load: &Load) -> Result<Self> {
        let Some(library) = faketime() else {
            return run.not_run("there is no libfaketime; on Debian: apt-get install libfaketime");
        };
        let waits = load.fixture.path("clock.so");
        compile(&waits)?;
        let clock = Self {
            libraries: format!("{} {}", waits.display(), library.display()),
            offset: load.fixture.path("clock"),
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Moves it this far from the machine's own.
    fn set(&self, offset_s: i64) -> Result<()> {
        let fresh = self.offset.with_extension("new");
        fs::write(&fresh, format!("{offset_s:+}\n"))?;
        Ok(fs::rename(&fresh, &self.offset)?)
    }

    fn dress(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", &self.libraries)
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }

    /// What another program is told.
    fn by_date(&self) -> Result<i64> {
        let mut date = Command::new("date");
        date.arg("+%s");
        let output = self.dress(date).output().context("run date")?;
        let told: i64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(told - now_ms()? / 1000)
    }
}

/// With the compiler that librdkafka needs too.
fn compile(library: &Path) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("chaos")
        .join("clock.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
        .arg(library)
        .arg(source);
    let output = cc.output().context("run cc")?;
    ensure!(
        output.status.success(),
        "cc: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where Debian puts the library for programs with threads.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let library = |folder: &Path| folder.join("faketime").join("libfaketimeMT.so.1");
    folders
        .filter_map(Result::ok)
        .map(|entry| library(&entry.path()))
        .find(|path| path.is_file())
}

fn now_ms() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

const HOUR_S: i64 = 3600;
/// The one record of many that must show the clock.
const NEAR_S: i64 = 60;

fn clock_jumps(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    let out = load.fixture.topic("out");
    load.fixture
        .set("outputs.default", json!({ "topic": out, "timestamp": "now" }))?;
    let clock = Clock::new(run, &load)?;
    load.feed()?;
    for _ in 0..2 {
        let command = clock.dress(load.command()?);
        load.start_command(command)?;
    }
    for process in 0..2 {
        load.process(process)?.wait_ready()?;
    }
    load.wait_moving(PROGRESS_WITHIN)?;
    for offset_s in [HOUR_S, -HOUR_S, 0, -HOUR_S, HOUR_S] {
        let before = load.fixture.verifier().ends(&out)?;
        clock.set(offset_s)?;
        let mark = load.mark()?;
        load.await_progress(run, &mark, Duration::from_secs(15))?;
        let mark = load.mark()?;
        load.await_progress(run, &mark, Duration::from_secs(15))?;
        let rows = load.fixture.read("out")?;
        let real_s = now_ms()? / 1000;
        let is_new = |partition: i32, offset: i64| {
            before
                .iter()
                .any(|ends| ends.partition == partition && offset >= ends.high)
        };
        let shown = rows
            .iter()
            .filter(|row| is_new(row.partition, row.offset))
            .filter(|row| (row.timestamp_ms / 1000 - real_s - offset_s).abs() < NEAR_S)
            .count();
        let told = clock.by_date()?;
        if shown == 0 || (told - offset_s).abs() > NEAR_S {
            return run.not_run(format!(
                "the clock has not moved by {offset_s} s: date says {told}"
            ));
        }
        run.fault(
            format!("the clock of the processes is put {offset_s} s from the machine's"),
            format!(
                "date is told {told} s, and the judge reads {shown} outputs with timestamps of that time"
            ),
        );
        let evidence = kill_in_transaction(&mut load, 0)?;
        run.fault("SIGKILL of a process", evidence);
        let mark = load.mark()?;
        let again = clock.dress(load.command()?);
        load.restart_as(0, again)?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

/// The first second there is, and one of the year 2100.
const FAR_MS: [i64; 2] = [1, 4_102_444_800_000];

const FAR: Stream = Stream {
    make: |partition, number| Message {
        timestamp_ms: match number % 7 {
            2 => FAR_MS.first().copied(),
            4 => FAR_MS.last().copied(),
            _ => None,
        },
        ..order(partition, number)
    },
    ..ORDERS
};

fn far_away(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    load.make_by(FAR.make);
    for topic in ["in", "out", "audit", "dlq"] {
        // Brokers refuse what is more than an hour ahead, unless told otherwise.
        let topic = load.fixture.topic(topic);
        let settings = [
            format!("message.timestamp.after.max.ms={}", i64::MAX),
            "retention.ms=-1".to_owned(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        load.fixture.verifier().configure_topic(&topic, &settings)?;
    }
    load.begin_with(1)?;
    for _ in 0..2 {
        let evidence = kill_in_transaction(&mut load, 0)?;
        run.fault("SIGKILL of the only process", evidence);
        let mark = load.mark()?;
        load.restart(0)?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    }
    load.stop_input()?;
    let input = load.fixture.read("in")?;
    let far = input
        .iter()
        .filter(|row| FAR_MS.contains(&row.timestamp_ms))
        .count();
    ensure!(far > 100, "only {far} records are from far away");
    run.fault(
        "records from far away",
        format!("the judge reads {far} with timestamps of 1970 and 2100"),
    );
    load.settle_and(run, |load| {
        for row in load.fixture.read("out")? {
            let original = input.iter().find(|other| other.key == row.key);
            let original = original.context("the input record")?;
            if original.timestamp_ms != row.timestamp_ms {
                return Err(Violation(format!("{original:?} became {row:?}")).into());
            }
        }
        Ok(())
    })
}
