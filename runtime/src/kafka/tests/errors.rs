//! Each error code of a transaction's requests, once and without end: the outcome is
//! in the arm it belongs to, in time, and afterwards a transaction commits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::types::RDKafkaApiKey as Api;

use super::support::{Mock, factory, mock, record};
use crate::kafka::consumer::LibrdMember;
use crate::kafka::ffi::consume::GroupMetadata;
use crate::kafka::transaction::LibrdProducer;
use crate::kafka::{Position, ProduceError, Producer, ProducerFactory, TopicPartition, TransactionError};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    Committed,
    Abortable,
    Fatal,
    Fenced,
    NoVerdict,
    /// In a table: [`NoVerdict`] or [`Abortable`], whichever deadline comes first. The
    /// library turns the end of its own into an abort.
    Undecided,
}
use Arm::{Abortable, Committed, Fatal, Fenced, NoVerdict, Undecided};

/// No verdict is waited for longer than this.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What a call may take beyond it: one slice, and the answer of a thread.
const GRACE: Duration = Duration::from_secs(4);

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

fn member() -> LibrdMember {
    LibrdMember(Arc::new(GroupMetadata::for_test("group", 1, "member").unwrap()))
}

fn arm(error: &TransactionError) -> Arm {
    match error {
        TransactionError::Fatal { fenced: true, .. } => Fenced,
        TransactionError::Fatal { fenced: false, .. } => Fatal,
        TransactionError::Abortable(_) => Abortable,
        TransactionError::NoVerdict(_) => NoVerdict,
    }
}

fn transact(producer: &mut LibrdProducer) -> Result<(), TransactionError> {
    producer.begin()?;
    for _ in 0..3 {
        producer
            .produce(&record(b"value"), deadline())
            .map_err(|error| match error {
                ProduceError::Transaction(error) => error,
                other => panic!("{other}"),
            })?;
    }
    producer.flush(deadline())?;
    let partition = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    producer.send_offsets(&[Position { partition, offset: 7 }], &member(), deadline())?;
    producer.commit(deadline())
}

/// Puts the errors in the way of one transaction, then checks that the next one,
/// after what the arm demands, commits.
fn outcome(mock: &Mock, api: Api, errors: &[Code]) -> Arm {
    let at_open = matches!(api, Api::InitProducerId | Api::FindCoordinator);
    let name = format!("{api:?} {:?} x{}", errors[0], errors.len());
    let factory = factory(mock, &["out"]);
    let start = Instant::now();
    let opened = if at_open {
        mock.request_errors(api, errors);
        factory.open(deadline())
    } else {
        let opened = factory.open(deadline());
        mock.request_errors(api, errors);
        opened
    };
    let result = match opened {
        Err(error) => Err((error, None)),
        Ok(mut producer) => match transact(&mut producer) {
            Ok(()) => Ok(producer),
            Err(error) => Err((error, Some(producer))),
        },
    };
    assert!(
        start.elapsed() < 3 * (PATIENCE + GRACE),
        "{name} took {:?}",
        start.elapsed()
    );
    mock.clear_request_errors(api);
    let (arm, survivor) = match result {
        Ok(producer) => {
            let unanswered = !at_open && errors[0] == Code::RD_KAFKA_RESP_ERR__TRANSPORT;
            assert!(
                producer.suspicion().is_some() || !unanswered,
                "{name}: not suspect"
            );
            (Committed, Some(producer))
        }
        Err((error, producer)) => {
            let arm = arm(&error);
            let usable = producer.filter(|_| arm == Abortable).map(|mut producer| {
                producer
                    .abort(Instant::now() + Duration::from_secs(10))
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
                producer
            });
            (arm, usable.filter(|producer| producer.suspicion().is_none()))
        }
    };
    let retry_deadline = Instant::now() + Duration::from_secs(20);
    let mut next = survivor.unwrap_or_else(|| {
        factory
            .open(retry_deadline)
            .unwrap_or_else(|e| panic!("{name}: reopen: {e}"))
    });
    transact(&mut next).unwrap_or_else(|e| panic!("{name}: the next transaction: {e}"));
    next.discard();
    arm
}

fn check(api: Api, table: &[(Code, Arm, Arm)]) {
    let mut wrong = Vec::new();
    for (code, once, without_end) in table {
        for (times, expected) in [(1, once), (20_000, without_end)] {
            // One each: a producer that was discarded lives on for a while, and may take an error that
            // was meant for the next.
            let mock = mock(&[("in", 1), ("out", 1)]);
            let got = outcome(&mock, api, &vec![*code; times]);
            let undecided = matches!((got, expected), (Abortable | NoVerdict, Undecided));
            if got != *expected && !undecided {
                wrong.push(format!("{code:?} x{times}: {got:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{api:?}:\n{}", wrong.join("\n"));
}

#[test]
fn init_producer_id() {
    check(
        Api::InitProducerId,
        &[
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                Fatal,
                Fatal,
            ),
            (Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, Fatal, Fatal),
            (Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT, Fatal, Fatal),
        ],
    );
}

#[test]
fn find_coordinator() {
    check(
        Api::FindCoordinator,
        &[
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                Fatal,
                Fatal,
            ),
            (Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, Fatal, Fatal),
        ],
    );
}

#[test]
fn add_partitions() {
    check(
        Api::AddPartitionsToTxn,
        &[
            (
                Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                Committed,
                NoVerdict,
            ),
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                Committed,
                NoVerdict,
            ),
            (
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                Abortable,
                Abortable,
            ),
            (
                Code::RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED,
                Abortable,
                Abortable,
            ),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, Abortable, Abortable),
            (
                Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                Abortable,
                Abortable,
            ),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN, Abortable, Abortable),
            (Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Fenced, Fenced),
            (Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Fenced, Fenced),
            (
                Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                Fatal,
                Fatal,
            ),
            (Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, Fatal, Fatal),
            (Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Fatal, Fatal),
        ],
    );
}

