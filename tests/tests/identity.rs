//! Two processes of one pipeline on one machine, one of which stands still for a while.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strait_tests::fixture::Fixture;
use strait_tests::produce::{Message, Steady};
use strait_tests::strait::Strait;
use strait_tests::wait;

const PARTITIONS: i32 = 4;
const SESSION: Duration = Duration::from_secs(6);
/// The shortest that is allowed.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn two_processes_take_two_identities_and_survive_a_standstill() -> Result<()> {
    let mut fixture = Fixture::new("standstill", PARTITIONS, "identity")?;
    fixture.set_session(SESSION)?;
    let timeout_ms = u64::try_from(TRANSACTION_TIMEOUT.as_millis())?;
    fixture.set("kafka.producer", json!({ "transaction.timeout.ms": timeout_ms }))?;
    let make = |partition, number| Message::new(format!("{partition}-{number}"), "value");
    let steady = Steady::start(fixture.bootstrap(), &fixture.topic("in"), PARTITIONS, 200, make)?;
    let mut first = fixture.run()?;
    let first_id = new_id(&fixture, &BTreeSet::new())?;
    let mut second = fixture.run()?;
    let second_id = new_id(&fixture, &BTreeSet::from([first_id.clone()]))?;
    wait_shared(&fixture)?;

    stand_still(&fixture, &mut first, &first_id, SESSION + Duration::from_secs(3))?;
    stand_still(
        &fixture,
        &mut second,
        &second_id,
        TRANSACTION_TIMEOUT + Duration::from_secs(5),
    )?;

    steady.stop()?;
    fixture.wait_worked_off(&mut first)?;
    for strait in [&mut first, &mut second] {
        let code = strait.terminate(Duration::from_secs(10))?;
        ensure!(code == 0, "SIGTERM ended it with {code}");
    }
    fixture.check_no_open_transaction(&["out"])?;
    fixture.check_copied()
}

/// The transactional id of a process with one lane that has just come.
fn new_id(fixture: &Fixture, known: &BTreeSet<String>) -> Result<String> {
    let prefix = format!("{}.", fixture.name());
    let new = wait::until("another transactional id", Duration::from_secs(20), || {
        let listed = fixture.verifier().transactions(&prefix)?;
        let mut ids = listed
            .into_iter()
            .map(|transaction| transaction.id)
            .collect::<BTreeSet<String>>();
        ids.retain(|id| !known.contains(id));
        Ok((!ids.is_empty()).then_some(ids))
    })?;
    ensure!(new.len() == 1, "one lane has the ids {new:?}");
    new.into_iter().next().context("an id")
}

/// Freezes a process inside a transaction of its; it must find back into the group by itself.
fn stand_still(fixture: &Fixture, strait: &mut Strait, id: &str, length: Duration) -> Result<()> {
    let is_open = || -> Result<bool> {
        let listed = fixture.verifier().transactions(id)?;
        Ok(listed
            .iter()
            .any(|transaction| transaction.id == id && transaction.state == "Ongoing"))
    };
    wait::until_true(
        "a standstill inside a transaction",
        Duration::from_secs(20),
        || {
            wait::until_true("an open transaction", Duration::from_secs(20), is_open)?;
            strait.freeze()?;
            // What it had sent may still be on its way.
            thread::sleep(Duration::from_millis(200));
            let caught = is_open()?;
            if !caught {
                strait.thaw()?;
            }
            Ok(caught)
        },
    )?;
    thread::sleep(length);
    let members = fixture.verifier().members(fixture.name())?;
    ensure!(
        members.len() == 1,
        "the group has not noticed the standstill: {members:?}"
    );
    strait.thaw()?;
    wait_shared(fixture)?;
    strait.wait_ready()
}

fn wait_shared(fixture: &Fixture) -> Result<()> {
    wait::until(
        "both members with half of the partitions",
        Duration::from_mins(1),
        || {
            let members = fixture.verifier().members(fixture.name())?;
            let half = usize::try_from(PARTITIONS)? / 2;
            ensure!(members == [half, half], "the members hold {members:?}");
            Ok(Some(()))
        },
    )
}
