//! Where a partition starts: offsets that were never committed, are out of range, or
//! are gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use strait_tests::fixture::Fixture;
use strait_tests::ledger::{Account, Expected};
use strait_tests::produce::{Message, Steady};
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
    let mut fixture = Fixture::new("latest", 2, "identity")?;
    fixture.set("input.start", json!("latest"))?;
    fixture.set("commit", json!({ "interval": "5s", "idle": "5s" }))?;
    fixture.set_session(Duration::from_secs(3))?;
    fixture.send(&messages("before", 100))?;
    let mut strait = fixture.run()?;
    // The start is resolved and committed before the first record.
    wait::until("the committed start", Duration::from_secs(20), || {
        fixture.committed_to_end(&fixture.topic("in")).map(Some)
    })?;
    let input = messages("after", 100);
    fixture.send(&input)?;
    let prefix = format!("{}.", fixture.name());
    wait::until_true("the first transaction", Duration::from_secs(20), || {
        let known = fixture.verifier().transactions(&prefix)?;
        Ok(known.iter().any(|transaction| transaction.state == "Ongoing"))
    })?;
    strait.kill()?;
    ensure!(
        fixture.read("out")?.is_empty(),
        "the first transaction was to abort"
    );

    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let rows = fixture.read("in")?;
    let after = rows.iter().filter(|row| row.key_text().starts_with("after"));
    let expected: Vec<Expected> = after.map(Expected::by_key).collect();
    Account::by_key(&expected, &fixture.read("out")?).settle("out")
}

#[test]
fn a_partition_added_under_load_starts_at_its_beginning() -> Result<()> {
    let mut fixture = Fixture::new("grow", 2, "identity")?;
    fixture.set("input.start", json!("latest"))?;
    fixture.set(
        "kafka.properties",
        json!({ "topic.metadata.refresh.interval.ms": 3000 }),
    )?;
    let mut strait = fixture.run()?;
    wait::until("the committed start", Duration::from_secs(20), || {
        ensure!(
            fixture.verifier().committed(fixture.name())?.len() == 2,
            "not yet"
        );
        Ok(Some(()))
    })?;
    let make = |partition, number| Message::new(format!("{partition}-{number}"), "value");
    let steady = Steady::start(fixture.bootstrap(), &fixture.topic("in"), 2, 200, make)?;
    wait::until_true("some input", Duration::from_secs(10), || Ok(steady.sent() > 200))?;
    fixture.verifier().grow_topic(&fixture.topic("in"), 4)?;
    // Records reach the new partitions before the pipeline knows of them.
    let early: Vec<Message> = (0..20)
        .map(|n| Message::new(format!("early-{n}"), "v").to_partition(2 + n % 2))
        .collect();
    fixture.send(&early)?;
    let sent = steady.sent();
    wait::until_true("more input", Duration::from_secs(20), || {
        Ok(steady.sent() > sent + 400)
    })?;
    steady.stop()?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_copied()
}

/// A pipeline that has worked off 50 records and was stopped; 50 more wait for it, and
/// the first 75 of all are gone.
fn with_a_gap(name: &str) -> Result<Fixture> {
    let fixture = Fixture::new(name, 1, "identity")?;
    fixture.send(&messages("old", 50))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    fixture.send(&messages("new", 50))?;
    let topic = fixture.topic("in");
    fixture.verifier().truncate_topic(&topic, 75)?;
    Ok(fixture)
}

#[test]
fn a_gap_stops_the_pipeline_loudly() -> Result<()> {
    let fixture = with_a_gap("gap-stop")?;
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let log = strait.log();
    ensure!(log.contains("on_gap"), "the log names no remedy: {log}");
    ensure!(
        fixture.read("out")?.len() == 50,
        "nothing may be written after the gap"
    );
    Ok(())
}

#[test]
fn a_gap_is_passed_over_if_the_file_says_so() -> Result<()> {
    let mut fixture = with_a_gap("gap-earliest")?;
    fixture.set("input.on_gap", json!("earliest"))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let keys: Vec<String> = fixture
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
    let fixture = Fixture::new("expired", 1, "identity")?;
    fixture.send(&messages("old", 50))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    fixture
        .verifier()
        .forget_offsets(fixture.name(), &fixture.topic("in"))?;
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let log = strait.log();
    ensure!(
        log.contains("expired"),
        "the log does not say what happened: {log}"
    );
    ensure!(fixture.read("out")?.len() == 50, "records were read again");
    Ok(())
}
