//! Pipelines that drop repeats, against serial models of who is first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::*;
use crate::dedup::changelog::{Entry, Table};
use crate::dedup::claim::Verdict;
use crate::dedup::message_id::{IdReader, IdSource, MessageId};
use crate::plan::{ClaimStore, Dedup, DedupMode, OnMissingId, OnStoreError};

const WINDOW_MS: i64 = 1000;
const PLENTY: usize = 1 << 20;

/// A record as it arrives at the lanes: they read partitions in any order, each in its own.
#[derive(Debug, Clone)]
struct Arrival {
    partition: i32,
    id: u8,
    value: &'static str,
    pause_ms: i64,
    /// Whatever held its id is forgotten.
    forgotten: bool,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let value = prop::sample::select(vec!["a", "b", "c", "drop", "reject", "trap"]);
    (0..3, 0_u8..6, value, 0_i64..200, prop::bool::weighted(0.1)).prop_map(
        |(partition, id, value, pause_ms, forgotten)| Arrival {
            partition,
            id,
            value,
            pause_ms,
            forgotten,
        },
    )
}

fn at(partition: i32, id: u8) -> Arrival {
    Arrival {
        partition,
        id,
        value: "a",
        pause_ms: 1,
        forgotten: false,
    }
}

fn message_id(record: &Rec) -> MessageId {
    IdReader::new(IdSource::Header("id".to_owned()), &[])
        .id_of(record)
        .unwrap()
}

/// What became of the records: those of each id, and whether they passed.
struct Worked {
    world: World,
    of_id: BTreeMap<u8, Vec<(i32, Rec, bool)>>,
}

impl Worked {
    fn new(store: ClaimStore, arrivals: &[Arrival]) -> Self {
        let by_partition = store.is_by_partition();
        let mut world = World::bare(3);
        world.plan.dedup = Some(Arc::new(Dedup {
            id: IdSource::Header("id".to_owned()),
            id_definition: "header:id".to_owned(),
            window: Duration::from_millis(WINDOW_MS.unsigned_abs()),
            store,
            mode: DedupMode::Drop,
            on_missing_id: OnMissingId::Pass,
            on_store_error: OnStoreError::Stop,
            scope: None,
        }));
        let mut tables: HashMap<i32, Table> = HashMap::new();
        let mut claims: HashSet<u8> = HashSet::new();
        let (mut now_ms, mut of_id) = (0, BTreeMap::<u8, Vec<_>>::new());
        for arrival in arrivals {
            now_ms += arrival.pause_ms;
            let record = Rec {
                timestamp_ms: now_ms,
                value: Some(arrival.value.as_bytes().to_vec()),
                headers: vec![(b"id".to_vec(), Some(vec![arrival.id]))],
                ..Rec::default()
            };
            let record = world.append(arrival.partition, record);
            let passes = if by_partition {
                let table = tables.entry(arrival.partition);
                let table = table.or_insert_with(|| Table::new(WINDOW_MS));
                let claim = Entry {
                    id: message_id(&record),
                    offset: record.offset,
                    timestamp_ms: record.timestamp_ms,
                };
                table.claim(record.offset, claim) == Verdict::First
            } else {
                claims.insert(arrival.id) || arrival.forgotten
            };
            if passes {
                world.work(arrival.partition, record.clone());
            }
            let worked = (arrival.partition, record, passes);
            of_id.entry(arrival.id).or_default().push(worked);
        }
        Self { world, of_id }
    }

    /// Takes an output away; gives the id of its record.
    fn lose(&mut self, which: prop::sample::Index) -> Option<(u8, i32, i64)> {
        let slots = [("out.default", 0), ("out.default", 1), ("dlq", 0)];
        let counts = slots.map(|(topic, partition)| self.world.log(topic, partition).records.len());
        let total: usize = counts.iter().sum();
        let mut index = which.index(total.max(1));
        for ((topic, partition), count) in slots.into_iter().zip(counts) {
            if index < count {
                let lost = self.world.log(topic, partition).records.remove(index);
                let whose = |records: &(u8, &(i32, Rec, bool))| {
                    let (_, (partition, record, passes)) = records;
                    *passes && Self::is_of(&lost, *partition, record.offset)
                };
                let all = self
                    .of_id
                    .iter()
                    .flat_map(|(id, all)| all.iter().map(|one| (*id, one)));
                let (id, (partition, record, _)) = all.into_iter().find(whose).unwrap();
                return Some((id, *partition, record.offset));
            }
            index -= count;
        }
        None
    }

