//! Keyed state as an author sees it, held against a map that is changed record by record.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::prelude::*;
use crate::testing::whole::refuse_whole;
use crate::testing::{Ran, Sample, Tester};
use crate::{Batch, Error};

/// What a record may tell [`Told`] to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Act {
    Get(Vec<u8>),
    Put(Vec<u8>, Vec<u8>),
    PutFor(Vec<u8>, Vec<u8>, u64),
    Delete(Vec<u8>),
    Scan(Vec<u8>),
    Reject,
    /// The first time.
    Retry,
    /// Rejects the whole batch, unless the record is alone in it.
    Whole,
}

struct Told;

impl Transform for Told {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        for act in record.json::<Vec<Act>>()? {
            let mut store = out.store("things");
            let seen = match act {
                Act::Get(key) => format!("{:?}", store.get(key)?),
                Act::Put(key, value) => format!("{:?}", store.put(key, value)?),
                Act::PutFor(key, value, ms) => {
                    format!("{:?}", store.put_for(key, value, Duration::from_millis(ms))?)
                }
                Act::Delete(key) => format!("{:?}", store.delete(key)?),
                Act::Scan(prefix) => format!("{:?}", store.scan(prefix)?.collect::<Vec<_>>()),
                Act::Reject => return Err(Error::reject("told to")),
                Act::Retry if record.attempt() == 0 => return Err(Error::retry("told to")),
                Act::Retry | Act::Whole => continue,
            };
            out.emit(record.with_value(seen))?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        refuse_whole(batch, out, |record, out| self.record(record, out))
    }
}

const TTL_MS: i64 = 50;

/// The same, in the plainest way.
#[derive(Default)]
struct Model {
    store: BTreeMap<Vec<u8>, (Vec<u8>, i64)>,
    emitted: Vec<String>,
}

