//! The whole lane, against a log in memory whose every call may fail.

#[cfg(feature = "slow-tests")]
mod arms;
#[cfg(feature = "fault-injection")]
mod faults;
mod keyed;
mod overtaken;
mod refused;
mod repeats;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::commit_policy::CommitBudget;
use super::control::{Interrupt, LaneControl, LaneEnd};
use super::directory::Directory;
use super::outgoing::Capacity;
use super::report::Report;
use super::testing::{Faults, Log, MemoryConsumer, MemoryDirectory, MemoryProducers, Rec, Script};
use super::{Lane, Parts};
use crate::dedup::judge::Dedup;
use crate::health::Health;
use crate::kafka::{
    Consumer, FailedDelivery, Flaw, KafkaError, Producer, ProducerFactory, TopicPartition, TransactionError,
};
use crate::plan::*;
use crate::stage::Stages;
use crate::telemetry::failures::{FailureLog, Values};
use crate::telemetry::metrics::Metrics;

type MemoryLane = Lane<MemoryConsumer, MemoryProducers, MemoryDirectory, Script>;

fn plan(then: Then) -> Pipeline {
    let output = |name: &str, topic: &str| Output {
        name: name.to_owned(),
        topic: topic.to_owned(),
        partition: PartitionBy::Key,
        timestamp: TimestampFrom::Input,
        compression: None,
    };
    Pipeline {
        name: PipelineName::new("p").unwrap(),
        source: "p.yaml".into(),
        cluster: Cluster::default(),
        input: Input {
            topics: InputTopics::Named(vec!["in".to_owned()]),
            start: Start::Earliest,
            on_gap: OnGap::Stop,
        },
        dedup: None,
        stores: Vec::new(),
        stages: vec![WasmStage {
            name: "wasm".into(),
            module: ModuleSource::File("none.wasm".into()),
            sha256: None,
            settings: serde_json::json!({}),
            limits: Limits {
                memory_bytes: 1 << 20,
                batch_deadline: Some(Duration::from_secs(1)),
                output_bytes: 1 << 20,
            },
            batch: BatchLimits {
                records: NonZeroUsize::new(5).unwrap(),
                bytes: NonZeroUsize::MAX,
            },
        }],
        outputs: vec![output("default", "out")],
        on_error: OnError {
            retry: Retry {
                attempts: 2,
                initial: Duration::from_millis(1),
                max: Duration::from_millis(2),
                factor: 2.0,
            },
            then,
            limit: None,
        },
        delivery: Delivery::ExactlyOnce,
        lanes: NonZeroUsize::MIN,
        commit: Commit {
            interval: Duration::from_millis(2),
            idle: Duration::from_millis(1),
            records: NonZeroUsize::new(20).unwrap(),
            bytes: NonZeroUsize::new(1 << 20).unwrap(),
        },
        provenance: Provenance::None,
        internal_topics: InternalTopics {
            create: true,
            replication: None,
        },
        timeouts: Timeouts::default(),
    }
}

fn dead_letters() -> Then {
    Then::DeadLetter {
        topic: "dlq".to_owned(),
        style: HeaderStyle::Strait,
    }
}

fn lane(plan: Pipeline, log: &Log) -> MemoryLane {
    lane_of(plan, log.consumer(), log.producers(), log.directory())
}

fn lane_of<C, F, D>(plan: Pipeline, consumer: C, producers: F, directory: D) -> Lane<C, F, D, Script>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
{
    lane_with(plan, consumer, producers, directory, None)
}

/// `local`: where it keeps a copy of its state.
fn lane_with<C, F, D>(
    plan: Pipeline,
    consumer: C,
    producers: F,
    directory: D,
    local: Option<keyed::Local<'_>>,
) -> Lane<C, F, D, Script>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
{
    let plan = Arc::new(plan);
    let topics = plan.produced_topics();
    let capacity = Capacity {
        message_bytes_max: 1 << 20,
        partitions: 6,
    };
    let metrics = Metrics::new("test").pipeline(&plan.name);
    let health = Health::new(Duration::from_mins(1)).pipeline(&plan.name, 1);
    let failures = Arc::new(FailureLog::new(plan.name.clone(), Values::Masked));
    let dedup = plan.dedup.as_ref().map(|dedup| {
        let holder = repeats::holder(dedup, None);
        Dedup::new(Arc::clone(dedup), &plan.name, "cluster", holder)
    });
    let (session, state) = local.map(|local| keyed::states(&plan, local)).unzip();
    let mut lane = Lane::new(Parts {
        dedup,
        state,
        stages: Stages::new(&plan, &[Script], session.as_ref()).unwrap(),
        index: 0,
        consumer,
        producers,
        directory: Arc::new(directory),
        capacities: topics.iter().map(|_| capacity).collect(),
        budget: Arc::new(CommitBudget::new(Instant::now())),
        control: LaneControl::default(),
        report: Report::new(0, metrics, health, failures, topics),
        plan,
    });
    lane.look_interval = Duration::ZERO;
    lane.backoff = Backoff::new(Duration::from_micros(10), Duration::from_micros(50));
    lane
}