    /// Whether an output or a dead letter says that it comes from there.
    fn is_of(output: &Rec, partition: i32, offset: i64) -> bool {
        let header = |name: &str| {
            let of_name = |(found, _): &&(Vec<u8>, Option<Vec<u8>>)| found == name.as_bytes();
            let value = output.headers.iter().find(of_name)?.1.clone()?;
            String::from_utf8(value).ok()
        };
        if let Some(source) = header("strait-source") {
            return source.contains(&format!("/topic id/{partition}/{offset}/"));
        }
        header("strait-error-partition") == Some(partition.to_string())
            && header("strait-error-offset") == Some(offset.to_string())
    }

    fn offsets(report: &Report, kind: Kind) -> Vec<(i32, i64)> {
        let (_, listed) = report.findings.iter().find(|(of, _)| *of == kind).unwrap();
        let places = listed.listed.iter().map(|f| (f.input.partition, f.input.offset));
        places.collect()
    }
}

fn changelog() -> ClaimStore {
    ClaimStore::Changelog {
        ids: 1000.try_into().unwrap(),
    }
}

fn memory() -> ClaimStore {
    ClaimStore::Memory {
        ids: 1000.try_into().unwrap(),
    }
}

fn filtered() -> &'static [u8] {
    b"drop"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn by_partition_each_lost_one_is_found_and_no_dropped_one_is(
        arrivals in prop::collection::vec(arrival(), 1..60),
        budget in 0_usize..1500,
        lost: prop::sample::Index,
    ) {
        let mut worked = Worked::new(changelog(), &arrivals);
        let report = worked.world.verify(budget);
        prop_assert!(report.proven, "{report:#?}");
        let dropped = worked.of_id.values().flatten().filter(|(.., passes)| !passes).count();
        prop_assert_eq!(report.outcomes.repeated, dropped as u64);
        prop_assert_eq!(report.outcomes.inputs, arrivals.len() as u64);
        prop_assert_eq!(report.outcomes.exactly_once, arrivals.len() as u64);
        if let Some((_, partition, offset)) = worked.lose(lost) {
            let report = worked.world.verify(budget);
            prop_assert_eq!(Worked::offsets(&report, Kind::Lost), [(partition, offset)]);
            prop_assert_eq!(report.findings.count(Kind::Unproven), 0);
        }
        // A repeat that passed after all.
        let repeat = worked.of_id.values().flatten().find(|(_, record, passes)| {
            !passes && record.value.as_deref() != Some(filtered())
        });
        if let Some((partition, record, _)) = repeat.cloned() {
            worked.world.work(partition, record.clone());
            let report = worked.world.verify(budget);
            let unexpected = Worked::offsets(&report, Kind::Unexpected);
            prop_assert_eq!(unexpected, [(partition, record.offset)]);
        }
    }

    #[test]
    fn what_stands_before_the_range_counts(
        arrivals in prop::collection::vec(arrival(), 1..100),
        from in prop::collection::vec(0_i64..50, 3),
        start in 0_i64..10,
        budget in 0_usize..1500,
        keeps_coming: bool,
        lost: prop::sample::Index,
    ) {
        let mut arrivals = arrivals;
        for arrival in arrivals.iter_mut().filter(|_| keeps_coming) {
            (arrival.partition, arrival.id) = (arrival.partition % 2, arrival.id % 2);
        }
        let mut worked = Worked::new(changelog(), &arrivals);
        let survey = |worked: &Worked| {
            let mut survey = worked.world.survey();
            for (input, from) in survey.inputs.iter_mut().zip(&from) {
                input.asked = *from..i64::MAX;
                input.log_start = start.min(*from);
            }
            survey
        };
        let books = Books { assume_filtered: false, memory_bytes: budget };
        // Nothing is said to be wrong. An id that kept coming may be open.
        let survey_now = survey(&worked);
        let report = worked.world.verify_with(survey_now, books);
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Unproven) {
            prop_assert_eq!(report.findings.count(kind), 0, "{:#?}", report);
        }
        let Some((_, partition, offset)) = worked.lose(lost) else { return Ok(()) };
        let survey_now = survey(&worked);
        let report = worked.world.verify_with(survey_now, books);
        let is_in_range = offset >= from[usize::try_from(partition).unwrap()];
        let is_found = [Kind::Lost, Kind::Unproven]
            .into_iter()
            .any(|kind| covers(&report, kind, partition, offset));
        prop_assert_eq!(is_found, is_in_range, "{:#?}", report);
    }

    #[test]
    fn in_all_partitions_one_of_each_id_must_have_come_through(
        arrivals in prop::collection::vec(arrival(), 1..60),
        budget in 0_usize..1500,
        lost: prop::sample::Index,
    ) {
        let mut worked = Worked::new(memory(), &arrivals);
        let report = worked.world.verify(budget);
        prop_assert!(report.proven, "{report:#?}");
        prop_assert_eq!(report.outcomes.exactly_once, arrivals.len() as u64);
        let Some((id, partition, offset)) = worked.lose(lost) else { return Ok(()) };
        let report = worked.world.verify(budget);
        // Each record of that id counts but those of which nothing stands.
        let all = &worked.of_id[&id];
        let stands = |(of, record, passes): &&(i32, Rec, bool)| {
            let is_lost = (*of, record.offset) == (partition, offset);
            record.value.as_deref() == Some(filtered()) || *passes && !is_lost
        };
        let mut expected: Vec<(i32, i64)> = Vec::new();
        if all.iter().find(stands).is_none() {
            expected.extend(all.iter().map(|(partition, record, _)| (*partition, record.offset)));
            expected.sort_unstable();
        }
        prop_assert_eq!(Worked::offsets(&report, Kind::Lost), expected);
        prop_assert_eq!(report.findings.count(Kind::Unproven), 0);
    }
}

