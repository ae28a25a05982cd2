//! The command from outside: exit codes, signals, HTTP, and what an idle process costs.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strait_tests::binary::Build;
use strait_tests::fixture::Fixture;
use strait_tests::ledger::{Account, Expected};
use strait_tests::produce::{Message, Steady};
use strait_tests::wait;

const DRAIN_LIMIT: Duration = Duration::from_secs(10);

fn messages(count: usize) -> Vec<Message> {
    (0..count)
        .map(|n| Message::new(format!("k-{n}"), "value"))
        .collect()
}

#[test]
fn until_end_ends_by_itself() -> Result<()> {
    let fixture = Fixture::new("until-end", 3, "identity")?;
    fixture.send(&messages(3000))?;
    let mut command = fixture.command(Build::Plain, "run")?;
    command.args(["--until", "end"]);
    let mut strait = fixture.start_command(command)?;
    ensure!(strait.wait_exit(Duration::from_mins(1))? == 0);
    fixture.committed_to_end(&fixture.topic("in"))?;
    fixture.check_no_open_transaction(&["out"])?;
    fixture.check_copied()
}

#[test]
fn sigterm_drains_under_load() -> Result<()> {
    let fixture = Fixture::new("drain", 2, "identity")?;
    let make = |partition, number| Message::new(format!("{partition}-{number}"), "value");
    let steady = Steady::start(fixture.bootstrap(), &fixture.topic("in"), 2, 1000, make)?;
    let mut strait = fixture.run()?;
    wait::until_true("output", Duration::from_secs(20), || {
        Ok(!fixture.read("out")?.is_empty())
    })?;
    let started = Instant::now();
    let code = strait.terminate(DRAIN_LIMIT)?;
    let took = started.elapsed();
    ensure!(
        code == 0 && took < DRAIN_LIMIT,
        "it ended with {code} after {took:?}"
    );
    steady.stop()?;
    fixture.check_no_open_transaction(&["out"])?;
    ensure!(
        fixture.verifier().members(fixture.name())?.is_empty(),
        "it has not left the group"
    );
    // Exactly what is committed stands in the output.
    let committed = fixture.verifier().committed(fixture.name())?;
    let done = |row: &&strait_tests::verifier::Row| {
        let at = committed.get(&(fixture.topic("in"), row.partition));
        at.is_some_and(|offset| row.offset < *offset)
    };
    let expected: Vec<Expected> = fixture
        .read("in")?
        .iter()
        .filter(done)
        .map(Expected::by_key)
        .collect();
    ensure!(!expected.is_empty(), "nothing was committed");
    Account::by_key(&expected, &fixture.read("out")?).settle("out")
}

#[test]
fn an_invalid_file_names_every_mistake() -> Result<()> {
    let fixture = Fixture::new("invalid", 1, "identity")?;
    let mut command = fixture.command(Build::Plain, "run")?;
    let text = [
        "name: invalid",
        "kafka:",
        "  bootstrap: localhost:9092",
        "  consumer: { enable.auto.commit: true }",
        "input: { topics: [a] }",
        "comit: { interval: 100ms }",
        "lanes: many",
        "stages:",
        "  - wasm: { module: no-such.wasm }",
        "outputs: { default: a }",
    ];
    fs::write(fixture.path("pipeline.yaml"), text.join("\n"))?;
    let output = command.output()?;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    let said = String::from_utf8(output.stderr)?;
    for (line, word) in [
        (4, "enable.auto.commit"),
        (6, "comit"),
        (7, "lanes"),
        (9, "no-such.wasm"),
        (10, "outputs"),
    ] {
        let at = format!("pipeline.yaml:{line}:");
        let named = said.lines().any(|text| text.contains(&at)) && said.contains(word);
        ensure!(named, "line {line} ({word}) is not reported: {said}");
    }
    Ok(())
}

#[test]
fn http_says_what_the_contract_says() -> Result<()> {
    let mut fixture = Fixture::new("http", 2, "identity")?;
    fixture.set("lanes", json!(2))?;
    let mut strait = fixture.run()?;
    ensure!(strait.get("/healthz")?.0 == 200);
    // Series of a partition go when it moves to another lane, so it must not any more.
    wait::until("a partition for each lane", Duration::from_secs(30), || {
        let members = fixture.verifier().members(fixture.name())?;
        ensure!(members == [1, 1], "the lanes hold {members:?}");
        Ok(Some(()))
    })?;
    fixture.send(&messages(100))?;
    fixture.wait_worked_off(&mut strait)?;
    let (input, output) = (fixture.topic("in"), fixture.topic("out"));
    let own = ("pipeline", fixture.name());
    wait::until("the metrics of the work", Duration::from_secs(10), || {
        let value = |name: &str, labels: &[(&str, &str)]| strait.metric(name, &[&[own], labels].concat());
        let is = |name: &str, labels: &[(&str, &str)], expected: f64| -> Result<()> {
            let found = value(name, labels)?;
            ensure!(
                found == Some(expected),
                "{name}{labels:?} is {found:?}, not {expected}"
            );
            Ok(())
        };
        is("strait_records_in_total", &[("topic", &input)], 100.0)?;
        is("strait_records_out_total", &[("topic", &output)], 100.0)?;
        ensure!(value("strait_end_to_end_seconds_count", &[])? > Some(0.0));
        for partition in ["0", "1"] {
            let labels = [("topic", input.as_str()), ("partition", partition)];
            is("strait_consumer_lag_records", &labels, 0.0)?;
            is("strait_consumer_lag_seconds", &labels, 0.0)?;
            is("strait_last_stable_offset_lag", &labels, 0.0)?;
        }
        for lane in ["0", "1"] {
            ensure!(value("strait_transaction_open_seconds", &[("lane", lane)])?.is_some());
        }
        let phases = ["process", "flush", "send_offsets", "commit"];
        for phase in phases {
            let count = value("strait_transaction_seconds_count", &[("phase", phase)])?;
            ensure!(count > Some(0.0), "phase {phase}: {count:?}");
        }
        ensure!(value("strait_transactions_total", &[("outcome", "committed")])? > Some(0.0));
        ensure!(value("strait_rebalances_total", &[("kind", "assign")])? > Some(0.0));
        ensure!(value("strait_processing_seconds_count", &[])? > Some(0.0));
        is("strait_lanes", &[("state", "running")], 2.0)?;
        ensure!(value("strait_module_info", &[])?.is_some());
        ensure!(strait.metric("strait_build_info", &[])?.is_some());
        Ok(Some(()))
    })
}

