//! Error codes on the requests of a transaction, while records move.
//!
//! A node that refuses a request has done nothing. So a proxy can refuse one in its place,
//! with any code, and all that follows happens on a real cluster. The codes are those of
//! the table in `kafka/transaction.rs`, some of each arm; what the lane makes of them is
//! looked up on the wire.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use strait_tests::chaos::load::PROGRESS_WITHIN;
use strait_tests::chaos::{Load, Run, Scenario, Selection};
use strait_tests::proxy::{Action, Api, Counts, Trap};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        number: 34,
        name: "codes_while_records_are_written",
        expects: "AddPartitionsToTxn and Produce: tried again, aborted, or with a new producer; progress within 60 s",
        selection: Selection::Long,
        sabotage: None,
        run: |run| {
            refusals(
                run,
                &[
                    (Api::ADD_PARTITIONS_TO_TXN, ADD_PARTITIONS),
                    (Api::PRODUCE, PRODUCE),
                ],
            )
        },
    },
    Scenario {
        number: 34,
        name: "codes_while_it_ends",
        expects: "AddOffsetsToTxn, TxnOffsetCommit and EndTxn: as above",
        selection: Selection::Long,
        sabotage: None,
        run: |run| {
            refusals(
                run,
                &[
                    (Api::ADD_OFFSETS_TO_TXN, ADD_OFFSETS),
                    (Api::TXN_OFFSET_COMMIT, OFFSET_COMMIT),
                    (Api::END_TXN, END),
                ],
            )
        },
    },
    Scenario {
        number: 34,
        name: "codes_of_a_new_producer",
        expects: "InitProducerId: tried again, or the process ends and says which right or setting it lacks",
        selection: Selection::Long,
        sabotage: None,
        run: new_producers,
    },
];

/// An error code of Kafka's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Code(i16, &'static str);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.1, self.0)
    }
}

const UNKNOWN_TOPIC: Code = Code(3, "UNKNOWN_TOPIC_OR_PARTITION");
const NOT_LEADER: Code = Code(6, "NOT_LEADER_OR_FOLLOWER");
const TOO_LARGE: Code = Code(10, "MESSAGE_TOO_LARGE");
const LOADING: Code = Code(14, "COORDINATOR_LOAD_IN_PROGRESS");
const NOT_AVAILABLE: Code = Code(15, "COORDINATOR_NOT_AVAILABLE");
const NOT_COORDINATOR: Code = Code(16, "NOT_COORDINATOR");
const NOT_ENOUGH_REPLICAS: Code = Code(19, "NOT_ENOUGH_REPLICAS");
const ILLEGAL_GENERATION: Code = Code(22, "ILLEGAL_GENERATION");
const UNKNOWN_MEMBER: Code = Code(25, "UNKNOWN_MEMBER_ID");
const TOPIC_DENIED: Code = Code(29, "TOPIC_AUTHORIZATION_FAILED");
const GROUP_DENIED: Code = Code(30, "GROUP_AUTHORIZATION_FAILED");
const OUT_OF_ORDER: Code = Code(45, "OUT_OF_ORDER_SEQUENCE_NUMBER");
const OLD_EPOCH: Code = Code(47, "INVALID_PRODUCER_EPOCH");
const TXN_STATE: Code = Code(48, "INVALID_TXN_STATE");
const ID_MAPPING: Code = Code(49, "INVALID_PRODUCER_ID_MAPPING");
const TXN_TIMEOUT: Code = Code(50, "INVALID_TRANSACTION_TIMEOUT");
const CONCURRENT: Code = Code(51, "CONCURRENT_TRANSACTIONS");
const ID_DENIED: Code = Code(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED");
const STORAGE: Code = Code(56, "KAFKA_STORAGE_ERROR");
const UNKNOWN_PRODUCER: Code = Code(59, "UNKNOWN_PRODUCER_ID");
const INVALID_RECORD: Code = Code(87, "INVALID_RECORD");
const FENCED: Code = Code(90, "PRODUCER_FENCED");

/// What has to follow, as the wire shows it.
///
/// It does not show all: an abort that nobody may ask for is made by a new epoch, as the end of a
/// lost producer is. So `Replace` is stricter than `Abort`, but what is to be aborted may also be
/// replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    /// The request comes again, and the transaction commits; the producer stays.
    Again,
    /// The transaction is aborted: by `EndTxn`, or by a new epoch.
    Abort,
    /// A producer with a new epoch.
    Replace,
}
use Arm::{Abort, Again, Replace};

type Table = &'static [(Code, Arm)];

const ADD_PARTITIONS: Table = &[
    (CONCURRENT, Again),
    (NOT_COORDINATOR, Again),
    (UNKNOWN_TOPIC, Again),
    (TOPIC_DENIED, Abort),
    (UNKNOWN_PRODUCER, Abort),
    (OLD_EPOCH, Replace),
    (TXN_STATE, Replace),
    (ID_DENIED, Replace),
];
const PRODUCE: Table = &[
    (NOT_ENOUGH_REPLICAS, Again),
    (NOT_LEADER, Again),
    (STORAGE, Again),
    (TOO_LARGE, Abort),
    (TOPIC_DENIED, Abort),
    (INVALID_RECORD, Abort),
    (OUT_OF_ORDER, Abort),
    (OLD_EPOCH, Replace),
];
const ADD_OFFSETS: Table = &[
    (CONCURRENT, Again),
    (NOT_AVAILABLE, Again),
    (GROUP_DENIED, Abort),
    (OLD_EPOCH, Replace),
    (TXN_STATE, Replace),
];
const OFFSET_COMMIT: Table = &[
    (LOADING, Again),
    (NOT_COORDINATOR, Again),
    (ILLEGAL_GENERATION, Abort),
    (UNKNOWN_MEMBER, Abort),
    (GROUP_DENIED, Abort),
    (OLD_EPOCH, Replace),
];
const END: Table = &[
    (CONCURRENT, Again),
    (NOT_COORDINATOR, Again),
    (UNKNOWN_PRODUCER, Abort),
    (ID_MAPPING, Abort),
    (FENCED, Replace),
    (TXN_STATE, Replace),
];

