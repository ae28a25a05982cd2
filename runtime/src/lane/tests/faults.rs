//! The lane dies at every point, and every sabotage that a log in memory can show is seen.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::repeats::{deduplicated, in_changelog, keyed, lane_on};
use super::*;
use crate::fault::rehearsal::rehearse;
use crate::fault::{Point, Sabotage};

const PARTITIONS: usize = 2;

fn passing(faults: Faults, seed: u64) -> Log {
    Log::new(inputs(2, 60, |_| "pass"), faults, seed)
}

fn some_faults() -> Faults {
    Faults {
        transaction: 60,
        ..Faults::default()
    }
}

fn run_to_end(log: &Log) {
    let mut plan = plan(Then::Stop);
    plan.timeouts.session = Duration::from_millis(20);
    let end = run_within(Duration::from_secs(5), lane(plan, log), log);
    assert_eq!(end, LaneEnd::Drained);
}

/// Whether each record's output stands in the log once, in order.
fn is_exact(log: &Log) -> bool {
    (0..PARTITIONS).all(|partition| outputs(log, 0, partition) == expected(log, partition, |_| true))
}

#[test]
fn wherever_a_lane_dies_the_next_one_leaves_everything_once() {
    // Those of a pipeline with message ids: below.
    for point in Point::ALL.into_iter().filter(|point| *point != Point::AfterClaim) {
        let mut deaths = 0;
        for seed in 0..40 {
            let log = passing(some_faults(), seed);
            let died = rehearse(Some((point, seed % 4 + 1)), &[], seed, || run_to_end(&log)).is_none();
            deaths += usize::from(died);
            run_to_end(&log);
            assert!(is_exact(&log), "{} seed {seed}", point.as_str());
        }
        assert!(deaths > 10, "{}: passed only {deaths} times", point.as_str());
    }
}

#[test]
fn wherever_a_lane_dies_the_next_one_finds_its_claims() {
    for point in Point::ALL {
        let mut deaths = 0;
        for seed in 0..20 {
            let twice = |partition: usize, offset: i64| Some(format!("{partition} {}", offset / 2));
            let log = Log::new(keyed(inputs(2, 60, |_| "pass"), twice), some_faults(), seed);
            let live = || {
                let plan = deduplicated(Then::Stop, in_changelog());
                let end = run_within(Duration::from_secs(5), lane_on(plan, &log), &log);
                assert_eq!(end, LaneEnd::Drained);
            };
            let died = rehearse(Some((point, seed % 4 + 1)), &[], seed, live).is_none();
            deaths += usize::from(died);
            live();
            for partition in 0..PARTITIONS {
                let is_first = |value: &str| {
                    let offset: i64 = value.rsplit(' ').next().unwrap().parse().unwrap();
                    offset % 2 == 0
                };
                let firsts = expected(&log, partition, is_first);
                assert_eq!(
                    outputs(&log, 0, partition),
                    firsts,
                    "{} seed {seed}",
                    point.as_str()
                );
            }
        }
        assert!(deaths > 5, "{}: passed only {deaths} times", point.as_str());
    }
}

#[test]
fn a_third_of_the_transactions_aborted_changes_nothing() {
    let (mut begun, mut committed) = (0, 0);
    for seed in 0..40 {
        let log = passing(Faults::default(), seed);
        rehearse(None, &[Sabotage::AbortEveryThird], seed, || run_to_end(&log)).unwrap();
        assert!(is_exact(&log), "seed {seed}");
        let state = log.0.borrow();
        begun += state.begun;
        committed += state.applied;
    }
    let aborted = begun - committed;
    assert!(
        begun / 4 < aborted && aborted < begun / 2,
        "{aborted} of {begun} aborted"
    );
}

/// Whether in any of many runs all was committed and something was lost or doubled, or a
/// rule of the log's own was broken.
fn is_seen(sabotage: Sabotage, point: Option<Point>) -> bool {
    (0..100).any(|seed| {
        let log = passing(some_faults(), seed);
        let act = || {
            let point = point.map(|point| (point, seed % 4 + 1));
            rehearse(point, &[sabotage], seed, || run_to_end(&log));
            run_to_end(&log);
        };
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(()) => !is_exact(&log),
            // The log itself lets no producer under suspicion begin.
            Err(_) => sabotage == Sabotage::NoGuard,
        }
    })
}

#[test]
fn sabotages_are_seen() {
    for (sabotage, point) in [
        (Sabotage::OffsetsOutsideTransaction, Some(Point::AfterProduce)),
        (Sabotage::NoRewind, None),
        (Sabotage::NoGuard, None),
        (Sabotage::GuessCommitted, None),
    ] {
        assert!(is_seen(sabotage, point), "{} went unseen", sabotage.as_str());
    }
    assert!(!is_seen(Sabotage::AbortEveryThird, Some(Point::AfterFlush)));
}
