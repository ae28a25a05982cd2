mod ids;

use super::*;
use crate::plan::{BatchLimits, HeaderStyle, Then};
use crate::stage::fake::{Act, FakeModule, FakeRecord, Hint, Key, Out, plan, records};
use crate::verify::account::InputFacts;

const OTHER_TOPIC: u16 = 5;

fn pipeline(then: Then) -> Pipeline {
    let limits = BatchLimits {
        records: 3.try_into().unwrap(),
        bytes: (1 << 20).try_into().unwrap(),
    };
    let mut plan = plan(1, limits);
    plan.on_error.then = then;
    plan
}

fn dead_letters() -> Then {
    Then::DeadLetter {
        topic: "dlq".to_owned(),
        style: HeaderStyle::Strait,
    }
}

fn module() -> FakeModule {
    FakeModule {
        name: "m",
        hint: Hint::Honest,
        broken: false,
    }
}

/// Fate, why, and the topics of the parts, of each record.
fn fates(plan: Pipeline, acts: &[Act]) -> Vec<(i64, Fate, Why, Vec<u16>)> {
    let mut fates = Vec::new();
    run(plan, &records(acts), &mut |expected| {
        let topics = expected.parts.iter().map(|part| part.topic).collect();
        fates.push((expected.offset, expected.fate, expected.why, topics));
        true
    });
    fates
}

fn run(plan: Pipeline, records: &[FakeRecord], take: &mut Take<'_>) {
    recompute(plan, &facts())
        .records(&facts().id, records, take)
        .unwrap();
}

fn recompute(plan: Pipeline, facts: &InputFacts) -> Recompute<FakeModule> {
    let capacities = vec![Capacity::new(1 << 20, 3); 3];
    let topics = vec![0, OTHER_TOPIC, 7];
    let repeats = Repeats::new(&plan, "cluster", std::slice::from_ref(facts));
    let (plan, digests) = (Arc::new(plan), Digests::default());
    Recompute::new(plan, &[module()], capacities, topics, digests, repeats).unwrap()
}

/// Of the only partition, read whole.
fn facts() -> InputFacts {
    InputFacts {
        id: TopicPartition {
            topic: "in".into(),
            partition: 0,
        },
        topic_id: "topic id".into(),
        began: 0,
        committed: 1000,
        log_start: 0,
        is_compacted: false,
        asked: 0..i64::MAX,
    }
}

fn audit() -> Out {
    Out {
        to: 1,
        ..Out::default()
    }
}

#[test]
fn each_record_has_its_fate_across_batches_and_faults() {
    let acts = [
        Act::pass(),
        Act::Emit(vec![]),
        Act::Emit(vec![audit(), Out::default(), audit()]),
        Act::Reject,
        Act::Trap,
        Act::pass(),
        Act::Memory,
        Act::pass(),
    ];
    let letter = |kind| (Fate::Letter, Why::Failure(kind), vec![7]);
    let outputs = |topics: &[u16]| (Fate::Outputs, Why::Plain, topics.to_vec());
    let expected = [
        outputs(&[0]),
        outputs(&[]),
        outputs(&[OTHER_TOPIC, 0, OTHER_TOPIC]),
        letter(FailureKind::Reject),
        letter(FailureKind::Trap),
        outputs(&[0]),
        letter(FailureKind::Memory),
        outputs(&[0]),
    ];
    let expected: Vec<_> = (100..)
        .zip(expected)
        .map(|(offset, (fate, why, topics))| (offset, fate, why, topics))
        .collect();
    assert_eq!(fates(pipeline(dead_letters()), &acts), expected);
}

#[test]
fn retries_are_made_at_once_and_leave_a_doubt() {
    let acts = [
        Act::pass(),
        Act::RetryUntil(2),
        Act::pass(),
        Act::RetryUntil(9),
        Act::pass(),
    ];
    let fates = fates(pipeline(Then::Skip), &acts);
    let whys: Vec<_> = fates.iter().map(|(_, fate, why, _)| (*fate, *why)).collect();
    let pass = (Fate::Outputs, Why::Plain);
    let given_up = (Fate::Skipped, Why::Retried);
    assert_eq!(whys, [pass, (Fate::Outputs, Why::Retried), pass, given_up, pass]);
}

#[test]
fn a_record_that_hangs_is_cornered() {
    let acts = [
        Act::pass(),
        Act::Hang,
        Act::pass(),
        Act::Hang,
        Act::Hang,
        Act::pass(),
    ];
    let fates = fates(pipeline(Then::Stop), &acts);
    let offsets: Vec<i64> = fates.iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, [100, 101, 102, 103, 104, 105]);
    let stopped: Vec<i64> = fates
        .iter()
        .filter(|(_, fate, why, _)| (*fate, *why) == (Fate::Unknown, Why::Stopped))
        .map(|(offset, ..)| *offset)
        .collect();
    assert_eq!(stopped, [101, 103, 104]);
}

#[test]
fn digests_are_of_what_leaves() {
    let digest_of = |acts: &[Act]| {
        let mut digests = Vec::new();
        let plan = Arc::new(pipeline(Then::Skip));
        let fixed = Digests::default();
        let mut recompute =
            Recompute::new(plan, &[module()], Vec::new(), vec![0, 1], fixed.clone(), None).unwrap();
        let id = TopicPartition {
            topic: "in".into(),
            partition: 0,
        };
        let records = records(acts);
        let mut take = |expected: &Expected<'_>| {
            digests.extend(expected.parts.iter().map(|part| part.digest));
            true
        };
        recompute.records(&id, &records, &mut take).unwrap();
        (digests, fixed.of_record(&records[0], 2))
    };
    let (digests, own) = digest_of(&[Act::pass()]);
    assert_eq!(digests, [own]);
    let changed = Out {
        key: Key::Null,
        ..Out::default()
    };
    let (digests, own) = digest_of(&[Act::Emit(vec![changed])]);
    assert_ne!(digests, [own]);
}

#[test]
fn ends_when_nobody_wants_more() {
    let acts: Vec<Act> = (0..10).map(|_| Act::pass()).collect();
    let mut taken = 0;
    run(pipeline(Then::Skip), &records(&acts), &mut |_| {
        taken += 1;
        taken < 5
    });
    assert_eq!(taken, 5);
}

#[test]
fn what_depends_on_state_is_handed_over_unseen() {
    let mut plan = pipeline(Then::Skip);
    plan.stores = vec![crate::plan::Store {
        name: "counts".to_owned(),
        ttl: None,
    }];
    let unknown = |offset| (offset, Fate::Unknown, Why::Stateful, Vec::new());
    let fates = fates(plan, &[Act::pass(), Act::Hang, Act::Unfit, Act::pass()]);
    assert_eq!(fates, [100, 101, 102, 103].map(unknown));
}
