//! State when something gives way under it: its process, its topic, its disk.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use strait_tests::balances::{self, PARTITIONS, payments};
use strait_tests::binary::Build;
use strait_tests::fixture::Fixture;
use strait_tests::produce::{Input, Message};
use strait_tests::strait::Strait;
use strait_tests::verifier::{Isolation, Row};
use strait_tests::wait;

const FAIL_LIMIT: Duration = Duration::from_secs(40);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

fn fixture(test: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(test, PARTITIONS, "balance")?;
    balances::prepare(&mut fixture)?;
    fixture.set("lanes", json!(2))?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 40 }))?;
    fixture.set_session(Duration::from_secs(3))?;
    Ok(fixture)
}

fn changelog(fixture: &Fixture) -> String {
    format!(
        "__strait.{}.state.balance.{}",
        fixture.name(),
        fixture.topic("in")
    )
}

fn wait_stopped(strait: &Strait) -> Result<()> {
    let stat = format!("/proc/{}/stat", strait.pid());
    wait::until_true("a process that stands still", FAIL_LIMIT, || {
        let stat = fs::read_to_string(&stat)?;
        let (_, fields) = stat.rsplit_once(')').context("a stat line")?;
        Ok(fields.trim_start().starts_with('T'))
    })
}

#[test]
fn a_process_that_stood_still_spoils_nothing_and_serves_nothing_stale() -> Result<()> {
    for point in ["after-produce:2", "after-send-offsets:3", "after-commit:3"] {
        let fixture = fixture("state-frozen")?;
        let mut command = fixture.command_that_dies(point)?;
        command.env("STRAIT_FAIL_ACTION", "stop");
        let mut first = fixture.start_command(command)?;
        first.wait_ready()?;
        fixture.send(&payments(0, 600))?;
        wait_stopped(&first).context(point)?;
        let mut second = fixture.run()?;
        fixture.send(&payments(600, 600))?;
        fixture.wait_worked_off(&mut second)?;
        first.thaw()?;
        fixture.send(&payments(1200, 600))?;
        fixture.wait_worked_off(&mut second)?;
        // It goes on alone, with a copy that is behind by what the other has counted.
        ensure!(second.terminate(STOP_LIMIT)? == 0);
        fixture.send(&payments(1800, 600))?;
        fixture.wait_worked_off(&mut first)?;
        balances::check(&fixture).context(point)?;
    }
    Ok(())
}

/// It stops, and says that the changelog is not the one that it was.
fn check_stops(strait: &mut Strait) -> Result<()> {
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let log = strait.log();
    ensure!(
        log.contains("was deleted and made again") && log.contains("--state clear"),
        "it does not say why"
    );
    Ok(())
}

#[test]
fn a_changelog_that_was_made_again_is_not_gone_on_with() -> Result<()> {
    let fixture = fixture("state-remade")?;
    let mut strait = fixture.run()?;
    fixture.send(&payments(0, 600))?;
    fixture.wait_worked_off(&mut strait)?;
    let (verifier, changelog) = (fixture.verifier(), changelog(&fixture));
    verifier.delete_topic(&changelog)?;
    wait::until_true("the changelog made again", PATIENCE, || {
        let settings = ["cleanup.policy=compact", "delete.retention.ms=86400000"];
        Ok(verifier.create_topic(&changelog, PARTITIONS, &settings).is_ok())
    })?;
    let mut sent = 600;
    wait::until_true("the end of the process", FAIL_LIMIT, || {
        fixture.send(&payments(sent, 12))?;
        sent += 12;
        Ok(!strait.is_running()?)
    })?;
    check_stops(&mut strait)?;
    // Nor by who comes next and knows nothing of the old one, whatever was written into the new one.
    if !verifier.read(&changelog, Isolation::ReadCommitted)?.is_empty() {
        fs::remove_dir_all(fixture.path("data").join("state"))?;
        check_stops(&mut fixture.start()?)?;
    }
    let mut reset = fixture.command(Build::Plain, "offsets reset")?;
    reset.args(["--to", "latest", "--state", "clear", "--yes"]);
    wait::until_true("a group that nobody is in", PATIENCE, || {
        Ok(verifier.members(fixture.name())?.is_empty())
    })?;
    let said = reset.output()?;
    ensure!(said.status.success(), "{said:?}");
    let mut strait = fixture.run()?;
    fixture.send(&payments(0, 12))?;
    fixture.wait_worked_off(&mut strait)
}

