use super::*;

const LIMIT: Duration = Duration::from_secs(30);

fn health(lanes: usize) -> (Health, PipelineHealth) {
    let health = Health::new(LIMIT);
    let pipeline = health.pipeline(&name("orders"), lanes);
    (health, pipeline)
}

fn name(name: &str) -> PipelineName {
    PipelineName::new(name).unwrap()
}

/// Each lane of `pipeline` with an assignment and running.
fn run(pipeline: &PipelineHealth, lanes: usize) {
    for lane in 0..lanes {
        pipeline.assigned(lane, 3);
        pipeline.lane(lane, LaneState::Running);
        pipeline.beat(lane);
    }
}

fn lane_reason(readiness: &Readiness, lane: usize) -> Option<&str> {
    readiness.pipelines[0].lanes[lane].reason.as_deref()
}

#[test]
fn nothing_started_is_not_ready() {
    assert!(!Health::new(LIMIT).readiness().ready);
}

#[test]
fn ready_once_the_last_lane_has_its_assignment_even_an_empty_one() {
    let (health, pipeline) = health(2);
    run(&pipeline, 1);
    let readiness = health.readiness();
    assert!(!readiness.ready);
    assert_eq!(
        readiness.pipelines[0].reason.as_deref(),
        Some("lane 1: no assignment yet")
    );
    assert_eq!(lane_reason(&readiness, 0), None);
    pipeline.assigned(1, 0);
    assert!(health.readiness().ready);
    pipeline.unassigned(1);
    assert!(!health.readiness().ready);
}

#[test]
fn a_silent_lane_is_found_by_who_asks() {
    let (health, pipeline) = health(2);
    run(&pipeline, 2);
    let later = Instant::now() + LIMIT + Duration::from_secs(1);
    let readiness = health.readiness_at(later);
    assert!(!readiness.ready);
    assert_eq!(
        lane_reason(&readiness, 1),
        Some("no sign of life for 31 s (limit 30 s) in state running")
    );
    assert!(health.readiness().ready, "silence is judged anew each time");
}

#[test]
fn a_lane_that_never_spoke_is_silent_too() {
    let (health, _pipeline) = health(1);
    let readiness = health.readiness_at(Instant::now() + LIMIT * 2);
    assert!(
        lane_reason(&readiness, 0).unwrap().contains("no sign of life"),
        "{readiness:?}"
    );
}

#[test]
fn one_lane_stuck_or_stopped_makes_it_unready() {
    for (state, reason) in [
        (LaneState::Stopped, "stopped"),
        (LaneState::Failed, "failed"),
        (LaneState::Draining, "draining"),
    ] {
        let (health, pipeline) = health(3);
        run(&pipeline, 3);
        pipeline.lane(1, state);
        let readiness = health.readiness();
        assert!(!readiness.ready, "{state}");
        assert_eq!(lane_reason(&readiness, 1), Some(reason));
        assert_eq!(
            (lane_reason(&readiness, 0), lane_reason(&readiness, 2)),
            (None, None)
        );
    }
    let (health, pipeline) = health(1);
    run(&pipeline, 1);
    pipeline.degraded(0, Some("orders [3] is stopped: offset out of range".to_owned()));
    assert_eq!(
        lane_reason(&health.readiness(), 0),
        Some("orders [3] is stopped: offset out of range")
    );
    pipeline.degraded(0, None);
    assert!(health.readiness().ready);
}

#[test]
fn a_lane_at_work_is_ready_in_every_living_state() {
    for state in LaneState::ALL {
        let (health, pipeline) = health(1);
        run(&pipeline, 1);
        pipeline.lane(0, state);
        let working = !matches!(
            state,
            LaneState::Draining | LaneState::Stopped | LaneState::Failed
        );
        assert_eq!(health.readiness().ready, working, "{state}");
    }
}

#[test]
fn a_failed_pipeline_is_named_with_its_reason_and_does_not_hide_the_others() {
    let (health, pipeline) = health(1);
    run(&pipeline, 1);
    let other = health.pipeline(&name("payments"), 1);
    run(&other, 1);
    pipeline.failed("the breaker opened".to_owned());
    pipeline.finished();
    let readiness = health.readiness();
    assert!(!readiness.ready);
    assert_eq!(readiness.pipelines[0].state, "failed");
    assert_eq!(
        readiness.pipelines[0].reason.as_deref(),
        Some("the breaker opened")
    );
    assert!(readiness.pipelines[1].ready);
}

#[test]
fn a_finished_pipeline_is_not_unready() {
    let (health, pipeline) = health(2);
    run(&pipeline, 2);
    pipeline.lane(0, LaneState::Stopped);
    pipeline.lane(1, LaneState::Stopped);
    pipeline.finished();
    let readiness = health.readiness_at(Instant::now() + LIMIT * 2);
    assert!(readiness.ready, "{readiness:?}");
    assert_eq!(readiness.pipelines[0].state, "finished");
}

#[test]
fn the_json_names_pipeline_lane_and_reason() {
    let (health, pipeline) = health(2);
    run(&pipeline, 1);
    let json = serde_json::to_value(health.readiness()).unwrap();
    let expected = serde_json::json!({
        "ready": false,
        "pipelines": [{
            "name": "orders", "ready": false, "state": "running", "reason": "lane 1: no assignment yet",
            "lanes": [
                {"lane": 0, "state": "running", "partitions": 3, "reason": null},
                {"lane": 1, "state": "joining", "partitions": null, "reason": "no assignment yet"},
            ],
        }],
    });
    assert_eq!(json, expected);
}
