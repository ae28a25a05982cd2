//! Offsets, logs and changelogs that somebody has moved, cut or made again under the state.

use super::*;

#[test]
fn an_offset_that_was_set_back_or_lost_stops_the_pipeline() {
    for set_to in [Some(10), None] {
        let log = Log::new(three_keys(inputs(1, 40, |_| "count")), Faults::default(), 1);
        let (_dir, folder) = folder();
        let plan = keeping_sums(dead_letters(), None);
        assert_eq!(
            run(keyed_lane(plan.clone(), &log, &folder), &log),
            LaneEnd::Drained
        );
        {
            let mut log = log.0.borrow_mut();
            log.committed.remove(&0);
            log.committed.extend(set_to.map(|offset| (0, offset)));
            log.control.clear();
        }
        let LaneEnd::Failed(reason) = run(keyed_lane(plan, &log, &folder), &log) else {
            panic!("{set_to:?}: it counted twice")
        };
        assert!(
            reason.contains("counted") && reason.contains("offset 40"),
            "{set_to:?}: {reason}"
        );
    }
}

#[test]
fn a_changelog_that_was_made_again_stops_the_pipeline_before_anything_is_committed_beside_it() {
    let log = Log::new(three_keys(inputs(2, 40, |_| "count")), Faults::default(), 1);
    let (_dir, folder) = folder();
    let mut lane = keyed_lane(keeping_sums(dead_letters(), None), &log, &folder);
    lane.replace_producer().unwrap();
    while log.0.borrow().outputs.is_empty() {
        lane.round().unwrap();
    }
    let committed = {
        let mut state = log.0.borrow_mut();
        state.changelog_id = "another";
        state.changes.clear();
        state.committed.clone()
    };
    let interrupt = loop {
        if let Err(interrupt) = lane.round() {
            break interrupt;
        }
    };
    let Interrupt::Pipeline(reason) = interrupt else {
        panic!("{interrupt:?}")
    };
    assert!(reason.contains("made again"), "{reason}");
    assert_eq!(log.0.borrow().committed, committed);
}

/// A lane that has counted what there was, and stands where the log of its input does not reach.
fn at_a_gap(on_gap: OnGap, start: i64, records: i64) -> (MemoryLane, Log, tempfile::TempDir) {
    let log = Log::new(three_keys(inputs(1, 10, |_| "count")), Faults::default(), 1);
    let (dir, folder) = folder();
    let mut plan = keeping_sums(dead_letters(), None);
    plan.input.on_gap = on_gap;
    let mut lane = keyed_lane(plan, &log, &folder);
    lane.replace_producer().unwrap();
    while !log.is_done() {
        lane.round().unwrap();
    }
    log.0.borrow_mut().inputs = three_keys(inputs(1, records, |_| "count"));
    log.0.borrow_mut().start = start;
    for partition in lane.partitions.iter_mut() {
        partition.gap = true;
        partition.backlog.clear();
    }
    (lane, log, dir)
}

#[test]
fn state_goes_on_behind_a_gap_with_what_it_has() {
    let (lane, log, _dir) = at_a_gap(OnGap::Earliest, 13, 19);
    assert_eq!(run(lane, &log), LaneEnd::Drained);
    let mut counted = outputs(&log, 0, 0).split_off(10);
    counted.truncate(3);
    // Four of the first key were counted, and three of each other.
    assert_eq!(counted, ["count 0 13:4", "count 0 14:4", "count 0 15:5"]);
}

#[test]
fn a_log_that_was_cut_before_what_the_state_has_counted_stops_the_pipeline() {
    let (lane, log, _dir) = at_a_gap(OnGap::Earliest, 0, 5);
    let LaneEnd::Failed(reason) = run(lane, &log) else {
        panic!("it went on")
    };
    assert!(
        reason.contains("count records twice") && reason.contains("--state clear"),
        "{reason}"
    );
}
