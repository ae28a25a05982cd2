//! Messages that were sent again, and processes that die between the claim on an id and the commit
//! of its record.
//!
//! A matrix for each store: where the process is killed, and who else is there. Each id must come
//! through once, whether the process that died reads its records again, or another lane met a
//! repeat of them meanwhile. The store `memory` forgets with its process, so repeats may pass; nothing
//! is lost.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strait::fault::Point;
use strait_tests::chaos::{Run, Sabotage, Scenario, Selection, Violation};
use strait_tests::fixture::Fixture;
use strait_tests::produce::Message;
use strait_tests::server::{self, Server};
use strait_tests::strait::Strait;
use strait_tests::wait;

const fn scenario(name: &'static str, run: fn(&mut Run) -> Result<()>) -> Scenario {
    Scenario {
        number: 0,
        name,
        expects: "each message id comes through once, wherever the process dies after its claim",
        selection: Selection::Long,
        sabotage: None,
        run,
    }
}

const fn sees(name: &'static str, run: fn(&mut Run) -> Result<()>) -> Scenario {
    Scenario {
        number: 0,
        name,
        expects: "set if absent, else skip: what was claimed by a process that died is skipped by the next",
        selection: Selection::Long,
        sabotage: Some(Sabotage::losing("seen-once")),
        run,
    }
}

pub const SCENARIOS: &[Scenario] = &[
    scenario("duplicates_memory", |run| matrix(run, Store::Memory)),
    scenario("duplicates_changelog", |run| matrix(run, Store::Changelog)),
    scenario("duplicates_redis", |run| matrix(run, REDIS)),
    scenario("duplicates_postgres", |run| matrix(run, POSTGRES)),
    scenario("duplicates_mariadb", |run| {
        matrix(run, Store::Server(server::Kind::MariaDb))
    }),
    sees("sees_seen_once_in_redis", |run| matrix(run, REDIS)),
    sees("sees_seen_once_in_postgres", |run| matrix(run, POSTGRES)),
];

const REDIS: Store = Store::Server(server::Kind::Redis);
const POSTGRES: Store = Store::Server(server::Kind::Postgres);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Memory,
    Changelog,
    Server(server::Kind),
}

impl Store {
    /// Whether ids are known beyond the partition and the process that met them first.
    fn is_shared(self) -> bool {
        matches!(self, Self::Server(_))
    }
}

/// Where it dies.
const POINTS: [Point; 4] = [
    Point::AfterClaim,
    Point::AfterProduce,
    Point::AfterSendOffsets,
    Point::DuringEndTxn,
];

/// Who meets the ids besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Only the process itself, when it reads them again.
    Nobody,
    /// A lane of another process, which is sent repeats at the same time.
    AnotherLane,
}

impl fmt::Display for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "and reads them again",
            Self::AnotherLane => "while another lane meets repeats",
        })
    }
}

/// So often it passes there before it dies.
const PASSES: u32 = 4;
const PARTITIONS: i32 = 3;
const IDS: i32 = 600;
const DEAD_WITHIN: Duration = Duration::from_secs(40);
const MEMBERS_WITHIN: Duration = Duration::from_secs(20);

fn matrix(run: &mut Run, store: Store) -> Result<()> {
    let server = match store {
        Store::Server(kind) => Some(Server::start(kind, run.cluster().verifier())?),
        Store::Memory | Store::Changelog => None,
    };
    for point in POINTS {
        for meanwhile in [Meanwhile::Nobody, Meanwhile::AnotherLane] {
            cell(run, store, server.as_ref(), point, meanwhile)?;
        }
    }
    let (lost, doubled) = (run.tally.lost, run.tally.doubled);
    if lost > 0 || (doubled > 0 && store != Store::Memory) {
        let what = format!("{lost} message ids lost, {doubled} doubled");
        return Err(Violation(what).into());
    }
    Ok(())
}

fn cell(
    run: &mut Run,
    store: Store,
    server: Option<&Server>,
    point: Point,
    meanwhile: Meanwhile,
) -> Result<()> {
    let mut fixture = run.fixture(PARTITIONS, "identity")?;
    let chosen = match (store, server) {
        (Store::Memory, _) => json!("memory"),
        (_, Some(server)) => server.store(&server.url()),
        (_, None) => json!("changelog"),
    };
    prepare(&mut fixture, &chosen)?;
    let (first, again) = input(store);
    let dies = fixture.command_that_dies(&format!("{}:{PASSES}", point.as_str()))?;
    let dies = with_sabotage(run, dies);
    let mut dies = fixture.start_command(dies)?;
    dies.wait_ready()?;
    let other = match meanwhile {
        Meanwhile::Nobody => None,
        Meanwhile::AnotherLane => Some(start(run, &fixture)?),
    };
    let members = 1 + usize::from(other.is_some());
    wait::until_true("all members", MEMBERS_WITHIN, || {
        Ok(fixture.verifier().members(fixture.name())?.len() == members)
    })?;
    fixture.send(&first)?;
    if meanwhile == Meanwhile::AnotherLane {
        fixture.send(&again)?;
    }
    let status = dies.wait_end(DEAD_WITHIN)?;
    ensure!(
        status.signal() == Some(9),
        "{}: it ended with {status}",
        point.as_str()
    );
    let mut goes_on = match other {
        Some(other) => other,
        None => start(run, &fixture)?,
    };
    fixture.wait_worked_off(&mut goes_on)?;
    // And once more, when all is at rest.
    fixture.send(&again)?;
    fixture.wait_worked_off(&mut goes_on)?;
    let (lost, doubled) = count(&fixture)?;
    run.tally.records += first.len() + again.len();
    run.tally.lost += lost;
    run.tally.doubled += doubled;
    run.fault(
        format!(
            "SIGKILL {} {meanwhile}: {lost} lost, {doubled} doubled",
            point.as_str()
        ),
        status.to_string(),
    );
    Ok(())
}

fn prepare(fixture: &mut Fixture, store: &Value) -> Result<()> {
    fixture.dedup(&json!({ "id": "key", "store": store, "window": "1h" }))?;
    fixture.set_stage_at(1, "batch", json!({ "records": 20 }))?;
    fixture.set(
        "commit",
        json!({ "interval": "50ms", "idle": "10ms", "records": 40 }),
    )?;
    fixture.set_session(Duration::from_secs(3))
}

/// Messages, and their repeats: in other partitions where the store knows of these.
fn input(store: Store) -> (Vec<Message>, Vec<Message>) {
    let message = |n: i32, partition: i32| Message::new(format!("id-{n}"), "value").to_partition(partition);
    let moved = i32::from(store.is_shared());
    let first = (0..IDS).map(|n| message(n, n % PARTITIONS));
    let again = (0..IDS).map(|n| message(n, (n + moved) % PARTITIONS));
    (first.collect(), again.collect())
}

fn with_sabotage(run: &Run, mut command: Command) -> Command {
    if let (_, Some(sabotage)) = run.build() {
        command.env("STRAIT_FAULT", sabotage);
    }
    command
}

fn start(run: &Run, fixture: &Fixture) -> Result<Strait> {
    let (build, _) = run.build();
    let mut strait = fixture.start_command(with_sabotage(run, fixture.command(build, "run")?))?;
    strait.wait_ready()?;
    Ok(strait)
}

/// Ids that did not come through, and those that did more than once.
fn count(fixture: &Fixture) -> Result<(usize, usize)> {
    let counts = fixture.key_counts()?;
    let lost = usize::try_from(IDS)? - counts.len();
    let doubled = counts.values().filter(|count| **count > 1).count();
    Ok((lost, doubled))
}
