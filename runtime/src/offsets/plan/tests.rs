use super::*;
use crate::offsets::goal::Goal;

/// With a log from 10 to 100.
fn facts(partition: i32, committed: Option<i64>, began: Option<i64>) -> Facts {
    Facts {
        id: TopicPartition {
            topic: "in".into(),
            partition,
        },
        topic_id: "id".into(),
        committed,
        began,
        bounds: Bounds { start: 10, end: 100 },
    }
}

fn goals(texts: &[&str]) -> Goals {
    Goals::of(texts.iter().map(|text| text.parse::<Goal>().unwrap())).unwrap()
}

fn to(facts: &[Facts], texts: &[&str], at_time: &[Option<i64>]) -> Vec<i64> {
    let moves = moves(facts, &goals(texts), at_time).unwrap();
    moves.iter().map(|step| step.to).collect()
}

fn step(committed: Option<i64>, began: Option<i64>, to: i64) -> Move {
    let facts = facts(0, committed, began);
    Move { facts, to }
}

#[test]
fn each_goal_has_its_offset_within_the_log() {
    let two = [facts(0, Some(50), Some(0)), facts(1, None, None)];
    assert_eq!(to(&two, &["earliest"], &[]), [10, 10]);
    assert_eq!(to(&two, &["latest"], &[]), [100, 100]);
    assert_eq!(to(&two, &["17"], &[]), [17, 17]);
    assert_eq!(to(&two, &["latest", "in:1=12"], &[]), [100, 12]);
    let time = "2026-01-31T12:00:00Z";
    assert_eq!(to(&two, &[time], &[Some(30), None]), [30, 100]);
    // Told of records that are not stable yet, or gone since.
    assert_eq!(to(&two, &[time], &[Some(130), Some(3)]), [100, 10]);
    let only = moves(&two, &goals(&["in:1=100"]), &[]).unwrap();
    assert_eq!((only.len(), only[0].facts.id.partition), (1, 1));
}

#[test]
fn what_is_not_there_is_refused() {
    let one = [facts(0, Some(50), Some(0))];
    for (wrong, remedy) in [("9", "10 to 100"), ("in:0=101", "10 to 100"), ("in:1=50", "in:0")] {
        let why = moves(&one, &goals(&[wrong]), &[]).unwrap_err();
        assert!(why.contains(remedy), "{wrong}: {why}");
    }
}

#[test]
fn back_is_read_again_and_forth_is_passed_over() {
    let of = |step: &Move| (step.again(), step.passed_over());
    assert_eq!(of(&step(Some(50), Some(0), 20)), (30, 20..20));
    assert_eq!(of(&step(Some(50), Some(0), 70)), (0, 50..70));
    assert_eq!(of(&step(Some(50), Some(0), 50)), (0, 50..50));
    assert!(!step(Some(50), Some(0), 50).is_change());
    // What is gone is not read again, and may hold claims all the same.
    assert_eq!(of(&step(Some(150), Some(0), 10)), (90, 10..10));
    assert_eq!(of(&step(Some(4), Some(0), 20)), (0, 4..20));
    // Nobody knows how far it had come.
    assert_eq!(of(&step(None, Some(3), 20)), (0, 3..20));
    assert_eq!(of(&step(None, Some(30), 20)), (0, 20..20));
    assert_eq!(of(&step(None, None, 20)), (0, 20..20));
}

#[test]
fn lag_counts_what_is_there() {
    assert_eq!(facts(0, Some(60), None).lag(), Some(40));
    assert_eq!(facts(0, Some(3), None).lag(), Some(90));
    assert_eq!(facts(0, Some(130), None).lag(), Some(0));
    assert_eq!(facts(0, None, Some(3)).lag(), None);
}

fn checked(keeps: Keeps, choices: Choices, step: &Move) -> Result<(), String> {
    choices.check(keeps, &[facts(0, None, None)], std::slice::from_ref(step))
}

#[test]
fn only_what_is_passed_over_asks_for_its_claims() {
    let keeps = Keeps {
        claims: true,
        state: false,
    };
    let none = Choices::default();
    let with = |claims| Choices {
        claims: Some(claims),
        ..none
    };
    let (back, forth) = (step(Some(50), Some(0), 20), step(Some(50), Some(0), 70));
    assert!(checked(keeps, none, &back).is_ok());
    assert!(
        checked(keeps, none, &forth)
            .unwrap_err()
            .contains("--claims drop")
    );
    assert!(checked(keeps, none, &step(None, Some(0), 70)).is_err(), "lost");
    assert!(checked(keeps, none, &step(None, None, 70)).is_ok(), "never read");
    for claims in [OfClaims::Keep, OfClaims::Drop] {
        assert!(checked(keeps, with(claims), &forth).is_ok());
    }
    let nothing = Keeps {
        claims: false,
        state: false,
    };
    assert!(checked(nothing, none, &forth).is_ok());
    assert!(checked(nothing, with(OfClaims::Drop), &forth).is_err());
}

#[test]
fn what_moves_asks_for_its_state_and_it_is_cleared_as_a_whole() {
    let keeps = Keeps {
        claims: false,
        state: true,
    };
    let none = Choices::default();
    let with = |state| Choices {
        state: Some(state),
        ..none
    };
    for moved in [
        step(Some(50), Some(0), 20),
        step(Some(50), Some(0), 70),
        step(None, Some(0), 20),
    ] {
        assert!(checked(keeps, none, &moved).unwrap_err().contains("--state"));
        assert!(checked(keeps, with(OfState::Keep), &moved).is_ok());
        assert!(checked(keeps, with(OfState::Clear), &moved).is_ok());
    }
    for still in [step(Some(50), Some(0), 50), step(None, None, 20)] {
        assert!(checked(keeps, none, &still).is_ok());
    }
    let both = [facts(0, Some(50), Some(0)), facts(1, Some(50), Some(0))];
    let some = [step(Some(50), Some(0), 20)];
    assert!(with(OfState::Clear).check(keeps, &both, &some).is_err());
    assert!(with(OfState::Keep).check(keeps, &both, &some).is_ok());
    let nothing = Keeps {
        claims: false,
        state: false,
    };
    assert!(checked(nothing, with(OfState::Keep), &some[0]).is_err());
}