#[test]
fn what_another_changelog_held_is_not_taken_for_the_state() -> Result<()> {
    let fixture = fixture("state-copied")?;
    let mut strait = fixture.run()?;
    fixture.send(&payments(0, 600))?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    let (verifier, changelog) = (fixture.verifier(), changelog(&fixture));
    let held = verifier.read(&changelog, Isolation::ReadCommitted)?;
    verifier.delete_topic(&changelog)?;
    wait::until_true("the changelog made again", PATIENCE, || {
        let settings = ["cleanup.policy=compact", "delete.retention.ms=86400000"];
        Ok(verifier.create_topic(&changelog, PARTITIONS, &settings).is_ok())
    })?;
    // As if the last transactions had gone into the new one.
    let copies: Vec<Message> = held.iter().rev().take(20).rev().map(copied).collect();
    Input::new(fixture.bootstrap())?.send_all(&changelog, &copies)?;
    check_stops(&mut fixture.start()?)
}

fn copied(row: &Row) -> Message {
    let value = row.value.clone().unwrap_or_default();
    Message::new(row.key.clone().unwrap_or_default(), value).to_partition(row.partition)
}

#[test]
fn a_record_whose_state_the_broker_does_not_take_any_more_fails_alone() -> Result<()> {
    let mut fixture = fixture("state-refused")?;
    fixture.dead_letter()?;
    let mut strait = fixture.run()?;
    fixture.send(&payments(0, 300))?;
    fixture.wait_worked_off(&mut strait)?;
    let changelog = changelog(&fixture);
    fixture
        .verifier()
        .configure_topic(&changelog, &["max.message.bytes=1000"])?;
    let mut input = payments(300, 300);
    for message in input.iter_mut().skip(50).step_by(100) {
        let long = Message::new("long".repeat(500), r#"{"amount": 1}"#);
        *message = long.to_partition(1);
    }
    fixture.send(&input)?;
    fixture.wait_worked_off(&mut strait)?;
    let letters = fixture.read("dlq")?;
    ensure!(letters.len() == 3, "{} letters", letters.len());
    for letter in &letters {
        let told = |name: &str| letter.header(name).unwrap_or_default();
        ensure!(told("strait-error-kind") == "too-large", "{letter:?}");
        ensure!(told("strait-error-reason").contains(&changelog), "{letter:?}");
    }
    ensure!(fixture.read("out")?.len() == 597);
    Ok(())
}

/// A `strait run` that lives on when a file of its may not grow any more, and is told so.
fn run_that_outlives_its_limits(fixture: &Fixture) -> Result<Strait> {
    let run = fixture.command(Build::Plain, "run")?;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(run.get_program())
        .args(run.get_args())
        .env("STRAIT_LOG", "error");
    for (name, value) in run.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let mut strait = fixture.start_command(shell)?;
    strait.wait_ready()?;
    Ok(strait)
}

#[test]
fn a_disk_that_takes_nothing_more_stops_the_pipeline_and_costs_nothing() -> Result<()> {
    /// More than the process has to say, and less than there is in the journal of its state.
    const FILE_BYTES: u64 = 4096;
    let fixture = fixture("state-disk-full")?;
    let mut strait = run_that_outlives_its_limits(&fixture)?;
    let mut sent = 0;
    while sent < 6000 {
        fixture.send(&payments(sent, 600))?;
        sent += 600;
        fixture.wait_worked_off(&mut strait)?;
    }
    let pid = Pid::from_raw(i32::try_from(strait.pid())?).context("a process id")?;
    let limit = Rlimit {
        current: Some(FILE_BYTES),
        maximum: Some(FILE_BYTES),
    };
    prlimit(Some(pid), Resource::Fsize, limit)?;
    wait::until_true("the end of the process", FAIL_LIMIT, || {
        fixture.send(&payments(sent, 600))?;
        sent += 600;
        Ok(!strait.is_running()?)
    })?;
    ensure!(strait.wait_exit(STOP_LIMIT)? == 1);
    ensure!(
        strait.log().contains("the local copy of the state fails"),
        "it does not say why"
    );
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    balances::check(&fixture)
}
