//! The judgement against logs in memory, and against a serial model.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the numbers of these tests are small"
)]

mod model;
mod unproven;

use super::*;
use crate::kafka::TopicPartition;
use crate::stage::FailureKind;
use crate::verify::source::{Claim, Foreign, Letter, Output as SeenOutput};

/// Topics of the tests: two for outputs, one for dead letters.
const TOPICS: [&str; 3] = ["out", "audit", "dlq"];
/// The topic of each output partition.
const SLOTS: [u16; 4] = [0, 0, 1, 2];
const DLQ_SLOT: usize = 3;
const PLENTY: usize = 1 << 20;

/// What becomes of an input record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spec {
    fate: Fate,
    why: Why,
    /// Topics of the parts.
    topics: Vec<u16>,
}

fn spec(fate: Fate, why: Why, topics: &[u16]) -> Spec {
    let topics = topics.to_vec();
    Spec { fate, why, topics }
}

fn emits(topics: &[u16]) -> Spec {
    spec(Fate::Outputs, Why::Plain, topics)
}

fn rejected() -> Spec {
    spec(Fate::Letter, Why::Failure(FailureKind::Reject), &[2])
}

fn hole() -> Spec {
    spec(Fate::Hole, Why::Plain, &[])
}

/// What a part says. Never the same for two parts.
fn digest(input: usize, offset: i64, part: u32) -> u64 {
    (input as u64) << 48 | offset.cast_unsigned() << 8 | u64::from(part)
}

fn output(input: usize, offset: i64, part: u32, parts: u32) -> Seen {
    Seen::Output(SeenOutput {
        claim: Claim {
            input,
            offset,
            part,
            parts,
        },
        digest: digest(input, offset, part),
    })
}

fn letter(input: usize, offset: i64) -> Letter {
    Letter {
        claim: Claim {
            input,
            offset,
            part: 0,
            parts: 0,
        },
        kind: Some(FailureKind::Reject),
        is_of_another_module: false,
        digest: Some(digest(input, offset, 1)),
    }
}

fn facts(partition: usize, committed: i64) -> InputFacts {
    InputFacts {
        id: TopicPartition {
            topic: "in".into(),
            partition: i32::try_from(partition).unwrap(),
        },
        topic_id: "id".into(),
        began: 0,
        committed,
        log_start: 0,
        is_compacted: false,
        asked: 0..i64::MAX,
    }
}

/// Inputs and outputs, as they stand in their logs.
#[derive(Debug, Clone)]
struct Case {
    inputs: Vec<(InputFacts, Vec<Spec>)>,
    logs: Vec<Vec<Seen>>,
    compacted: Option<u16>,
    log_starts: [i64; 4],
    assume_filtered: bool,
    committed_later: Option<i64>,
}

impl Case {
    /// One input partition with these fates, and outputs as they must be, all in the first
    /// partition of their topic.
    fn honest(specs: &[Spec]) -> Self {
        let mut case = Self {
            inputs: vec![(facts(0, specs.len() as i64), specs.to_vec())],
            logs: vec![Vec::new(); SLOTS.len()],
            compacted: None,
            log_starts: [0; 4],
            assume_filtered: false,
            committed_later: None,
        };
        for (offset, spec) in (0..).zip(specs) {
            let parts = spec.topics.len() as u32;
            for (part, topic) in (1..).zip(&spec.topics) {
                let slot = SLOTS.iter().position(|of| of == topic).unwrap();
                case.logs[slot].push(match spec.fate {
                    Fate::Letter => Seen::Letter(letter(0, offset)),
                    _ => output(0, offset, part, parts),
                });
            }
        }
        case
    }

    fn judge(&self) -> Account {
        self.judge_within(PLENTY)
    }

    /// In as many rounds as the budget takes.
    fn judge_within(&self, budget_bytes: usize) -> Account {
        let topics = (0..).zip(TOPICS).map(|(index, name)| OutputTopic {
            name: name.into(),
            is_compacted: self.compacted == Some(index),
        });
        let outputs = SLOTS.iter().enumerate().map(|(index, topic)| Output {
            topic: *topic,
            partition: i32::from(index == 1),
            log_start: self.log_starts[index],
            end: i64::MAX,
        });
        let mut account = Account::new(
            self.inputs.iter().map(|(facts, _)| facts.clone()).collect(),
            topics.collect(),
            outputs.collect(),
            self.assume_filtered,
            budget_bytes,
        );
        let mut starts = vec![Some(0); SLOTS.len()];
        loop {
            account.open();
            for (index, (_, specs)) in self.inputs.iter().enumerate() {
                Self::expect(&mut account, index, specs);
            }
            let mut resume = vec![None; SLOTS.len()];
            for (slot, log) in self.logs.iter().enumerate() {
                let Some(start) = starts[slot] else { continue };
                for (offset, seen) in log.iter().enumerate().skip(start) {
                    match account.see(slot, offset as i64, seen) {
                        Seeing::Done => {}
                        Seeing::Later => _ = resume[slot].get_or_insert(offset),
                        Seeing::AskCommitted => self.judge_ahead(&mut account),
                    }
                }
            }
            self.judge_ahead(&mut account);
            account.settle();
            if account.is_covered() {
                return account;
            }
            starts = resume;
        }
    }