fn covers(report: &Report, kind: Kind, partition: i32, offset: i64) -> bool {
    let (_, listed) = report.findings.iter().find(|(of, _)| *of == kind).unwrap();
    listed.listed.iter().any(|finding| {
        let end = finding.until.unwrap_or(finding.input.offset + 1);
        finding.input.partition == partition && (finding.input.offset..end).contains(&offset)
    })
}

#[test]
fn ids_before_the_range_are_read_as_far_back_as_they_matter() {
    let arrivals: Vec<Arrival> = (0..120)
        .map(|n| at(0, if n % 4 == 3 { n - 3 } else { n }))
        .collect();
    let arrivals = arrivals.into_iter().map(|arrival| Arrival {
        pause_ms: 100,
        ..arrival
    });
    let mut worked = Worked::new(changelog(), &arrivals.collect::<Vec<_>>());
    let mut world = |change: &dyn Fn(&mut Log), log_start| {
        let mut survey = worked.world.survey();
        survey.inputs[0].asked = 80..i64::MAX;
        survey.inputs[0].log_start = log_start;
        change(worked.world.log("out.default", 0));
        let books = Books {
            assume_filtered: false,
            memory_bytes: PLENTY,
        };
        worked.world.verify_with(survey, books)
    };
    // Of what is gone nobody knows how old it is; here it matters no more.
    for log_start in [0, 40] {
        let report = world(&|_| {}, log_start);
        assert!(report.proven, "{report:#?}");
        assert!(report.outcomes.repeated > 10, "{report:#?}");
    }
    assert!(world(&|_| {}, 80).findings.count(Kind::Unproven) > 0);
    let report = world(&|log| drop(log.records.pop()), 0);
    assert_eq!(report.findings.count(Kind::Lost), 1, "{report:#?}");
}

/// One id in two partitions, of which nothing stands, and another that came through.
fn both_lost() -> World {
    let mut worked = Worked::new(memory(), &[at(0, 1), at(1, 1), at(1, 2)]);
    let log = worked.world.log("out.default", 0);
    log.records.remove(0);
    worked.world
}

