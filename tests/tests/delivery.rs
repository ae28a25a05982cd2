//! The modes of delivery, and where an output record goes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use strait_tests::fixture::Fixture;
use strait_tests::produce::Message;

fn messages(partitions: i32, count: i32) -> Vec<Message> {
    (0..count)
        .map(|n| Message::new(format!("k-{n}"), "value").to_partition(n % partitions))
        .collect()
}

fn delivers(mode: &str) -> Result<()> {
    let mut fixture = Fixture::new(mode, 2, "identity")?;
    fixture.set("delivery", json!(mode))?;
    fixture.send(&messages(2, 500))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(Duration::from_secs(10))? == 0);
    fixture.check_copied()
}

#[test]
fn at_least_once_delivers() -> Result<()> {
    delivers("at_least_once")
}

#[test]
fn at_most_once_delivers() -> Result<()> {
    delivers("at_most_once")
}

#[test]
fn keys_go_where_java_puts_them() -> Result<()> {
    let mut fixture = Fixture::new("murmur2", 1, "identity")?;
    fixture.create_topic("spread", 7)?;
    fixture.create_topic("java", 7)?;
    fixture.set(
        "outputs.default",
        json!({ "topic": fixture.topic("spread"), "partition": "key" }),
    )?;
    let mut keys: Vec<Vec<u8>> = (0..200).map(|n| format!("key-{n}").into_bytes()).collect();
    // Lengths of every remainder by four, and bytes that are negative in Java.
    keys.extend((1..20).map(|length| vec![200 + length; usize::from(length)]));
    let input: Vec<Message> = keys
        .iter()
        .map(|key| Message::new(key.clone(), "v").to_partition(0))
        .collect();
    fixture.send(&input)?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let java = fixture
        .verifier()
        .partitions_by_java(&fixture.topic("java"), &keys)?;
    let rows = fixture.read("spread")?;
    let ours: HashMap<Vec<u8>, i32> = rows
        .into_iter()
        .map(|row| (row.key.unwrap_or_default(), row.partition))
        .collect();
    let mut differences = String::new();
    for key in &keys {
        let (theirs, own) = (java.get(key), ours.get(key));
        if theirs.is_none() || theirs != own {
            writeln!(differences, "{key:?}: Java {theirs:?}, we {own:?}")?;
        }
    }
    ensure!(differences.is_empty(), "{differences}");
    Ok(())
}

#[test]
fn an_output_can_follow_the_input_partition() -> Result<()> {
    let mut fixture = Fixture::new("follow", 4, "identity")?;
    fixture.set(
        "outputs.default",
        json!({ "topic": fixture.topic("out"), "partition": "input" }),
    )?;
    fixture.send(&messages(4, 400))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_copied()?;
    let place = |short: &str| -> Result<Vec<(String, i32)>> {
        Ok(fixture
            .read(short)?
            .iter()
            .map(|row| (row.key_text(), row.partition))
            .collect())
    };
    ensure!(place("in")? == place("out")?, "a record changed its partition");
    Ok(())
}

#[test]
fn a_pattern_takes_up_a_new_topic() -> Result<()> {
    let mut fixture = Fixture::new("pattern", 1, "identity")?;
    let pattern = format!("^{}\\.in.*", fixture.name().replace('.', "\\."));
    fixture.set("input", json!({ "pattern": pattern }))?;
    fixture.set(
        "kafka.properties",
        json!({ "topic.metadata.refresh.interval.ms": 2000 }),
    )?;
    fixture.send(&messages(1, 10))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.create_topic("in-two", 1)?;
    let second = fixture.topic("in-two");
    let input = strait_tests::produce::Input::new(fixture.bootstrap())?;
    input.send_all(&second, &[Message::new("late", "value")])?;
    fixture.wait_worked_off_topic(&mut strait, &second)?;
    let rows = fixture.read("out")?;
    ensure!(
        rows.len() == 11 && rows.iter().any(|row| row.key_text() == "late"),
        "{rows:?}"
    );
    Ok(())
}

#[test]
fn a_transform_can_name_the_partition() -> Result<()> {
    let mut fixture = Fixture::new("explicit", 1, "hostile")?;
    fixture.create_topic("five", 5)?;
    fixture.set(
        "outputs.default",
        json!({ "topic": fixture.topic("five"), "partition": "explicit" }),
    )?;
    let input = (0..100).map(|n| Message::new(format!("k-{n}"), format!("partition:{}", n % 5)));
    fixture.send(&input.collect::<Vec<_>>())?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let rows = fixture.read("five")?;
    ensure!(rows.len() == 100, "{} records", rows.len());
    let strayed = rows
        .iter()
        .find(|row| row.value_text() != format!("partition:{}", row.partition));
    ensure!(strayed.is_none(), "{strayed:?}");
    Ok(())
}
