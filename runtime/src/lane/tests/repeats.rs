//! A lane whose pipeline has a `dedup`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use super::*;
use crate::dedup::changelog::{ChangelogClaims, Table, Trim};
use crate::dedup::claim::{Claim, Verdict};
use crate::dedup::judge::Holder;
use crate::dedup::memory::MemoryClaims;
use crate::dedup::message_id::IdSource;
use crate::dedup::store::{Claims, StoreAway};
use crate::restore::{Gone, Restored, Restores};

/// For one lane. Claims in the log need the log.
pub fn holder(plan: &crate::plan::Dedup, log: Option<&Log>) -> Holder {
    match plan.store {
        ClaimStore::Memory { ids } => {
            let claims = MemoryClaims::new(ids, plan.window);
            Holder::AtOnce(Box::new(Arc::new(Mutex::new(claims))))
        }
        ClaimStore::Changelog { ids } => {
            let restores = FromLog {
                log: log.unwrap().clone(),
                window_ms: plan.window_ms(),
                begun: Vec::new(),
            };
            Holder::InTransaction(ChangelogClaims::new(plan.window, ids.get(), Box::new(restores)))
        }
        ClaimStore::Redis { .. } | ClaimStore::Sql { .. } => panic!("there is no server here"),
    }
}

/// Reads the claims that are committed when it is asked, and tells of them one call later.
struct FromLog {
    log: Log,
    window_ms: i64,
    begun: Vec<(bool, Restored<Table>)>,
}

impl fmt::Debug for FromLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromLog").finish_non_exhaustive()
    }
}

impl Restores<Table, Trim> for FromLog {
    fn begin(&mut self, partition: &TopicPartition, topic_id: &Arc<str>) {
        let mut table = Table::new(self.window_ms);
        for value in self
            .log
            .0
            .borrow()
            .claims
            .get(&partition.partition)
            .into_iter()
            .flatten()
        {
            table.restore(value).unwrap();
        }
        self.forget(partition);
        let restored = Restored {
            partition: partition.clone(),
            topic_id: Arc::clone(topic_id),
            whole: Ok(table),
        };
        self.begun.push((false, restored));
    }

    fn finished(&mut self) -> Result<Vec<Restored<Table>>, Gone> {
        let (ready, rest) = std::mem::take(&mut self.begun)
            .into_iter()
            .partition(|(asked, _)| *asked);
        self.begun = rest;
        self.begun.iter_mut().for_each(|(asked, _)| *asked = true);
        let ready: Vec<(bool, Restored<Table>)> = ready;
        Ok(ready.into_iter().map(|(_, restored)| restored).collect())
    }

    fn forget(&mut self, partition: &TopicPartition) {
        self.begun
            .retain(|(_, restored)| restored.partition != *partition);
    }

    fn errand(&mut self, _: &TopicPartition, _: Trim) {}
}

pub fn in_changelog() -> crate::plan::Dedup {
    crate::plan::Dedup {
        store: ClaimStore::Changelog {
            ids: NonZeroUsize::new(10_000).unwrap(),
        },
        ..dedup()
    }
}

/// A lane that owns what the log holds, and forgets all else.
pub fn lane_on(plan: Pipeline, log: &Log) -> MemoryLane {
    let mut lane = lane(
        Pipeline {
            dedup: None,
            ..plan.clone()
        },
        log,
    );
    let dedup = plan.dedup.clone().unwrap();
    let holder = holder(&dedup, Some(log));
    lane.dedup = Some(Dedup::new(dedup, &plan.name, "cluster", holder));
    lane.plan = Arc::new(plan);
    lane
}

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

pub fn deduplicated(then: Then, dedup: crate::plan::Dedup) -> Pipeline {
    Pipeline {
        dedup: Some(Arc::new(dedup)),
        ..plan(then)
    }
}

/// Gives each record the key that is said of its partition and offset.
pub fn keyed(mut inputs: Vec<Vec<Rec>>, key: impl Fn(usize, i64) -> Option<String>) -> Vec<Vec<Rec>> {
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
    for dedup in [dedup(), in_changelog()] {
        the_first_counts(&dedup);
    }
}