impl Model {
    fn record(&mut self, acts: &[Act], time_ms: i64) {
        let (store, emitted) = (self.store.clone(), self.emitted.len());
        for act in acts {
            let lives = |entry: &&(Vec<u8>, i64)| time_ms < entry.1;
            let seen = match act {
                Act::Get(key) => {
                    format!(
                        "{:?}",
                        self.store.get(key).filter(lives).map(|(value, _)| value.clone())
                    )
                }
                Act::Put(key, value) => {
                    self.store.insert(key.clone(), (value.clone(), time_ms + TTL_MS));
                    "()".to_owned()
                }
                Act::PutFor(key, value, ms) => {
                    let expires = time_ms + i64::try_from(*ms).unwrap();
                    self.store.insert(key.clone(), (value.clone(), expires));
                    "()".to_owned()
                }
                Act::Delete(key) => {
                    self.store.remove(key);
                    "()".to_owned()
                }
                Act::Scan(prefix) => {
                    let found = self
                        .store
                        .iter()
                        .filter(|(key, entry)| key.starts_with(prefix) && lives(entry));
                    let found: Vec<_> = found.map(|(key, (value, _))| (key, value)).collect();
                    format!("{found:?}")
                }
                Act::Reject => {
                    self.store = store;
                    self.emitted.truncate(emitted);
                    return;
                }
                Act::Retry | Act::Whole => continue,
            };
            self.emitted.push(seen);
        }
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let keys: [&[u8]; 10] = [
        b"a\0",
        b"a",
        b"ab",
        b"b",
        &[0],
        &[254, 255],
        &[255],
        &[255, 1],
        &[255, 255],
        &[255, 254, 9],
    ];
    prop::sample::select(keys.map(<[u8]>::to_vec).to_vec())
}

fn act() -> impl Strategy<Value = Act> {
    let prefix = prop_oneof![Just(vec![]), key()];
    prop_oneof![
        6 => key().prop_map(Act::Get),
        6 => (key(), vec(any::<u8>(), 0..30)).prop_map(|(key, value)| Act::Put(key, value)),
        2 => (key(), vec(any::<u8>(), 0..3), 0..40_u64).prop_map(|(key, value, ms)| Act::PutFor(key, value, ms)),
        3 => key().prop_map(Act::Delete),
        4 => prefix.prop_map(Act::Scan),
        1 => Just(Act::Reject),
        1 => Just(Act::Retry),
        1 => Just(Act::Whole),
    ]
}

fn tester() -> Tester<Told> {
    let ttl = Duration::from_millis(u64::try_from(TTL_MS).unwrap());
    Tester::<Told>::new(())
        .unwrap()
        .store_with_ttl("things", ttl)
        .attempts(1)
}

fn sample(acts: &[Act], timestamp_ms: i64) -> Sample {
    Sample::json(&acts).timestamp(timestamp_ms)
}

fn texts(ran: &Ran) -> Vec<String> {
    ran.emitted().iter().map(crate::testing::Emitted::text).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn state_is_what_the_records_made_it_however_they_are_cut(
        records in vec((vec(act(), 0..6), 0..20_i64), 0..30),
        batch_records in 1..12_usize,
        page_bytes in 1..200_usize,
    ) {
        let mut tester = tester().with_pages(page_bytes).batch_records(batch_records);
        let mut model = Model::default();
        let (mut time_ms, mut samples) = (0, Vec::new());
        for (acts, ms) in &records {
            time_ms += ms;
            samples.push(sample(acts, time_ms));
            model.record(acts, time_ms);
        }
        let ran = tester.run(samples).unwrap();
        prop_assert_eq!(texts(&ran), model.emitted);
        let stored: Vec<_> = tester.stored("things").into_iter().map(|entry| (entry.key, entry.value)).collect();
        let lives = model.store.into_iter().filter(|(_, (_, expires))| time_ms < *expires);
        prop_assert_eq!(stored, lives.map(|(key, (value, _))| (key, value)).collect::<Vec<_>>());
    }
}

#[test]
fn an_entry_is_there_until_the_time_at_which_it_expires() {
    let put = sample(&[Act::Put(b"k".to_vec(), b"v".to_vec())], 100);
    let get = |ms| sample(&[Act::Get(b"k".to_vec())], ms);
    for batch_records in [1, 9] {
        let mut tester = tester().batch_records(batch_records);
        let ran = tester.run([put.clone(), get(149), get(150), get(0)]).unwrap();
        assert_eq!(
            texts(&ran)[1..],
            ["Some([118])", "None", "None"],
            "stream time does not go back"
        );
    }
}

#[test]
fn without_a_stream_time_state_goes_by_the_record() {
    let samples = [sample(&[], 7), sample(&[], 7), Sample::value("[]")];
    let mut tester = tester();
    assert_eq!(tester.run(samples.clone()).unwrap().filtered(), [0, 1, 2]);
    let times: Vec<_> = samples.iter().map(Sample::state_time_ms).collect();
    assert_eq!(times, [7, 7, 0]);
}

#[test]
fn an_empty_key_rejects_the_record_and_an_unknown_store_stops_the_pipeline() {
    let get = || [sample(&[Act::Get(vec![])], 1)];
    let ran = tester().run(get()).unwrap();
    assert!(ran.rejects()[0].reason.contains("must not be empty"), "{ran:?}");
    let put = || [sample(&[Act::Put(vec![1], vec![])], 1)];
    let error = Tester::<Told>::new(())
        .unwrap()
        .stores(["other", "one"])
        .run(put())
        .unwrap_err();
    assert!(
        error.contains("\"things\"") && error.contains("other, one"),
        "{error}"
    );
    assert!(error.contains("state: { things: { ttl: 30d } }"), "{error}");
    let error = Tester::<Told>::new(()).unwrap().run(put()).unwrap_err();
    assert!(error.contains("it has: none"), "{error}");
}

#[test]
fn partitions_share_nothing() {
    let put = sample(&[Act::Put(b"k".to_vec(), b"v".to_vec())], 5);
    let get = sample(&[Act::Get(b"k".to_vec())], 5);
    let mut tester = tester();
    let ran = tester
        .run([put, get.clone().partition(1), get.clone().topic("other"), get])
        .unwrap();
    assert_eq!(texts(&ran)[1..], ["None", "None", "Some([118])"]);
    let stored = tester.stored_at("things", "k").unwrap();
    assert_eq!(
        (stored.partition, stored.text().as_str(), stored.expires_at_ms),
        (0, "v", Some(55))
    );
}

/// Uses state where there is no record.
struct Outside;

impl Transform for Outside {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, _: &Record<'_>, _: &mut Output<'_>) -> Result<()> {
        Ok(())
    }

