//! A lane whose transforms keep state.

mod moved;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::*;
use crate::lane::keyed::States;
use crate::restore::{Gone, Restored, Restores};
use crate::state::local::{Batch, Folder, Position, Tree};
use crate::state::owned::Whole;
use crate::state::record::{self, Change};
use crate::state::restore::{Back, Measure, Tickets};
use crate::state::session::Session;

/// Each makes a folder of its own, which takes its time.
const SEEDS: u64 = if cfg!(feature = "slow-tests") { 24 } else { 8 };

/// The log that holds the changelog, and the folder of the local copy.
#[derive(Clone, Copy)]
pub struct Local<'a> {
    pub log: &'a Log,
    pub folder: &'a Folder,
}

pub fn states(plan: &Pipeline, local: Local<'_>) -> (Rc<Session>, States) {
    let session = Rc::new(Session::new(&plan.stores, &[1 << 20]));
    let restores = FromLog {
        log: local.log.clone(),
        folder: local.folder.clone(),
        begun: Vec::new(),
    };
    let tickets = Tickets::default();
    let states = States::new(
        Rc::clone(&session),
        local.folder.clone(),
        tickets,
        Box::new(restores),
    );
    (session, states.measuring_always())
}

/// As the lane has it to which the partition is assigned now.
fn tree(folder: &Folder, partition: &TopicPartition) -> Tree {
    let ticket = folder.assigned(partition);
    folder.tree("sums", partition, ticket).unwrap()
}

/// Reads on from where the local copy stands.
fn catch_up(tree: &Tree, log: &Log, partition: &TopicPartition) {
    let start = tree.position().unwrap().map_or(0, |position| position.offset);
    let log = log.0.borrow();
    let changes = log.changes.get(&partition.partition).into_iter().flatten();
    for (key, value) in changes.skip(usize::try_from(start).unwrap()) {
        let mut batch = Batch::default();
        let change = record::read(key, value.as_deref()).unwrap();
        match &change {
            Change::Put(key, entry) => batch.changes.push((key, Some(entry))),
            Change::Delete(key) => batch.changes.push((key, None)),
            Change::Mark(mark) => batch.mark = Some(mark),
        }
        tree.apply(&batch).unwrap();
    }
}

/// Catches the local copy up, and tells of it one call later.
struct FromLog {
    log: Log,
    folder: Folder,
    begun: Vec<(bool, Restored<Back>)>,
}

impl fmt::Debug for FromLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromLog").finish_non_exhaustive()
    }
}

impl FromLog {
    fn tree(&self, partition: &TopicPartition) -> Tree {
        tree(&self.folder, partition)
    }

    fn end(&self, partition: &TopicPartition) -> Position {
        let log = self.log.0.borrow();
        let changes = log.changes.get(&partition.partition).map_or(0, Vec::len);
        Position {
            changelog_id: log.changelog_id.to_owned(),
            offset: i64::try_from(changes).unwrap(),
            at_ms: 0,
        }
    }

    fn tell(&mut self, partition: &TopicPartition, topic_id: &Arc<str>, back: Back) {
        let restored = Restored {
            partition: partition.clone(),
            topic_id: Arc::clone(topic_id),
            whole: Ok(back),
        };
        self.begun.push((false, restored));
    }
}

impl Restores<Back, Measure> for FromLog {
    fn begin(&mut self, partition: &TopicPartition, topic_id: &Arc<str>) {
        self.forget(partition);
        let tree = self.tree(partition);
        let changelog_ids = vec![self.log.0.borrow().changelog_id.to_owned()];
        catch_up(&tree, &self.log, partition);
        let whole = Whole {
            mark: tree.mark().unwrap(),
            changelog_ids,
            trees: vec![tree],
        };
        self.tell(partition, topic_id, Back::Whole(whole));
    }

    fn finished(&mut self) -> Result<Vec<Restored<Back>>, Gone> {
        let begun = std::mem::take(&mut self.begun);
        let (ready, rest): (Vec<_>, Vec<_>) = begun.into_iter().partition(|(asked, _)| *asked);
        self.begun = rest;
        self.begun.iter_mut().for_each(|(asked, _)| *asked = true);
        Ok(ready.into_iter().map(|(_, restored)| restored).collect())
    }

    fn forget(&mut self, partition: &TopicPartition) {
        self.begun
            .retain(|(_, restored)| restored.partition != *partition);
    }