fn the_first_counts(dedup: &crate::plan::Dedup) {
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
        let plan = deduplicated(dead_letters(), dedup.clone());
        assert_eq!(run(lane_on(plan, &log), &log), LaneEnd::Drained, "seed {seed}");
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
    let Holder::AtOnce(store) = holder(&dedup, None) else {
        panic!("not a store")
    };
    let store = Holder::AtOnce(Box::new(Flaky { away, store }));
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

/// Runs a new lane after every few rounds: what counts is in the log.
#[test]
fn claims_in_the_log_outlive_their_lane() {
    let mut all_lanes = 0;
    for seed in 0..50 {
        let inputs = keyed(inputs(2, 60, |_| "pass"), |partition, offset| {
            Some(format!("{partition} {}", offset % 20))
        });
        let log = chaotic(seed, inputs);
        let mut lanes = 0;
        while !log.is_done() {
            lanes += 1;
            assert!(lanes < 1000, "seed {seed}: no progress");
            let mut lane = lane_on(deduplicated(Then::Stop, in_changelog()), &log);
            if lane.replace_producer().is_err() {
                continue;
            }
            for _ in 0..12 {
                match lane.round() {
                    Ok(()) | Err(Interrupt::Suspicion) => {}
                    Err(Interrupt::Transaction { error, in_commit }) => {
                        if lane.recover(&error, in_commit).is_err() {
                            break;
                        }
                    }
                    Err(_) => break,
                }
            }
        }
        all_lanes += lanes;
        for partition in 0..2 {
            let firsts = expected(&log, partition, |value| {
                value.rsplit(' ').next().unwrap().parse::<i64>().unwrap() < 20
            });
            assert_eq!(outputs(&log, 0, partition), firsts, "seed {seed}");
        }
    }
    assert!(all_lanes > 150, "only {all_lanes} lanes");
}

#[test]
fn more_ids_than_a_lane_may_hold_stop_the_pipeline() {
    let inputs = keyed(inputs(1, 60, |_| "pass"), |_, offset| Some(offset.to_string()));
    let log = Log::new(inputs, Faults::default(), 1);
    let dedup = crate::plan::Dedup {
        store: ClaimStore::Changelog {
            ids: NonZeroUsize::new(30).unwrap(),
        },
        ..dedup()
    };
    let LaneEnd::Failed(reason) = run(lane_on(deduplicated(Then::Stop, dedup), &log), &log) else {
        panic!("it went on")
    };
    assert!(reason.contains("window"), "{reason}");
}

/// The transaction commits, the lane is not told, and the group goes on without it meanwhile: the lane
/// cannot tell by the offsets alone that the commit was its own.
#[test]
fn claims_of_a_commit_that_nobody_told_of_are_read_back() {
    let soon = || Instant::now() + Duration::from_secs(1);
    let inputs = keyed(inputs(1, 40, |_| "pass"), |_, offset| {
        Some((offset % 10).to_string())
    });
    let log = Log::new(inputs, Faults::default(), 1);
    let mut lane = lane_on(deduplicated(Then::Stop, in_changelog()), &log);
    lane.replace_producer().unwrap();
    while lane.open.as_ref().is_none_or(|open| open.records < 5) {
        lane.round().unwrap();
    }
    lane.write_claims(soon()).unwrap();
    let positions: Vec<_> = lane
        .partitions
        .iter()
        .map(crate::lane::partitions::Partition::position)
        .collect();
    let member = lane.consumer.member().unwrap();
    let producer = lane.producer.as_mut().unwrap();
    producer.send_offsets(&positions, &member, soon()).unwrap();
    producer.commit(soon()).unwrap();
    log.0.borrow_mut().generation += 1;
    let unknown = TransactionError::NoVerdict(KafkaError::own("TIMED_OUT", "as told", true));
    lane.recover(&unknown, true).unwrap();
    assert_eq!(run(lane, &log), LaneEnd::Drained);
    assert_eq!(outputs(&log, 0, 0).len(), 10);
}