    fn judge_ahead(&self, account: &mut Account) {
        let inputs = self.inputs.iter();
        let committed = inputs.map(|(facts, _)| Some(self.committed_later.unwrap_or(facts.committed)));
        account.judge_ahead(&committed.collect::<Vec<_>>());
    }

    fn expect(account: &mut Account, index: usize, specs: &[Spec]) {
        let (next, end) = {
            let input = &account.inputs()[index];
            (input.next, input.end())
        };
        for (offset, spec) in (0..).zip(specs).skip(next.max(0) as usize) {
            if offset >= end || spec.fate == Fate::Hole {
                continue;
            }
            let parts: Vec<Part> = (1..)
                .zip(&spec.topics)
                .map(|(part, topic)| Part {
                    topic: *topic,
                    digest: digest(index, offset, part),
                })
                .collect();
            if !account.expect(index, offset, spec.fate, spec.why, &parts) {
                return;
            }
        }
        account.expect_nothing_below(index, end);
    }
}

/// Kinds and input offsets of all findings.
fn found(account: &Account) -> Vec<(Kind, i64)> {
    let of = |(kind, listed): (Kind, &crate::verify::finding::Listed)| -> Vec<(Kind, i64)> {
        listed.listed.iter().map(|f| (kind, f.input.offset)).collect()
    };
    account.findings.clone().sorted().iter().flat_map(of).collect()
}

fn fan_out() -> Vec<Spec> {
    vec![
        emits(&[0]),
        emits(&[]),
        emits(&[0, 1, 0]),
        rejected(),
        hole(),
        spec(Fate::Skipped, Why::Failure(FailureKind::Reject), &[]),
        emits(&[1]),
    ]
}

#[test]
fn what_is_right_is_proven_whatever_became_of_it() {
    for budget in [0, 40, 100, PLENTY] {
        let account = Case::honest(&fan_out()).judge_within(budget);
        assert_eq!(found(&account), []);
        let expected = Outcomes {
            inputs: 6,
            exactly_once: 6,
            emitted: 3,
            outputs: 5,
            filtered: 1,
            dead_letters: 1,
            skipped: 1,
            ..Outcomes::default()
        };
        assert_eq!(account.outcomes, expected, "{budget}");
        assert_eq!(account.ignored, Ignored::default());
    }
}

#[test]
fn every_output_that_is_missing_is_lost() {
    let honest = Case::honest(&fan_out());
    for slot in 0..SLOTS.len() {
        for at in 0..honest.logs[slot].len() {
            let mut case = honest.clone();
            let offset = match case.logs[slot].remove(at) {
                Seen::Output(output) => output.claim.offset,
                Seen::Letter(letter) => letter.claim.offset,
                Seen::Foreign(_) => unreachable!(),
            };
            let account = case.judge();
            assert_eq!(found(&account), [(Kind::Lost, offset)]);
            assert_eq!(account.outcomes.exactly_once, 5);
        }
    }
}

#[test]
fn every_output_that_stands_again_is_doubled_wherever_it_does() {
    let honest = Case::honest(&fan_out());
    for slot in 0..SLOTS.len() {
        for at in 0..honest.logs[slot].len() {
            let mut case = honest.clone();
            let seen = case.logs[slot][at];
            let elsewhere = if slot == 0 { 1 } else { slot };
            case.logs[elsewhere].push(seen);
            let account = case.judge();
            let kinds: Vec<Kind> = found(&account).iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, [Kind::Doubled], "{seen:?}");
        }
    }
}

#[test]
fn outputs_of_a_partition_and_parts_of_a_record_must_keep_their_order() {
    let mut case = Case::honest(&[emits(&[0]), emits(&[0]), emits(&[0, 0])]);
    case.logs[0].swap(0, 1);
    assert_eq!(found(&case.judge()), [(Kind::OutOfOrder, 0)]);
    case.logs[0].swap(0, 1);
    case.logs[0].swap(2, 3);
    assert_eq!(found(&case.judge()), [(Kind::OutOfOrder, 2)]);
    // In another partition of the output it has no order.
    let first = case.logs[0].remove(0);
    case.logs[0].swap(1, 2);
    case.logs[1].push(first);
    assert_eq!(found(&case.judge()), []);
}