fn counts(report: &Report) -> (u64, u64) {
    let count = |kind| report.findings.count(kind);
    (count(Kind::Lost), count(Kind::Unproven))
}

#[test]
fn what_cannot_all_be_looked_at_is_unproven() {
    let books = Books {
        assume_filtered: false,
        memory_bytes: PLENTY,
    };
    let mut world = both_lost();
    let report = world.verify_with(world.survey(), books);
    assert_eq!(counts(&report), (2, 0), "{report}");
    let changes: [fn(&mut Survey); 5] = [
        |survey| survey.had_other_inputs = true,
        |survey| survey.inputs[2].is_compacted = true,
        |survey| survey.inputs[2].log_start = 1,
        |survey| survey.inputs[1].asked = 1..i64::MAX,
        |survey| survey.outputs[0].log_start = 1,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut survey = world.survey();
        change(&mut survey);
        let report = world.verify_with(survey, books);
        assert_eq!(report.findings.count(Kind::Lost), 0, "{n}: {report:#?}");
        assert!(report.findings.count(Kind::Unproven) > 0, "{n}: {report:#?}");
        let mut survey = world.survey();
        change(&mut survey);
        let report = world.verify_with(
            survey,
            Books {
                assume_filtered: true,
                ..books
            },
        );
        assert!(report.outcomes.assumed > 0, "{n}: {report:#?}");
    }
    let mut shared = (**world.plan.dedup.as_ref().unwrap()).clone();
    shared.scope = Some("ours".to_owned());
    world.plan.dedup = Some(Arc::new(shared));
    assert_eq!(counts(&world.verify(PLENTY)), (0, 2));
}

#[test]
fn retention_that_strikes_while_ids_are_looked_up_leaves_them_unproven() {
    // Inputs, outputs, the ids of what is absent, then those of all.
    for soon_after in [2, 3] {
        let mut world = both_lost();
        let log = world.log("in", 0);
        (log.start_soon, log.soon_after) = (1, soon_after);
        let report = world.verify(PLENTY);
        assert_eq!(counts(&report), (0, 2), "{soon_after}: {report:#?}");
    }
}

#[test]
fn one_that_is_not_committed_yet_may_have_been_first() {
    let mut worked = Worked::new(memory(), &[at(0, 1), at(1, 2), at(1, 1)]);
    worked.world.log("out.default", 0).records.clear();
    assert_eq!(counts(&worked.world.verify(PLENTY)), (3, 0));
    let mut survey = worked.world.survey();
    survey.inputs[1].committed = 1;
    let books = Books {
        assume_filtered: false,
        memory_bytes: PLENTY,
    };
    let report = worked.world.verify_with(survey, books);
    assert_eq!(counts(&report), (1, 1), "{report:#?}");
}

#[test]
fn one_that_stands_where_it_must_not_makes_no_other_right() {
    let mut worked = Worked::new(memory(), &[at(0, 1), at(1, 1)]);
    let astray = worked.world.log("out.default", 0).records.remove(0);
    worked.world.log("out.audit", 0).append(astray);
    let report = worked.world.verify(PLENTY);
    assert_eq!(counts(&report), (0, 1), "{report:#?}");
    assert_eq!(Worked::offsets(&report, Kind::Unexpected), [(0, 0)]);
    assert_eq!(Worked::offsets(&report, Kind::Unproven), [(1, 0)]);
}

#[test]
fn one_that_was_put_back_is_no_repeat_of_what_it_was() {
    let failed = Arrival {
        value: "reject",
        ..at(0, 1)
    };
    let mut worked = Worked::new(memory(), &[failed]);
    let again = Rec {
        value: Some(b"a".to_vec()),
        headers: vec![
            (b"id".to_vec(), Some(vec![1])),
            (
                b"strait-replayed".to_vec(),
                Some(b"1/cluster/topic id/0/0/1/1/fake".to_vec()),
            ),
        ],
        ..Rec::default()
    };
    let again = worked.world.append(1, again);
    assert_eq!(counts(&worked.world.verify(PLENTY)), (1, 0));
    worked.world.work(1, again);
    assert!(worked.world.verify(PLENTY).proven);
}