    fn errand(&mut self, partition: &TopicPartition, _: Measure) {
        let reached = Back::Reached(vec![self.end(partition)]);
        self.tell(partition, &Arc::from(""), reached);
    }
}

pub fn keeping_sums(then: Then, ttl: Option<Duration>) -> Pipeline {
    Pipeline {
        stores: vec![Store {
            name: "sums".to_owned(),
            ttl,
        }],
        ..plan(then)
    }
}

pub fn keyed_lane(plan: Pipeline, log: &Log, folder: &Folder) -> MemoryLane {
    let local = Local { log, folder };
    lane_with(
        plan,
        log.consumer(),
        log.producers(),
        log.directory(),
        Some(local),
    )
}

pub fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    (dir, folder)
}

/// Few enough that records of one batch share them.
pub fn three_keys(inputs: Vec<Vec<Rec>>) -> Vec<Vec<Rec>> {
    super::repeats::keyed(inputs, |_, offset| Some(format!("k{}", offset % 3)))
}

/// What one record after the other gives.
fn serial(records: &[Rec]) -> Vec<String> {
    let mut sums = BTreeMap::<&[u8], u64>::new();
    let mut outputs = Vec::new();
    for record in records {
        let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
        if value.starts_with("count") || value.starts_with("recall") {
            let sum = sums.entry(record.key.as_deref().unwrap()).or_default();
            *sum += 1;
            outputs.push(format!("{value}:{sum}"));
        }
    }
    outputs
}

fn mixed(offset: i64) -> &'static str {
    match offset % 17 {
        3 => "drop",
        5 => "undo",
        7 => "reject",
        9 => "big",
        11 => "trap",
        13 => "slow",
        15 => "retry",
        _ => "count",
    }
}

/// Whether outputs and state are those of the serial model.
pub fn check(log: &Log, folder: &Folder, seed: u64) {
    let inputs = log.0.borrow().inputs.clone();
    for (partition, records) in inputs.iter().enumerate() {
        let model = serial(records);
        let counted = outputs(log, 0, partition);
        assert_eq!(counted, model, "seed {seed}");
        let sums: u64 = model.iter().map(|_| 1).sum();
        let id = TopicPartition {
            topic: "in".into(),
            partition: i32::try_from(partition).unwrap(),
        };
        let tree = tree(folder, &id);
        // The run ends with the last commit, whose outcome the lane may not know yet: then its copy
        // lags, and whoever comes next reads on. It must never lead.
        catch_up(&tree, log, &id);
        let held = tree.scan(&[], &[]).map(Result::unwrap);
        let held: u64 = held
            .map(|(_, entry)| u64::from_le_bytes((*entry.value).try_into().unwrap()))
            .sum();
        assert_eq!(held, sums, "seed {seed}");
    }
}

#[test]
fn whatever_fails_the_state_is_that_of_one_record_after_the_other() {
    let mut injected = 0;
    for seed in 0..SEEDS {
        let faults = Faults {
            transaction: 60,
            rebalance: 20,
            flawed: None,
        };
        let log = Log::new(three_keys(inputs(2, 60, mixed)), faults, seed);
        let (_dir, folder) = folder();
        let lane = keyed_lane(keeping_sums(dead_letters(), None), &log, &folder);
        assert_eq!(run(lane, &log), LaneEnd::Drained, "seed {seed}");
        check(&log, &folder, seed);
        injected += log.0.borrow().injected;
    }
    assert!(
        u64::from(injected) > 8 * SEEDS,
        "only {injected} faults: the test has lost its teeth"
    );
}

/// What a transform keeps in its own memory is worth no more than what was decided.
#[test]
fn a_transform_forgets_what_came_to_nothing() {
    for seed in 0..SEEDS {
        let faults = Faults {
            transaction: 30,
            ..Faults::default()
        };
        let what = |offset| match offset % 7 {
            3 => "relapse",
            5 => "reject",
            _ => "recall",
        };
        let log = Log::new(three_keys(inputs(2, 60, what)), faults, seed);
        let (_dir, folder) = folder();
        let lane = keyed_lane(keeping_sums(dead_letters(), None), &log, &folder);
        assert_eq!(run(lane, &log), LaneEnd::Drained, "seed {seed}");
        check(&log, &folder, seed);
    }
}

