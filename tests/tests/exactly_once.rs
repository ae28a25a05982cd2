//! The claim itself: kills at random moments lose nothing and double nothing, and
//! the proof can see it when they do.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use strait_tests::binary::Build;
use strait_tests::fixture::Fixture;
use strait_tests::ledger::{Account, Expected};
use strait_tests::produce::Steady;
use strait_tests::strait::Strait;
use strait_tests::wait;

use strait_tests::orders::{Fate, MINIMUM, order};

pub const PARTITIONS: i32 = 6;
const LANES: usize = 2;
const RECORDS_PER_SECOND: u32 = 400;
const KILLS: usize = 10;
/// So many kills must have met an open transaction.
const KILLS_THAT_COUNT: usize = 8;

/// What a run with kills left behind.
struct Aftermath {
    kills: usize,
    in_transaction: usize,
    input: u64,
    filtered: usize,
    outputs: Vec<(&'static str, Account)>,
}

impl Aftermath {
    fn settle(&self) -> Result<()> {
        self.outputs
            .iter()
            .try_for_each(|(topic, account)| account.settle(topic))
    }
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} kills met an open transaction",
            self.in_transaction, self.kills
        )?;
        writeln!(f, "{} records in, {} filtered", self.input, self.filtered)?;
        self.outputs
            .iter()
            .try_for_each(|(topic, account)| writeln!(f, "{topic}: {account}"))
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are the proof")]
fn survives_kills() -> Result<()> {
    let aftermath = kill_and_restart("kills", Build::Plain, KILLS)?;
    println!("{aftermath}");
    ensure!(
        aftermath.in_transaction >= KILLS_THAT_COUNT,
        "only {} of {KILLS} kills met an open transaction: this proves too little",
        aftermath.in_transaction
    );
    aftermath.settle()
}

/// The same run, with the offsets committed outside the transaction, must not balance:
/// else the test above proves nothing.
#[test]
#[allow(clippy::print_stdout, reason = "the figures are the proof")]
fn the_proof_sees_offsets_outside_the_transaction() -> Result<()> {
    let aftermath = kill_and_restart("faulty", Build::Faulty, KILLS_THAT_COUNT)?;
    println!("{aftermath}");
    ensure!(aftermath.settle().is_err(), "the fault went unseen: {aftermath}");
    Ok(())
}

fn kill_and_restart(name: &str, build: Build, kills: usize) -> Result<Aftermath> {
    let fixture = orders(name)?;
    let start = || -> Result<Strait> {
        let mut command = fixture.command(build, "run")?;
        if build == Build::Faulty {
            command.env("STRAIT_FAULT", "offsets-outside-transaction");
        }
        fixture.start_command(command)
    };
    let steady = Steady::start(
        fixture.bootstrap(),
        &fixture.topic("in"),
        PARTITIONS,
        RECORDS_PER_SECOND,
        order,
    )?;
    let mut random = SmallRng::from_os_rng();
    let mut in_transaction = 0;
    for _ in 0..kills {
        let mut strait = start()?;
        strait.wait_ready()?;
        // The moment is random on purpose; no condition is waited for.
        thread::sleep(Duration::from_millis(random.random_range(100..1500)));
        in_transaction += usize::from(kill_in_transaction(&fixture, &mut strait)?);
    }
    let mut strait = start()?;
    strait.wait_ready()?;
    let input = steady.stop()?;
    fixture.wait_worked_off(&mut strait)?;
    let code = strait.terminate(Duration::from_secs(10))?;
    ensure!(code == 0, "SIGTERM ended it with {code}");
    fixture.committed_to_end(&fixture.topic("in"))?;
    fixture.check_no_open_transaction(&["out", "audit", "dlq"])?;
    let rows = fixture.read("in")?;
    ensure!(
        u64::try_from(rows.len())? == input,
        "{} of {input} records stand in the input",
        rows.len()
    );
    let of_fate = |fate| rows.iter().filter(move |row| Fate::of(row) == fate);
    let account = |fate, topic| -> Result<_> {
        let expected: Vec<Expected> = of_fate(fate).map(Expected::by_key).collect();
        Ok((topic, Account::by_key(&expected, &fixture.read(topic)?)))
    };
    let outputs = vec![
        account(Fate::Accepted, "out")?,
        account(Fate::Accepted, "audit")?,
        account(Fate::Malformed, "dlq")?,
    ];
    Ok(Aftermath {
        kills,
        in_transaction,
        input,
        filtered: of_fate(Fate::Filtered).count(),
        outputs,
    })
}

pub fn orders(name: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, PARTITIONS, "orders")?;
    fixture.create_topic("audit", PARTITIONS)?;
    fixture.dead_letter()?;
    fixture.set("outputs.audit", json!(fixture.topic("audit")))?;
    fixture.set_stage("settings", json!({ "minimum": MINIMUM }))?;
    fixture.set("lanes", json!(LANES))?;
    fixture.set_session(Duration::from_secs(3))?;
    Ok(fixture)
}

/// Kills it while a transaction of its is open. False if the broker had decided the
/// transaction by the time that it was dead.
pub fn kill_in_transaction(fixture: &Fixture, strait: &mut Strait) -> Result<bool> {
    let prefix = format!("{}.", fixture.name());
    let open = || -> Result<bool> {
        Ok(fixture
            .verifier()
            .transactions(&prefix)?
            .iter()
            .any(|known| known.state == "Ongoing"))
    };
    wait::until_true("an open transaction", Duration::from_secs(20), open)?;
    strait.kill()?;
    // What the dead process had sent may still be on its way: only a transaction that
    // stays open was cut off.
    let killed = Instant::now();
    while killed.elapsed() < Duration::from_millis(200) {
        if !open()? {
            return Ok(false);
        }
    }
    Ok(true)
}
