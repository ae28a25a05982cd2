//! What can be neither shown nor refuted.

use super::*;
use Standing::{Ahead, Gone, Here};

#[test]
fn a_dead_letter_that_recomputing_does_not_confirm() {
    let mut case = Case::honest(&[emits(&[0])]);
    case.logs[0].clear();
    case.logs[DLQ_SLOT].push(Seen::Letter(letter(0, 0)));
    assert_eq!(found(&case.judge()), [(Kind::Differs, 0)]);
    for doubtful in [
        Letter {
            kind: Some(FailureKind::Deadline),
            ..letter(0, 0)
        },
        Letter {
            is_of_another_module: true,
            ..letter(0, 0)
        },
    ] {
        case.logs[DLQ_SLOT] = vec![Seen::Letter(doubtful)];
        assert_eq!(found(&case.judge()), [(Kind::Unproven, 0)]);
        // Beside an output it is one too many.
        case.logs[0] = vec![output(0, 0, 1, 1)];
        assert_eq!(found(&case.judge()), [(Kind::Unexpected, 0)]);
        case.logs[0].clear();
    }
}

#[test]
fn what_depends_on_the_moment_is_proven_if_it_came_to_the_same() {
    let retried = spec(Fate::Outputs, Why::Retried, &[0, 0]);
    let late = spec(Fate::Letter, Why::Failure(FailureKind::Deadline), &[2]);
    let mut case = Case::honest(&[retried, late]);
    assert_eq!(found(&case.judge()), []);
    // One was given up where it succeeds now, the other the other way round.
    case.logs[0] = vec![output(0, 1, 1, 2), output(0, 1, 2, 2)];
    case.logs[DLQ_SLOT] = vec![Seen::Letter(letter(0, 0))];
    assert_eq!(found(&case.judge()), [(Kind::Unproven, 0), (Kind::Unproven, 1)]);
    // What its outputs say of themselves must hold all the same.
    case.logs[0] = vec![output(0, 1, 2, 2), output(0, 1, 2, 2)];
    assert_eq!(
        found(&case.judge()),
        [(Kind::Lost, 1), (Kind::Doubled, 1), (Kind::Unproven, 0)]
    );
    // Nothing at all may be right.
    case.logs = vec![Vec::new(); SLOTS.len()];
    assert_eq!(case.judge().findings.count(Kind::Unproven), 2);
    case.assume_filtered = true;
    let account = case.judge();
    assert_eq!((found(&account), account.outcomes.assumed), (vec![], 2));
}

#[test]
fn a_failure_of_the_moment_proves_no_absence() {
    let late = Why::Failure(FailureKind::Deadline);
    for nothing in [
        spec(Fate::Skipped, late, &[]),
        spec(Fate::Outputs, Why::Retried, &[]),
    ] {
        let account = Case::honest(&[nothing]).judge();
        assert_eq!(found(&account), [(Kind::Unproven, 0)]);
    }
    let rejected = spec(Fate::Skipped, Why::Failure(FailureKind::Reject), &[]);
    assert_eq!(found(&Case::honest(&[rejected]).judge()), []);
}

#[test]
fn a_repeat_may_be_missing_whole_and_not_in_part() {
    let identified = || spec(Fate::Outputs, Why::Identified, &[0, 0]);
    let mut case = Case::honest(&[identified()]);
    assert_eq!(found(&case.judge()), []);
    case.logs[0] = vec![output(0, 0, 1, 2)];
    assert_eq!(found(&case.judge()), [(Kind::Lost, 0)]);
    case.logs[0].clear();
    assert_eq!(found(&case.judge()), [(Kind::Unproven, 0)]);
    // Repeated or not, it comes to nothing.
    let filtered = spec(Fate::Outputs, Why::Identified, &[]);
    assert_eq!(found(&Case::honest(&[filtered]).judge()), []);
    let rejected = spec(Fate::Letter, Why::Identified, &[2]);
    let mut case = Case::honest(&[rejected]);
    assert_eq!(found(&case.judge()), []);
    case.logs[DLQ_SLOT].clear();
    assert_eq!(found(&case.judge()), [(Kind::Unproven, 0)]);
}

