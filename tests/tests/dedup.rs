//! Messages that were sent again.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use strait_tests::fixture::Fixture;
use strait_tests::produce::Message;
use strait_tests::strait::Strait;
use strait_tests::wait;

const PATIENCE: Duration = Duration::from_secs(30);
const FAIL_LIMIT: Duration = Duration::from_secs(40);

/// `count` messages, each in the partition that its number says.
fn messages(prefix: &str, count: i32, partitions: i32) -> Vec<Message> {
    let message = |n| {
        let id = format!("{prefix}-{n}");
        Message::new(id.clone(), "value")
            .with_header("message-id", Some(id.as_bytes()))
            .to_partition(n % partitions)
    };
    (0..count).map(message).collect()
}

fn repeated(strait: &Strait, fixture: &Fixture) -> Result<f64> {
    let labels = [("pipeline", fixture.name()), ("kind", "repeated")];
    Ok(strait
        .metric("strait_duplicates_total", &labels)?
        .unwrap_or_default())
}

#[test]
fn repeats_are_dropped_whatever_dies_in_between() -> Result<()> {
    let mut fixture = Fixture::new("dedup-changelog", 3, "identity")?;
    fixture.dedup(&json!({ "id": "header:message-id" }))?;
    fixture.set("lanes", json!(2))?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 20 }))?;
    fixture.set_session(Duration::from_secs(3))?;
    let batches: Vec<Vec<Message>> = ["a", "b", "c"].map(|prefix| messages(prefix, 300, 3)).into();
    for batch in &batches {
        let mut strait = fixture.start_command(fixture.command_that_dies("after-send-offsets:4")?)?;
        strait.wait_ready()?;
        fixture.send(batch)?;
        fixture.send(batch)?;
        strait.wait_end(FAIL_LIMIT)?;
        let mut strait = fixture.run()?;
        fixture.wait_worked_off(&mut strait)?;
        strait.kill()?;
    }
    // By a process that never saw them.
    let mut strait = fixture.run()?;
    for batch in &batches {
        fixture.send(batch)?;
    }
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_each_key_once(900)?;
    ensure!(
        repeated(&strait, &fixture)? >= 900.0,
        "{}",
        repeated(&strait, &fixture)?
    );
    let ids = strait.metric("strait_dedup_ids", &[("pipeline", fixture.name())])?;
    ensure!(ids.is_some_and(|ids| ids >= 300.0), "{ids:?}");
    Ok(())
}

#[test]
fn one_process_knows_the_ids_of_all_its_partitions() -> Result<()> {
    let mut fixture = Fixture::new("dedup-memory", 3, "identity")?;
    fixture.dedup(&json!({ "id": "key", "store": "memory" }))?;
    fixture.set("lanes", json!(3))?;
    let mut strait = fixture.run()?;
    let first = messages("m", 200, 3);
    let elsewhere = first
        .iter()
        .map(|message| Message {
            partition: message.partition.map(|partition| (partition + 1) % 3),
            ..message.clone()
        })
        .collect::<Vec<_>>();
    fixture.send(&first)?;
    fixture.send(&elsewhere)?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_each_key_once(200)?;
    ensure!((repeated(&strait, &fixture)? - 200.0).abs() < 0.5);
    let ratio = strait.metric("strait_duplicate_ratio", &[("pipeline", fixture.name())])?;
    ensure!(ratio.is_some_and(|ratio| (ratio - 0.5).abs() < 0.01), "{ratio:?}");
    Ok(())
}

#[test]
fn who_observes_counts_and_drops_nothing() -> Result<()> {
    let mut fixture = Fixture::new("dedup-observe", 1, "identity")?;
    fixture.dedup(&json!({ "id": "json:/id", "mode": "observe" }))?;
    let mut strait = fixture.run()?;
    let with_id = |id: &str| Message::new("k", format!(r#"{{"id": "{id}"}}"#));
    fixture.send(&[with_id("a"), with_id("a"), Message::new("k", "no json")])?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(fixture.read("out")?.len() == 3);
    ensure!((repeated(&strait, &fixture)? - 1.0).abs() < 0.5);
    let unidentified = strait.metric(
        "strait_records_unidentified_total",
        &[("pipeline", fixture.name())],
    )?;
    ensure!(unidentified == Some(1.0), "{unidentified:?}");
    Ok(())
}

#[test]
fn a_record_without_an_id_becomes_a_dead_letter_if_the_file_says_so() -> Result<()> {
    let mut fixture = Fixture::new("dedup-missing", 1, "identity")?;
    fixture.dedup(&json!({ "id": "header:message-id", "on_missing_id": "dead_letter" }))?;
    fixture.dead_letter()?;
    let mut strait = fixture.run()?;
    let mut input = messages("m", 3, 1);
    input.push(Message::new("bare", "value"));
    fixture.send(&input)?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(fixture.read("out")?.len() == 3);
    let letters = fixture.read("dlq")?;
    ensure!(letters.len() == 1, "{letters:?}");
    for letter in letters {
        ensure!(letter.key_text() == "bare");
        ensure!(letter.header("strait-error-kind").as_deref() == Some("missing-id"));
        ensure!(letter.header("strait-error-stage").as_deref() == Some("dedup"));
    }
    Ok(())
}

/// An id may now arrive in another partition than before, where nobody knows it.
#[test]
fn an_input_that_grows_stops_the_pipeline() -> Result<()> {
    let mut fixture = Fixture::new("dedup-grow", 2, "identity")?;
    fixture.dedup(&json!({ "id": "header:message-id" }))?;
    let refresh = json!({ "topic.metadata.refresh.interval.ms": 2000 });
    fixture.set("kafka.properties", refresh)?;
    let mut strait = fixture.run()?;
    fixture.send(&messages("m", 10, 2))?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.verifier().grow_topic(&fixture.topic("in"), 3)?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    ensure!(strait.log().contains("kafka-topics --alter"), "{}", strait.log());
    // And does not start again either, until somebody has decided.
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let changelog = format!("__strait.{}.dedup.{}", fixture.name(), fixture.topic("in"));
    ensure!(strait.log().contains(&changelog), "{}", strait.log());
    fixture.verifier().grow_topic(&changelog, 3)?;
    let mut strait = fixture.run()?;
    fixture.send(&messages("m", 12, 3))?;
    wait::until_true("the input worked off", PATIENCE, || {
        Ok(fixture.committed_to_end(&fixture.topic("in")).is_ok())
    })?;
    ensure!(strait.is_running()?);
    Ok(())
}
