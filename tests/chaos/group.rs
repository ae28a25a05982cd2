//! The group: members that come and go, one that is too slow for it, and transactions that
//! nobody ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng as _;
use serde_json::json;
use strait_tests::chaos::load::{DRAIN_LIMIT, PROGRESS_WITHIN};
use strait_tests::chaos::{Load, Run, Scenario, Selection};
use strait_tests::produce::Message;
use strait_tests::stream::{Due, Stream};
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 13,
        name: "rebalance_storm_cooperative",
        expects: "a member that comes or goes every 2 s for a minute: nothing lost or doubled, all partitions move on",
        selection: Selection::Long,
        sabotage: None,
        run: |run| storm(run, "cooperative-sticky"),
    },
    Scenario {
        number: 13,
        name: "rebalance_storm_eager",
        expects: "the same with an assignor that takes everything from everybody each time",
        selection: Selection::Long,
        sabotage: None,
        run: |run| storm(run, "range"),
    },
    Scenario {
        number: 14,
        name: "transform_slower_than_the_group_allows",
        expects: "the group is left, the transaction aborted, the others take over; the slow one rejoins, nothing fatal",
        selection: Selection::Long,
        sabotage: None,
        run: too_slow,
    },
    Scenario {
        number: 17,
        name: "input_stops_in_transaction",
        expects: "no transaction is open for longer than the commit interval",
        selection: Selection::Long,
        sabotage: None,
        run: input_stops,
    },
];

/// A minute, where the suite has one machine for everything.
const STORM: Duration = Duration::from_mins(1);
const GUST: Duration = Duration::from_secs(2);

fn storm(run: &mut Run, assignor: &str) -> Result<()> {
    let mut load = run.load()?;
    // Beside the session timeouts, which are under `kafka.consumer`.
    load.fixture.set(
        "kafka.properties",
        json!({ "partition.assignment.strategy": assignor }),
    )?;
    load.begin_with(1)?;
    let guest = load.start()?;
    let began = Instant::now();
    let found = load.fixture.verifier().assignor(load.fixture.name())?;
    ensure!(found == assignor, "the group's assignor is {found}");
    for turn in 0.. {
        if began.elapsed() >= STORM {
            break;
        }
        let before = generation(&load)?;
        let joined = Instant::now();
        // The next one comes when this one goes, at a pace, whatever the group makes of it.
        std::thread::sleep(GUST.saturating_sub(joined.elapsed()));
        let how = if turn % 2 == 0 {
            let code = load.process(guest)?.terminate(DRAIN_LIMIT)?;
            ensure!(code == 0, "SIGTERM ended it with {code}");
            "SIGTERM"
        } else {
            load.process(guest)?.kill()?;
            "SIGKILL"
        };
        load.restart(guest)?;
        let after = generation(&load)?;
        if after > before {
            run.fault(
                format!("a member joins and goes by {how}"),
                format!("the coordinator's generation goes from {before} to {after}"),
            );
        }
        if turn % 5 == 4 {
            // However stormy, every partition moves.
            let mark = load.mark()?;
            load.await_progress(run, &mark, PROGRESS_WITHIN)?;
        }
    }
    load.process(guest)?.wait_ready()?;
    let mark = load.mark()?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.settle(run)
}

