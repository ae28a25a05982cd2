//! The stages, driven with a fake guest as a lane would, and compared with a model that
//! takes one record at a time.

use std::time::Duration;

use super::fake::{
    AUDIT, Act, COST, DEADLINE, DEFAULT, FakeModule, FakeRecord, Hint, Key, Out, WORLD, World,
};
use super::*;
use crate::guest::FaultKind;
use crate::kafka::TopicPartition;
use crate::plan::BatchLimits;

mod emissions;
mod hosted;
mod model;

const NAMES: [&str; 3] = ["sha-1", "sha-2", "sha-3"];
const AMPLE: Allowance = Allowance {
    guest_time_left: Duration::from_hours(1),
    tried: 0,
    retries_max: 2,
};

fn partition() -> TopicPartition {
    TopicPartition {
        topic: "in".into(),
        partition: 3,
    }
}

fn limits(records: usize, bytes: usize) -> BatchLimits {
    BatchLimits {
        records: records.try_into().unwrap(),
        bytes: bytes.try_into().unwrap(),
    }
}

fn stages_with(count: usize, batch: BatchLimits, hint: Hint, broken: bool) -> Stages<FakeModule> {
    WORLD.replace(World::default());
    let modules: Vec<FakeModule> = NAMES
        .iter()
        .take(count)
        .map(|name| FakeModule { name, hint, broken })
        .collect();
    let plan = fake::plan(count, batch);
    Stages::new(&plan, &modules, None).unwrap().with_clock(fake::now)
}

fn stages(count: usize) -> Stages<FakeModule> {
    stages_with(count, limits(1000, 1 << 20), Hint::Honest, false)
}

/// Owned, to be compared.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    origin: usize,
    stage: usize,
    output: usize,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    timestamp_ms: Option<i64>,
    partition: Option<i32>,
    part: (u32, u32),
}

impl Seen {
    fn of(emission: &Emission<'_>) -> Self {
        let header = |(name, value): &(&[u8], Option<&[u8]>)| (name.to_vec(), value.map(<[u8]>::to_vec));
        Self {
            origin: emission.origin,
            stage: emission.stage,
            output: emission.output.0,
            key: emission.key.map(<[u8]>::to_vec),
            value: emission.value.map(<[u8]>::to_vec),
            headers: emission.headers.iter().map(header).collect(),
            timestamp_ms: emission.timestamp_ms,
            partition: emission.partition,
            part: (emission.part, emission.parts),
        }
    }
}

fn seen(stages: &Stages<FakeModule>, outcome: &Outcome, records: &[FakeRecord]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let visited: Result<(), ()> = stages.emissions(outcome, records, &mut |emission| {
        seen.push(Seen::of(emission));
        Ok(())
    });
    visited.unwrap();
    seen
}

fn failed(outcome: &Outcome) -> Vec<(usize, FailureKind)> {
    outcome
        .failures
        .iter()
        .map(|failure| (failure.record, failure.kind))
        .collect()
}

fn origins(seen: &[Seen]) -> Vec<usize> {
    seen.iter().map(|seen| seen.origin).collect()
}

fn calls() -> Vec<(&'static str, usize)> {
    WORLD.with_borrow(|world| world.calls.clone())
}

fn to(output: u16) -> Out {
    Out {
        to: output,
        ..Out::default()
    }
}

/// Emits each of these to `default`, for the next stage.
fn on(acts: &[Act]) -> Act {
    let out = |act: &Act| Out {
        value: Some(Box::new(act.clone())),
        ..to(DEFAULT)
    };
    Act::Emit(acts.iter().map(out).collect())
}

