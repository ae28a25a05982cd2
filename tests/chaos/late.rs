//! Requests that arrive late: after their transaction, in the next one of the same producer.
//!
//! librdkafka speaks the protocol in which one epoch serves many transactions. A commit
//! that the network kept can end the *next* transaction before its offsets are in it; kept
//! offsets can replace newer ones. Only a new epoch keeps them out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng as _;
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::strike::standing_still;
use strait_tests::chaos::{Load, NotRun, Run, Sabotage, Scenario, Selection};
use strait_tests::proxy::{Action, Api, Caught, Counts, Trap};
use strait_tests::wait;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 11,
        name: "late_end_txn",
        expects: "the node refuses it: the epoch is gone",
        selection: Selection::Short,
        sabotage: None,
        run: late_end_txn,
    },
    Scenario {
        number: 11,
        name: "late_offset_commit",
        expects: "the node refuses it: the epoch is gone",
        selection: Selection::Long,
        sabotage: None,
        run: late_offset_commit,
    },
    Scenario {
        number: 6,
        name: "frozen_while_it_commits",
        expects: "the outcome is looked up, and the producer replaced",
        selection: Selection::Long,
        sabotage: None,
        run: frozen_while_committing,
    },
    Scenario {
        number: 11,
        name: "commit_never_arrives",
        expects: "the coordinator gives the transaction up; its records are done again",
        selection: Selection::Long,
        sabotage: None,
        run: commit_never_arrives,
    },
    Scenario {
        number: 0,
        name: "sees_no_guard",
        expects: "a late commit ends the next transaction without its offsets, which are then done again",
        selection: Selection::Long,
        sabotage: Some(Sabotage::doubling("no-guard")),
        run: late_end_txn,
    },
    Scenario {
        number: 0,
        name: "sees_guess_committed",
        expects: "a transaction that was given up is taken for committed, and its records are lost",
        selection: Selection::Long,
        sabotage: Some(Sabotage::losing("guess-committed")),
        run: commit_never_arrives,
    },
];

const ROUNDS: usize = 3;

/// Refusals that an old epoch earns: `INVALID_PRODUCER_EPOCH`, `PRODUCER_FENCED`.
const OLD_EPOCH: [i16; 2] = [47, 90];

/// Notes a late delivery. A plain build must have it refused.
fn note(run: &mut Run, what: &str, held: &Caught, code: i16) -> Result<()> {
    let is_refused = OLD_EPOCH.contains(&code);
    run.fault(
        format!(
            "{what} of a transaction before, delivered in the midst of the next of {}",
            held.request().owner
        ),
        format!("the node answered {code}"),
    );
    let (_, sabotage) = run.build();
    if sabotage.is_none() {
        ensure!(
            is_refused,
            "a late {what} was answered {code}, and not refused for its epoch"
        );
    }
    Ok(())
}

/// Commits of the pipeline, or whoever's ids begin so.
fn commit_of(ids: &str, action: Action) -> Trap {
    Trap::new(Api::END_TXN, ids, action).commits()
}

/// A request that was caught, whose it is, and what its owner had on the wire by then.
struct Catch {
    caught: Caught,
    owner: String,
    before: Counts,
}

/// Catches one of the next requests that fit.
fn catch(run: &mut Run, trap: Trap) -> Result<Catch> {
    let skip = run.random.random_range(0..10);
    let wire = run.cluster().wire();
    let caught = wire.trap(trap.skip(skip)).wait(PROGRESS_WITHIN)?;
    let owner = caught.request().owner.clone();
    Ok(Catch {
        before: wire.counts_of(&owner),
        caught,
        owner,
    })
}

/// The end of a round: what a restart reads is what was really committed.
fn kill_and_go_on(run: &mut Run, load: &mut Load) -> Result<()> {
    load.process(0)?.kill()?;
    let mark = load.mark_since(Instant::now())?;
    load.restart(0)?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)
}

/// The commit of a transaction is kept by the network, and arrives when the next one has
/// its records but not its offsets. Then the process dies.
fn late_end_txn(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    let wire = Arc::clone(run.cluster().wire());
    for _ in 0..ROUNDS {
        let trap = commit_of(&load.fixture.ids(), Action::HoldRequest { cut: true });
        let Catch {
            caught: kept,
            owner,
            before,
        } = catch(run, trap)?;
        // The first to pass tells the outcome of the one whose commit was kept.
        wire.wait(&owner, "the commit, tried again", PROGRESS_WITHIN, |counts| {
            counts.since(&before).committed > 0
        })?;
        let before = wire.counts_of(&owner);
        let next = wire
            .trap(Trap::new(
                Api::ADD_OFFSETS_TO_TXN,
                &owner,
                Action::HoldRequest { cut: false },
            ))
            .wait(PROGRESS_WITHIN)?;
        let produced = wire.counts_of(&owner).since(&before).code(Api::PRODUCE, 0);
        if produced == 0 {
            drop(next);
            continue;
        }
        let code = kept.deliver(kept.node(), PROGRESS_WITHIN)?;
        note(run, "EndTxn", &kept, code)?;
        kill_and_go_on(run, &mut load)?;
    }
    load.settle(run)
}

