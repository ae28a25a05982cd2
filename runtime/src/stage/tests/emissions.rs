//! What is visited, and what it carries.

use super::*;

#[test]
fn what_passes_through_is_read_in_place_after_one_call() {
    let mut stages = stages(1);
    let value = Act::Emit(vec![Out {
        value: Some(Box::new(Act::Reject)),
        ..to(DEFAULT)
    }]);
    let records = fake::records(&vec![value; 100]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!((outcome.decided, outcome.filtered), (100, 0));
    assert!(outcome.failures.is_empty() && outcome.stopped.is_none() && outcome.faults.is_empty());
    assert_eq!(outcome.guest_time, COST * 100);
    assert_eq!(calls(), [("sha-1", 100)]);
    let memory = WORLD.with_borrow(|world| world.results[0].clone());
    let mut count = 0;
    let visited: Result<(), ()> = stages.emissions(&outcome, &records, &mut |emission| {
        assert!(memory.contains(&(emission.value.unwrap().as_ptr() as usize)));
        assert_eq!((emission.part, emission.parts), (1, 1));
        count += 1;
        Ok(())
    });
    assert_eq!((visited, count), (Ok(()), 100));
    stages.release(outcome);
}

#[test]
fn resolves_what_is_inherited() {
    let mut stages = stages(1);
    let changed = Out {
        key: Key::Null,
        value: Some(Box::new(Act::Trap)),
        headers: Some(vec![("x".to_owned(), None)]),
        timestamp_ms: Some(7),
        partition: Some(2),
        to: AUDIT,
    };
    let act = Act::Emit(vec![to(DEFAULT), changed]);
    let records = fake::records(std::slice::from_ref(&act));
    let outcome = stages.run(&partition(), &records, AMPLE);
    let same = Seen {
        origin: 0,
        stage: 0,
        output: 0,
        key: Some(b"key 100".to_vec()),
        value: Some(act.bytes()),
        headers: records[0].headers.clone(),
        timestamp_ms: None,
        partition: None,
        part: (1, 2),
    };
    let other = Seen {
        output: 1,
        key: None,
        value: Some(Act::Trap.bytes()),
        headers: vec![(b"x".to_vec(), None)],
        timestamp_ms: Some(7),
        partition: Some(2),
        part: (2, 2),
        ..same.clone()
    };
    assert_eq!(seen(&stages, &outcome, &records), [same, other]);
    stages.release(outcome);
}

#[test]
fn default_is_the_input_of_the_next_stage_and_carries_what_was_set() {
    let mut stages = stages(2);
    let first = Out {
        value: Some(Box::new(Act::Emit(vec![to(AUDIT), to(DEFAULT)]))),
        headers: Some(vec![("x".to_owned(), None)]),
        timestamp_ms: Some(7),
        partition: Some(2),
        key: Key::Is("new".to_owned()),
        to: DEFAULT,
    };
    let records = fake::records(&[Act::Emit(vec![first, to(AUDIT)]), Act::Emit(vec![])]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!((outcome.decided, outcome.filtered), (2, 1));
    let seen = seen(&stages, &outcome, &records);
    let summary: Vec<_> = seen.iter().map(|s| (s.stage, s.output, s.part)).collect();
    assert_eq!(summary, [(0, 1, (1, 3)), (1, 1, (2, 3)), (1, 0, (3, 3))]);
    assert_eq!(seen[0].key.as_deref(), Some(&b"key 100"[..]));
    for late in &seen[1..] {
        assert_eq!(late.key.as_deref(), Some(&b"new"[..]));
        assert_eq!(late.headers, [(b"x".to_vec(), None)]);
        assert_eq!((late.timestamp_ms, late.partition), (Some(7), Some(2)));
    }
    stages.release(outcome);
}

#[test]
fn a_stage_that_is_not_the_last_can_name_default_in_any_pipeline() {
    let mut plan = fake::plan(2, limits(10, 1000));
    assert_eq!(output_names(&plan, 0), ["default", "audit"]);
    plan.outputs.remove(0);
    assert_eq!(output_names(&plan, 0), ["audit", "default"]);
    assert_eq!(output_names(&plan, 1), ["audit"]);
    WORLD.replace(World::default());
    let module = |name| FakeModule {
        name,
        hint: Hint::None,
        broken: false,
    };
    let mut stages = Stages::new(&plan, &[module("sha-1"), module("sha-2")], None).unwrap();
    let out = Out {
        value: Some(Box::new(Act::Emit(vec![to(0)]))),
        ..to(1)
    };
    let records = fake::records(&[Act::Emit(vec![out])]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    let seen = seen(&stages, &outcome, &records);
    assert_eq!(
        seen.iter().map(|s| (s.stage, s.output)).collect::<Vec<_>>(),
        [(1, 0)]
    );
    stages.release(outcome);
}

#[test]
fn screening_fails_a_record_before_anything_of_it_is_seen() {
    let mut stages = stages(1);
    let big = Out {
        headers: Some(vec![("x".repeat(500), None)]),
        ..to(AUDIT)
    };
    let acts = [
        Act::pass(),
        Act::Emit(vec![to(DEFAULT), big.clone(), big]),
        Act::Reject,
        Act::pass(),
    ];
    let records = fake::records(&acts);
    let mut outcome = stages.run(&partition(), &records, AMPLE);
    let mut asked = 0;
    let mut check = |emission: &Emission<'_>| {
        asked += 1;
        let large = emission.headers.iter().any(|header| header.0.len() >= 500);
        if large { Err(too_large()) } else { Ok(()) }
    };
    let bound = stages.largest_bytes();
    assert!(bound > 500);
    stages.screen(&mut outcome, &records, bound, &mut check);
    assert_eq!(
        outcome.failures.len(),
        1,
        "nothing exceeds the limit, so nothing is asked"
    );
    stages.screen(&mut outcome, &records, bound - 1, &mut check);
    assert_eq!(asked, 4);
    assert_eq!(
        failed(&outcome),
        [(1, FailureKind::TooLarge), (2, FailureKind::Reject)]
    );
    assert_eq!(origins(&seen(&stages, &outcome, &records)), [0, 3]);
    stages.release(outcome);
}

#[test]
fn the_largest_output_is_measured_with_all_that_it_inherits() {
    let mut stages = stages(1);
    let records = fake::records(&[Act::pass()]);
    let outcome = stages.run(&partition(), &records, AMPLE);
    assert_eq!(stages.largest_bytes(), record_bytes(&records[0]));
    let headers = "trace".len() + 1 + "null".len();
    assert_eq!(
        record_bytes(&records[0]),
        "key 100".len() + records[0].value.len() + headers
    );
    stages.release(outcome);
}

#[test]
fn the_lane_may_fail_a_record_later() {
    let mut stages = stages(1);
    let records = fake::records(&[Act::pass(), Act::Emit(vec![]), Act::pass()]);
    let mut outcome = stages.run(&partition(), &records, Allowance { tried: 1, ..AMPLE });
    assert_eq!(outcome.filtered, 1);
    for record in [1, 0, 0, 9] {
        stages.fail(&mut outcome, record, 0, too_large());
    }
    assert_eq!(
        failed(&outcome),
        [(0, FailureKind::TooLarge), (1, FailureKind::TooLarge)]
    );
    assert_eq!((outcome.failures[0].attempts, outcome.filtered), (2, 0));
    assert_eq!(origins(&seen(&stages, &outcome, &records)), [2]);
    stages.release(outcome);
}