/// Codes on which a producer goes on opening.
const INIT_AGAIN: [Code; 4] = [CONCURRENT, LOADING, NOT_AVAILABLE, NOT_COORDINATOR];
/// Codes that only a person can do something about.
const INIT_FINAL: [Code; 2] = [ID_DENIED, TXN_TIMEOUT];

fn refusals(run: &mut Run, tables: &[(Api, Table)]) -> Result<()> {
    let load = Load::begin(run, 1)?;
    for (api, table) in tables {
        for (code, arm) in *table {
            refuse(run, &load, *api, *code, *arm).with_context(|| format!("{api} refused with {code}"))?;
        }
    }
    load.settle(run)
}

/// Refuses one request of one lane, and looks what that lane does.
fn refuse(run: &mut Run, load: &Load, api: Api, code: Code, arm: Arm) -> Result<()> {
    let wire = Arc::clone(run.cluster().wire());
    let skip = run.random.random_range(0..10);
    let mut trap = Trap::new(api, &load.fixture.ids(), Action::Answer(code.0)).skip(skip);
    if api == Api::END_TXN {
        trap = trap.commits();
    }
    let caught = wire.trap(trap).wait(PROGRESS_WITHIN)?;
    let owner = caught.request().owner.clone();
    let before = wire.counts_of(&owner);
    let received = caught.wait_reply(PROGRESS_WITHIN)?;
    ensure!(received == code.0, "the client was answered {received}");
    let mark = load.mark_since(Instant::now())?;
    let since = wire.wait(&owner, &format!("{arm:?}"), PROGRESS_WITHIN, |counts| {
        followed(arm, api, &counts.since(&before))
    })?;
    load.await_progress(run, &mark, PROGRESS_WITHIN)?;
    let since = since.since(&before);
    run.fault(
        format!("{api} refused with {code}"),
        format!(
            "{owner} received it; then {} commits, {} aborts, {} new epochs",
            since.committed,
            since.aborted,
            since.code(Api::INIT_PRODUCER_ID, 0)
        ),
    );
    Ok(())
}

fn followed(arm: Arm, api: Api, since: &Counts) -> bool {
    let new_epochs = since.code(Api::INIT_PRODUCER_ID, 0);
    match arm {
        Again => since.code(api, 0) > 0 && since.committed > 0 && new_epochs == 0,
        Abort => since.aborted + new_epochs > 0,
        Replace => new_epochs > 0,
    }
}

/// A producer is replaced, and its successor is refused.
fn new_producers(run: &mut Run) -> Result<()> {
    let mut load = Load::begin(run, 1)?;
    for code in INIT_AGAIN {
        let (owner, before) = refuse_successor(run, &load, code)?;
        let mark = load.mark_since(Instant::now())?;
        let wire = Arc::clone(run.cluster().wire());
        wire.wait(&owner, "a producer with a new epoch", PROGRESS_WITHIN, |counts| {
            counts.since(&before).code(Api::INIT_PRODUCER_ID, 0) > 0
        })?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
        run.fault(
            format!("InitProducerId refused with {code}"),
            format!("{owner} received it, and then got a new epoch"),
        );
    }
    for code in INIT_FINAL {
        let (owner, _) = refuse_successor(run, &load, code)?;
        let process = load.process(0)?;
        let exit = process.wait_exit(PROGRESS_WITHIN)?;
        let said = process.log().contains(code.1);
        ensure!(
            exit == 1 && said,
            "{code} ended the process with {exit}, and its log names the code: {said}"
        );
        run.fault(
            format!("InitProducerId refused with {code}"),
            format!("{owner} received it; the process ended with {exit}"),
        );
        let mark = load.mark()?;
        load.restart(0)?;
        load.await_progress(run, &mark, PROGRESS_WITHIN)?;
        load.wait_moving(PROGRESS_WITHIN)?;
    }
    load.settle(run)
}

/// Gives the owner, and what it had on the wire when it was refused.
fn refuse_successor(run: &mut Run, load: &Load, code: Code) -> Result<(String, Counts)> {
    let wire = Arc::clone(run.cluster().wire());
    let init = Trap::new(Api::INIT_PRODUCER_ID, &load.fixture.ids(), Action::Answer(code.0));
    let init = wire.trap(init);
    let reason = Trap::new(Api::END_TXN, &load.fixture.ids(), Action::Answer(TXN_STATE.0)).commits();
    wire.trap(reason).wait(PROGRESS_WITHIN)?;
    let caught = init.wait(PROGRESS_WITHIN)?;
    let owner = caught.request().owner.clone();
    let before = wire.counts_of(&owner);
    let received = caught.wait_reply(PROGRESS_WITHIN)?;
    ensure!(received == code.0, "the client was answered {received}");
    Ok((owner, before))
}