/// Runs until all is committed, or the lane ends by itself.
fn run(lane: MemoryLane, log: &Log) -> LaneEnd {
    run_within(Duration::from_secs(20), lane, log)
}

fn run_within(patience: Duration, mut lane: MemoryLane, log: &Log) -> LaneEnd {
    let give_up = Instant::now() + patience;
    let mut live = || -> Result<(), Interrupt> {
        lane.replace_producer()?;
        while !log.is_done() {
            assert!(
                Instant::now() < give_up,
                "no progress beyond {:?}",
                log.0.borrow().committed
            );
            match lane.round() {
                Err(Interrupt::Transaction { error, in_commit }) => lane.recover(&error, in_commit)?,
                Err(Interrupt::Suspicion) => {}
                other => other?,
            }
            lane.fenced_in_a_row = 0;
        }
        Ok(())
    };
    match live() {
        Ok(()) => LaneEnd::Drained,
        Err(Interrupt::Pipeline(reason)) => LaneEnd::Failed(reason),
        Err(Interrupt::Lane(reason)) => LaneEnd::Restart(reason),
        Err(Interrupt::Transaction { error, .. }) => LaneEnd::Restart(error.to_string()),
        Err(Interrupt::Suspicion) => LaneEnd::Restart("suspicion".to_owned()),
    }
}

fn inputs(partitions: i64, records: i64, what: impl Fn(i64) -> &'static str) -> Vec<Vec<Rec>> {
    let record = |partition: i64, offset| {
        Rec::new(
            offset,
            format!("{} {partition} {offset}", what(offset)).as_bytes(),
        )
    };
    (0..partitions)
        .map(|partition| (0..records).map(|offset| record(partition, offset)).collect())
        .collect()
}

/// Committed values of a topic, of one input partition, in order.
fn outputs(log: &Log, topic: usize, partition: usize) -> Vec<String> {
    let of = format!(" {partition} ");
    let state = log.0.borrow();
    let values = state.outputs.iter().filter(|out| out.topic == topic);
    let values = values.map(|out| String::from_utf8(out.value.clone().unwrap()).unwrap());
    values.filter(|value| value.contains(&of)).collect()
}

fn expected(log: &Log, partition: usize, keep: impl Fn(&str) -> bool) -> Vec<String> {
    let state = log.0.borrow();
    let values = state.inputs[partition]
        .iter()
        .map(|r| String::from_utf8(r.value.clone().unwrap()).unwrap());
    values.filter(|value| keep(value)).collect()
}

#[test]
fn without_faults_everything_arrives_once_and_in_order() {
    let log = Log::new(inputs(3, 100, |_| "pass"), Faults::default(), 1);
    assert_eq!(run(lane(plan(Then::Stop), &log), &log), LaneEnd::Drained);
    for partition in 0..3 {
        assert_eq!(outputs(&log, 0, partition), expected(&log, partition, |_| true));
    }
}

#[test]
fn whatever_fails_everything_arrives_once_and_in_order() {
    let mut injected = 0;
    for seed in 0..200 {
        let faults = Faults {
            transaction: 60,
            rebalance: 20,
            flawed: None,
        };
        let what = |offset| match offset % 17 {
            3 => "drop",
            7 => "reject",
            11 => "trap",
            13 => "slow",
            15 => "retry",
            _ => "pass",
        };
        let log = Log::new(inputs(2, 60, what), faults, seed);
        log.0.borrow_mut().tail = i64::try_from(seed % 3).unwrap();
        assert_eq!(
            run(lane(plan(dead_letters()), &log), &log),
            LaneEnd::Drained,
            "seed {seed}"
        );
        for partition in 0..2 {
            let passed = expected(&log, partition, |value| value.starts_with("pass"));
            assert_eq!(outputs(&log, 0, partition), passed, "seed {seed}");
            let failed = |value: &str| !value.starts_with("pass") && !value.starts_with("drop");
            assert_eq!(
                outputs(&log, 1, partition),
                expected(&log, partition, failed),
                "seed {seed}"
            );
        }
        injected += log.0.borrow().injected;
    }
    assert!(
        injected > 2000,
        "only {injected} faults: the test has lost its teeth"
    );
}

