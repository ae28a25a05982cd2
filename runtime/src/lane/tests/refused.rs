//! What the broker refuses fails alone, as far as a record can be blamed for it.

use super::keyed::{check, folder, keeping_sums, keyed_lane, three_keys};
use super::*;

/// Of the topics that such a pipeline writes to.
const LETTERS: usize = 1;
const STATE: usize = 3;

#[test]
fn a_record_that_the_broker_refuses_is_found_and_fails_alone() {
    for (seed, flaw) in (0..100).zip([Flaw::TooLarge, Flaw::Invalid].into_iter().cycle()) {
        let faults = Faults {
            flawed: Some((b"pass 0 37", flaw)),
            rebalance: 20,
            ..Faults::default()
        };
        let log = Log::new(inputs(3, 60, |_| "pass"), faults, seed);
        let about = format!("seed {seed}, {flaw:?}");
        assert_eq!(
            run(lane(plan(dead_letters()), &log), &log),
            LaneEnd::Drained,
            "{about}"
        );
        assert_eq!(outputs(&log, 1, 0), ["pass 0 37"], "{about}");
        let others = expected(&log, 0, |value| value != "pass 0 37");
        assert_eq!(outputs(&log, 0, 0), others, "{about}");
        for other in 1..3 {
            assert_eq!(
                outputs(&log, 0, other),
                expected(&log, other, |_| true),
                "{about}"
            );
            assert!(
                outputs(&log, 1, other).is_empty(),
                "{about}: an innocent record failed"
            );
        }
    }
}

#[test]
fn a_record_whose_state_the_broker_refuses_fails_alone() {
    for seed in 0..8 {
        let what = |offset| match offset % 11 {
            3 => "drop",
            5 => "swell",
            7 => "undo",
            _ => "count",
        };
        let faults = Faults {
            rebalance: 20,
            ..Faults::default()
        };
        let log = Log::new(three_keys(inputs(2, 60, what)), faults, seed);
        // Less than when it was asked.
        log.0.borrow_mut().takes.insert(STATE, 500);
        let (_dir, folder) = folder();
        let lane = keyed_lane(keeping_sums(dead_letters(), None), &log, &folder);
        assert_eq!(run(lane, &log), LaneEnd::Drained, "seed {seed}");
        check(&log, &folder, seed);
        for partition in 0..2 {
            let failed = |value: &str| value.starts_with("swell") || value.starts_with("undo");
            assert_eq!(
                outputs(&log, LETTERS, partition),
                expected(&log, partition, failed),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_record_whose_state_is_refused_is_named_where_it_stops_the_pipeline() {
    let what = |offset| if offset == 12 { "swell" } else { "count" };
    let log = Log::new(three_keys(inputs(1, 30, what)), Faults::default(), 1);
    // Without dead letters one topic less stands before it.
    log.0.borrow_mut().takes.insert(STATE - 1, 500);
    let (_dir, folder) = folder();
    let lane = keyed_lane(keeping_sums(Then::Stop, None), &log, &folder);
    let LaneEnd::Failed(reason) = run(lane, &log) else {
        panic!("it went on")
    };
    assert!(
        reason.contains("offset 12") && reason.contains("too-large") && reason.contains("REFUSED"),
        "{reason}"
    );
    assert_eq!(log.0.borrow().committed.get(&0), Some(&12));
}

#[test]
fn a_changelog_that_takes_nothing_stops_the_pipeline_and_blames_no_record() {
    let log = Log::new(three_keys(inputs(2, 30, |_| "count")), Faults::default(), 1);
    log.0.borrow_mut().takes.insert(STATE, 80);
    let (_dir, folder) = folder();
    let lane = keyed_lane(keeping_sums(dead_letters(), None), &log, &folder);
    let LaneEnd::Failed(reason) = run(lane, &log) else {
        panic!("it went on")
    };
    assert!(
        reason.contains("keeps for itself") && reason.contains("max.message.bytes"),
        "{reason}"
    );
    assert!(log.0.borrow().outputs.is_empty(), "a record was blamed");
}

#[test]
fn a_letter_that_is_refused_goes_without_its_record() {
    for seed in 0..20 {
        let faults = Faults {
            rebalance: 20,
            ..Faults::default()
        };
        let what = |offset| if offset % 9 == 4 { "reject" } else { "pass" };
        let mut inputs = inputs(2, 40, what);
        for record in inputs
            .iter_mut()
            .flatten()
            .filter(|record| record.offset % 9 == 4)
        {
            record.value.as_mut().unwrap().resize(2000, b'.');
        }
        let log = Log::new(inputs, faults, seed);
        log.0.borrow_mut().takes.insert(LETTERS, 1000);
        assert_eq!(
            run(lane(plan(dead_letters()), &log), &log),
            LaneEnd::Drained,
            "seed {seed}"
        );
        let state = log.0.borrow();
        let letters: Vec<_> = state.outputs.iter().filter(|out| out.topic == LETTERS).collect();
        assert_eq!(letters.len(), 8, "seed {seed}");
        assert!(letters.iter().all(|letter| letter.value.is_none()), "seed {seed}");
        let passed = state.outputs.iter().filter(|out| out.topic == 0).count();
        assert_eq!(passed, 72, "seed {seed}");
    }
}

#[test]
fn letters_that_are_refused_whatever_they_hold_stop_the_pipeline() {
    let what = |offset| if offset == 4 { "reject" } else { "pass" };
    let log = Log::new(inputs(1, 10, what), Faults::default(), 1);
    log.0.borrow_mut().takes.insert(LETTERS, 100);
    let LaneEnd::Failed(reason) = run(lane(plan(dead_letters()), &log), &log) else {
        panic!("it went on")
    };
    assert!(
        reason.contains("offset 4") && reason.contains("raise max.message.bytes of the dead letters' topic"),
        "{reason}"
    );
    assert_eq!(log.0.borrow().committed.get(&0), Some(&4));
}
