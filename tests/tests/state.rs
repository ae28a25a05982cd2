//! Transforms that remember.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::json;
use strait_tests::balances::{self, PARTITIONS, payments};
use strait_tests::binary;
use strait_tests::fixture::Fixture;
use strait_tests::produce::Message;
use strait_tests::verifier::Row;

const FAIL_LIMIT: Duration = Duration::from_secs(40);
const START_MS: i64 = 1_700_000_040_000;

#[derive(Deserialize)]
struct Minute {
    start_ms: i64,
    count: u64,
}

fn fixture(test: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(test, PARTITIONS, "balance")?;
    balances::prepare(&mut fixture)?;
    fixture.set("lanes", json!(2))?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 40 }))?;
    fixture.set_session(Duration::from_secs(3))?;
    Ok(fixture)
}

#[test]
fn balances_are_exact_whatever_dies_and_whatever_becomes_of_the_folder() -> Result<()> {
    let fixture = fixture("state-killed")?;
    let points = [
        "after-begin:3",
        "after-produce:3",
        "before-flush:3",
        "after-send-offsets:3",
        "during-end-txn:3",
        "after-commit:3",
    ];
    for (round, point) in (0..).zip(points) {
        let mut strait = fixture.start_command(fixture.command_that_dies(point)?)?;
        strait.wait_ready()?;
        fixture.send(&payments(round * 400, 400))?;
        strait.wait_end(FAIL_LIMIT)?;
        match round % 3 {
            0 => {}
            1 => fs::remove_dir_all(fixture.path("data").join("state"))?,
            _ => damage(&fixture)?,
        }
    }
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    balances::check(&fixture)?;
    let store = format!("balance.{}", fixture.topic("in"));
    let labels = [
        ("pipeline", fixture.name()),
        ("store", &store),
        ("partition", "0"),
    ];
    let restored = strait.metric("strait_state_restore_ratio", &labels)?;
    ensure!(restored == Some(1.0), "{restored:?}");
    fixture.check_no_open_transaction(&["out"])
}

/// Overwrites part of every file of the local state.
fn damage(fixture: &Fixture) -> Result<()> {
    let mut folders = vec![fixture.path("data").join("state")];
    let mut damaged = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs::read(&path)?;
            let middle = bytes.len() / 2;
            for byte in bytes.iter_mut().skip(middle).take(64) {
                *byte ^= 0x5A;
            }
            fs::write(&path, bytes)?;
            damaged += 1;
        }
    }
    ensure!(damaged > 0, "there was nothing to damage");
    Ok(())
}

#[test]
fn state_follows_its_partition_to_another_process() -> Result<()> {
    let fixture = fixture("state-moves")?;
    let mut first = fixture.run()?;
    fixture.send(&payments(0, 600))?;
    fixture.wait_worked_off(&mut first)?;
    // It takes some of the partitions, and then all of them.
    let mut second = fixture.run()?;
    fixture.send(&payments(600, 600))?;
    fixture.wait_worked_off(&mut second)?;
    ensure!(first.terminate(Duration::from_secs(10))? == 0);
    fixture.send(&payments(1200, 600))?;
    fixture.wait_worked_off(&mut second)?;
    // And back, to a folder that is behind by what the other has counted.
    let mut third = fixture.run()?;
    second.kill()?;
    fixture.send(&payments(1800, 600))?;
    fixture.wait_worked_off(&mut third)?;
    balances::check(&fixture)
}