/// The youngest generation that the group's coordinator has written of.
fn generation(load: &Load) -> Result<u64> {
    let group = format!(" group {} ", load.fixture.name());
    let lines = load
        .fixture
        .cluster()
        .logged(&["Stabilized", &group, "generation"])?;
    let number = |line: &String| -> Option<u64> {
        let (_, rest) = line.split_once("generation ")?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Ok(lines.iter().filter_map(number).max().unwrap_or(0))
}

/// Records that a slow transform needs long for, if they say so.
const SLOW: Stream = Stream {
    guest: "hostile",
    make: |partition, number| Message::new(format!("{partition}-{number}"), "pass"),
    per_second: 200,
    topics: &["out"],
    fate: |_| vec![Due::only("out")],
};

/// The shortest that a pipeline file may say: two transaction timeouts.
const POLL_INTERVAL: Duration = Duration::from_secs(40);
/// Of CPU time; the clock on the wall shows at least as much.
const SPIN_S: f64 = 43.0;

fn too_slow(run: &mut Run) -> Result<()> {
    let mut load = run.load_of(SLOW)?;
    load.set_lanes(1)?;
    // With a deadline no guest could be that slow.
    load.fixture.set_stage("limits.batch_deadline", json!("none"))?;
    load.fixture.set(
        "kafka.properties",
        json!({ "transaction.timeout.ms": 20_000, "max.poll.interval.ms": POLL_INTERVAL.as_millis() }),
    )?;
    // The record is to come when a transaction is open.
    load.fixture
        .set("commit", json!({ "interval": "5s", "idle": "5s" }))?;
    load.begin_with(1)?;
    let millions = calibrate(&mut load)?;

    // A second member has a quick version of the transform.
    load.fixture.set_stage("settings", json!({ "quick": true }))?;
    let quick = load.start()?;
    load.process(quick)?.wait_ready()?;
    wait_members(&load, &[3, 3])?;
    let mark = load.mark()?;
    let slow: Vec<Message> = (0..strait_tests::chaos::load::PARTITIONS)
        .map(|partition| {
            Message::new(format!("slow-{partition}"), format!("spin:{millions}")).to_partition(partition)
        })
        .collect();
    let sent = Instant::now();
    load.fixture.send(&slow)?;
    load.count_sent(u64::try_from(slow.len())?);

    let group = load.fixture.name().to_owned();
    let left = wait::until("the slow member to leave", Duration::from_secs(70), || {
        let lines = load.fixture.cluster().logged(&[&group, "has left group"])?;
        Ok(lines.into_iter().next())
    })?;
    let after = sent.elapsed();
    ensure!(
        after >= POLL_INTERVAL.mul_f64(0.9),
        "it left after {after:?}, which is not for its poll interval: {left}"
    );
    run.fault(
        "a transform takes longer than max.poll.interval.ms",
        format!("the coordinator after {after:.0?}: {left}"),
    );
    let timed_out = load.fixture.cluster().logged(&[&group, "due to timeout"])?;
    let timed_out = timed_out
        .first()
        .context("the coordinator has not ended the transaction of the slow member")?;
    run.fault(
        "its transaction takes longer than transaction.timeout.ms",
        timed_out.clone(),
    );
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    wait_members(&load, &[3, 3])?;
    ensure!(load.process(0)?.is_running()?, "the slow member has ended");
    let mark = load.mark()?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.settle(run)
}

/// How many million turns take so long here that the group must give the member up.
fn calibrate(load: &mut Load) -> Result<u64> {
    const MILLIONS: u32 = 3000;
    let before = load.process(0)?.cpu_time()?;
    let message = Message::new("calibration", format!("spin:{MILLIONS}")).to_partition(0);
    let place = load.mark()?;
    load.fixture.send(&[message])?;
    load.count_sent(1);
    // It holds up its partition for as long as it takes.
    let started = Instant::now();
    let took = wait::until("the measured record", Duration::from_mins(1), || {
        let log = load.fixture.read("out")?;
        Ok(log
            .iter()
            .any(|row| row.key_text() == "calibration")
            .then(|| started.elapsed()))
    })?;
    let used = load.process(0)?.cpu_time()?.saturating_sub(before).min(took);
    ensure!(
        !place.committed.is_empty() && used > Duration::from_millis(200),
        "{used:?} is too short to measure"
    );
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "thousands"
    )]
    let millions = (f64::from(MILLIONS) * SPIN_S / used.as_secs_f64()) as u64;
    Ok(millions)
}

fn wait_members(load: &Load, expected: &[usize]) -> Result<()> {
    wait::until_true("the members of the group", Duration::from_mins(1), || {
        let members = load.fixture.verifier().members(load.fixture.name())?;
        ensure!(members == expected, "the members hold {members:?}");
        Ok(true)
    })
}

const COMMIT_INTERVAL: Duration = Duration::from_secs(3);
/// For the end of the transaction itself, on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
const STOPS: usize = 4;

fn input_stops(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    load.fixture
        .set("commit", json!({ "interval": "3s", "idle": "3s" }))?;
    load.begin_with(1)?;
    let mut oldest = Duration::ZERO;
    for _ in 0..STOPS {
        let until = Instant::now() + Duration::from_millis(run.random.random_range(500..3000));
        while Instant::now() < until {
            oldest = oldest.max(young(&load)?.unwrap_or_default());
        }
        wait::until("an open transaction", Duration::from_secs(20), || young(&load))?;
        load.stop_input()?;
        let stopped = Instant::now();
        let Some(age) = young(&load)? else {
            load.feed_at(strait_tests::orders::ORDERS.per_second)?;
            continue; // it ended at that very moment
        };
        // What arrived last may make one more transaction.
        while let Some(age) = young(&load)? {
            oldest = oldest.max(age);
            if stopped.elapsed() > 2 * COMMIT_INTERVAL + SLACK {
                bail!(
                    "a transaction of {age:?} is open {:?} after the last record",
                    stopped.elapsed()
                );
            }
        }
        run.fault(
            "the input stops in mid-transaction",
            format!(
                "the coordinator knew of one that was {age:.1?} old, and of none {:.1?} later",
                stopped.elapsed()
            ),
        );
        load.feed_at(strait_tests::orders::ORDERS.per_second)?;
    }
    ensure!(
        oldest <= COMMIT_INTERVAL + SLACK,
        "a transaction was open for {oldest:?}"
    );
    let mark = load.mark()?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.settle(run)
}

/// The age of the oldest open transaction, which must be young; `None` without one.
fn young(load: &Load) -> Result<Option<Duration>> {
    let ages = load
        .fixture
        .verifier()
        .transaction_ages(&format!("{}.", load.fixture.name()))?;
    if let Some((id, age)) = ages.iter().find(|(_, age)| *age > COMMIT_INTERVAL + SLACK) {
        bail!("{id} has been open for {age:?}");
    }
    Ok(ages.into_iter().map(|(_, age)| age).max())
}