#[test]
fn stop_commits_what_precedes_the_failure_and_nothing_else() {
    let what = |offset| if offset == 12 { "reject" } else { "pass" };
    let log = Log::new(inputs(1, 30, what), Faults::default(), 2);
    let LaneEnd::Failed(reason) = run(lane(plan(Then::Stop), &log), &log) else {
        panic!("it went on")
    };
    assert!(reason.contains("offset 12"), "{reason}");
    assert_eq!(log.0.borrow().committed.get(&0), Some(&12));
    assert_eq!(outputs(&log, 0, 0).len(), 12);
}

#[test]
fn the_breaker_stops_before_the_failures_are_committed() {
    let mut plan = plan(dead_letters());
    plan.on_error.limit = Some(FailureLimit {
        rate: 0.5,
        over: Duration::from_mins(1),
        at_least: NonZeroU32::new(20).unwrap(),
    });
    let log = Log::new(inputs(1, 100, |_| "reject"), Faults::default(), 3);
    let LaneEnd::Failed(reason) = run(lane(plan, &log), &log) else {
        panic!("it went on")
    };
    assert!(reason.contains("on_error.limit"), "{reason}");
    assert!(outputs(&log, 1, 0).len() <= 20);
}

#[test]
fn an_input_of_control_records_alone_is_passed_over() {
    let log = Log::new(inputs(2, 0, |_| "pass"), Faults::default(), 4);
    log.0.borrow_mut().tail = 9;
    assert_eq!(run(lane(plan(Then::Stop), &log), &log), LaneEnd::Drained);
    assert_eq!(log.0.borrow().committed, [(0, 9), (1, 9)].into());
}

#[test]
fn a_vanished_offset_stops_the_pipeline() {
    let log = Log::new(inputs(1, 10, |_| "pass"), Faults::default(), 6);
    assert_eq!(run(lane(plan(Then::Stop), &log), &log), LaneEnd::Drained);
    {
        let state = &mut *log.0.borrow_mut();
        state.committed = [(99, 0)].into();
    }
    let LaneEnd::Failed(reason) = run(lane(plan(Then::Stop), &log), &log) else {
        panic!("it went on")
    };
    assert!(reason.contains("expired"), "{reason}");
}

#[test]
fn a_lane_that_gets_nowhere_says_why() {
    let log = Log::new(inputs(1, 10, |_| "pass"), Faults::default(), 7);
    let mut lane = lane(plan(Then::Stop), &log);
    let health = Health::new(Duration::from_mins(1));
    let name = lane.plan.name.clone();
    let failures = Arc::new(FailureLog::new(name.clone(), Values::Masked));
    let metrics = Metrics::new("test").pipeline(&name);
    let topics = lane.plan.produced_topics();
    lane.report = Report::new(0, metrics, health.pipeline(&name, 1), failures, topics);
    lane.replace_producer().unwrap();
    while lane.open.is_none() {
        lane.round().unwrap();
    }
    let denied = |fatal| {
        let cause = KafkaError::own("TOPIC_AUTHORIZATION_FAILED", "out", false);
        if fatal {
            TransactionError::Fatal { fenced: false, cause }
        } else {
            TransactionError::Abortable(cause)
        }
    };
    for fatal in [false, false, true] {
        lane.recover(&denied(fatal), false).unwrap();
    }
    let reason = health.readiness().pipelines.remove(0).reason.unwrap();
    assert!(
        reason.contains("3 transactions") && reason.contains("TOPIC_AUTHORIZATION_FAILED"),
        "{reason}"
    );
    // A call that fails because a record was refused does not know why.
    lane.refused.push(FailedDelivery {
        origin: u64::MAX,
        topic: 0,
        flaw: None,
        error: KafkaError::own("POLICY_VIOLATION", "out", false),
    });
    let unknowing = KafkaError::own("_STATE", "not in this state", false);
    lane.recover(&TransactionError::Abortable(unknowing), false)
        .unwrap();
    let reason = health.readiness().pipelines.remove(0).reason.unwrap();
    assert!(reason.contains("POLICY_VIOLATION"), "{reason}");
}