#[test]
fn a_record_that_fails_leaves_no_trace_in_the_state() -> Result<()> {
    let mut fixture = fixture("state-rejects")?;
    fixture.set_stage("settings", json!({ "overdraft": 0 }))?;
    fixture.dead_letter()?;
    let mut strait = fixture.run()?;
    let pay = |amount: i64| Message::new("a", format!(r#"{{"amount": {amount}}}"#)).to_partition(0);
    fixture.send(&[pay(50), pay(-51), pay(-20), pay(-31), pay(-30)])?;
    fixture.wait_worked_off(&mut strait)?;
    let balances = fixture
        .read("out")?
        .iter()
        .map(Row::value_text)
        .collect::<Vec<_>>();
    ensure!(
        balances
            == [
                r#"{"balance":50,"payments":1}"#,
                r#"{"balance":30,"payments":2}"#,
                r#"{"balance":0,"payments":3}"#
            ],
        "{balances:?}"
    );
    ensure!(fixture.read("dlq")?.len() == 2);
    Ok(())
}

#[test]
fn a_minute_is_counted_once_by_the_time_of_the_records() -> Result<()> {
    let mut fixture = Fixture::new("state-minutes", 1, "per-minute")?;
    fixture.create_topic("late", 1)?;
    fixture.set("outputs.late", json!(fixture.topic("late")))?;
    fixture.set("state", json!({ "minutes": {} }))?;
    fixture.set_stage("batch", json!({ "records": 50 }))?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 50 }))?;
    let at = |second: i64| Message {
        timestamp_ms: Some(START_MS + second * 1000),
        ..Message::new("k", "x").to_partition(0)
    };
    // Ten minutes, three records a second; one from the far future in the midst of it.
    let mut input: Vec<Message> = (0..600)
        .flat_map(|second| [at(second), at(second), at(second)])
        .collect();
    input.insert(900, at(50_000_000));
    input.push(at(0)); // late
    let mut strait = fixture.start_command(fixture.command_that_dies("after-send-offsets:9")?)?;
    strait.wait_ready()?;
    fixture.send(&input)?;
    strait.wait_end(FAIL_LIMIT)?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let mut counts = Vec::new();
    for row in fixture.read("out")? {
        let Minute { start_ms, count } = serde_json::from_str(&row.value_text())?;
        counts.push(((start_ms - START_MS) / 60_000, count));
    }
    // The last minute is still open.
    let expected: Vec<(i64, u64)> = (0..9).map(|minute| (minute, 180)).collect();
    ensure!(counts == expected, "{counts:?}");
    ensure!(fixture.read("late")?.len() == 1);
    Ok(())
}

/// Payments that are made, of each account and minute, and how many are not.
fn paid(payments: &[(i32, i64)]) -> (BTreeMap<(String, i64), u64>, usize) {
    let mut balances = BTreeMap::<i32, i64>::new();
    let (mut paid, mut refused) = (BTreeMap::new(), 0);
    for ((account, amount), second) in payments.iter().zip(0..) {
        let balance = balances.entry(*account).or_default();
        if *balance + amount < 0 {
            refused += 1;
            continue;
        }
        *balance += amount;
        *paid
            .entry((format!("account-{account}"), second / 60))
            .or_default() += 1;
    }
    (paid, refused)
}

#[test]
fn two_stages_that_keep_state_are_as_exact_as_one() -> Result<()> {
    const MINUTES: i32 = 10;
    let mut fixture = Fixture::new("state-two", 1, "balance")?;
    fixture.create_topic("late", 1)?;
    fixture.dead_letter()?;
    fixture.set("outputs.late", json!(fixture.topic("late")))?;
    fixture.set("state", json!({ "balance": {}, "minutes": {} }))?;
    let stage = |guest: &str| -> Result<_> {
        Ok(json!({ "wasm": {
            "module": binary::guest(guest)?,
            "batch": { "records": 50 },
            "limits": { "batch_deadline": "2s" },
        } }))
    };
    fixture.set("stages", json!([stage("balance")?, stage("per-minute")?]))?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 50 }))?;
    fixture.set_session(Duration::from_secs(3))?;
    // One a second, and a few behind the last minute, so that it ends.
    let payments: Vec<(i32, i64)> = (0..MINUTES * 60 + 30)
        .map(|n| (n % 3, i64::from(n) * 37 % 100 - 55))
        .collect();
    let record = |(second, (account, amount)): (i64, &(i32, i64))| Message {
        timestamp_ms: Some(START_MS + second * 1000),
        ..Message::new(format!("account-{account}"), format!(r#"{{"amount": {amount}}}"#)).to_partition(0)
    };
    let mut strait = fixture.start_command(fixture.command_that_dies("after-send-offsets:6")?)?;
    strait.wait_ready()?;
    fixture.send(&(0..).zip(&payments).map(record).collect::<Vec<_>>())?;
    strait.wait_end(FAIL_LIMIT)?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let (mut expected, refused) = paid(&payments);
    expected.retain(|(_, minute), _| *minute < i64::from(MINUTES));
    let mut found = BTreeMap::new();
    for row in fixture.read("out")? {
        let Minute { start_ms, count } = serde_json::from_str(&row.value_text())?;
        let minute = (start_ms - START_MS) / 60_000;
        let before = found.insert((row.key_text(), minute), count);
        ensure!(before.is_none(), "{} twice in minute {minute}", row.key_text());
    }
    ensure!(found == expected, "{found:?} and not {expected:?}");
    ensure!(fixture.read("dlq")?.len() == refused && refused > 0);
    Ok(())
}
