//! Where a partition starts: offsets that were never committed, are out of range, or
//! are gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use strait_tests::ledger::{Account, Expected};
use strait_tests::produce::{Message, Steady};
use strait_tests::scenario::Scenario;
use strait_tests::wait;

const STOP_LIMIT: Duration = Duration::from_secs(10);
const FAIL_LIMIT: Duration = Duration::from_secs(40);

fn messages(prefix: &str, count: usize) -> Vec<Message> {
    (0..count)
        .map(|n| Message::new(format!("{prefix}-{n}"), "value"))
        .collect()
}

#[test]
fn latest_holds_even_if_the_first_transaction_aborts() -> Result<()> {
    let mut scenario = Scenario::new("latest", 2, "identity")?;
    scenario.set("input.start", json!("latest"))?;
    scenario.set("commit", json!({ "interval": "5s", "idle": "5s" }))?;
    scenario.set_session(Duration::from_secs(3))?;
    scenario.send(&messages("before", 100))?;
    let mut strait = scenario.run()?;
    // The start is resolved and committed before the first record.
    wait::until("the committed start", Duration::from_secs(20), || {
        scenario.committed_to_end(&scenario.topic("in")).map(Some)
    })?;
    let input = messages("after", 100);
    scenario.send(&input)?;
    let prefix = format!("{}.", scenario.name());
    wait::until_true("the first transaction", Duration::from_secs(20), || {
        let known = scenario.verifier().transactions(&prefix)?;
        Ok(known.iter().any(|transaction| transaction.state == "Ongoing"))
    })?;
    strait.kill()?;
    ensure!(
        scenario.read("out")?.is_empty(),
        "the first transaction was to abort"
    );

    let mut strait = scenario.run()?;
    scenario.wait_worked_off(&mut strait)?;
    let rows = scenario.read("in")?;
    let after = rows.iter().filter(|row| row.key_text().starts_with("after"));
    let expected: Vec<Expected> = after.map(Expected::by_key).collect();
    Account::by_key(&expected, &scenario.read("out")?).settle("out")
}

#[test]
fn a_partition_added_under_load_starts_at_its_beginning() -> Result<()> {
    let mut scenario = Scenario::new("grow", 2, "identity")?;
    scenario.set("input.start", json!("latest"))?;
    scenario.set(
        "kafka.properties",
        json!({ "topic.metadata.refresh.interval.ms": 3000 }),
    )?;
    let mut strait = scenario.run()?;
    wait::until("the committed start", Duration::from_secs(20), || {
        ensure!(
            scenario.verifier().committed(scenario.name())?.len() == 2,
            "not yet"
        );
        Ok(Some(()))
    })?;
    let make = |partition, number| Message::new(format!("{partition}-{number}"), "value");
    let steady = Steady::start(scenario.bootstrap(), &scenario.topic("in"), 2, 200, make)?;
    wait::until_true("some input", Duration::from_secs(10), || Ok(steady.sent() > 200))?;
    scenario.verifier().grow_topic(&scenario.topic("in"), 4)?;
    // Records reach the new partitions before the pipeline knows of them.
    let early: Vec<Message> = (0..20)
        .map(|n| Message::new(format!("early-{n}"), "v").to_partition(2 + n % 2))
        .collect();
    scenario.send(&early)?;
    let sent = steady.sent();
    wait::until_true("more input", Duration::from_secs(20), || {
        Ok(steady.sent() > sent + 400)
    })?;
    steady.stop()?;
    scenario.wait_worked_off(&mut strait)?;
    scenario.check_copied()
}

/// A pipeline that has worked off 50 records and was stopped; 50 more wait for it, and
/// the first 75 of all are gone.
fn with_a_gap(name: &str) -> Result<Scenario> {
    let scenario = Scenario::new(name, 1, "identity")?;
    scenario.send(&messages("old", 50))?;
    let mut strait = scenario.run()?;
    scenario.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    scenario.send(&messages("new", 50))?;
    let topic = scenario.topic("in");
    scenario.verifier().truncate_topic(&topic, 75)?;
    Ok(scenario)
}

#[test]
fn a_gap_stops_the_pipeline_loudly() -> Result<()> {
    let scenario = with_a_gap("gap-stop")?;
    let mut strait = scenario.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let log = strait.log();
    ensure!(log.contains("on_gap"), "the log names no remedy: {log}");
    ensure!(
        scenario.read("out")?.len() == 50,
        "nothing may be written after the gap"
    );
    Ok(())
}

#[test]
fn a_gap_is_passed_over_if_the_file_says_so() -> Result<()> {
    let mut scenario = with_a_gap("gap-earliest")?;
    scenario.set("input.on_gap", json!("earliest"))?;
    let mut strait = scenario.run()?;
    scenario.wait_worked_off(&mut strait)?;
    let keys: Vec<String> = scenario
        .read("out")?
        .iter()
        .skip(50)
        .map(strait_tests::verifier::Row::key_text)
        .collect();
    let expected: Vec<String> = (25..50).map(|n| format!("new-{n}")).collect();
    ensure!(keys == expected, "{keys:?}");
    Ok(())
}

#[test]
fn expired_offsets_stop_the_pipeline_loudly() -> Result<()> {
    let scenario = Scenario::new("expired", 1, "identity")?;
    scenario.send(&messages("old", 50))?;
    let mut strait = scenario.run()?;
    scenario.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    scenario
        .verifier()
        .forget_offsets(scenario.name(), &scenario.topic("in"))?;
    let mut strait = scenario.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let log = strait.log();
    ensure!(
        log.contains("expired"),
        "the log does not say what happened: {log}"
    );
    ensure!(scenario.read("out")?.len() == 50, "records were read again");
    Ok(())
}
