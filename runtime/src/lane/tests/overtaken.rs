//! Topics that are made again, logs that are cut, and members that go on meanwhile.

use super::*;

#[test]
fn a_partition_that_comes_back_may_be_of_a_topic_that_was_made_again() {
    let log = Log::new(inputs(1, 10, |_| "pass"), Faults::default(), 8);
    let mut lane = lane(plan(Then::Stop), &log);
    lane.replace_producer().unwrap();
    while lane.partitions.is_empty() {
        lane.round().unwrap();
    }
    let ids = lane.partitions.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
    assert_eq!(&*lane.directory.topic("in", 0).unwrap().id, "topic-id");
    // Another member has begun with the new topic, so that there is a committed offset.
    {
        let state = &mut *log.0.borrow_mut();
        state.topic_id = "another-id";
        state.committed = [(0, 3)].into();
    }
    lane.revoked(&ids, true).unwrap();
    lane.assigned(&ids).unwrap();
    assert_eq!(&*lane.directory.topic("in", 0).unwrap().id, "another-id");
}

/// A lane with work in its open transaction, and its log, whose topic has been deleted and made
/// again meanwhile: longer than what was read of the old one.
fn made_again() -> (MemoryLane, Log) {
    let log = Log::new(inputs(1, 10, |_| "pass"), Faults::default(), 8);
    let mut lane = lane(plan(Then::Stop), &log);
    lane.replace_producer().unwrap();
    while !log.is_done() {
        lane.round().unwrap();
    }
    {
        let state = &mut *log.0.borrow_mut();
        state.inputs = inputs(1, 50, |_| "pass again");
        state.topic_id = "another-id";
        state.committed.clear();
    }
    // As after a standstill: what was told is out of date.
    lane.directory.forget();
    (lane, log)
}

#[test]
fn nothing_of_a_topic_that_was_made_again_is_committed_in_place_of_the_old_one() {
    let (mut lane, log) = made_again();
    let interrupt = loop {
        match lane.round() {
            Ok(()) => {}
            Err(interrupt) => break interrupt,
        }
    };
    let Interrupt::Lane(reason) = interrupt else {
        panic!("{interrupt:?}")
    };
    assert!(reason.contains("made again"), "{reason}");
    assert!(log.0.borrow().committed.is_empty());
}

#[test]
fn a_topic_that_was_made_again_has_no_gap() {
    let (mut lane, _log) = made_again();
    for partition in lane.partitions.iter_mut() {
        partition.gap = true;
        partition.backlog.clear();
    }
    let interrupt = lane.pass_gaps().unwrap_err();
    assert!(matches!(interrupt, Interrupt::Lane(_)), "{interrupt:?}");
}

#[test]
fn a_gap_is_judged_however_much_comes_from_other_partitions() {
    let mut inputs = inputs(2, 1000, |_| "pass");
    inputs[0].clear();
    let log = Log::new(inputs, Faults::default(), 9);
    let mut plan = plan(Then::Stop);
    plan.commit.interval = Duration::from_secs(5);
    plan.commit.records = NonZeroUsize::MAX;
    let mut lane = lane(plan, &log);
    lane.replace_producer().unwrap();
    let has_work = |lane: &MemoryLane| lane.open.as_ref().is_some_and(crate::lane::open::Open::has_work);
    while !has_work(&lane) {
        lane.round().unwrap();
    }
    let id = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    lane.partitions.get_mut(&id).unwrap().gap = true;
    for _ in 0..5 {
        lane.round().unwrap();
    }
    assert!(!log.is_done(), "nothing else came any more");
    assert!(!lane.partitions.get(&id).unwrap().gap);
}

/// A lane inside a transaction, and its log, in which another member has gone on meanwhile.
fn overtaken(session: Duration) -> (MemoryLane, Log) {
    let log = Log::new(inputs(1, 100, |_| "pass"), Faults::default(), 7);
    let mut plan = plan(Then::Stop);
    plan.commit.interval = Duration::from_secs(5);
    plan.commit.idle = Duration::from_secs(5);
    plan.commit.records = NonZeroUsize::MAX;
    plan.timeouts.session = session;
    let mut lane = lane(plan, &log);
    lane.replace_producer().unwrap();
    let has_work = |lane: &MemoryLane| lane.open.as_ref().is_some_and(crate::lane::open::Open::has_work);
    while !has_work(&lane) {
        lane.round().unwrap();
    }
    log.0.borrow_mut().committed = [(0, 77)].into();
    (lane, log)
}

fn fenced() -> TransactionError {
    let cause = KafkaError {
        code: 0,
        name: "FENCED".to_owned(),
        message: String::new(),
        fatal: true,
        retriable: false,
    };
    TransactionError::Fatal { fenced: true, cause }
}

#[test]
fn a_lane_that_was_overtaken_goes_on_from_what_others_committed() {
    let (mut lane, log) = overtaken(Duration::from_mins(1));
    log.0.borrow_mut().generation += 1;
    lane.recover(&fenced(), false).unwrap();
    assert_eq!(lane.partitions.iter().map(|p| p.next).collect::<Vec<_>>(), [77]);
}

#[test]
fn a_lane_that_learns_late_that_it_was_overtaken_goes_on_too() {
    let (mut lane, log) = overtaken(Duration::from_mins(1));
    log.0.borrow_mut().faults.rebalance = 1000; // the news come with the next poll
    lane.recover(&fenced(), true).unwrap();
    log.0.borrow_mut().faults.rebalance = 0;
    while lane.partitions.is_empty() {
        lane.round().unwrap();
    }
    assert_eq!(
        lane.partitions.iter().map(|p| p.committed).collect::<Vec<_>>(),
        [77]
    );
}

#[test]
fn offsets_that_nobody_can_have_committed_stop_the_pipeline() {
    let (mut lane, _log) = overtaken(Duration::from_millis(20));
    let Err(Interrupt::Pipeline(reason)) = lane.recover(&fenced(), false) else {
        panic!("it went on")
    };
    assert!(reason.contains("contradicts itself"), "{reason}");
}
