//! Each error code on each request of a transaction, once and five times in a row: after
//! every one the lane goes on, or has failed with a reason. Against librdkafka's mock
//! cluster, which knows neither markers nor isolation, so this proves the error paths and
//! nothing about what readers see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaApiKey as Api;

use super::{dead_letters, lane_of, plan};
use crate::kafka::consumer::LibrdConsumer;
use crate::kafka::tests::support::{Mock, consumer, mock, producer_settings, timeouts};
use crate::kafka::transaction::LibrdProducerFactory;
use crate::kafka::{Consumer, KafkaError};
use crate::lane::Lane;
use crate::lane::control::Interrupt;
use crate::lane::directory::{Directory, TopicFacts};
use crate::lane::starts::Marks;
use crate::lane::state::LaneState;
use crate::lane::testing::Script;

/// A lane is back, or has given up, within this time.
const PATIENCE: Duration = Duration::from_mins(1);

type MockLane = Lane<LibrdConsumer, LibrdProducerFactory, Fixed, Script>;

/// What the mock cluster cannot answer.
struct Fixed;

impl Directory for Fixed {
    fn cluster_id(&self) -> Arc<str> {
        "mock".into()
    }

    fn topic(&self, name: &str, _: i32) -> Result<TopicFacts, KafkaError> {
        Ok(TopicFacts {
            id: name.into(),
            partitions: 1,
        })
    }

    fn confirm(&self, topics: &[&str]) -> Result<Vec<Arc<str>>, KafkaError> {
        Ok(topics.iter().map(|topic| Arc::from(*topic)).collect())
    }

    fn input(&self) -> Result<BTreeMap<String, i32>, KafkaError> {
        Ok(BTreeMap::from([("in".to_owned(), 1)]))
    }

    fn marks(&self) -> Result<Arc<Marks>, KafkaError> {
        Ok(Arc::default())
    }

    fn known_marks(&self) -> Result<Arc<Marks>, KafkaError> {
        self.marks()
    }

    fn forget_marks(&self) {}
}

fn new_lane(mock: &Mock, group: &str) -> MockLane {
    let mut plan = plan(dead_letters());
    plan.timeouts = timeouts();
    let topics = plan.produced_topics();
    let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let producers = LibrdProducerFactory::new(producer_settings(mock, &names), format!("{group}.0.0"));
    let mut lane = lane_of(plan, consumer(mock, group, &[]), producers, Fixed);
    lane.replace_producer()
        .unwrap_or_else(|interrupt| panic!("{interrupt:?}"));
    lane.consumer.subscribe(&["in"]).unwrap();
    lane
}

/// Puts three records into the input.
fn feed(mock: &Mock) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap_servers());
    let feeder: BaseProducer = config.create().unwrap();
    for value in ["pass 1", "drop 2", "reject 3"] {
        let record = BaseRecord::<(), str>::to("in").partition(0).payload(value);
        feeder.send(record).map_err(|(error, _)| error).unwrap();
    }
    feeder.flush(PATIENCE).unwrap();
}

/// Drives the lane until the input is committed up to `target`, or it has failed.
fn drive(lane: &mut MockLane, target: i64, what: &str) -> Result<(), String> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < give_up, "{what}: neither back nor failed");
        let round = match lane.round() {
            Err(Interrupt::Transaction { error, in_commit }) => lane.recover(&error, in_commit),
            other => other,
        };
        match round {
            Ok(()) | Err(Interrupt::Suspicion | Interrupt::Transaction { .. }) => {}
            Err(Interrupt::Pipeline(reason) | Interrupt::Lane(reason)) => return Err(reason),
        }
        let state = lane.report.current_state();
        let committed = lane.partitions.iter().map(|p| p.committed).min();
        if committed.is_some_and(|committed| committed >= target) && state == LaneState::Running {
            return Ok(());
        }
    }
}

/// So many codes are tried one after the other. Most of it is waiting, so the rest goes on beside them.
const IN_A_ROW: usize = 3;

fn check(api: Api, codes: &[Code]) {
    let survived: usize = thread::scope(|scope| {
        let rows = codes.chunks(IN_A_ROW);
        let rows: Vec<_> = rows.map(|row| scope.spawn(move || survived(api, row))).collect();
        rows.into_iter().map(|row| row.join().unwrap()).sum()
    });
    assert!(survived > 0, "{api:?}: no error was survived");
}

/// How often a lane went on, on a cluster of its own.
fn survived(api: Api, codes: &[Code]) -> usize {
    let mock = mock(&[("in", 1), ("out", 1), ("dlq", 1), ("__strait.p.control", 1)]);
    let mut group = 0;
    let mut fed = 0;
    let mut lane = new_lane(&mock, "g0");
    let mut back = 0;
    for code in codes {
        for times in [1, 5] {
            let what = format!("{api:?} {code:?} x{times}");
            feed(&mock);
            fed += 3;
            mock.request_errors(api, &vec![*code; times]);
            let outcome = drive(&mut lane, fed, &what);
            mock.clear_request_errors(api);
            match outcome {
                Ok(()) => back += 1,
                Err(reason) => {
                    assert!(!reason.is_empty(), "{what}: failed without a reason");
                    group += 1;
                    lane = new_lane(&mock, &format!("g{group}"));
                    drive(&mut lane, fed, &what).unwrap_or_else(|e| panic!("{what}: a new lane: {e}"));
                }
            }
        }
    }
    back
}

#[test]
fn of_the_coordinator() {
    use Code::*;
    check(
        Api::AddPartitionsToTxn,
        &[
            RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
            RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            RD_KAFKA_RESP_ERR__TRANSPORT,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED,
            RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
            RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
        ],
    );
}

/// Of both requests that carry the offsets.
const OF_THE_OFFSETS: [Code; 8] = {
    use Code::*;
    [
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
        RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
        RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ]
};

#[test]
fn of_the_offsets_to_come() {
    check(Api::AddOffsetsToTxn, &OF_THE_OFFSETS);
}

#[test]
fn of_the_offsets() {
    use Code::*;
    let generation = [
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
    ];
    check(Api::TxnOffsetCommit, &[&OF_THE_OFFSETS[..], &generation].concat());
}

#[test]
fn of_the_end() {
    use Code::*;
    check(
        Api::EndTxn,
        &[
            RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
            RD_KAFKA_RESP_ERR__TRANSPORT,
            RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
            RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
        ],
    );
}

#[test]
fn of_the_outputs() {
    use Code::*;
    check(
        Api::Produce,
        &[
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RD_KAFKA_RESP_ERR__TRANSPORT,
            RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            RD_KAFKA_RESP_ERR_INVALID_RECORD,
            RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        ],
    );
}
