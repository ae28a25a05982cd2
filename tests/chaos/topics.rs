//! Topics that change under a running pipeline: they grow, go away, lose records.

mod made_again;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use strait_tests::chaos::load::{PARTITIONS, PROGRESS_WITHIN};
use strait_tests::chaos::progress::Mark;
use strait_tests::chaos::strike::kill_in_transaction;
use strait_tests::chaos::{Load, Run, Scenario, Selection, Violation};
use strait_tests::verifier::Row;
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 15,
        name: "partition_added_to_input",
        expects: "the new partitions are read from their beginning within the metadata interval; order is kept",
        selection: Selection::Long,
        sabotage: None,
        run: input_grows,
    },
    Scenario {
        number: 16,
        name: "partition_added_to_output",
        expects: "keys spread over the new partitions within the metadata interval; `partition: input` stays",
        selection: Selection::Long,
        sabotage: None,
        run: output_grows,
    },
    Scenario {
        number: 22,
        name: "output_deleted_and_made_again",
        expects: "nothing creates it but its owner; no offset moves meanwhile; then nothing is skipped",
        selection: Selection::Long,
        sabotage: None,
        run: output_deleted,
    },
    Scenario {
        number: 23,
        name: "retention_passes_the_committed_offset",
        expects: "the pipeline stops, /readyz says where, and nothing but what it says is missing",
        selection: Selection::Long,
        sabotage: None,
        run: retention_passes,
    },
    Scenario {
        number: 23,
        name: "input_deleted_and_made_again",
        expects: "the new topic is another one, and is read from its beginning",
        selection: Selection::Long,
        sabotage: None,
        run: made_again::under_load,
    },
    Scenario {
        number: 23,
        name: "input_made_again_unseen",
        expects: "who slept meanwhile reads the new topic from its beginning, not from where it stood in the old one",
        selection: Selection::Long,
        sabotage: None,
        run: made_again::unseen,
    },
];

/// How soon a client looks for changes of a topic here; 30 s for the input by default.
const METADATA: Duration = Duration::from_secs(3);
/// And how long it may take until records show that it has found them.
const FOUND_WITHIN: Duration = Duration::from_secs(20);

fn quick_to_look(run: &Run) -> Result<Load> {
    let mut load = run.load()?;
    let properties = json!({ "topic.metadata.refresh.interval.ms": METADATA.as_millis() });
    load.fixture.set("kafka.properties", properties)?;
    Ok(load)
}

fn input_grows(run: &mut Run) -> Result<()> {
    let mut load = quick_to_look(run)?;
    load.begin_with(2)?;
    let verifier = load.fixture.verifier().clone();
    let topic = load.fixture.topic("in");
    for partitions in [PARTITIONS + 1, PARTITIONS + 4] {
        verifier.grow_topic(&topic, partitions)?;
        // Records reach the new partitions before the pipeline knows of them.
        load.input()?.spread_over(partitions);
        let found = verifier.ends(&topic)?.len();
        run.fault(
            "partitions are added to the input",
            format!("the judge finds {found} of them"),
        );
        let mark = load.mark()?;
        wait::until_true("commits in the new partitions", FOUND_WITHIN, || {
            Ok(load.mark()?.committed.len() == usize::try_from(partitions)?)
        })?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    }
    let evidence = kill_in_transaction(&mut load, 0)?;
    run.fault("SIGKILL of a process that reads them", evidence);
    let mark = load.mark()?;
    load.restart(0)?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.settle(run)
}

fn output_grows(run: &mut Run) -> Result<()> {
    let mut load = quick_to_look(run)?;
    let audit = load.fixture.topic("audit");
    load.fixture
        .set("outputs.audit", json!({ "topic": audit, "partition": "input" }))?;
    load.begin_with(2)?;
    let verifier = load.fixture.verifier().clone();
    for short in ["out", "audit"] {
        verifier.grow_topic(&load.fixture.topic(short), 2 * PARTITIONS)?;
    }
    let topic = load.fixture.topic("out");
    wait::until_true("records in every new partition", FOUND_WITHIN, || {
        let ends = verifier.ends(&topic)?;
        ensure!(ends.iter().all(|ends| ends.high > 0), "{ends:?}");
        Ok(true)
    })?;
    run.fault(
        "the partitions of the outputs are doubled",
        format!(
            "the judge finds records in all {} of {topic}",
            verifier.ends(&topic)?.len()
        ),
    );
    let evidence = kill_in_transaction(&mut load, 0)?;
    run.fault("SIGKILL of a process that writes to them", evidence);
    let mark = load.mark()?;
    load.restart(0)?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    load.settle_and(run, |load| {
        let astray: Vec<Row> = load.fixture.read("audit")?.into_iter().filter(astray).collect();
        ensure!(astray.is_empty(), "{} are in other partitions", astray.len());
        Ok(())
    })
}