#[test]
fn outputs_of_what_is_not_committed_are_unexpected_unless_it_was_since() {
    let mut case = Case::honest(&[emits(&[0])]);
    case.logs[0].push(output(0, 1, 1, 1));
    case.logs[0].push(output(0, 5, 1, 1));
    assert_eq!(
        found(&case.judge()),
        [(Kind::Unexpected, 1), (Kind::Unexpected, 5)]
    );
    case.committed_later = Some(5);
    let account = case.judge();
    assert_eq!(found(&account), [(Kind::Unexpected, 5)]);
    assert_eq!(account.ignored.committed_since, 1);
}

#[test]
fn many_that_stand_ahead_are_judged_in_between() {
    let mut case = Case::honest(&[emits(&[0])]);
    let count = AHEAD_MAX as i64 + 10;
    case.logs[0].extend((1..=count).map(|offset| output(0, offset, 1, 1)));
    case.committed_later = Some(count);
    let account = case.judge();
    assert_eq!(found(&account), [(Kind::Unexpected, count)]);
    assert_eq!(account.ignored.committed_since, AHEAD_MAX as u64 + 9);
}

#[test]
fn outputs_that_must_not_be_are_unexpected() {
    for (spec, seen, slot) in [
        (emits(&[]), output(0, 0, 1, 1), 0),
        (hole(), output(0, 0, 1, 1), 0),
        (hole(), Seen::Letter(letter(0, 0)), DLQ_SLOT),
        (rejected(), output(0, 0, 1, 1), 0),
        (
            spec(Fate::Skipped, Why::Failure(FailureKind::Trap), &[]),
            output(0, 0, 1, 1),
            0,
        ),
        (emits(&[0]), output(0, 0, 2, 2), 0),
    ] {
        let mut case = Case::honest(std::slice::from_ref(&spec));
        case.logs[slot].push(seen);
        assert_eq!(found(&case.judge()), [(Kind::Unexpected, 0)], "{spec:?} {seen:?}");
    }
    // In the wrong topic it is missed in the right one.
    let mut case = Case::honest(&[emits(&[0])]);
    let seen = case.logs[0].remove(0);
    case.logs[2].push(seen);
    assert_eq!(found(&case.judge()), [(Kind::Lost, 0), (Kind::Unexpected, 0)]);
}

#[test]
fn what_is_not_as_recomputed_differs() {
    let mut case = Case::honest(&[emits(&[0]), rejected()]);
    case.logs[0][0] = match output(0, 0, 1, 1) {
        Seen::Output(output) => Seen::Output(SeenOutput { digest: 99, ..output }),
        other => other,
    };
    let altered = Letter {
        digest: Some(99),
        ..letter(0, 1)
    };
    case.logs[DLQ_SLOT][0] = Seen::Letter(altered);
    assert_eq!(found(&case.judge()), [(Kind::Differs, 0), (Kind::Differs, 1)]);
    // One of two, where one is recomputed.
    case.logs[0][0] = output(0, 0, 1, 2);
    case.logs[DLQ_SLOT][0] = Seen::Letter(Letter {
        digest: None,
        ..letter(0, 1)
    });
    assert_eq!(found(&case.judge()), [(Kind::Differs, 0)]);
}

#[test]
fn ranges_and_the_start_of_the_group() {
    let specs: Vec<Spec> = (0..6).map(|_| emits(&[0])).collect();
    let mut case = Case::honest(&specs);
    case.inputs[0].0.asked = 2..4;
    let account = case.judge();
    assert_eq!((found(&account), account.outcomes.inputs), (vec![], 2));
    assert_eq!(account.ignored.outside_range, 4);
    case.inputs[0].0.asked = 0..i64::MAX;
    case.inputs[0].0.began = 1;
    assert_eq!(found(&case.judge()), [(Kind::Unexpected, 0)]);
    case.logs[0].remove(0);
    let account = case.judge();
    assert_eq!((found(&account), account.outcomes.inputs), (vec![], 5));
}

#[test]
fn others_are_counted_apart() {
    let mut case = Case::honest(&[emits(&[0])]);
    let foreign = [
        Foreign::Untraced,
        Foreign::Unreadable,
        Foreign::OtherCluster,
        Foreign::OtherPipeline,
        Foreign::OtherTopic,
    ];
    case.logs[0].splice(0..0, foreign.map(Seen::Foreign));
    let account = case.judge_within(0);
    assert_eq!(found(&account), []);
    let expected = Ignored {
        untraced: 1,
        unreadable: 1,
        other_cluster: 1,
        other_pipeline: 1,
        other_topic: 1,
        ..Ignored::default()
    };
    assert_eq!(account.ignored, expected);
}
