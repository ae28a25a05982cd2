//! The whole of it on logs in memory: recomputing, reading, rounds.

mod repeats;

use proptest::prelude::*;

use super::account::{InputFacts, Output, OutputTopic};
use super::finding::Kind;
use super::*;
use crate::inquiry::testing::{Log, Reader, Rec};
use crate::lane::dead_letter::{DeadLetter, LetterHeaders};
use crate::lane::outgoing::Capacity;
use crate::lane::testing::Script;
use crate::plan::{BatchLimits, HeaderStyle, Then};
use crate::stage::FailureKind;
use crate::stage::fake;

fn id(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition,
    }
}

const OUT_PARTITIONS: i64 = 2;

/// A pipeline through [`Script`], its inputs, and what it wrote.
struct World {
    reader: Reader,
    plan: Pipeline,
    inputs: Vec<TopicPartition>,
}

impl World {
    /// Inputs with these values (`None`: a tombstone), worked off.
    fn new(inputs: &[Vec<Option<&str>>]) -> Self {
        let mut world = Self::bare(inputs.len());
        for (partition, values) in (0..).zip(inputs) {
            for value in values {
                let end = world.log("in", partition).end;
                let record = Rec {
                    key: (end % 2 == 0).then(|| b"k".to_vec()),
                    value: value.map(|value| value.as_bytes().to_vec()),
                    headers: vec![(b"h".to_vec(), None)],
                    ..Rec::default()
                };
                let record = world.append(partition, record);
                world.work(partition, record);
            }
        }
        world
    }

    /// So many inputs, and no record.
    fn bare(inputs: usize) -> Self {
        let limits = BatchLimits {
            records: 4.try_into().unwrap(),
            bytes: (1 << 20).try_into().unwrap(),
        };
        let mut plan = fake::plan(1, limits);
        plan.on_error.then = Then::DeadLetter {
            topic: "dlq".to_owned(),
            style: HeaderStyle::Strait,
        };
        let inputs: Vec<_> = (0..).take(inputs).map(|partition| id("in", partition)).collect();
        let outputs = [
            id("out.default", 0),
            id("out.default", 1),
            id("out.audit", 0),
            id("dlq", 0),
        ];
        let mut reader = Reader::default();
        for partition in inputs.iter().cloned().chain(outputs) {
            reader.logs.insert(partition, Log::default());
        }
        Self { reader, plan, inputs }
    }

    /// One more record of the input, with its offset.
    fn append(&mut self, partition: i32, record: Rec) -> Rec {
        let offset = self.log("in", partition).append(record.clone());
        Rec { offset, ..record }
    }

    /// Writes what a lane writes, by the rules of [`Script`], written down here once more.
    fn work(&mut self, partition: i32, record: Rec) {
        let kind = match record.value.as_deref() {
            Some(b"drop") => return,
            Some(b"reject") => FailureKind::Reject,
            Some(b"trap") => FailureKind::Trap,
            Some(b"slow") => FailureKind::Deadline,
            Some(b"retry") => FailureKind::Retry,
            _ => {
                let output = Self::output_of(partition, &record);
                let number = i32::try_from(record.offset % OUT_PARTITIONS).unwrap();
                self.log("out.default", number).append(output);
                return;
            }
        };
        let letter = DeadLetter {
            kind,
            reason: "why",
            stage: "wasm-1",
            module_sha256: "0000",
            attempts: 1,
            topic: "in",
            topic_id: "topic id",
            partition,
            offset: record.offset,
            timestamp_ms: 1000,
            pipeline: "fake",
            lane: 0,
        };
        let headers = LetterHeaders::new(HeaderStyle::Strait, &letter);
        let added = headers
            .iter()
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
        let headers = record.headers.iter().cloned().chain(added).collect();
        self.log("dlq", 0).append(Rec { headers, ..record });
    }

    fn output_of(partition: i32, record: &Rec) -> Rec {
        let source = format!("1/cluster/topic id/{partition}/{}/1/1/fake", record.offset);
        let mut headers = record.headers.clone();
        headers.push((b"strait-source".to_vec(), Some(source.into_bytes())));
        Rec {
            headers,
            ..record.clone()
        }
    }

    fn log(&mut self, topic: &str, partition: i32) -> &mut Log {
        self.reader.logs.get_mut(&id(topic, partition)).unwrap()
    }

    fn survey(&self) -> Survey {
        let uses = [(true, None), (true, None), (false, Some(HeaderStyle::Strait))];
        let outputs = [(0, 0), (0, 1), (1, 0), (2, 0)];
        let topics = ["out.default", "out.audit", "dlq"];
        Survey {
            cluster_id: "cluster".into(),
            inputs: self
                .inputs
                .iter()
                .map(|id| InputFacts {
                    id: id.clone(),
                    topic_id: "topic id".into(),
                    began: 0,
                    committed: self.reader.logs[id].end,
                    log_start: self.reader.logs[id].start,
                    is_compacted: false,
                    asked: 0..i64::MAX,
                })
                .collect(),
            topics: topics
                .iter()
                .map(|name| OutputTopic {
                    name: (*name).into(),
                    is_compacted: false,
                })
                .collect(),
            uses: uses.map(|(outputs, letters)| Use { outputs, letters }).to_vec(),
            outputs: outputs
                .iter()
                .map(|(topic, partition)| {
                    let log = &self.reader.logs[&id(topics[usize::from(*topic)], *partition)];
                    Output {
                        topic: *topic,
                        partition: *partition,
                        log_start: log.start,
                        end: log.end,
                    }
                })
                .collect(),
            topic_of: vec![0, 1, 2],
            capacities: vec![Capacity::new(1 << 20, 2); 3],
            had_other_inputs: false,
        }
    }

