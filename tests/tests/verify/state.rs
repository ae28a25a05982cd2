//! A pipeline that keeps state: what can be judged without working it out.

use super::*;

#[test]
fn outputs_that_depend_on_state_are_unproven_and_must_stand_once() -> Result<()> {
    let mut fixture = traced("verify-state", 2, "balance")?;
    fixture.set("state", json!({ "balance": {} }))?;
    fixture.set_stage("settings", json!({ "overdraft": 1_000_000 }))?;
    let payment = |n: i32| {
        Message::new(format!("account-{}", n % 6), format!(r#"{{"amount": {n}}}"#)).to_partition(n % 2)
    };
    fixture.send(&(0..100).map(payment).collect::<Vec<_>>())?;
    work_off(&fixture)?;
    let verdict = verify(&fixture, &[])?;
    verdict.found("unproven", &[0, 0])?;
    ensure!(verdict.count("unproven") == 100, "{:#}", verdict.report);
    let assumed = verify(&fixture, &["--assume-filtered"])?;
    assumed.proven()?;
    ensure!(assumed.number("assumed") == 100, "{:#}", assumed.report);
    let (code, text) = verify_text(&fixture, &[])?;
    ensure!(
        code == 1 && text.contains("it depends on state, which is not recomputed"),
        "{text}"
    );
    // One of them stands again.
    let row = fixture.read("out")?.into_iter().next().context("an output")?;
    let again = Message::new(row.key_text(), row.value_text())
        .to_partition(row.partition)
        .with_header(SOURCE, row.header(SOURCE).as_deref().map(str::as_bytes));
    Input::new(fixture.bootstrap())?.send_all(&fixture.topic("out"), &[again])?;
    let doubled = verify(&fixture, &["--assume-filtered"])?;
    ensure!(
        doubled.code == 1 && doubled.count("doubled") == 1,
        "{:#}",
        doubled.report
    );
    Ok(())
}
