//! Message ids: what they drop, and what they leave in doubt.

use std::time::Duration;

use super::*;
use crate::dedup::message_id::IdSource;
use crate::plan::{ClaimStore, Dedup, DedupMode, OnMissingId, OnStoreError};

fn dedup(id: &str, store: ClaimStore) -> Dedup {
    Dedup {
        id: IdSource::parse(id).unwrap(),
        id_definition: id.to_owned(),
        window: Duration::from_secs(1),
        store,
        mode: DedupMode::Drop,
        on_missing_id: OnMissingId::Pass,
        on_store_error: OnStoreError::Stop,
        scope: None,
    }
}

fn memory() -> ClaimStore {
    ClaimStore::Memory {
        ids: 10.try_into().unwrap(),
    }
}

fn changelog() -> ClaimStore {
    ClaimStore::Changelog {
        ids: 10.try_into().unwrap(),
    }
}

fn with(dedup: Dedup) -> Pipeline {
    let mut plan = pipeline(dead_letters());
    plan.dedup = Some(Arc::new(dedup));
    plan
}

/// By keys, claimed in a changelog.
fn by_key() -> Pipeline {
    with(dedup("key", changelog()))
}

/// Records with these keys, at the offsets from 100 on.
fn keyed(keys: &[&str]) -> Vec<FakeRecord> {
    let mut records = records(&vec![Act::pass(); keys.len()]);
    for (record, key) in records.iter_mut().zip(keys) {
        record.key = Some(key.as_bytes().to_vec());
    }
    records
}

/// Offsets and reasons of all records: so many are taken in a round.
fn whys(recompute: &mut Recompute<FakeModule>, records: &[FakeRecord], round: usize) -> Vec<(i64, Why)> {
    let mut taken = Vec::new();
    while let Some(rest) = records.get(taken.len()..).filter(|rest| !rest.is_empty()) {
        let mut left = round;
        let mut take = |expected: &Expected<'_>| {
            if left == 0 {
                return false;
            }
            left -= 1;
            taken.push((expected.offset, expected.why));
            true
        };
        recompute.records(&facts().id, rest, &mut take).unwrap();
    }
    taken
}

#[test]
fn ids_say_what_may_be_missing_and_what_fails() {
    let of = |mode, on_missing_id, id: &str| {
        let dedup = Dedup {
            mode,
            on_missing_id,
            ..dedup(id, memory())
        };
        let fates = fates(with(dedup), &[Act::pass()]);
        let (_, fate, why, _) = fates.first().unwrap();
        (*fate, *why)
    };
    let plain = (Fate::Outputs, Why::Plain);
    assert_eq!(
        of(DedupMode::Drop, OnMissingId::Stop, "value"),
        (Fate::Outputs, Why::Shared)
    );
    assert_eq!(of(DedupMode::Observe, OnMissingId::Stop, "value"), plain);
    assert_eq!(of(DedupMode::Drop, OnMissingId::Pass, "header:none"), plain);
    assert_eq!(
        of(DedupMode::Drop, OnMissingId::DeadLetter, "header:none"),
        (Fate::Letter, Why::Failure(FailureKind::MissingId))
    );
    assert_eq!(
        of(DedupMode::Observe, OnMissingId::Stop, "header:none"),
        (Fate::Unknown, Why::Stopped)
    );
}

#[test]
fn of_a_partition_that_is_read_whole_each_record_is_known_wherever_rounds_end() {
    let records = keyed(&["a", "b", "a", "c", "b", "a", "d", "c", "a"]);
    let repeats = [102, 104, 105, 107, 108];
    for round in 1..12 {
        let found = whys(&mut recompute(by_key(), &facts()), &records, round);
        let expected = (100..109).map(|offset| {
            let repeats = repeats.contains(&offset);
            (offset, if repeats { Why::Repeat } else { Why::Plain })
        });
        assert_eq!(found, expected.collect::<Vec<_>>(), "{round}");
    }
}

#[test]
fn what_failed_is_repeated_too_and_what_repeats_does_not_fail() {
    let acts = [
        Act::Reject,
        Act::Reject,
        Act::Hang,
        Act::Trap,
        Act::Hang,
        Act::RetryUntil(9),
    ];
    let mut records = records(&acts);
    for (record, key) in records.iter_mut().zip(["a", "a", "b", "c", "b", "b"]) {
        record.key = Some(key.as_bytes().to_vec());
    }
    let mut found = Vec::new();
    run(by_key(), &records, &mut |expected| {
        found.push((expected.fate, expected.why));
        true
    });
    let letter = |kind| (Fate::Letter, Why::Failure(kind));
    let repeat = (Fate::Skipped, Why::Repeat);
    let expected = [
        letter(FailureKind::Reject),
        repeat,
        letter(FailureKind::Deadline),
        letter(FailureKind::Trap),
        repeat,
        repeat,
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_replayed_record_is_the_one_that_it_was() {
    let mut records = keyed(&["a", "b", "a", "a", "b"]);
    let replayed = |from: &str| {
        let value = format!("1/cluster/topic id/{from}/1/1/fake");
        (b"strait-replayed".to_vec(), Some(value.into_bytes()))
    };
    records[2].headers.push(replayed("0/100"));
    // Of another partition, which has claims of its own.
    records[4].headers.push(replayed("1/101"));
    let found = whys(&mut recompute(by_key(), &facts()), &records, 99);
    let whys: Vec<Why> = found.iter().map(|(_, why)| *why).collect();
    let (plain, repeat) = (Why::Plain, Why::Repeat);
    assert_eq!(whys, [plain, plain, plain, repeat, repeat]);
}

#[test]
fn a_beginning_that_is_not_read_leaves_first_ones_in_doubt() {
    let records = keyed(&["a", "b"]);
    let whole = facts();
    let ranged = InputFacts {
        asked: 100..i64::MAX,
        ..facts()
    };
    let cut = InputFacts {
        log_start: 100,
        ..facts()
    };
    let begun = InputFacts {
        began: 100,
        asked: 50..i64::MAX,
        log_start: 90,
        ..facts()
    };
    let compacted = InputFacts {
        is_compacted: true,
        ..facts()
    };
    for (facts, why) in [
        (whole, Why::Plain),
        (begun, Why::Plain),
        (ranged, Why::Identified),
        (cut, Why::Identified),
        (compacted, Why::Identified),
    ] {
        let found = whys(&mut recompute(by_key(), &facts), &records, 99);
        assert_eq!(found, [(100, why), (101, why)], "{facts:?}");
    }
    // As does one that goes away meanwhile.
    let mut recompute = recompute(by_key(), &facts());
    let mut found = whys(&mut recompute, &records, 99);
    recompute.lose_sight(&facts().id);
    found.extend(whys(&mut recompute, &keyed(&["c", "a"]), 99));
    let whys: Vec<Why> = found.iter().map(|(_, why)| *why).collect();
    assert_eq!(whys, [Why::Plain, Why::Plain, Why::Identified, Why::Identified]);
}

#[test]
fn a_repeat_is_known_where_state_is_not() {
    let mut plan = by_key();
    plan.stores = vec![crate::plan::Store {
        name: "counts".to_owned(),
        ttl: None,
    }];
    let found = whys(&mut recompute(plan, &facts()), &keyed(&["a", "a", "b"]), 99);
    let whys: Vec<Why> = found.iter().map(|(_, why)| *why).collect();
    assert_eq!(whys, [Why::Stateful, Why::Repeat, Why::Stateful]);
}
