//! A lane whose pipeline has a `dedup`.

use std::collections::BTreeMap;

use super::*;
use crate::dedup::claim::{Claim, Verdict};
use crate::dedup::message_id::IdSource;
use crate::dedup::store::{Claims, StoreAway};

fn dedup() -> crate::plan::Dedup {
    crate::plan::Dedup {
        id: IdSource::Key,
        id_definition: "key".to_owned(),
        window: Duration::from_hours(1),
        store: ClaimStore::Memory {
            ids: NonZeroUsize::new(10_000).unwrap(),
        },
        mode: DedupMode::Drop,
        on_missing_id: OnMissingId::Pass,
        on_store_error: OnStoreError::Stop,
        scope: None,
    }
}

fn deduplicated(then: Then, dedup: crate::plan::Dedup) -> Pipeline {
    Pipeline {
        dedup: Some(Arc::new(dedup)),
        ..plan(then)
    }
}

/// Gives each record the key that is said of its partition and offset.
fn keyed(mut inputs: Vec<Vec<Rec>>, key: impl Fn(usize, i64) -> Option<String>) -> Vec<Vec<Rec>> {
    for (partition, records) in inputs.iter_mut().enumerate() {
        for record in records {
            record.key = key(partition, record.offset).map(String::into_bytes);
        }
    }
    inputs
}

fn chaotic(seed: u64, inputs: Vec<Vec<Rec>>) -> Log {
    let faults = Faults {
        transaction: 60,
        rebalance: 20,
        flawed: None,
    };
    Log::new(inputs, faults, seed)
}

#[test]
fn of_each_id_the_first_record_counts_whatever_fails() {
    let (mut injected, mut met) = (0, 0);
    for seed in 0..100 {
        let what = |offset| match offset % 17 {
            3 => "drop",
            6 => "reject",
            9 => "trap",
            12 => "slow",
            15 => "retry",
            _ => "pass",
        };
        let inputs = keyed(inputs(2, 60, what), |partition, offset| {
            Some(format!("{partition} {}", offset / 3))
        });
        let log = chaotic(seed, inputs);
        let plan = deduplicated(dead_letters(), dedup());
        assert_eq!(run(lane(plan, &log), &log), LaneEnd::Drained, "seed {seed}");
        for partition in 0..2 {
            let is_first = |value: &str| {
                let offset = value.rsplit(' ').next().unwrap();
                offset.parse::<i64>().unwrap() % 3 == 0
            };
            let passed = |value: &str| is_first(value) && value.starts_with("pass");
            let expected_outputs = expected(&log, partition, passed);
            assert_eq!(outputs(&log, 0, partition), expected_outputs, "seed {seed}");
            let failed =
                |value: &str| is_first(value) && !value.starts_with("pass") && !value.starts_with("drop");
            assert_eq!(
                outputs(&log, 1, partition),
                expected(&log, partition, failed),
                "seed {seed}"
            );
            met += expected_outputs.len();
        }
        injected += log.0.borrow().injected;
    }
    assert!(injected > 1000 && met > 1000, "{injected} faults, {met} outputs");
}

#[test]
fn an_id_in_two_partitions_passes_in_one_of_them() {
    for seed in 0..50 {
        let inputs = keyed(inputs(3, 40, |_| "pass"), |_, offset| Some(offset.to_string()));
        let log = chaotic(seed, inputs);
        let plan = deduplicated(Then::Stop, dedup());
        assert_eq!(run(lane(plan, &log), &log), LaneEnd::Drained, "seed {seed}");
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for partition in 0..3 {
            for value in outputs(&log, 0, partition) {
                *seen
                    .entry(value.rsplit(' ').next().unwrap().to_owned())
                    .or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 40, "seed {seed}: lost");
        assert!(seen.values().all(|count| *count == 1), "seed {seed}: {seen:?}");
    }
}

#[test]
fn a_record_without_an_id_does_as_it_is_told() {
    let no_id_at_7 = || {
        keyed(inputs(1, 12, |_| "pass"), |_, offset| {
            (offset != 7).then(|| offset.to_string())
        })
    };
    let with = |on_missing_id, then| {
        let dedup = crate::plan::Dedup {
            on_missing_id,
            ..dedup()
        };
        let log = Log::new(no_id_at_7(), Faults::default(), 1);
        let end = run(lane(deduplicated(then, dedup), &log), &log);
        let committed = log.0.borrow().committed.get(&0).copied();
        (end, outputs(&log, 0, 0).len(), outputs(&log, 1, 0), committed)
    };
    let (end, passed, _, _) = with(OnMissingId::Pass, Then::Stop);
    assert_eq!((end, passed), (LaneEnd::Drained, 12));
    let (end, passed, letters, _) = with(OnMissingId::DeadLetter, dead_letters());
    assert_eq!((end, passed), (LaneEnd::Drained, 11));
    assert_eq!(letters, ["pass 0 7"]);
    // Whatever becomes of other failures.
    let (end, passed, letters, committed) = with(OnMissingId::Stop, dead_letters());
    let LaneEnd::Failed(reason) = end else {
        panic!("it went on")
    };
    assert!(
        reason.contains("offset 7") && reason.contains("on_missing_id"),
        "{reason}"
    );
    assert_eq!((passed, letters.len(), committed), (7, 0, Some(7)));
}

/// Away for as many questions, and then as it was before.
#[derive(Debug)]
struct Flaky {
    away: u32,
    store: Box<dyn Claims>,
}

impl Claims for Flaky {
    fn claim(&mut self, claims: &[Claim], now: Instant) -> Result<Vec<Verdict>, StoreAway> {
        let verdicts = self.store.claim(claims, now);
        if self.away == 0 {
            return verdicts;
        }
        self.away -= 1;
        // What it was asked took effect, and the answer was lost.
        Err(StoreAway {
            store: "test",
            why: "away".to_owned(),
        })
    }

    fn ids_held(&self) -> usize {
        0
    }
}

fn flaky_lane(plan: Pipeline, log: &Log, away: u32) -> MemoryLane {
    let dedup = Arc::clone(plan.dedup.as_ref().unwrap());
    let store = Stores::new(&dedup).open();
    let store = Box::new(Flaky { away, store });
    let mut lane = lane(plan, log);
    lane.dedup = Some(Dedup::new(dedup, &lane.plan.name, "cluster", store));
    lane.store_away = Backoff::new(Duration::from_micros(10), Duration::from_micros(50));
    lane
}

#[test]
fn while_the_store_is_away_nothing_is_decided_and_nothing_is_lost_or_doubled() {
    let inputs = keyed(inputs(2, 60, |_| "pass"), |partition, offset| {
        Some(format!("{partition} {}", offset / 2))
    });
    let log = Log::new(inputs, Faults::default(), 1);
    let lane = flaky_lane(deduplicated(Then::Stop, dedup()), &log, 30);
    assert_eq!(run(lane, &log), LaneEnd::Drained);
    for partition in 0..2 {
        assert_eq!(outputs(&log, 0, partition).len(), 30);
    }
}

#[test]
fn who_is_told_so_goes_on_without_the_store() {
    let inputs = keyed(inputs(1, 60, |_| "pass"), |_, offset| {
        Some((offset / 2).to_string())
    });
    let log = Log::new(inputs, Faults::default(), 1);
    let dedup = crate::plan::Dedup {
        on_store_error: OnStoreError::Pass,
        ..dedup()
    };
    let lane = flaky_lane(deduplicated(Then::Stop, dedup), &log, u32::MAX);
    assert_eq!(run(lane, &log), LaneEnd::Drained);
    assert_eq!(outputs(&log, 0, 0).len(), 60);
}