#[test]
fn state_outlives_its_lane_and_its_folder() {
    let mut all_lanes = 0;
    for seed in 0..SEEDS / 2 {
        let faults = Faults {
            transaction: 40,
            rebalance: 20,
            flawed: None,
        };
        let what = |offset| match mixed(offset) {
            // Takes more rounds than a lane lives here.
            "slow" | "retry" => "count",
            what => what,
        };
        let log = Log::new(three_keys(inputs(2, 60, what)), faults, seed);
        // Two, used in turn: each is behind what the other has seen.
        let mut folders = [folder(), folder()];
        let mut lanes = 0;
        while !log.is_done() {
            lanes += 1;
            assert!(lanes < 1000, "seed {seed}: no progress");
            if lanes % 5 == 0 {
                folders.swap(0, 1);
                folders[0] = folder();
            }
            folders.swap(0, 1);
            let mut lane = keyed_lane(keeping_sums(dead_letters(), None), &log, &folders[0].1);
            if lane.replace_producer().is_err() {
                continue;
            }
            for _ in 0..20 {
                match lane.round() {
                    Ok(()) | Err(Interrupt::Suspicion) => {}
                    Err(Interrupt::Transaction { error, in_commit }) => {
                        if lane.recover(&error, in_commit).is_err() {
                            break;
                        }
                    }
                    Err(Interrupt::Lane(_)) => break,
                    Err(Interrupt::Pipeline(reason)) => panic!("seed {seed}: {reason}"),
                }
            }
        }
        all_lanes += lanes;
        // A lane that owns them brings the folder up to the log.
        let local = &folders[0].1;
        let mut lane = keyed_lane(keeping_sums(dead_letters(), None), &log, local);
        while lane.replace_producer().is_err() {}
        for _ in 0..5 {
            if let Err(Interrupt::Transaction { error, in_commit }) = lane.round() {
                lane.recover(&error, in_commit).ok();
            }
        }
        drop(lane);
        check(&log, local, seed);
    }
    assert!(all_lanes > SEEDS, "only {all_lanes} lanes");
}

#[test]
fn what_has_expired_is_gone_from_outputs_folder_and_log() {
    let inputs = inputs(1, 200, |_| "count");
    let mut records = super::repeats::keyed(inputs, |_, offset| Some(format!("k{}", offset % 100)));
    for record in &mut records[0] {
        record.timestamp_ms = record.offset * 10_000;
    }
    let log = Log::new(records, Faults::default(), 1);
    let (_dir, folder) = folder();
    let plan = keeping_sums(dead_letters(), Some(Duration::from_secs(30)));
    assert_eq!(run(keyed_lane(plan, &log, &folder), &log), LaneEnd::Drained);
    let counted = outputs(&log, 0, 0);
    assert!(counted.iter().all(|value| value.ends_with(":1")), "{counted:?}");
    let id = TopicPartition {
        topic: "in".into(),
        partition: 0,
    };
    let held = tree(&folder, &id).count();
    // What expired within the last transaction is still there.
    assert!(held <= 30, "{held} entries are left");
    let mut alive = BTreeMap::new();
    for (key, value) in &log.0.borrow().changes[&0] {
        alive.insert(key.clone(), value.is_some());
    }
    let alive = alive.values().filter(|alive| **alive).count();
    assert!(alive <= 31, "the changelog keeps {alive}");
}

/// What a record sees does not depend on how often it was read before.
#[test]
fn what_expires_is_the_same_whatever_fails() {
    let records = || {
        let mut records = three_keys(inputs(1, 120, |_| "count"));
        for record in &mut records[0] {
            // Forth, and now and then far back or ahead.
            let wave = [0, 3, -40, 7, 55][usize::try_from(record.offset % 5).unwrap()];
            record.timestamp_ms = 1_000_000 + (record.offset * 4 + wave) * 1000;
        }
        records
    };
    let outputs_of = |faults, seed| {
        let log = Log::new(records(), faults, seed);
        let (_dir, folder) = folder();
        let mut plan = keeping_sums(dead_letters(), Some(Duration::from_mins(1)));
        // The transform of these tests lets nothing expire within a call.
        plan.stages[0].batch.records = NonZeroUsize::MIN;
        assert_eq!(run(keyed_lane(plan, &log, &folder), &log), LaneEnd::Drained);
        outputs(&log, 0, 0)
    };
    let undisturbed = outputs_of(Faults::default(), 1);
    assert!(
        undisturbed.iter().filter(|value| value.ends_with(":1")).count() > 3,
        "nothing expires"
    );
    for seed in 0..SEEDS {
        let faults = Faults {
            transaction: 60,
            rebalance: 20,
            flawed: None,
        };
        assert_eq!(outputs_of(faults, seed), undisturbed, "seed {seed}");
    }
}
