//! What `dedup` makes of a record that was put back.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strait_tests::binary;
use strait_tests::fixture::Fixture;
use strait_tests::produce::{Input, Message};
use strait_tests::strait::Strait;
use strait_tests::verifier::Row;

use super::{STOP_LIMIT, dlq, failing, replayed, work_off};

fn repeated(strait: &Strait, fixture: &Fixture) -> Result<f64> {
    let labels = [("pipeline", fixture.name()), ("kind", "repeated")];
    let repeated = strait.metric("strait_duplicates_total", &labels)?;
    Ok(repeated.unwrap_or_default())
}

/// A record that has an id is itself when it is replayed, and a copy of it a repeat.
fn passes_as_itself(store: &str) -> Result<Fixture> {
    let mut fixture = failing(&format!("dlq-dedup-{store}"), 1)?;
    fixture.dedup(&json!({ "id": "header:message-id", "store": store }))?;
    let message = Message::new("k", "reject:always").with_header("message-id", Some(b"a"));
    let mut strait = fixture.run()?;
    fixture.send(&[Message::new("first", "fine"), message.clone()])?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(fixture.read("dlq")?.len() == 1);
    ensure!(replayed(&fixture, &[], 0)? == 1);
    fixture.wait_worked_off(&mut strait)?;
    // It was not dropped: it failed again, where it stands now.
    let letters = fixture.read("dlq")?;
    ensure!(letters.len() == 2, "{letters:?}");
    let again = letters.last().context("a letter")?;
    ensure!(
        again.header("strait-error-offset").as_deref() == Some("2"),
        "{again:?}"
    );
    ensure!(
        again.header("strait-replays").as_deref() == Some("1"),
        "{again:?}"
    );
    fixture.send(std::slice::from_ref(&message))?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(fixture.read("dlq")?.len() == 2, "a copy of it is a repeat");
    ensure!((repeated(&strait, &fixture)? - 1.0).abs() < 0.5);
    // Replayed once more it still is the one that it was first.
    let guarded = dlq(&fixture, "replay", &["--max-replays", "1"])?.exits(1)?.out;
    ensure!(guarded.contains("it was replayed 1 times"), "{guarded}");
    ensure!(fixture.read("in")?.len() == 4, "the guard holds it");
    ensure!(replayed(&fixture, &["--max-replays", "2"], 0)? == 1);
    fixture.wait_worked_off(&mut strait)?;
    let letters = fixture.read("dlq")?;
    let third = letters.get(2).context("a third letter")?;
    ensure!(
        third.header("strait-replays").as_deref() == Some("2"),
        "{third:?}"
    );
    let first = third.header("strait-replayed").unwrap_or_default();
    ensure!(first.contains("/0/1/1/1/"), "{first}");
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    Ok(fixture)
}

#[test]
fn a_replayed_record_passes_dedup_in_memory() -> Result<()> {
    passes_as_itself("memory").map(drop)
}

#[test]
fn a_replayed_record_passes_dedup_in_a_changelog_after_a_restart_too() -> Result<()> {
    let mut fixture = passes_as_itself("changelog")?;
    let module = json!(binary::guest("identity")?);
    fixture.set_stage_at(1, "module", module)?;
    ensure!(replayed(&fixture, &[], 0)? == 1);
    let copy = Message::new("k", "reject:always").with_header("message-id", Some(b"a"));
    fixture.send(&[copy])?;
    work_off(&fixture)?;
    let out: Vec<String> = fixture.read("out")?.iter().map(Row::key_text).collect();
    ensure!(out == ["first", "k"], "{out:?}");
    Ok(())
}

/// In another input of its pipeline it is itself too, where the store knows of both.
fn passes_elsewhere(store: &str) -> Result<()> {
    let mut fixture = failing(&format!("dlq-elsewhere-{store}"), 1)?;
    fixture.create_topic("repaired", 1)?;
    let (home, elsewhere) = (fixture.topic("in"), fixture.topic("repaired"));
    fixture.set("input.topics", json!([home, elsewhere]))?;
    fixture.dedup(&json!({ "id": "header:message-id", "store": store }))?;
    let message = Message::new("k", "reject:always").with_header("message-id", Some(b"a"));
    let mut strait = fixture.run()?;
    fixture.send(std::slice::from_ref(&message))?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(replayed(&fixture, &["--to", &elsewhere], 0)? == 1);
    fixture.wait_worked_off_topic(&mut strait, &elsewhere)?;
    // It was not dropped: it failed again, where it stands now.
    let letters = fixture.read("dlq")?;
    let again = letters.get(1).context("a second letter")?;
    let topic = again.header("strait-error-topic");
    ensure!(topic.as_deref() == Some(elsewhere.as_str()), "{again:?}");
    Input::new(fixture.bootstrap())?.send_all(&elsewhere, &[message])?;
    fixture.wait_worked_off_topic(&mut strait, &elsewhere)?;
    ensure!(fixture.read("dlq")?.len() == 2, "a copy of it is a repeat");
    ensure!((repeated(&strait, &fixture)? - 1.0).abs() < 0.5);
    Ok(())
}

#[test]
fn a_replayed_record_passes_in_another_input_of_its_pipeline() -> Result<()> {
    passes_elsewhere("memory")
}

#[test]
fn a_replayed_record_counts_as_the_first_where_claims_are_kept_apart() -> Result<()> {
    passes_elsewhere("changelog")
}
