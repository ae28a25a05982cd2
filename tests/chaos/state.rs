//! What transforms remember, while its owners and the nodes that hold it die, stand still and change.
//!
//! The judge is a serial count of the input: each balance once, in order.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use strait_tests::balances;
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::strike::standing_still;
use strait_tests::chaos::{Run, Scenario, Selection, Violation};
use strait_tests::fixture::Fixture;
use strait_tests::strait::Strait;
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    number: 0,
    name: "state_whatever_dies",
    expects: "each balance is that of a serial count, once and in order",
    selection: Selection::Long,
    sabotage: None,
    run: whatever_dies,
}];

/// Longer than the group waits for a member.
const SESSION: Duration = Duration::from_secs(3);
const WAVE: i32 = 1500;
const ROUNDS: i32 = 3;

fn whatever_dies(run: &mut Run) -> Result<()> {
    let mut fixture = run.fixture(balances::PARTITIONS, "balance")?;
    balances::prepare(&mut fixture)?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 40 }))?;
    fixture.set_session(SESSION)?;
    let mut stage = Stage {
        one: start(run, &fixture)?,
        other: start(run, &fixture)?,
        fixture,
        sent: 0,
    };
    for round in 0..ROUNDS {
        stage.freeze(run)?;
        stage.kill(run, round % 2 == 1)?;
        stage.kill_leader(run)?;
        stage.leave(run)?;
    }
    stage.fixture.wait_worked_off(&mut stage.one)?;
    run.tally.records += usize::try_from(stage.sent)?;
    balances::check(&stage.fixture).map_err(|error| Violation(format!("{error:#}")).into())
}

fn start(run: &Run, fixture: &Fixture) -> Result<Strait> {
    let mut strait = fixture.start_command(fixture.command(run.build().0, "run")?)?;
    strait.wait_ready()?;
    Ok(strait)
}

struct Stage {
    fixture: Fixture,
    one: Strait,
    other: Strait,
    sent: i32,
}

impl Stage {
    /// Payments are being worked off when this comes back.
    fn send_wave(&mut self) -> Result<()> {
        let before = self.committed()?;
        self.fixture.send(&balances::payments(self.sent, WAVE))?;
        self.sent += WAVE;
        wait::until_true("progress", PROGRESS_WITHIN, || Ok(self.committed()? > before))
    }

    fn committed(&self) -> Result<i64> {
        let committed = self.fixture.verifier().committed(self.fixture.name())?;
        Ok(committed.values().sum())
    }

    /// One loses its partitions without knowing, and comes back with what it remembers.
    fn freeze(&mut self, run: &mut Run) -> Result<()> {
        self.send_wave()?;
        self.one.freeze()?;
        let evidence = standing_still(self.one.pid())?;
        self.wait_members(1)?;
        self.send_wave()?;
        self.one.thaw()?;
        run.fault(
            "SIGSTOP of a process until its partitions were another's",
            evidence,
        );
        self.wait_members(2)
    }

    /// The next has the folder that this one had, or none.
    fn kill(&mut self, run: &mut Run, without_folder: bool) -> Result<()> {
        self.send_wave()?;
        self.other.kill()?;
        let mut what = "SIGKILL of a process".to_owned();
        if without_folder {
            self.one.kill()?;
            fs::remove_dir_all(self.fixture.path("data").join("state"))?;
            what += ", of the other, and their folder gone";
            self.one = start(run, &self.fixture)?;
        }
        self.other = start(run, &self.fixture)?;
        run.fault(what, "gone by signal 9");
        self.wait_members(2)
    }

    fn kill_leader(&mut self, run: &mut Run) -> Result<()> {
        let cluster = self.fixture.cluster().clone();
        let changelog = format!(
            "__strait.{}.state.balance.{}",
            self.fixture.name(),
            self.fixture.topic("in")
        );
        let leaders = self.fixture.verifier().leaders(&changelog)?;
        let Some(node) = leaders.first().and_then(|leader| leader.node) else {
            return run.not_run(format!("{changelog} has no leader"));
        };
        self.send_wave()?;
        let pid = cluster.broker().pid(node)?;
        cluster.broker().kill(node)?;
        ensure!(cluster.broker().pid(node).is_err(), "node {node} still runs");
        self.send_wave()?;
        cluster.broker().start_node(node)?;
        cluster.wait_whole()?;
        run.fault(
            format!("SIGKILL of node {node}, which led a changelog"),
            format!("process {pid} is reaped"),
        );
        Ok(())
    }

    fn leave(&mut self, run: &mut Run) -> Result<()> {
        self.send_wave()?;
        let code = self.other.terminate(Duration::from_secs(20))?;
        ensure!(code == 0, "it ended with {code}");
        self.send_wave()?;
        self.other = start(run, &self.fixture)?;
        run.fault(
            "SIGTERM of a process, and another in its place",
            format!("exit {code}"),
        );
        self.wait_members(2)
    }

    fn wait_members(&self, count: usize) -> Result<()> {
        wait::until_true("members", PROGRESS_WITHIN, || {
            Ok(self.fixture.verifier().members(self.fixture.name())?.len() == count)
        })
    }
}