#[test]
fn a_failure_in_the_last_stage_takes_back_the_outputs_of_the_first() {
    let mut stages = stages(2);
    let act = Act::Emit(vec![to(AUDIT), on_one(&Act::pass()), on_one(&Act::Reject)]);
    let records = fake::records(&[on(&[Act::pass()]), act, on(&[Act::pass()])]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!(failed(&outcome), [(1, FailureKind::Reject)]);
    let failure = &outcome.failures[0];
    assert_eq!((&*failure.stage, &*failure.module_sha256), ("wasm-2", "sha-2"));
    assert_eq!((failure.reason.as_str(), failure.attempts), ("rejected", 1));
    assert_eq!(origins(&seen(&stages, &outcome, &records)), [0, 2]);
    assert_eq!(outcome.filtered, 0);
    stages.release(outcome);
}

fn too_large() -> Refusal {
    Refusal {
        kind: FailureKind::TooLarge,
        reason: "too large".to_owned(),
    }
}

fn on_one(act: &Act) -> Out {
    Out {
        value: Some(Box::new(act.clone())),
        ..to(DEFAULT)
    }
}

#[test]
fn a_retry_discards_everything_from_its_record_on() {
    let mut stages = stages(2);
    let late = on(&[Act::RetryUntil(1)]);
    let early = Act::RetryUntil(1);
    let records = fake::records(&[on(&[Act::pass()]), late, on(&[Act::pass()]), early]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!(outcome.decided, 1);
    let Some(Stopped::Retry { reason, stage }) = &outcome.stopped else {
        panic!("{:?}", outcome.stopped)
    };
    assert_eq!(
        (reason.as_str(), &**stage),
        ("again", "wasm-2"),
        "the earlier record, in the later stage"
    );
    assert_eq!(origins(&seen(&stages, &outcome, &records)), [0]);
    stages.release(outcome);

    let tried = Allowance { tried: 1, ..AMPLE };
    let outcome = stages.run(&partition(), &records[1..], tried);
    assert_eq!(outcome.decided, 2, "tried once, it passes; now the other asks");
    assert_eq!(origins(&seen(&stages, &outcome, &records[1..])), [0, 1]);
    stages.release(outcome);
}

#[test]
fn what_is_doomed_is_not_passed_on() {
    let mut stages = stages(3);
    let fine = || on(&[on(&[Act::pass()])]);
    let half_bad = on(&[on(&[Act::pass()]), Act::Reject]);
    let half_done = on(&[on(&[Act::pass()]), Act::RetryUntil(1)]);
    let records = fake::records(&[fine(), half_bad, half_done, fine()]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!(
        (outcome.decided, failed(&outcome)),
        (2, vec![(1, FailureKind::Reject)])
    );
    assert_eq!(calls(), [("sha-1", 4), ("sha-2", 6), ("sha-3", 1)]);
    stages.release(outcome);
}

#[test]
fn a_retry_without_attempts_left_fails_and_what_follows_goes_on() {
    let mut stages = stages(1);
    let records = fake::records(&[Act::RetryUntil(9), Act::pass(), Act::pass()]);
    let tried = Allowance { tried: 2, ..AMPLE };
    let outcome = stages.run(&partition(), &records, tried);
    assert_eq!(
        (outcome.decided, failed(&outcome)),
        (3, vec![(0, FailureKind::Retry)])
    );
    assert_eq!(
        (outcome.failures[0].attempts, outcome.failures[0].reason.as_str()),
        (3, "again")
    );
    assert_eq!(origins(&seen(&stages, &outcome, &records)), [1, 2]);
    stages.release(outcome);

    let never = Allowance {
        retries_max: 0,
        ..AMPLE
    };
    let records = fake::records(&[Act::pass(), Act::RetryUntil(1), Act::pass()]);
    let outcome = stages.run(&partition(), &records, never);
    assert_eq!(
        (outcome.decided, failed(&outcome)),
        (3, vec![(1, FailureKind::Retry)])
    );
    assert_eq!(outcome.failures[0].attempts, 1);
    stages.release(outcome);
}

#[test]
fn a_trap_in_a_thousand_costs_two_instances_and_fails_alone() {
    let mut stages = stages(1);
    let mut acts = vec![Act::pass(); 1000];
    acts[600] = Act::Trap;
    let records = fake::records(&acts);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!(
        (outcome.decided, failed(&outcome)),
        (1000, vec![(600, FailureKind::Trap)])
    );
    assert_eq!(outcome.faults, [FaultKind::Trap; 2]);
    assert_eq!(outcome.failures[0].reason, "fake trap");
    assert_eq!(
        calls(),
        [("sha-1", 1000), ("sha-1", 600), ("sha-1", 1), ("sha-1", 399)]
    );
    assert_eq!(seen(&stages, &outcome, &records).len(), 999);
    stages.release(outcome);
    assert_eq!(WORLD.with_borrow(|world| (world.starts, world.instances)), (3, 1));
}

#[test]
fn a_deadline_among_many_is_a_suspicion_and_alone_a_failure() {
    let mut stages = stages(1);
    let mut acts = vec![Act::pass(); 1000];
    acts[600] = Act::Hang;
    let records = fake::records(&acts);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!(outcome.decided, 0);
    let Some(Stopped::Suspects { range, likely, fault }) = &outcome.stopped else {
        panic!("{:?}", outcome.stopped)
    };
    assert_eq!(
        (range.clone(), *likely, fault.kind),
        (0..1000, Some(600), FaultKind::Deadline)
    );
    stages.release(outcome);

    let outcome = stages.run(&partition(), &records[600..601], AMPLE);
    assert_eq!(
        (outcome.decided, failed(&outcome)),
        (1, vec![(0, FailureKind::Deadline)])
    );
    assert_eq!(outcome.guest_time, DEADLINE + COST);
    stages.release(outcome);
}

#[test]
fn what_precedes_suspects_is_kept() {
    let mut stages = stages_with(1, limits(1000, 1 << 20), Hint::None, false);
    let mut acts = vec![Act::pass(); 100];
    acts[80] = Act::Trap;
    let records = fake::records(&acts);
    // Enough for the fault, the clean first half, and one more call.
    let short = Allowance {
        guest_time_left: COST * 132,
        ..AMPLE
    };
    let outcome = stages.run(&partition(), &records, short);
    assert_eq!(outcome.decided, 75);
    let Some(Stopped::Suspects { range, likely, .. }) = &outcome.stopped else {
        panic!("{:?}", outcome.stopped)
    };
    assert_eq!((range.clone(), *likely), (75..100, None));
    assert_eq!(
        origins(&seen(&stages, &outcome, &records)),
        (0..75).collect::<Vec<_>>()
    );
    stages.release(outcome);
}

#[test]
fn time_that_is_up_without_a_fault_ends_the_batch_where_it_is() {
    let mut stages = stages_with(2, limits(4, 1 << 20), Hint::None, false);
    let records = fake::records(&vec![on(&[Act::pass()]); 10]);
    let short = Allowance {
        guest_time_left: COST * 12,
        ..AMPLE
    };
    let outcome = stages.run(&partition(), &records, short);
    assert!(matches!(outcome.stopped, Some(Stopped::OutOfTime)));
    assert_eq!((outcome.decided, seen(&stages, &outcome, &records).len()), (4, 4));
    stages.release(outcome);
    let none = Allowance {
        guest_time_left: Duration::ZERO,
        ..AMPLE
    };
    let outcome = stages.run(&partition(), &records, none);
    assert_eq!(outcome.decided, 4, "it gets somewhere even so");
    stages.release(outcome);
}

#[test]
fn a_transform_that_does_not_fit_stops_the_pipeline() {
    for (act, part) in [
        (Act::Unfit, "no output nowhere"),
        (Act::State, "declares no store"),
    ] {
        let mut stages = stages(2);
        let records = fake::records(&[on(&[Act::pass()]), on(&[act])]);
        let outcome = stages.run(&partition(), &records, AMPLE);
        let Some(Stopped::Pipeline { reason }) = &outcome.stopped else {
            panic!("{:?}", outcome.stopped)
        };
        assert!(reason.contains(part), "{reason}");
        assert!(outcome.decided < 2 && outcome.failures.is_empty());
        stages.release(outcome);
    }
}

#[test]
fn a_module_that_no_longer_starts_stops_the_pipeline() {
    let mut stages = stages_with(1, limits(1000, 1 << 20), Hint::Honest, true);
    let records = fake::records(&[Act::pass(), Act::Trap, Act::pass()]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert!(matches!(&outcome.stopped, Some(Stopped::Pipeline { reason }) if reason.contains("3 times")));
    assert_eq!((outcome.decided, outcome.faults.len()), (0, 1));
    stages.release(outcome);
}

#[test]
fn an_abort_leaves_no_guest_memory() {
    let mut stages = stages(2);
    let records = fake::records(&[on(&[Act::pass()])]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    stages.release(outcome);
    stages.reset();
    assert_eq!(WORLD.with_borrow(|world| world.instances), 0);
    // A run whose outcome is not released is given back by the next.
    drop(stages.run(&partition(), &records, AMPLE));
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!(seen(&stages, &outcome, &records).len(), 1);
    stages.release(outcome);
}

#[test]
fn batches_are_cut_by_count_and_by_bytes() {
    let records = fake::records(&vec![Act::pass(); 10]);
    let bytes = record_bytes(&records[0]);
    assert_eq!(cut(&records, &limits(4, 1 << 20)), 4);
    assert_eq!(cut(&records, &limits(100, bytes * 3)), 3);
    assert_eq!(cut(&records, &limits(100, bytes * 3 - 1)), 2);
    assert_eq!(
        cut(&records, &limits(100, 1)),
        1,
        "a record that alone is larger goes alone"
    );
    assert_eq!(cut(&records[..0], &limits(100, 1)), 0);
}
