//! Calls of the library that do not come back by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::support::{factory, record, soon};
use crate::kafka::consumer::LibrdMember;
use crate::kafka::ffi::consume::GroupMetadata;
use crate::kafka::ffi::mock::MockNodes;
use crate::kafka::hurry::Hurry;
use crate::kafka::transaction::{LEFT_BEHIND_MAX, LibrdProducer};
use crate::kafka::{Position, Producer, ProducerFactory, TopicPartition, TransactionError};

const GROUP: &str = "group";

/// A lane waits no longer than this for a call that hangs, whatever its deadline.
const PATIENCE: Duration = Duration::from_secs(8);

fn transact(producer: &mut LibrdProducer, before_offsets: impl FnOnce()) -> Result<(), TransactionError> {
    let member = LibrdMember(Arc::new(GroupMetadata::for_test(GROUP, 1, "member").unwrap()));
    let partition = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    producer.begin()?;
    producer.produce(&record(b"value"), soon()).unwrap();
    producer.flush(soon())?;
    before_offsets();
    producer.send_offsets(&[Position { partition, offset: 1 }], &member, soon())?;
    producer.commit(soon())
}

/// The group's coordinator dies, and `fenced_after` that it leaves the cluster, while the
/// library looks for it. Says whether the call was left behind.
fn lose_coordinator(fenced_after: Duration) -> bool {
    let nodes = MockNodes::new(3).unwrap();
    for topic in ["in", "out"] {
        nodes.create_topic(topic, 1).unwrap();
    }
    nodes.coordinate("transaction", "out.0.0", 1).unwrap();
    nodes.coordinate("group", GROUP, 2).unwrap();
    let factory = factory(&*nodes.bootstrap(), &["out"]);
    let mut producer = factory.open(soon()).unwrap();
    transact(&mut producer, || ()).unwrap();

    let mut started = Instant::now();
    let outcome = std::thread::scope(|scope| {
        transact(&mut producer, || {
            nodes.take_down(2).unwrap();
            started = Instant::now();
            scope.spawn(|| {
                // The moment decides whether the library hangs: no condition stands for it.
                std::thread::sleep(fenced_after);
                nodes.coordinate("group", GROUP, 3).unwrap();
                nodes.fence(2).unwrap();
            });
        })
    });
    assert!(
        started.elapsed() < PATIENCE,
        "{outcome:?} after {:?}",
        started.elapsed()
    );
    let left_behind = match outcome {
        Ok(()) => false,
        Err(TransactionError::NoVerdict(_)) => producer
            .suspicion()
            .is_some_and(|why| why.contains("never came back")),
        // The request was on its way to the node that left.
        Err(TransactionError::Abortable(_)) => {
            producer.abort(soon()).unwrap();
            false
        }
        Err(fatal) => panic!("{fatal}"),
    };
    producer.discard();
    transact(&mut factory.open(soon()).unwrap(), || ()).unwrap();
    left_behind
}

#[test]
fn a_coordinator_that_leaves_the_cluster_holds_nobody_up() {
    let moments = (0..16).map(|number| Duration::from_millis(2000 + 75 * number));
    let mut hangs = moments.map(lose_coordinator);
    assert!(
        hangs.any(|hung| hung),
        "the library never hung: this proves nothing, or the watchdog is of no more use"
    );
}

#[test]
fn who_is_in_a_hurry_does_not_wait_for_a_coordinator_that_is_away() {
    let nodes = MockNodes::new(2).unwrap();
    nodes.create_topic("out", 1).unwrap();
    nodes.coordinate("transaction", "out.0.0", 1).unwrap();
    let hurry = Hurry::default();
    let factory = factory(&*nodes.bootstrap(), &["out"]).heeding(hurry.clone());
    let mut producer = factory.open(soon()).unwrap();
    producer.begin().unwrap();
    producer.produce(&record(b"value"), soon()).unwrap();
    producer.flush(soon()).unwrap();
    nodes.take_down(1).unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The call is to be under way.
            std::thread::sleep(Duration::from_secs(1));
            hurry.ask();
        });
        let outcome = producer.commit(soon() + Duration::from_mins(1));
        assert!(
            matches!(outcome, Err(TransactionError::NoVerdict(_))),
            "{outcome:?}"
        );
    });
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "it took {took:?}");
}

#[test]
fn while_too_many_hang_no_further_one_is_opened() {
    let nodes = MockNodes::new(1).unwrap();
    nodes.create_topic("out", 1).unwrap();
    let factory = factory(&*nodes.bootstrap(), &["out"]);
    factory.open(soon()).unwrap().discard();
    let hanging: Vec<_> = (0..=LEFT_BEHIND_MAX).map(|_| factory.hang()).collect();
    let refused = factory.open(soon());
    assert!(
        matches!(&refused, Err(TransactionError::NoVerdict(why)) if why.message.contains(" producers before this one hang")),
        "{refused:?}"
    );
    drop(hanging);
    factory.open(soon()).unwrap();
}
