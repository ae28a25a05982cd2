//! Whatever the records do to their guests: the stages, driven as a lane drives them, end
//! where one record at a time would.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::lane::retries::Retries;
use crate::lane::suspects::{Next, Suspects};

/// What becomes of one record.
#[derive(Debug)]
enum Fate {
    /// Stage, output and value of each.
    Emits(Vec<(usize, u16, Vec<u8>)>),
    /// Any of these, depending on who shared a call with whom.
    Fails(Vec<FailureKind>, u32),
}

/// Takes one record through all stages, attempt after attempt.
fn fate(act: &Act, stages: usize, retries_max: u32) -> Fate {
    let mut tried = 0;
    loop {
        match attempt(act, stages, tried) {
            Ok(emits) => return Fate::Emits(emits),
            Err(kinds) if kinds == [FailureKind::Retry] && tried < retries_max => tried += 1,
            Err(kinds) => return Fate::Fails(kinds, tried + 1),
        }
    }
}

type Leaving = Vec<(usize, u16, Vec<u8>)>;

fn attempt(act: &Act, stages: usize, tried: u32) -> Result<Leaving, Vec<FailureKind>> {
    let mut leaving = Vec::new();
    let mut inputs = vec![act.clone()];
    for stage in 0..stages {
        let last = stage + 1 == stages;
        let (mut next, mut bad) = (Vec::new(), Vec::new());
        for input in inputs {
            match &input {
                Act::RetryUntil(attempt) if tried < *attempt => {
                    // A retry ends what the guest answers, and what failed before has failed.
                    if bad.is_empty() {
                        bad.push(FailureKind::Retry);
                    }
                    break;
                }
                Act::RetryUntil(_) if last => leaving.push((stage, DEFAULT, input.bytes())),
                Act::RetryUntil(_) => next.push(input),
                Act::Emit(outs) => {
                    for out in outs {
                        let value = out.value.as_deref().unwrap_or(&input);
                        if out.to == DEFAULT && !last {
                            next.push(value.clone());
                        } else {
                            leaving.push((stage, out.to, value.bytes()));
                        }
                    }
                }
                Act::Reject => bad.push(FailureKind::Reject),
                Act::Trap => bad.push(FailureKind::Trap),
                Act::Hang => bad.push(FailureKind::Deadline),
                Act::Memory => bad.push(FailureKind::Memory),
                Act::Unfit | Act::State => unreachable!("not generated"),
            }
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        inputs = next;
    }
    Ok(leaving)
}

/// Record, stage, output, value, and part of parts.
type Visited = (usize, usize, u16, Vec<u8>, (u32, u32));

#[derive(Debug, Default)]
struct Played {
    seen: Vec<Visited>,
    failures: Vec<(usize, FailureKind, u32)>,
    filtered: u64,
}

/// Drives the stages as a lane does: retries, suspects alone, a budget per transaction.
fn drive(
    stages: &mut Stages<FakeModule>,
    records: &[FakeRecord],
    left_out: &BTreeSet<usize>,
    cut: usize,
    budget: Duration,
) -> Played {
    let mut result = Played::default();
    let plan = fake::plan(1, limits(1, 1));
    let mut retries = Retries::new(plan.on_error.retry);
    let mut suspects = Suspects::default();
    let (mut at, mut runs) = (0, 0);
    while at < records.len() {
        runs += 1;
        assert!(runs < 50 * (records.len() + 2), "no progress");
        let offset = records[at].offset;
        let until = match suspects.next(&partition(), offset) {
            Next::Free => i64::MAX,
            Next::Until(until) | Next::Alone(until) => until,
        };
        let fit = records[at..]
            .iter()
            .take(cut)
            .take_while(|record| record.offset < until)
            .count();
        let batch = &records[at..at + fit];
        let allowance = Allowance {
            guest_time_left: budget,
            tried: retries.tried(&partition(), offset),
            retries_max: retries.max(),
        };
        let outcome = stages.run_sifted(&partition(), batch, sifted(left_out, at..at + fit), allowance);
        // A call is made while there is time, and takes no longer than its deadline and
        // what the records before it take.
        assert!(outcome.guest_time < budget + DEADLINE + COST * 10_000);
        for seen in seen(stages, &outcome, batch) {
            let output = u16::try_from(seen.output).unwrap();
            result.seen.push((
                at + seen.origin,
                seen.stage,
                output,
                seen.value.unwrap(),
                seen.part,
            ));
        }
        for failure in &outcome.failures {
            result
                .failures
                .push((at + failure.record, failure.kind, failure.attempts));
            suspects.verdict(&partition(), batch[failure.record].offset);
        }
        result.filtered += outcome.filtered;
        at += outcome.decided;
        let absolute = |record: usize| batch[record].offset;
        match &outcome.stopped {
            None => assert_eq!(outcome.decided, fit),
            Some(Stopped::Retry { .. }) => {
                retries.asked(&partition(), absolute(outcome.decided), fake::now());
            }
            Some(Stopped::Suspects { range, likely, .. }) => {
                assert_eq!(range.start, outcome.decided);
                let offsets = absolute(range.start)..absolute(range.end - 1) + 1;
                suspects.suspect(&partition(), offsets, likely.map(absolute));
            }
            Some(Stopped::OutOfTime) => assert!(outcome.decided > 0),
            Some(Stopped::Pipeline { reason }) => panic!("{reason}"),
        }
        stages.release(outcome);
    }
    result
}

fn sifted(left_out: &BTreeSet<usize>, batch: Range<usize>) -> Option<Sifted> {
    let place = |record: usize| u32::try_from(record - batch.start).unwrap();
    let (dropped, passing): (Vec<usize>, Vec<usize>) =
        batch.clone().partition(|record| left_out.contains(record));
    (!dropped.is_empty()).then(|| Sifted {
        passing: passing.into_iter().map(place).collect(),
        dropped: dropped.into_iter().map(place).collect(),
        failures: Vec::new(),
    })
}

fn check(acts: &[Act], left_out: &BTreeSet<usize>, stage_count: usize, result: &Played) {
    let mut seen = result.seen.iter();
    let mut failures = result.failures.iter();
    let mut filtered = 0;
    for (record, act) in acts.iter().enumerate() {
        if left_out.contains(&record) {
            continue;
        }
        match fate(act, stage_count, 2) {
            Fate::Emits(emits) => {
                filtered += u64::from(emits.is_empty());
                let parts = u32::try_from(emits.len()).unwrap();
                for (part, (stage, output, value)) in (1..).zip(emits) {
                    assert_eq!(seen.next(), Some(&(record, stage, output, value, (part, parts))));
                }
            }
            Fate::Fails(kinds, attempts) => {
                let &(failed, kind, tried) = failures.next().expect("a failure is missing");
                assert_eq!(failed, record);
                assert!(kinds.contains(&kind), "{kind:?} of {kinds:?}");
                assert_eq!(tried, attempts);
            }
        }
    }
    assert_eq!((seen.next(), failures.next()), (None, None));
    assert_eq!(result.filtered, filtered);
}

fn act() -> impl Strategy<Value = Act> {
    let leaf = prop_oneof![
        12 => Just(Act::pass()),
        2 => Just(Act::Emit(vec![])),
        1 => Just(Act::Reject),
        1 => (0_u32..4).prop_map(Act::RetryUntil),
        1 => Just(Act::Trap),
        1 => Just(Act::Memory),
        1 => Just(Act::Hang),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        let out =
            (prop::bool::weighted(0.3), prop::option::weighted(0.8, inner)).prop_map(|(audit, act)| Out {
                value: act.map(Box::new),
                ..to(if audit { AUDIT } else { DEFAULT })
            });
        prop::collection::vec(out, 0..4).prop_map(Act::Emit)
    })
}

