//! How fast keyed state is read back when the local folder is gone.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::{STRAIT, Scope};
use crate::contender::Job;
use crate::figures::Spread;
use crate::lab::Wanted;
use crate::process::Running;
use crate::report::{Bound, Cell, Chapter, Table, Verdict};
use crate::work::Work;

const RECORDS: u64 = 2_000_000;
const LIMIT: Duration = Duration::from_mins(5);

pub fn measure(scope: &mut Scope) -> Result<Chapter> {
    let input = scope.input(Wanted::plain(RECORDS))?;
    let lab = &scope.lab;
    let name = lab.name();
    let outputs = [format!("{name}.out0")];
    lab.topics.create(&outputs[0], input.partitions, false)?;
    let folder = tempfile::Builder::new().prefix("strait-bench-").tempdir()?;
    let bootstrap = lab.bootstrap();
    let run = || -> Result<String> {
        let job = Job {
            bootstrap: &bootstrap,
            name: &name,
            work: &Work::State,
            input: &input.topic,
            outputs: &outputs,
            records: input.records,
            compression: None,
            lanes: 2,
            pipeline: Map::new(),
            folder: folder.path(),
        };
        let command = STRAIT.command(&[job], &lab.programs)?;
        let mut running = Running::start(command, &folder.path().join("log"), lab.broker_pid()?)?;
        running.wait(LIMIT)?;
        Ok(running.said())
    };
    run()?;
    let names = lab.topics.names()?;
    let own = format!("__strait.{name}.state.");
    let changelog = names.iter().find(|name| name.starts_with(&own));
    let changelog = changelog.context("a changelog")?;
    let (mut restored, mut read) = (Vec::new(), Vec::new());
    for round in 0..scope.rounds {
        let begun = Instant::now();
        let content = lab.topics.content(changelog)?;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let alone = content.bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
        fs::remove_dir_all(folder.path().join("data"))?;
        let ours = rate(&run()?)?;
        (scope.progress)(&format!(
            "{}/{}: restored {ours:.0} MB/s, read alone {alone:.0} MB/s",
            round + 1,
            scope.rounds
        ));
        restored.push(ours);
        read.push(alone);
    }
    lab.forget(&name)?;
    let measured = Spread::of_ratios(&restored, &read);
    Ok(Chapter {
        name: "restore",
        title: "Reading state back",
        method: format!(
            "The changelog of {} changes to 100,000 balances, read back into an empty folder by one thread, and by a \
             consumer that does nothing with it.",
            input.records
        ),
        tables: vec![table(&restored, &read)],
        bars: Vec::new(),
        verdicts: measured
            .map(|measured| Verdict {
                target: 'L',
                what: "state restore / reading alone".to_owned(),
                measured,
                bound: Bound::AtLeast(0.5),
                unit: "",
            })
            .into_iter()
            .collect(),
        series: Vec::new(),
        steady: Vec::new(),
    })
}

/// Megabytes a second, out of the log.
fn rate(log: &str) -> Result<f64> {
    let (mut megabytes, mut seconds) = (0.0, 0.0);
    for line in log.lines().filter(|line| line.contains("state restored")) {
        let line: Value = serde_json::from_str(line)?;
        let number = |name: &str| -> Result<f64> {
            let text = line.pointer(&format!("/fields/{name}")).or(line.get(name));
            Ok(text.and_then(Value::as_str).context("a figure")?.parse()?)
        };
        megabytes += number("megabytes")?;
        seconds += number("seconds")?;
    }
    ensure!(seconds > 0.0, "nothing was restored: {log}");
    Ok(megabytes / seconds)
}

fn table(restored: &[f64], read: &[f64]) -> Table {
    let row = |label: &str, values: &[f64]| {
        let cell = Cell::Spread {
            spread: Spread::of(values.iter().copied()),
            digits: 0,
        };
        (label.to_owned(), vec![cell])
    };
    Table {
        columns: vec![String::new(), "MB/s".to_owned()],
        rows: vec![row("Strait restores", restored), row("a consumer alone", read)],
    }
}
