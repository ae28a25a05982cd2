//! How far a message id is known: in which topics and pipelines, under which delivery, and what
//! becomes of a record that has none.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strait_tests::fixture::Fixture;
use strait_tests::produce::{Input, Message};
use strait_tests::server::{Kind, Server};
use strait_tests::wait;

const PATIENCE: Duration = Duration::from_secs(30);

fn messages(count: i32, partition: impl Fn(i32) -> i32) -> Vec<Message> {
    let message = |n| Message::new(format!("m-{n}"), "value").to_partition(partition(n));
    (0..count).map(message).collect()
}

/// Sends the same messages into both inputs of a pipeline. Gives how often each came through.
fn through_two_topics(store: &Value) -> Result<Vec<usize>> {
    let mut fixture = Fixture::new("two-inputs", 2, "identity")?;
    fixture.create_topic("more", 2)?;
    let topics = ["in", "more"].map(|short| fixture.topic(short));
    fixture.set("input.topics", json!(topics))?;
    fixture.dedup(&json!({ "id": "key", "store": store }))?;
    let mut strait = fixture.run()?;
    let sent = messages(100, |n| n % 2);
    for topic in &topics {
        Input::new(fixture.bootstrap())?.send_all(topic, &sent)?;
    }
    for topic in &topics {
        fixture.wait_worked_off_topic(&mut strait, topic)?;
    }
    Ok(fixture.key_counts()?.into_values().collect())
}

#[test]
fn a_changelog_knows_the_ids_of_a_topic_and_a_shared_store_those_of_all() -> Result<()> {
    let apart = through_two_topics(&json!("changelog"))?;
    ensure!(apart == [2; 100], "{apart:?}");
    let together = through_two_topics(&json!("memory"))?;
    ensure!(together == [1; 100], "{together:?}");
    Ok(())
}

#[test]
fn pipelines_share_ids_if_they_name_the_same_scope_and_not_otherwise() -> Result<()> {
    let mut one = Fixture::new("scope-one", 2, "identity")?;
    let server = Server::start(Kind::Redis, one.verifier())?;
    let dedup = |scope: Option<&str>| {
        let mut dedup = json!({ "id": "key", "store": server.store(&server.url()) });
        if let Some(scope) = scope {
            dedup["scope"] = json!(scope);
        }
        dedup
    };
    one.dedup(&dedup(Some("shop")))?;
    let mut other = Fixture::new("scope-other", 2, "identity")?;
    other.dedup(&dedup(Some("shop")))?;
    let mut stranger = Fixture::new("scope-stranger", 2, "identity")?;
    stranger.dedup(&dedup(None))?;
    for fixture in [&one, &other, &stranger] {
        fixture.send(&messages(200, |n| n % 2))?;
        let mut strait = fixture.run()?;
        fixture.wait_worked_off(&mut strait)?;
    }
    one.check_each_key_once(200)?;
    stranger.check_each_key_once(200)?;
    let passed = other.read("out")?.len();
    ensure!(
        passed == 0,
        "{passed} repeats of another pipeline's messages passed"
    );
    Ok(())
}

/// A record that is read again finds its own claim; so nothing is lost, though it may stand twice.
#[test]
fn at_least_once_drops_repeats_and_loses_nothing() -> Result<()> {
    let mut fixture = Fixture::new("dedup-at-least-once", 3, "identity")?;
    let server = Server::start(Kind::Redis, fixture.verifier())?;
    fixture.set("delivery", json!("at_least_once"))?;
    fixture.set("commit", json!({ "interval": "1s" }))?;
    fixture.set_session(Duration::from_secs(3))?;
    fixture.dedup(&json!({ "id": "key", "store": server.store(&server.url()) }))?;
    let mut strait = fixture.run()?;
    fixture.send(&messages(600, |n| n % 3))?;
    // Something is written by then, and little of it committed.
    wait::until_true("records in the output", PATIENCE, || {
        Ok(!fixture.read("out")?.is_empty())
    })?;
    strait.kill()?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let before = fixture.read("out")?.len();
    fixture.send(&messages(600, |n| (n + 1) % 3))?;
    fixture.wait_worked_off(&mut strait)?;
    let counts = fixture.key_counts()?;
    ensure!(counts.len() == 600, "{} keys of 600 came through", counts.len());
    let after = fixture.read("out")?.len();
    ensure!(after == before, "{} repeats passed", after - before);
    Ok(())
}

#[test]
fn a_record_without_an_id_stops_the_pipeline_if_the_file_says_so() -> Result<()> {
    let mut fixture = Fixture::new("dedup-stop", 1, "identity")?;
    fixture.dedup(&json!({ "id": "header:message-id", "on_missing_id": "stop" }))?;
    let with_id = |id: &str| Message::new(id, "value").with_header("message-id", Some(id.as_bytes()));
    fixture.send(&[
        with_id("a"),
        with_id("b"),
        Message::new("bare", "value"),
        with_id("c"),
    ])?;
    // And again: it is not passed over.
    for _ in 0..2 {
        let mut strait = fixture.start()?;
        ensure!(strait.wait_exit(PATIENCE)? == 1);
        let log = strait.log();
        ensure!(
            log.contains("offset 2 failed") && log.contains("on_missing_id"),
            "{log}"
        );
        fixture.check_each_key_once(2)?;
    }
    Ok(())
}
