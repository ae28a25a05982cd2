//! A pipeline whose processes come and go as they do in real life: rolled over to another
//! version, and unlucky with their transactions.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use serde_json::json;
use strait::fault;
use strait_tests::binary::{self, Build};
use strait_tests::chaos::load::{DRAIN_LIMIT, PARTITIONS, PROGRESS_WITHIN};
use strait_tests::chaos::strike::kill_in_transaction;
use strait_tests::chaos::{Load, Run, Sabotage, Scenario, Selection, Violation};
use strait_tests::orders::ORDERS;
use strait_tests::stream::{self, Due};
use strait_tests::verifier::{Isolation, Row};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 31,
        name: "module_swapped_under_load",
        expects: "processes are restarted with another module one by one: each record is made by one of the two",
        selection: Selection::Long,
        sabotage: None,
        run: module_swapped,
    },
    Scenario {
        number: 33,
        name: "every_third_transaction_aborted",
        expects: "nothing lost, doubled or out of order; half of all that is written may be aborted",
        selection: Selection::Long,
        sabotage: None,
        run: every_third_aborted,
    },
    Scenario {
        number: 0,
        name: "sees_no_rewind",
        expects: "a lane that goes on after an abort where it stands loses what was aborted",
        selection: Selection::Long,
        sabotage: Some(Sabotage::losing("no-rewind")),
        run: every_third_aborted,
    },
];

const PROCESSES: usize = 3;

fn module_swapped(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    // Of the module `orders` each order comes in two parts, of `identity` in one.
    load.fixture.set_stage("settings", json!({ "minimum": 0 }))?;
    load.begin_with(PROCESSES)?;
    let mut changes = PROCESSES;
    for (module, settings) in [("identity", None), ("orders", Some(json!({ "minimum": 0 })))] {
        load.fixture.set_stage("module", json!(binary::guest(module)?))?;
        load.fixture
            .set_stage("settings", settings.unwrap_or_else(|| json!({})))?;
        for process in 0..PROCESSES {
            let how = if process == 1 {
                kill_in_transaction(&mut load, process)?.to_string()
            } else {
                let code = load.process(process)?.terminate(DRAIN_LIMIT)?;
                ensure!(code == 0, "SIGTERM ended it with {code}");
                "exit code 0 after SIGTERM".to_owned()
            };
            let mark = load.mark()?;
            load.restart(process)?;
            load.process(process)?.wait_ready()?;
            load.await_progress(run, &mark, PROGRESS_WITHIN)?;
            run.fault(
                format!("process {process} is restarted with the module {module}"),
                how,
            );
            changes += 2;
        }
    }
    load.finish()?;
    let rows = load.fixture.read("out")?;
    let whole: HashSet<(i32, i64)> = rows
        .iter()
        .filter(|row| is_whole(row))
        .filter_map(place)
        .collect();
    let turns = turns(&rows)?;
    ensure!(
        turns.values().all(|turns| *turns > 0),
        "not every partition saw both modules: {turns:?}"
    );
    // A version that changes with the transaction changes a few times; with the record, often.
    let most = turns.values().copied().max().unwrap_or(0);
    if most > changes * usize::try_from(PARTITIONS)? {
        return Err(Violation(format!("the module changed {turns:?} times")).into());
    }
    run.fault(
        "two versions at work at once",
        format!(
            "the judge finds {} records of one and {} of the other",
            whole.len(),
            rows.len() - whole.len()
        ),
    );
    load.book.fate = Box::new(move |row| {
        if whole.contains(&(row.partition, row.offset)) {
            vec![Due::only("out")]
        } else {
            all_accepted(row)
        }
    });
    load.book.value = Box::new(|input, row, due| match due {
        Due::Output { parts: 1, .. } => row.value.clone(),
        _ => stream::value("orders", input, row, due),
    });
    load.judge(run)
}

/// Without a minimum nothing is filtered.
fn all_accepted(row: &Row) -> Vec<Due> {
    let due = (ORDERS.fate)(row);
    if due.is_empty() {
        let part = |topic, part| Due::Output {
            topic,
            part,
            parts: 2,
        };
        return vec![part("out", 1), part("audit", 2)];
    }
    due
}

fn source(row: &Row) -> Vec<String> {
    let source = row.header("strait-source").unwrap_or_default();
    source.split('/').map(str::to_owned).collect()
}

/// Whether an order came through in one part.
fn is_whole(row: &Row) -> bool {
    source(row).get(6).is_some_and(|parts| parts == "1")
}

/// Where its input record stands.
fn place(row: &Row) -> Option<(i32, i64)> {
    let source = source(row);
    Some((source.get(3)?.parse().ok()?, source.get(4)?.parse().ok()?))
}

/// How often the module changed from one record of an input partition to the next.
fn turns(rows: &[Row]) -> Result<BTreeMap<i32, usize>> {
    let mut versions: BTreeMap<i32, BTreeMap<i64, bool>> = BTreeMap::new();
    for row in rows {
        let (partition, offset) = place(row).context("a source")?;
        versions
            .entry(partition)
            .or_default()
            .insert(offset, is_whole(row));
    }
    let count = |versions: &BTreeMap<i64, bool>| {
        let pairs = versions.values().zip(versions.values().skip(1));
        pairs.filter(|(one, next)| one != next).count()
    };
    Ok(versions
        .iter()
        .map(|(partition, versions)| (*partition, count(versions)))
        .collect())
}

fn every_third_aborted(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    load.feed()?;
    for _ in 0..2 {
        let command = unlucky(run, &load)?;
        load.start_command(command)?;
    }
    for process in 0..2 {
        load.process(process)?.wait_ready()?;
    }
    load.wait_moving(PROGRESS_WITHIN)?;
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(8));
        let mark = load.mark()?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
        let evidence = kill_in_transaction(&mut load, 0)?;
        run.fault("SIGKILL of a process", evidence);
        let mark = load.mark()?;
        let again = unlucky(run, &load)?;
        load.restart_as(0, again)?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    }
    let out = load.fixture.topic("out");
    let judge = load.fixture.verifier();
    let committed = judge.read(&out, Isolation::ReadCommitted)?.len();
    let all = judge.read(&out, Isolation::ReadUncommitted)?.len();
    ensure!(
        all > committed + committed / 10,
        "of {all} records only {} were aborted",
        all - committed
    );
    run.fault(
        "every third transaction is aborted",
        format!("of {all} records in the output the judge reads {committed} as committed"),
    );
    load.settle(run)
}

fn unlucky(run: &mut Run, load: &Load) -> Result<Command> {
    let mut command = load.fixture.command(Build::Faulty, "run")?;
    let (_, sabotage) = run.build();
    let faults: Vec<&str> = [Some(fault::Sabotage::AbortEveryThird.as_str()), sabotage]
        .into_iter()
        .flatten()
        .collect();
    command.env("STRAIT_FAULT", faults.join(","));
    command.env("STRAIT_FAULT_SEED", run.random.random::<u32>().to_string());
    Ok(command)
}