#[test]
fn one_failed_pipeline_fails_alone() -> Result<()> {
    let (good, bad) = (Fixture::new("good", 1, "identity")?, broken_pipeline("bad")?);
    let mut command = good.command(Build::Plain, "run")?;
    command.arg(bad.write()?);
    let mut strait = good.start_command(command)?;
    strait.wait_ready()?;
    bad.send(&messages(1))?;
    wait::until("the failed pipeline in /readyz", Duration::from_secs(30), || {
        let (status, body) = strait.get("/readyz")?;
        ensure!(status == 503 && body.contains(bad.name()), "{status} {body}");
        let _: Value = serde_json::from_str(&body)?;
        Ok(Some(()))
    })?;
    good.send(&messages(10))?;
    good.wait_worked_off(&mut strait)?;
    good.check_copied()?;
    ensure!(strait.is_running()?, "the other pipeline was to go on");
    Ok(())
}

#[test]
fn fail_fast_ends_with_the_first_failure() -> Result<()> {
    let (good, bad) = (
        Fixture::new("good-too", 1, "identity")?,
        broken_pipeline("bad-fast")?,
    );
    let mut command = good.command(Build::Plain, "run")?;
    command.arg(bad.write()?).arg("--fail-fast");
    let mut strait = good.start_command(command)?;
    strait.wait_ready()?;
    bad.send(&messages(1))?;
    ensure!(strait.wait_exit(Duration::from_secs(30))? == 1);
    Ok(())
}

#[test]
fn a_missing_topic_is_found_by_check_and_told_by_run() -> Result<()> {
    let mut fixture = Fixture::new("absent", 1, "identity")?;
    let absent = fixture.topic("absent");
    fixture.set("outputs.default", json!(absent))?;
    let missing = format!("topic {absent} does not exist");
    let checked = fixture.command(Build::Plain, "check")?.output()?;
    let said = String::from_utf8(checked.stdout)?;
    ensure!(checked.status.code() == Some(2), "{} {said}", checked.status);
    let named = said
        .lines()
        .any(|line| line.contains(&missing) && line.contains("outputs.default"));
    ensure!(named, "{said}");
    let offline = fixture
        .command(Build::Plain, "check")?
        .arg("--offline")
        .output()?;
    ensure!(offline.status.success(), "{}", offline.status);
    // At the default level of the log, which must not lose the one line that matters.
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(Duration::from_secs(30))? == 1);
    ensure!(strait.log().contains(&missing), "{}", strait.log());
    Ok(())
}

/// A member that leaves while it joins must not leave the others waiting for its session.
#[test]
fn partitions_of_a_drained_process_are_taken_over_at_once() -> Result<()> {
    // Long enough that nobody mistakes it for the departure, on however busy a machine.
    const SESSION: Duration = Duration::from_secs(45);
    let mut fixture = Fixture::new("takeover", 4, "identity")?;
    fixture.set("lanes", json!(2))?;
    let settings = json!({ "session.timeout.ms": SESSION.as_millis(), "heartbeat.interval.ms": 1000 });
    fixture.set("kafka.consumer", settings)?;
    let mut first = fixture.run()?;
    for pause in [
        Duration::from_millis(500),
        Duration::from_secs(2),
        Duration::from_secs(3),
    ] {
        let mut second = fixture.start()?;
        wait::until("the second process in the group", Duration::from_secs(30), || {
            let members = fixture.verifier().members(fixture.name())?;
            Ok((members.len() > 2).then_some(()))
        })?;
        // Not a wait for a condition: where in the rebalance it is met is the point.
        std::thread::sleep(pause);
        ensure!(second.terminate(Duration::from_secs(10))? == 0);
        fixture.send(&messages(8))?;
        let asked = std::time::Instant::now();
        fixture.wait_worked_off(&mut first)?;
        let took = asked.elapsed();
        ensure!(
            took < SESSION * 2 / 3,
            "the takeover took {took:?} after {pause:?}"
        );
    }
    Ok(())
}

/// Ready at first; its first record stops it.
fn broken_pipeline(name: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, 1, "orders")?;
    fixture.create_topic("audit", 1)?;
    fixture.set("outputs.audit", json!(fixture.topic("audit")))?;
    fixture.set_stage("settings", json!({ "minimum": 0 }))?;
    Ok(fixture) // `value` is no order, and the default is to stop
}

#[test]
fn an_idle_pipeline_costs_next_to_nothing() -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(10);
    let mut fixture = Fixture::new("idle", 4, "identity")?;
    fixture.set("lanes", json!(2))?;
    fixture.send(&messages(100))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    thread::sleep(Duration::from_secs(2)); // the last of the start-up
    let before = strait.cpu_time()?;
    thread::sleep(WINDOW);
    let used = strait.cpu_time()?.saturating_sub(before);
    ensure!(used <= WINDOW / 100, "{used:?} of CPU in {WINDOW:?} of idling");
    Ok(())
}
