//! A `strait offsets reset` that dies between two of its steps is finished by the same command.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strait_tests::binary::Build;
use strait_tests::fixture::Fixture;
use strait_tests::produce::Message;
use strait_tests::server::{Kind, Server};
use strait_tests::wait;

const STOP_LIMIT: Duration = Duration::from_secs(10);
const FAIL_LIMIT: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it until it dies at this point, and then once more.
fn reset_twice(fixture: &Fixture, point: &str, arguments: &[&str]) -> Result<()> {
    let reset = |build| -> Result<_> {
        let mut command = fixture.command(build, "offsets reset")?;
        command.args(arguments).arg("--yes").stdin(Stdio::null());
        Ok(command)
    };
    let died = reset(Build::Faulty)?.env("STRAIT_FAIL_POINT", point).output()?;
    ensure!(died.status.code().is_none(), "{point}: it lives: {died:?}");
    let done = reset(Build::Plain)?.output()?;
    ensure!(done.status.success(), "{point}: {done:?}");
    Ok(())
}

fn work_off(fixture: &Fixture) -> Result<()> {
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    Ok(())
}

/// A pipeline that has counted ten payments of each of two accounts, which stand in a partition each.
fn paid(name: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, 2, "balance")?;
    fixture.set("state", json!({ "balance": {} }))?;
    fixture.set_stage("settings", json!({ "overdraft": 1_000_000 }))?;
    let payment = |n: i32| Message::new(format!("account-{}", n % 2), r#"{"amount": 1}"#).to_partition(n % 2);
    fixture.send(&(0..20).map(payment).collect::<Vec<_>>())?;
    work_off(&fixture)?;
    ensure!(counted(&fixture)? == [10, 10]);
    Ok(fixture)
}

/// How many payments the last output of each account tells.
fn counted(fixture: &Fixture) -> Result<Vec<u64>> {
    let mut last = BTreeMap::new();
    for row in fixture.read("out")? {
        let account: Value = serde_json::from_str(&row.value_text())?;
        let payments = account.get("payments").and_then(Value::as_u64);
        last.insert(row.key_text(), payments.context("a count")?);
    }
    Ok(last.into_values().collect())
}

#[test]
fn state_is_cleared_once_the_offsets_are_set_whatever_dies() -> Result<()> {
    let fixture = paid("reset-dies-clear")?;
    let points = ["reset-after-offsets", "reset-after-starts", "reset-after-clear"];
    for (point, outputs) in points.into_iter().zip([40, 60, 80]) {
        reset_twice(&fixture, point, &["--to", "earliest", "--state", "clear"])?;
        work_off(&fixture)?;
        let counted = counted(&fixture)?;
        ensure!(counted == [10, 10], "{point}: {counted:?}");
        let rows = fixture.read("out")?.len();
        ensure!(rows == outputs, "{point}: {rows}");
    }
    Ok(())
}

#[test]
fn state_that_is_kept_counts_on_from_where_it_was_sent_whatever_dies() -> Result<()> {
    let fixture = paid("reset-dies-keep")?;
    let points = ["reset-after-marks", "reset-after-offsets", "reset-after-starts"];
    for (point, payments) in points.into_iter().zip([16, 22, 28]) {
        reset_twice(&fixture, point, &["--to", "4", "--state", "keep"])?;
        work_off(&fixture)?;
        let counted = counted(&fixture)?;
        ensure!(counted == [payments; 2], "{point}: {counted:?}");
    }
    Ok(())
}

#[test]
fn claims_on_what_is_passed_over_are_gone_whatever_dies() -> Result<()> {
    let stuck: Vec<Message> = (0..10)
        .map(|n| Message::new(format!("stuck-{n}"), "value").to_partition(0))
        .collect();
    for point in ["reset-after-claims", "reset-after-offsets"] {
        let mut fixture = Fixture::new("reset-dies-claims", 1, "identity")?;
        let server = Server::start(Kind::Redis, fixture.verifier())?;
        fixture.dedup(&json!({ "id": "key", "store": server.store(&server.url()), "window": "1h" }))?;
        fixture.set_session(Duration::from_secs(3))?;
        fixture.send(&[Message::new("through", "value").to_partition(0)])?;
        work_off(&fixture)?;
        let mut strait = fixture.start_command(fixture.command_that_dies("after-claim:1")?)?;
        strait.wait_ready()?;
        fixture.send(&stuck)?;
        strait.wait_end(FAIL_LIMIT)?;
        wait::until_true("a group that nobody is in", PATIENCE, || {
            Ok(fixture.verifier().members(fixture.name())?.is_empty())
        })?;
        reset_twice(&fixture, point, &["--to", "latest", "--claims", "drop"])?;
        // Their repeats pass.
        fixture.send(&stuck)?;
        work_off(&fixture)?;
        fixture.check_each_key_once(11).context(point)?;
    }
    Ok(())
}
