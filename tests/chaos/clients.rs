//! Processes that die: killed at any moment, told to stop, frozen.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng as _;
use strait::fault::{self, Point};
use strait_tests::chaos::load::{DRAIN_LIMIT, PROGRESS_WITHIN};
use strait_tests::chaos::role::Role;
use strait_tests::chaos::strike::{OF_A_TRANSACTION, kill_often_within, standing_still};
use strait_tests::chaos::{Load, Run, Sabotage, Scenario, Selection};
use strait_tests::proxy::{Api, Counts};
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 1,
        name: "process_killed_in_transaction",
        expects: "nothing lost or doubled; the next process goes on within the session timeout and 2 s",
        selection: Selection::Short,
        sabotage: None,
        run: |run| killed_in_transaction(run, 5),
    },
    Scenario {
        number: 1,
        name: "process_killed_often",
        expects: "as process_killed_in_transaction, twenty times",
        selection: Selection::Long,
        sabotage: None,
        run: |run| killed_in_transaction(run, 20),
    },
    Scenario {
        number: 2,
        name: "process_told_to_stop",
        expects: "the transaction is decided, the group is left, exit 0 within 10 s",
        selection: Selection::Long,
        sabotage: None,
        run: told_to_stop,
    },
    Scenario {
        number: 2,
        name: "process_told_to_stop_without_coordinators",
        expects: "exit 0 within 10 s, though nobody can decide its transaction; the next one does",
        selection: Selection::Long,
        sabotage: None,
        run: told_to_stop_without_coordinators,
    },
    Scenario {
        number: 3,
        name: "process_killed_at_each_step",
        expects: "as process_killed_in_transaction, whatever was on its way",
        selection: Selection::Long,
        sabotage: None,
        run: killed_at_each_step,
    },
    Scenario {
        number: 4,
        name: "zombie_comes_back",
        expects: "others take over; nothing that the zombie had open becomes visible; it joins again by itself",
        selection: Selection::Short,
        sabotage: None,
        run: zombie_comes_back,
    },
    Scenario {
        number: 5,
        name: "frozen_past_the_transaction_timeout",
        expects: "its producer is fenced and replaced; the process lives",
        selection: Selection::Long,
        sabotage: None,
        run: frozen_past_timeout,
    },
    Scenario {
        number: 7,
        name: "transactional_id_hijacked",
        expects: "the lane that was fenced takes its id back, and goes on",
        selection: Selection::Long,
        sabotage: None,
        run: hijacked,
    },
    Scenario {
        number: 7,
        name: "transactional_id_shared",
        expects: "two processes with one id do not fence each other for ever: one ends with the reason; nothing is doubled",
        selection: Selection::Long,
        sabotage: None,
        run: shared,
    },
    Scenario {
        number: 0,
        name: "sees_offsets_outside_transaction",
        expects: "killed in mid-transaction, a build that commits offsets by the consumer loses records",
        selection: Selection::Short,
        sabotage: Some(Sabotage::losing("offsets-outside-transaction")),
        run: |run| killed_in_transaction(run, 5),
    },
    Scenario {
        number: 0,
        name: "sees_stale_member",
        expects: "a zombie that keeps the group metadata of its start commits what others have done again",
        selection: Selection::Long,
        sabotage: Some(Sabotage::doubling("stale-member")),
        run: zombie_comes_back,
    },
];

/// The session timeout that every load has, and 2 s.
const PROMISED: Duration = Duration::from_secs(5);
/// What it takes to start a build without optimisation on a busy machine.
const START: Duration = Duration::from_secs(10);
const SUCCESSOR_WITHIN: Duration = PROMISED.saturating_add(START);

fn killed_in_transaction(run: &mut Run, kills: usize) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    let met = kill_often_within(run, &mut load, kills, SUCCESSOR_WITHIN)?;
    if met < kills / 2 {
        return run.not_run(format!("only {met} of {kills} kills met an open transaction"));
    }
    load.settle(run)
}

const STOPS: usize = 5;

fn told_to_stop(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 2)?;
    for _ in 0..STOPS {
        let process = run.random.random_range(0..load.processes());
        let code = load.process(process)?.terminate(DRAIN_LIMIT)?;
        ensure!(code == 0, "SIGTERM ended it with {code}");
        let members = load.fixture.verifier().members(load.fixture.name())?.len();
        ensure!(
            members == 2,
            "{members} members are in the group after two lanes left it"
        );
        run.fault(
            format!("SIGTERM to process {process}"),
            "exit code 0, and the group has two members less",
        );
        let mark = load.mark()?;
        load.await_progress(run, &mark, Duration::from_secs(10))?;
        load.restart(process)?;
        load.process(process)?.wait_ready()?;
    }
    load.settle(run)
}