    fn verify(&mut self, memory_bytes: usize) -> Report {
        let books = Books {
            assume_filtered: false,
            memory_bytes,
        };
        self.verify_with(self.survey(), books)
    }

    fn verify_with(&mut self, survey: Survey, books: Books) -> Report {
        let committed: Vec<Option<i64>> = survey.inputs.iter().map(|input| Some(input.committed)).collect();
        let mut ask = || Ok(committed.clone());
        let (mut total, mut read) = (0, 0);
        let mut progress = |progress| match progress {
            Progress::Passed(Passed::Total(offsets)) => total = read + offsets,
            Progress::Passed(Passed::Offsets(offsets)) => read += offsets,
            Progress::Inputs | Progress::Outputs => {}
        };
        let plan = Arc::new(self.plan.clone());
        let mut proof = Proof::new(&plan, &[Script], survey, books, &mut ask, &mut progress).unwrap();
        let logs = self.reader.logs.clone();
        let mut offset_at = |id: &TopicPartition, ms| {
            let not_older = |record: &&Rec| record.timestamp_ms >= ms;
            Ok(logs[id]
                .records
                .iter()
                .find(not_older)
                .map(|record| record.offset))
        };
        before::look_back(&mut proof, &mut self.reader, &mut offset_at).unwrap();
        proof.rounds(&mut self.reader).unwrap();
        let report = Report::new(&plan, Vec::new(), proof.account);
        assert!(read <= total, "{read} of {total}");
        report
    }
}

fn all_sorts() -> Vec<Vec<Option<&'static str>>> {
    vec![
        vec![
            Some("a"),
            None,
            Some("drop"),
            Some("reject"),
            Some(""),
            Some("trap"),
            Some("z"),
        ],
        vec![Some("slow"), Some("b"), Some("retry"), Some("c")],
        vec![],
    ]
}

#[test]
fn everything_that_may_become_of_a_record_is_proven() {
    for memory in [0, 60, 1 << 20] {
        let report = World::new(&all_sorts()).verify(memory);
        assert!(report.proven, "{report:#?}");
        let o = report.outcomes;
        assert_eq!((o.inputs, o.exactly_once), (11, 11), "{report}");
        assert_eq!((o.outputs, o.filtered, o.dead_letters), (6, 1, 4), "{report}");
    }
}

#[test]
fn tombstones_are_not_empty_values() {
    let mut world = World::new(&all_sorts());
    for log in world.reader.logs.values_mut() {
        for record in log.records.iter_mut().filter(|record| record.value.is_none()) {
            // The input's too; then it is put back there.
            record.value = Some(Vec::new());
        }
    }
    world.log("in", 0).records[1].value = None;
    let report = world.verify(1 << 20);
    assert_eq!(report.findings.count(Kind::Differs), 1, "{report}");
}

#[test]
fn retention_that_strikes_while_reading_leaves_a_part_unproven() {
    let mut world = World::new(&all_sorts());
    world.log("in", 0).start_soon = 4;
    let report = world.verify(1 << 20);
    assert_eq!(report.findings.count(Kind::Unproven), 4, "{report:#?}");
    assert_eq!((report.outcomes.inputs, report.outcomes.exactly_once), (8, 8));
    // Of an output: what may have stood there is not lost.
    let mut world = World::new(&all_sorts());
    let end = world.log("out.default", 0).end;
    world.log("out.default", 0).start_soon = end;
    let report = world.verify(1 << 20);
    assert_eq!(report.findings.count(Kind::Lost), 0, "{report:#?}");
    assert!(report.findings.count(Kind::Unproven) > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_honest_run_is_proven_and_a_lost_output_found(
        inputs in prop::collection::vec(
            prop::collection::vec(
                prop::option::of(prop::sample::select(vec!["a", "b", "drop", "reject", "trap", "slow"])), 0..20,
            ),
            1..4,
        ),
        memory in 0_usize..1000,
        lost: prop::sample::Index,
    ) {
        let mut world = World::new(&inputs);
        let report = world.verify(memory);
        let count: usize = inputs.iter().map(Vec::len).sum();
        // Of no input nothing is proven.
        prop_assert_eq!(report.proven, count > 0, "{:#?}", report);
        prop_assert_eq!(report.outcomes.inputs, count as u64);
        let log = world.log("out.default", 0);
        if !log.records.is_empty() {
            let lost = lost.index(log.records.len());
            log.records.remove(lost);
            let report = world.verify(memory);
            prop_assert_eq!(report.findings.count(Kind::Lost), 1);
            prop_assert_eq!(report.outcomes.exactly_once, count as u64 - 1);
        }
    }
}