#[test]
fn what_is_gone_is_unproven_and_must_still_stand_once_in_order() {
    let specs: Vec<Spec> = (0..6).map(|_| emits(&[0])).collect();
    let mut case = Case::honest(&specs);
    case.inputs[0].0.log_start = 4;
    let account = case.judge();
    assert_eq!(found(&account), [(Kind::Unproven, 0)]);
    assert_eq!(account.findings.count(Kind::Unproven), 4);
    assert_eq!((account.outcomes.inputs, account.outcomes.by_coordinate), (2, 4));
    case.assume_filtered = true;
    assert_eq!(found(&case.judge()), []);
    let again = case.logs[0][2];
    case.logs[0].insert(3, again);
    assert_eq!(found(&case.judge()), [(Kind::Doubled, 2)]);
}

#[test]
fn sight_may_be_lost_while_reading() {
    let specs: Vec<Spec> = (0..6).map(|_| emits(&[0])).collect();
    let case = Case::honest(&specs);
    let mut account = case.judge();
    account.open();
    assert!(account.is_covered());
    let mut input = Input::new(facts(0, 6));
    input.window.open(0, PLENTY);
    input.window.push(Fate::Outputs, Why::Plain, &[]);
    input.next = 1;
    assert_eq!(input.lose_sight(1, 4), 1..4);
    assert!(input.pass_over(6));
    let standing: Vec<Standing> = (0..7).map(|offset| input.standing(offset)).collect();
    assert_eq!(standing, [Here, Gone, Gone, Gone, Here, Here, Ahead]);
}

#[test]
fn compaction_of_the_input_leaves_outputs_that_cannot_be_compared() {
    let mut case = Case::honest(&[emits(&[0]), emits(&[0, 0]), emits(&[0])]);
    case.inputs[0].0.is_compacted = true;
    case.inputs[0].1[1] = hole();
    assert_eq!(found(&case.judge()), [(Kind::Unproven, 1)]);
    let part = case.logs[0].remove(2);
    assert_eq!(found(&case.judge()), [(Kind::Lost, 1)]);
    case.logs[0].insert(2, part);
    case.logs[1].push(part);
    assert_eq!(found(&case.judge()), [(Kind::Doubled, 1)]);
}

#[test]
fn what_an_output_topic_no_longer_holds_is_unproven() {
    let mut case = Case::honest(&[emits(&[0]), emits(&[0]), emits(&[0]), emits(&[1])]);
    case.logs[0].remove(0);
    // It may have stood before the first that is left, or in the other partition.
    case.log_starts[0] = 1;
    assert_eq!(found(&case.judge()), [(Kind::Unproven, 0)]);
    case.logs[0].remove(1);
    assert_eq!(found(&case.judge()), [(Kind::Lost, 2), (Kind::Unproven, 0)]);
    case.log_starts = [0; 4];
    case.compacted = Some(0);
    assert_eq!(case.judge().findings.count(Kind::Unproven), 2);
    case.assume_filtered = true;
    assert_eq!(found(&case.judge()), []);
}

#[test]
fn what_depends_on_state_must_stand_once_and_whole() {
    let stateful = || spec(Fate::Unknown, Why::Stateful, &[]);
    let mut case = Case::honest(&[stateful(), stateful(), stateful(), stateful()]);
    case.logs[0] = vec![output(0, 0, 1, 2), output(0, 0, 2, 2), output(0, 2, 1, 1)];
    case.logs[DLQ_SLOT] = vec![Seen::Letter(letter(0, 3))];
    let account = case.judge();
    assert_eq!(account.findings.count(Kind::Unproven), 4);
    assert_eq!(found(&account).len(), 4, "each for a reason of its own");
    case.assume_filtered = true;
    assert_eq!(found(&case.judge()), []);
    case.logs[0].remove(1);
    assert_eq!(found(&case.judge()), [(Kind::Lost, 0)]);
    case.logs[0].insert(1, output(0, 0, 2, 2));
    case.logs[1].push(output(0, 2, 1, 1));
    assert_eq!(found(&case.judge()), [(Kind::Doubled, 2)]);
    case.logs[1].clear();
    case.logs[0].swap(1, 2);
    assert_eq!(found(&case.judge()), [(Kind::OutOfOrder, 0)]);
    case.logs[0].swap(1, 2);
    case.logs[0].push(output(0, 3, 1, 1));
    assert_eq!(found(&case.judge()), [(Kind::Unexpected, 3)]);
}

#[test]
fn under_the_policy_stop_a_failing_input_cannot_have_been_passed() {
    let case = Case::honest(&[spec(Fate::Unknown, Why::Stopped, &[])]);
    assert_eq!(found(&case.judge()), [(Kind::Unproven, 0)]);
}