fn hint() -> impl Strategy<Value = Hint> {
    prop_oneof![
        Just(Hint::None),
        Just(Hint::Honest),
        (0_usize..50).prop_map(Hint::Always)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn equals_one_record_at_a_time(
        acts in prop::collection::vec(act(), 1..60),
        stage_count in 1_usize..=3,
        first_cut in 1_usize..80,
        later_cut in 1_usize..20,
        hint in hint(),
        budget_ms in prop_oneof![Just(0), 1_u64..200, Just(1 << 30)],
        left_out in prop_oneof![
            Just(BTreeSet::new()),
            prop::collection::btree_set(0_usize..60, 0..60),
        ],
    ) {
        let mut stages = stages_with(stage_count, limits(later_cut, 1 << 20), hint, false);
        let records = fake::records(&acts);
        let budget = Duration::from_millis(budget_ms);
        let result = drive(&mut stages, &records, &left_out, first_cut, budget);
        check(&acts, &left_out, stage_count, &result);
        drop(stages);
        prop_assert_eq!(WORLD.with_borrow(|world| world.instances), 0);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// The poison records of a large batch are cornered within a bound.
    #[test]
    fn cornering_is_cheap(
        poison in prop::collection::btree_set(0_usize..1000, 0..4),
        hint in hint(),
    ) {
        let mut acts = vec![Act::pass(); 1000];
        for &index in &poison {
            acts[index] = Act::Trap;
        }
        let mut stages = stages_with(1, limits(1000, 1 << 20), hint, false);
        let (records, all_pass) = (fake::records(&acts), BTreeSet::new());
        let result = drive(&mut stages, &records, &all_pass, 1000, Duration::from_hours(1));
        check(&acts, &all_pass, 1, &result);
        prop_assert!(calls().len() <= 1 + poison.len() * 14, "{} calls", calls().len());
    }
}