#[test]
fn add_offsets() {
    check(
        Api::AddOffsetsToTxn,
        &[
            (
                Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                Abortable,
                Abortable,
            ),
            (
                Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                Abortable,
                Abortable,
            ),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, Abortable, Abortable),
            (
                Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                Abortable,
                Abortable,
            ),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN, Abortable, Abortable),
            (Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Fenced, Fenced),
            (Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Fenced, Fenced),
            (
                Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                Fatal,
                Fatal,
            ),
            (Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Fatal, Fatal),
            (
                Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
                Fatal,
                Fatal,
            ),
        ],
    );
}

#[test]
fn offset_commit() {
    check(
        Api::TxnOffsetCommit,
        &[
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                Committed,
                Undecided,
            ),
            (Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed, Abortable),
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                Committed,
                Undecided,
            ),
            (Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, Committed, Abortable),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Committed, Abortable),
            (Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, Abortable, Abortable),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, Abortable, Abortable),
            (Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, Abortable, Abortable),
            (
                Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                Abortable,
                Abortable,
            ),
            (
                Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                Abortable,
                Abortable,
            ),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN, Abortable, Abortable),
            (
                Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                Fatal,
                Fatal,
            ),
            (Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, Fatal, Fatal),
            (Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Fenced, Fenced),
            (Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Fatal, Fatal),
        ],
    );
}

#[test]
fn end_transaction() {
    check(
        Api::EndTxn,
        &[
            (
                Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                Committed,
                NoVerdict,
            ),
            (
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Committed, NoVerdict),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, Abortable, Abortable),
            (
                Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                Abortable,
                Abortable,
            ),
            (Code::RD_KAFKA_RESP_ERR_UNKNOWN, Abortable, Abortable),
            (Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Fenced, Fenced),
            (Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Fenced, Fenced),
            (
                Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                Fatal,
                Fatal,
            ),
            (Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Fatal, Fatal),
        ],
    );
}

#[test]
fn produce() {
    check(
        Api::Produce,
        &[
            (Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, Committed, NoVerdict),
            (
                Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                Committed,
                NoVerdict,
            ),
            (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Committed, NoVerdict),
            (Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Abortable, Abortable),
            (Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, Abortable, Abortable),
            (Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, Abortable, Abortable),
            (
                Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                Abortable,
                Abortable,
            ),
            // Of the first batch in flight it means that a sequence was lost.
            (Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, Fatal, Fatal),
            (Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Fenced, Fenced),
        ],
    );
}

#[test]
fn a_call_that_does_not_come_back_is_left_behind() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let mut producer = factory(&mock, &["out"]).open(deadline()).unwrap();
    transact(&mut producer).unwrap();
    producer.begin().unwrap();
    producer.produce(&record(b"value"), deadline()).unwrap();
    producer.flush(deadline()).unwrap();
    // Longer than the deadline below, shorter than the client's own timeouts.
    mock.broker_round_trip_time(-1, Duration::from_millis(1900))
        .unwrap();
    let partition = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    let positions = [Position { partition, offset: 8 }];
    let start = Instant::now();
    let verdict = producer.send_offsets(&positions, &member(), start + Duration::from_millis(100));
    assert!(
        matches!(verdict, Err(TransactionError::NoVerdict(_))),
        "{verdict:?}"
    );
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    assert!(producer.suspicion().is_some());
    let after = producer.commit(deadline()).unwrap_err();
    assert!(
        matches!(after, TransactionError::NoVerdict(_)),
        "nothing more is asked of it: {after}"
    );
    producer.discard();
    mock.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    let mut next = factory(&mock, &["out"])
        .open(Instant::now() + Duration::from_secs(20))
        .unwrap();
    transact(&mut next).unwrap();
}

#[test]
fn a_record_that_is_not_taken_any_more_tells_why() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let mut producer = factory(&mock, &["out"]).open(deadline()).unwrap();
    mock.request_errors(
        Api::AddPartitionsToTxn,
        &[Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    producer.begin().unwrap();
    let until = Instant::now() + GRACE;
    let error = loop {
        if let Err(error) = producer.produce(&record(b"value"), deadline()) {
            break error;
        }
        assert!(Instant::now() < until, "nothing was refused");
    };
    let ProduceError::Transaction(TransactionError::Abortable(why)) = error else {
        panic!("{error}")
    };
    assert_eq!(why.name, "TOPIC_AUTHORIZATION_FAILED", "{why}");
    producer.abort(deadline() + GRACE).unwrap();
    transact(&mut producer).unwrap();
}