    fn batch(&mut self, _: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        out.store("things").get("k").map(|_| ())
    }
}

#[test]
fn state_outside_of_an_attempt_stops_the_pipeline() {
    let mut outside = Tester::<Outside>::new(()).unwrap().stores(["things"]);
    let error = outside.run([Sample::value("")]).unwrap_err();
    assert!(error.contains("outside of `Output::attempt`"), "{error}");
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    times: u64,
}

const COUNTS: Typed<Count> = Typed::new("counts");

struct Counts;

impl Transform for Counts {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let key = record.key().unwrap_or_default();
        match record.value().unwrap_or_default() {
            b"forget" => COUNTS.delete(out, key),
            b"spoil" => out.store("counts").put(key, "no JSON"),
            b"all" => {
                let all: Vec<_> = COUNTS.scan(out, "")?.collect::<Result<_>>()?;
                out.emit(record.with_json(&all.iter().map(|(_, count)| count.times).sum::<u64>())?)
            }
            b"long" => COUNTS.put_for(out, key, &Count { times: 9 }, Duration::MAX),
            _ => {
                let times = COUNTS.update(out, key, |count| {
                    count.times += 1;
                    count.times
                })?;
                out.emit(record.with_json(&times)?)
            }
        }
    }
}

#[test]
fn a_typed_store_reads_and_writes_its_type() {
    let mut counts = Tester::<Counts>::new(()).unwrap().stores(["counts"]);
    let of = |key: &str, value: &str| Sample::value(value).key(key);
    let ran = counts.run([
        of("a", ""),
        of("b", ""),
        of("a", ""),
        of("x", "all"),
        of("a", "forget"),
        of("a", ""),
    ]);
    assert_eq!(texts(&ran.unwrap()), ["1", "1", "2", "3", "1"]);
    let ran = counts
        .run([
            of("b", "spoil"),
            of("b", ""),
            of("x", "all"),
            of("b", "long"),
            of("b", ""),
        ])
        .unwrap();
    assert_eq!(texts(&ran), ["10"]);
    assert!(
        ran.rejects()[0].reason.contains("\"counts\" has under \"b\""),
        "{ran:?}"
    );
    assert_eq!((ran.rejects().len(), ran.rejects()[1].record), (2, 2));
    assert_eq!(
        counts.stored_at("counts", "b").unwrap().json(),
        Ok(Count { times: 10 })
    );
}

#[test]
fn what_an_instance_remembers_is_lost_and_what_it_stored_is_not() {
    let mut counts = Tester::<Counts>::new(()).unwrap().stores(["counts"]);
    counts.run([Sample::value("").key("a")]).unwrap();
    counts.restart(()).unwrap();
    let ran = counts.run([Sample::value("").key("a")]).unwrap();
    assert_eq!(texts(&ran), ["2"]);
}

#[test]
fn a_page_that_is_none_stops_the_pipeline_and_is_not_walked_for_ever() {
    let spoils: [fn(Vec<u8>) -> Vec<u8>; 3] = [
        |mut page| {
            page.pop();
            page
        },
        |_| [&[1, 0, 0, 0, 0, 0, 0, 0][..], b"a"].concat(), // the same again and again
        |page| match page.len() {
            0 => page,
            _ => [&[1, 0, 0, 0, 0, 0, 0, 0][..], b"b"].concat(), // not what was asked for
        },
    ];
    for how in spoils {
        let mut tester = tester();
        let put = sample(&[Act::Put(b"a".to_vec(), b"v".to_vec())], 1);
        tester.run([put.clone()]).unwrap();
        crate::testing::host::watch::spoil(how);
        let error = tester.run([sample(&[Act::Scan(b"a".to_vec())], 1)]).unwrap_err();
        assert!(error.contains("a page of a state store that is none"), "{error}");
    }
}
