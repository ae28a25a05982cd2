//! Nodes of the cluster that die, stand still, come and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::role::Role;
use strait_tests::chaos::strike::standing_still;
use strait_tests::chaos::{Load, Run, Scenario, Selection};
use strait_tests::cluster::{Cluster, Kind};
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 8,
        name: "group_coordinator_killed",
        expects: "progress within 60 s, though librdkafka may hang in sending offsets",
        selection: Selection::Short,
        sabotage: None,
        run: |run| killed(run, &[Role::GroupCoordinator]),
    },
    Scenario {
        number: 8,
        name: "nodes_killed_by_role",
        expects: "progress within 60 s, whichever part the node had",
        selection: Selection::Long,
        sabotage: None,
        run: |run| killed(run, &Role::ALL),
    },
    Scenario {
        number: 8,
        name: "nodes_paused_by_role",
        expects: "progress within 60 s of a standstill of 20 s, whichever part the node had",
        selection: Selection::Long,
        sabotage: None,
        run: paused,
    },
    Scenario {
        number: 9,
        name: "nodes_bounced_cleanly",
        expects: "as kafkatest's transactions_test: nothing lost, doubled or out of order",
        selection: Selection::Long,
        sabotage: None,
        run: |run| bounced(run, Bounce::Clean),
    },
    Scenario {
        number: 9,
        name: "nodes_bounced_hard",
        expects: "as kafkatest's transactions_test: nothing lost, doubled or out of order",
        selection: Selection::Long,
        sabotage: None,
        run: |run| bounced(run, Bounce::Hard),
    },
    Scenario {
        number: 10,
        name: "only_node_killed",
        expects: "it goes on once the node is back; what was acknowledged is still there",
        selection: Selection::Long,
        sabotage: None,
        run: only_node_killed,
    },
    Scenario {
        number: 18,
        name: "too_few_replicas_in_sync",
        expects: "nothing is skipped and nothing gets through; progress once enough replicas are back",
        selection: Selection::Long,
        sabotage: None,
        run: too_few_in_sync,
    },
];

fn killed(run: &mut Run, roles: &[Role]) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    for role in roles {
        let node = role.node(&load.fixture)?;
        let pid = cluster.broker().pid(node)?;
        let struck = Instant::now();
        cluster.broker().kill(node)?;
        ensure!(cluster.broker().pid(node).is_err(), "node {node} still runs");
        load.await_back(run, struck, PROGRESS_WITHIN)?;
        let now = role.node(&load.fixture)?;
        run.fault(
            format!("SIGKILL of node {node}, the {role}"),
            format!("process {pid} is reaped; node {now} has that part afterwards"),
        );
        cluster.broker().start_node(node)?;
        cluster.wait_whole()?;
        load.wait_moving(PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

/// Longer than the nine seconds after which the cluster takes a node for dead.
const PAUSE: Duration = Duration::from_secs(20);

fn paused(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    for role in Role::ALL {
        let node = role.node(&load.fixture)?;
        let paused = Instant::now();
        cluster.broker().pause(node)?;
        let evidence = standing_still(cluster.broker().pid(node)?)?;
        load.await_back(run, paused, PROGRESS_WITHIN)?;
        // The rest of the standstill; records may move without the node by now.
        std::thread::sleep(PAUSE.saturating_sub(paused.elapsed()));
        cluster.broker().resume(node)?;
        run.fault(format!("SIGSTOP of node {node}, the {role}"), evidence);
        cluster.wait_whole()?;
        load.wait_moving(PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounce {
    Clean,
    Hard,
}

fn bounced(run: &mut Run, how: Bounce) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    // Taken out of the loop's head, which would hold the lock to its end.
    let nodes = cluster.broker().nodes();
    for node in 0..nodes {
        let pid = cluster.broker().pid(node)?;
        match how {
            Bounce::Clean => cluster.broker().stop(node)?,
            Bounce::Hard => cluster.broker().kill(node)?,
        }
        let gone = Instant::now();
        let leads = || -> Result<usize> {
            let leaders = load.fixture.verifier().leaders(&load.fixture.topic("in"))?;
            Ok(leaders.iter().filter(|leader| leader.node == Some(node)).count())
        };
        wait::until_true("other leaders", PROGRESS_WITHIN, || Ok(leads()? == 0))?;
        load.await_back(run, gone, PROGRESS_WITHIN)?;
        cluster.broker().start_node(node)?;
        cluster.wait_whole()?;
        let after = cluster.broker().pid(node)?;
        run.fault(
            format!("{how:?} bounce of node {node}"),
            format!("process {pid} became {after}, and led no partition in between"),
        );
    }
    load.settle(run)
}

fn only_node_killed(run: &mut Run) -> Result<()> {
    let cluster = Arc::new(Cluster::start(Kind {
        nodes: 1,
        ..Kind::default()
    })?);
    let mut load = Load::of(run, Arc::clone(&cluster))?;
    load.begin_with(1)?;
    for _ in 0..2 {
        let pid = cluster.broker().pid(0)?;
        cluster.broker().kill(0)?;
        cluster.broker().start_node(0)?;
        let back = Instant::now();
        let after = cluster.broker().pid(0)?;
        run.fault(
            "SIGKILL of the only node",
            format!("process {pid} became {after}"),
        );
        load.await_back(run, back, PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

/// The outputs want three replicas in sync, and get two.
fn too_few_in_sync(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    for short in ["out", "audit"] {
        let topic = load.fixture.topic(short);
        load.fixture
            .verifier()
            .configure_topic(&topic, &["min.insync.replicas=3"])?;
    }
    let node = Role::OutputLeader.node(&load.fixture)?;
    cluster.broker().kill(node)?;
    let out = load.fixture.topic("out");
    let in_sync = || -> Result<Option<usize>> {
        let leaders = load.fixture.verifier().leaders(&out)?;
        Ok(leaders
            .iter()
            .map(|leader| leader.in_sync)
            .max()
            .filter(|most| *most < 3))
    };
    let most = wait::until("fewer replicas in sync", PROGRESS_WITHIN, in_sync)?;
    // What had its outputs before may still commit.
    let before = load.mark_standing_still()?;
    // Nothing is waited for: this is how long nothing may get through.
    std::thread::sleep(Duration::from_secs(40));
    let after = load.mark()?;
    ensure!(
        before.committed == after.committed,
        "committed offsets moved without enough replicas: {before:?} to {after:?}"
    );
    run.fault(
        "two replicas where three are demanded, for 40 s",
        format!("at most {most} replicas of {out} were in sync"),
    );
    let mended = after.from_now();
    cluster.broker().start_node(node)?;
    cluster.wait_whole()?;
    load.await_progress(run, &mended, PROGRESS_WITHIN)?;
    load.settle(run)
}