/// The node that coordinates an open transaction dies, then the one that coordinates the group;
/// each time the process is told to stop at once.
fn told_to_stop_without_coordinators(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 2)?;
    let cluster = Arc::clone(run.cluster());
    for role in [Role::TransactionCoordinator, Role::GroupCoordinator] {
        let open = load.fixture.wait_open_transaction_of(&load.ids_of(0))?;
        let node = match role {
            Role::GroupCoordinator => role.node(&load.fixture)?,
            _ => load.fixture.verifier().transaction_coordinator(&open)?,
        };
        let pid = cluster.broker().pid(node)?;
        cluster.broker().kill(node)?;
        let killed = Instant::now();
        ensure!(cluster.broker().pid(node).is_err(), "node {node} still runs");
        let code = load.process(0)?.terminate(DRAIN_LIMIT)?;
        ensure!(code == 0, "SIGTERM ended it with {code}");
        run.fault(
            format!("SIGKILL of node {node}, the {role}, then SIGTERM to a process"),
            format!("process {pid} is reaped; {open} was Ongoing before; exit code 0"),
        );
        load.await_back(run, killed, PROGRESS_WITHIN)?;
        cluster.broker().start_node(node)?;
        cluster.wait_whole()?;
        load.restart(0)?;
        load.process(0)?.wait_ready()?;
        load.wait_moving(PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

/// Steps that every transaction passes: the process dies a random number of passes later.
const ORDINARY: [Point; 8] = [
    Point::AfterBegin,
    Point::AfterProduce,
    Point::BeforeFlush,
    Point::AfterFlush,
    Point::DuringSendOffsets,
    Point::AfterSendOffsets,
    Point::DuringEndTxn,
    Point::AfterCommit,
];

fn killed_at_each_step(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    // Those of a pipeline with message ids: see `duplicates`.
    let points = Point::ALL.into_iter().filter(|point| *point != Point::AfterClaim);
    for point in points {
        load.process(0)?.kill()?;
        let passes = match point {
            _ if ORDINARY.contains(&point) => run.random.random_range(5..40),
            // Each of two lanes opens a producer, and once more after what it left is ended.
            Point::AfterInit => run.random.random_range(1..=2),
            _ => 1,
        };
        let mut command = load.command_with_fail_point(&format!("{}:{passes}", point.as_str()))?;
        if point == Point::AfterAbort {
            command.env("STRAIT_FAULT", fault::Sabotage::AbortEveryThird.as_str());
            command.env("STRAIT_FAULT_SEED", run.random.random::<u32>().to_string());
        }
        load.restart_as(0, command)?;
        let status = load.process(0)?.wait_end(PROGRESS_WITHIN)?;
        ensure!(
            status.signal() == Some(9),
            "{}: it ended with {status}",
            point.as_str()
        );
        run.fault(
            format!("SIGKILL {}, at pass {passes}", point.as_str()),
            status.to_string(),
        );
        let mark = load.mark()?;
        load.restart(0)?;
        load.await_progress(run, &mark, SUCCESSOR_WITHIN)?;
    }
    load.settle(run)
}

const ZOMBIES: usize = 3;
/// Rounds until so many zombies had something to be refused.
const ROUNDS_LIMIT: usize = 9;

fn zombie_comes_back(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 2)?;
    for _ in 0..ROUNDS_LIMIT {
        let zombie = run.random.random_range(0..load.processes());
        haunt(run, &mut load, zombie)?;
        if run.faults().len() == ZOMBIES {
            return load.settle(run);
        }
    }
    run.not_run(format!(
        "only {} of {ROUNDS_LIMIT} zombies had a transaction to lose",
        run.faults().len()
    ))
}

/// Freezes a process until the other has its partitions, and lets it go on. What it had open must
/// then be refused, or aborted by itself; if it had nothing open, no fault has taken place.
fn haunt(run: &mut Run, load: &mut Load, zombie: usize) -> Result<()> {
    let wire = Arc::clone(run.cluster().wire());
    let ids = load.ids_of(zombie);
    let open = load.fixture.wait_open_transaction_of(&ids)?;
    load.process(zombie)?.freeze()?;
    let evidence = standing_still(load.process(zombie)?.pid())?;
    // All partitions move: so others have taken over those of the zombie.
    load.await_back(run, Instant::now(), PROGRESS_WITHIN)?;
    let before = wire.counts_of(&ids);
    load.process(zombie)?.thaw()?;
    let members = || Ok(load.fixture.verifier().members(load.fixture.name())?.len() == 4);
    wait::until_true("four members again", PROGRESS_WITHIN, members)?;
    // Before it is a member again it has nothing to commit.
    let since = wire.counts_of(&ids).since(&before);
    let refused = refusals(&since, &NOT_YOURS);
    // A broken build does not notice what it has become.
    let (_, sabotage) = run.build();
    if refused + since.aborted > 0 || sabotage.is_some() {
        run.fault(
            format!("SIGSTOP of process {zombie} until the other had its partitions, then SIGCONT"),
            format!(
                "{evidence}; {open} was Ongoing before; afterwards nodes refused {refused} of its requests, and it \
                 aborted {} transactions",
                since.aborted
            ),
        );
    }
    load.wait_moving(PROGRESS_WITHIN)
}

/// What a zombie earns: `ILLEGAL_GENERATION`, `UNKNOWN_MEMBER_ID`, and what [`FENCED`] says.
const NOT_YOURS: [i16; 4] = [22, 25, 47, 90];

/// How often requests of transactions were answered with one of these codes.
fn refusals(counts: &Counts, codes: &[i16]) -> u64 {
    let of_code = |code: &i16| OF_A_TRANSACTION.map(|api| counts.code(api, *code));
    codes.iter().flat_map(of_code).sum()
}

/// Beyond the longest transaction timeout that a pipeline may have by default, and the
/// coordinator's look at it.
const TRANSACTION_TIMEOUT_PASSED: Duration = Duration::from_secs(40);

fn frozen_past_timeout(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    let prefix = load.ids_of(0);
    let wire = Arc::clone(run.cluster().wire());
    let open = load.fixture.wait_open_transaction_of(&prefix)?;
    load.process(0)?.freeze()?;
    let evidence = standing_still(load.process(0)?.pid())?;
    let aborted = || -> Result<bool> {
        let known = load.fixture.verifier().transactions(&prefix)?;
        Ok(known.iter().all(|known| known.state != "Ongoing"))
    };
    wait::until_true("the coordinator's own abort", TRANSACTION_TIMEOUT_PASSED, aborted)?;
    let mark = load.mark()?;
    let before = wire.counts_of(&prefix);
    load.process(0)?.thaw()?;
    load.await_progress(run, &mark.from_now(), PROGRESS_WITHIN)?;
    let inits = wire
        .counts_of(&prefix)
        .since(&before)
        .code(Api::INIT_PRODUCER_ID, 0);
    ensure!(inits > 0, "no producer was replaced");
    run.fault(
        "SIGSTOP past the transaction timeout, then SIGCONT",
        format!(
            "{evidence}; the coordinator ended {open} by itself; {inits} producers got a new epoch afterwards"
        ),
    );
    load.settle(run)
}

fn hijacked(run: &mut Run) -> Result<()> {
    let load = Load::begin(run, 1)?;
    let wire = Arc::clone(run.cluster().wire());
    let mut refused_in_all = 0;
    for _ in 0..3 {
        let id = load.fixture.wait_open_transaction_of(&load.ids_of(0))?;
        let before = wire.counts_of(&id);
        load.fixture.verifier().hijack(&id)?;
        let hijacked = Instant::now();
        let mark = load.mark_since(hijacked)?;
        let taken_back = wire.wait(&id, "the id taken back", PROGRESS_WITHIN, |counts| {
            counts.since(&before).code(Api::INIT_PRODUCER_ID, 0) > 0
        })?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
        let refused = refusals(&taken_back.since(&before), &FENCED);
        refused_in_all += refused;
        run.fault(
            format!("another client initialised {id}"),
            format!("nodes refused {refused} requests for their epoch; the id got a new one afterwards"),
        );
    }
    ensure!(
        refused_in_all > 0,
        "nobody refused a request of a lane that had lost its id"
    );
    load.settle(run)
}

/// `INVALID_PRODUCER_EPOCH` and `PRODUCER_FENCED`.
const FENCED: [i16; 2] = [47, 90];

fn shared(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    // As on two machines: each has a data folder of its own, so no lock keeps them apart.
    let mut twins = Vec::new();
    for folder in ["one", "two"] {
        let mut command = load.command()?;
        command
            .env("STRAIT_DATA_DIR", load.fixture.path(folder))
            .args(["--instance", "twin"]);
        twins.push(load.start_command(command)?);
    }
    let ended = wait::until("the end of one twin", Duration::from_mins(3), || {
        for twin in &twins {
            if !load.process(*twin)?.is_running()? {
                return Ok(Some(*twin));
            }
        }
        Ok(None)
    })?;
    let code = load.process(ended)?.wait_exit(Duration::from_secs(1))?;
    let log = load.process(ended)?.log();
    ensure!(
        code == 1 && log.contains("another process uses the same transactional id"),
        "it ended with {code}"
    );
    run.fault(
        "two processes with the instance `twin`",
        format!("one of them ended with exit code {code}"),
    );
    let mark = load.mark()?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.settle(run)
}