/// Offsets of a transaction are kept by the network, and arrive when those of the next one
/// are already in it. Then it commits, and the process dies.
fn late_offset_commit(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    let wire = Arc::clone(run.cluster().wire());
    for _ in 0..ROUNDS {
        let hold = Action::HoldRequest { cut: true };
        let trap = Trap::new(Api::TXN_OFFSET_COMMIT, &load.fixture.ids(), hold);
        let Catch {
            caught: kept,
            owner,
            before,
        } = catch(run, trap)?;
        wire.wait(&owner, "the end of that transaction", PROGRESS_WITHIN, |counts| {
            let since = counts.since(&before);
            since.committed + since.aborted > 0
        })?;
        let end = wire
            .trap(commit_of(&owner, Action::HoldRequest { cut: false }))
            .wait(PROGRESS_WITHIN)?;
        let code = kept.deliver(kept.node(), PROGRESS_WITHIN)?;
        note(run, "TxnOffsetCommit", &kept, code)?;
        end.release()?;
        end.wait_reply(PROGRESS_WITHIN)?;
        kill_and_go_on(run, &mut load)?;
    }
    load.settle(run)
}

/// Stopped between a commit and its answer, for longer than a request may take.
fn frozen_while_committing(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    let wire = Arc::clone(run.cluster().wire());
    for _ in 0..2 {
        let trap = commit_of(&load.fixture.ids(), Action::HoldReply);
        let Catch { caught, owner, .. } = catch(run, trap)?;
        load.process(0)?.freeze()?;
        let evidence = standing_still(load.process(0)?.pid())?;
        let code = caught.wait_reply(PROGRESS_WITHIN)?;
        // Nothing is waited for: the standstill is the fault.
        std::thread::sleep(Duration::from_secs(12));
        let (mark, before) = (load.mark()?, wire.counts_of(&owner));
        load.process(0)?.thaw()?;
        wire.wait(&owner, "a producer with a new epoch", PROGRESS_WITHIN, |counts| {
            counts.since(&before).code(Api::INIT_PRODUCER_ID, 0) > 0
        })?;
        caught.release()?;
        run.fault(
            "SIGSTOP between EndTxn and its answer, for 12 s",
            format!("{evidence}; the node had answered {code}; {owner} got a new epoch afterwards"),
        );
        load.await_progress(run, &mark.from_now(), PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

/// The coordinator never gets the commit, however often it is sent.
fn commit_never_arrives(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    let wire = Arc::clone(run.cluster().wire());
    let hold = Action::HoldRequest { cut: false };
    let Catch {
        caught,
        owner,
        before,
    } = catch(run, commit_of(&load.fixture.ids(), hold))?;
    let mut proxies = run.cluster().proxies().iter();
    let node = proxies
        .find(|proxy| proxy.node() == caught.node())
        .ok_or_else(|| NotRun("the commit went to no known node".to_owned()))?
        .address();
    // What follows on that connection is held with it; what is sent again is caught in turn.
    let again: Vec<_> = (0..8).map(|_| wire.trap(commit_of(&owner, hold))).collect();
    let given_up = || -> Result<bool> {
        let known = load.fixture.verifier().transactions(&owner)?;
        Ok(known.iter().all(|known| known.state != "Ongoing"))
    };
    wait::until_true("the coordinator's own abort", PROGRESS_WITHIN, given_up)?;
    run.fault(
        format!("no commit of {owner} reaches {node}"),
        "the coordinator ended the transaction by itself",
    );
    drop(again);
    load.await_back(run, Instant::now(), PROGRESS_WITHIN)?;
    // A broken build takes what was given up for done.
    if run.build().1.is_none() {
        wire.wait(&owner, "an abort, or a new epoch", PROGRESS_WITHIN, |counts| {
            let since = counts.since(&before);
            since.aborted + since.code(Api::INIT_PRODUCER_ID, 0) > 0
        })?;
    }
    kill_and_go_on(run, &mut load)?;
    load.settle(run)
}