/// Whether the record stands in another partition than its input record did.
fn astray(row: &Row) -> bool {
    let source = row.header("strait-source").unwrap_or_default();
    source.split('/').nth(3) != Some(row.partition.to_string().as_str())
}

/// Two transactions that time out, and some.
const UNREADY_WITHIN: Duration = Duration::from_mins(1);

fn output_deleted(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    // Two that time out are what a lane calls trouble.
    load.fixture
        .set("kafka.properties", json!({ "transaction.timeout.ms": 20_000 }))?;
    load.begin_with(2)?;
    let verifier = load.fixture.verifier().clone();
    let topic = load.fixture.topic("out");
    load.unfollow_topic("out")?;
    verifier.delete_topic(&topic)?;
    let gone = made_again::gone(&load, "out")?;
    run.fault("an output is deleted under load", gone);
    let still = load.mark_standing_still()?;
    for process in 0..load.processes() {
        wait::until_true("processes that say they are not ready", UNREADY_WITHIN, || {
            let (status, body) = load.process(process)?.get("/readyz")?;
            ensure!(status == 503, "ready without its output: {body}");
            Ok(true)
        })?;
    }
    ensure!(verifier.leaders(&topic).is_err(), "somebody has created {topic}");
    let now = load.mark()?;
    if now.committed != still.committed {
        let (was, is) = (&still.committed, &now.committed);
        return Err(Violation(format!("without its output it went on from {was:?} to {is:?}")).into());
    }
    // What stood there before is gone with the topic; the other outputs are judged from their
    // beginning: they have nothing of what was aborted for the lack of this one.
    load.book.since.insert("out", still.committed);
    load.fixture.create_topic("out", PARTITIONS)?;
    let mended = Mark {
        at: Instant::now(),
        ..load.mark()?
    };
    load.await_progress(run, &mended, PROGRESS_WITHIN)?;
    load.settle(run)
}

fn retention_passes(run: &mut Run) -> Result<()> {
    let mut load = run.load()?;
    // Frozen, it is to stay a member.
    load.fixture.set_session(Duration::from_secs(30))?;
    let neighbour = run.fixture(1, "identity")?;
    let mut command = load.command()?;
    command.arg(neighbour.write()?);
    load.feed()?;
    load.start_command(command)?;
    load.process(0)?.wait_ready()?;
    load.wait_moving(Duration::from_mins(1))?;

    let verifier = load.fixture.verifier().clone();
    let topic = load.fixture.topic("in");
    load.process(0)?.freeze()?;
    let highest = load.mark()?.committed.values().copied().max().unwrap_or(0);
    // What was fetched before does not reach so far.
    let cut = highest + 400;
    wait::until_true("input beyond the cut", Duration::from_mins(1), || {
        Ok(verifier.ends(&topic)?.iter().all(|ends| ends.high > cut + 50))
    })?;
    let before = load.fixture.read("in")?;
    verifier.truncate_topic(&topic, cut)?;
    let committed = load.mark()?.committed;
    let ends = verifier.ends(&topic)?;
    ensure!(
        ends.iter()
            .all(|ends| committed.get(&ends.partition) < Some(&ends.start)),
        "{ends:?}, committed {committed:?}"
    );
    run.fault(
        "records are deleted before they are read",
        format!("the logs begin at {cut} by the judge, committed are at most {highest}"),
    );
    load.process(0)?.thaw()?;

    let reason = wait::until("the pipeline to stop", Duration::from_secs(40), || {
        let (status, body) = load.process(0)?.get("/readyz")?;
        // Its lanes fail one by one before it does.
        let failed = body.contains("\"state\":\"failed\",\"lanes\"");
        ensure!(status == 503 && failed, "/readyz: {status} {body}");
        Ok(Some(body))
    })?;
    let at = load.mark()?.committed;
    let named = at
        .iter()
        .any(|(partition, offset)| reason.contains(&format!("{topic} [{partition}]: offset {offset} ")));
    ensure!(named, "/readyz names no partition and offset of {at:?}: {reason}");
    ensure!(
        load.process(0)?.is_running()?,
        "the other pipeline of the process has ended too"
    );
    ensure!(load.process(0)?.terminate(Duration::from_secs(10))? == 1);

    // Somebody has looked, and goes on without them: with these and no others.
    let is_done = |row: &Row| at.get(&row.partition).is_some_and(|at| row.offset < *at);
    load.book.gone = before
        .into_iter()
        .filter(|row| row.offset < cut && is_done(row))
        .collect();
    let lost: i64 = at.values().map(|at| cut - at).sum();
    load.fixture.set("input.on_gap", json!("earliest"))?;
    load.restart(0)?;
    let stopped = Mark {
        at: Instant::now(),
        committed: at,
    };
    load.await_progress(run, &stopped, PROGRESS_WITHIN)?;
    let sent = load.finish_input()?;
    load.forget_sent(u64::try_from(cut * i64::from(PARTITIONS))?);
    ensure!(lost > 0 && sent > 0);
    load.settle(run)
}
