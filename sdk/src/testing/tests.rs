//! What a transform's author relies on, seen through the tester.

use serde::Deserialize;

use super::*;
use crate::log::Level;
use crate::prelude::*;
use crate::{Batch, Outgoing};

/// Does what the value says.
struct Told {
    greeting: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    greeting: String,
}

impl Transform for Told {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.greeting.is_empty() {
            return Err(Error::reject("greeting must not be empty"));
        }
        Ok(Self {
            greeting: settings.greeting,
        })
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let value = std::str::from_utf8(record.value().unwrap_or(b"tombstone"))?;
        match value {
            "pass" => out.emit(record),
            "drop" => Ok(()),
            "greet" => out.emit(
                record
                    .with_value(&self.greeting)
                    .with_header("n", b"1")
                    .with_header("n", None::<&str>),
            ),
            "new" => out.emit(
                Outgoing::new()
                    .with_key("k")
                    .with_value("v")
                    .with_timestamp(5)
                    .with_partition(6),
            ),
            "tombstone" => out.emit(record.tombstone()),
            "nullkey" => out.emit(record.with_key(None::<&[u8]>)),
            "strip" => out.emit(Outgoing::from(record).without_header("a")),
            "replace" => out.emit(record.with_headers([("x", "y")])),
            "both" => {
                out.emit(record)?;
                out.to("audit").emit(record.with_value(b"seen"))
            }
            "half" => {
                out.emit(record)?;
                Err(Error::reject("after half"))
            }
            "retry" if record.attempt() == 2 => out.emit(record),
            "retry" => {
                out.emit(record)?;
                Err(Error::retry("not yet"))
            }
            "unknown" => {
                drop(out.to("nowhere").emit(record)); // swallowed, and still the pipeline stops
                out.emit(record)
            }
            "negative" => out.emit(record.with_partition(-1)),
            "nested" => {
                out.attempt(record, |_| Err(Error::reject("inner")))?;
                out.emit(record)
            }
            "log" => {
                crate::log::warn("told to");
                Ok(())
            }
            "panic" => panic!("told to"),
            _ => record.json::<u32>().map(|_| ()),
        }
    }
}

fn told() -> Tester<Told> {
    Tester::from_json(r#"{"greeting": "hello"}"#)
        .unwrap()
        .outputs(["default", "audit"])
}

fn run(values: &[&str]) -> Ran {
    told()
        .run(values.iter().map(|value| Sample::value(*value).key("key")))
        .unwrap()
}

fn texts(ran: &Ran, output: &str) -> Vec<String> {
    ran.to(output).iter().map(|emitted| emitted.text()).collect()
}

#[test]
fn what_is_kept_comes_from_the_input() {
    let ran = told()
        .run([Sample::value("pass").key("k").header("a", "1").timestamp(3)])
        .unwrap();
    let expected = Emitted {
        record: 0,
        output: "default".to_owned(),
        key: Some(b"k".to_vec()),
        value: Some(b"pass".to_vec()),
        headers: vec![(b"a".to_vec(), Some(b"1".to_vec()))],
        timestamp: None,
        partition: None,
    };
    assert_eq!(ran.emitted(), [expected]);
}

#[test]
fn each_part_can_be_changed() {
    let ran = told()
        .run(["greet", "new", "strip", "replace"].map(|v| Sample::value(v).header("a", "1")))
        .unwrap();
    let [greet, new, strip, replace] = ran.emitted() else {
        panic!("{ran:?}")
    };
    assert_eq!(greet.text(), "hello");
    let names: Vec<_> = greet.headers.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [b"a", b"n", b"n"]);
    assert_eq!(
        (greet.header("a"), greet.header("n")),
        (Some(b"1".as_slice()), None)
    );
    assert_eq!(
        (new.key.as_deref(), new.text().as_str()),
        (Some(b"k".as_slice()), "v")
    );
    assert_eq!(
        (new.timestamp, new.partition, new.headers.len()),
        (Some(5), Some(6), 0)
    );
    assert_eq!(strip.headers, []);
    assert_eq!(replace.headers, [(b"x".to_vec(), Some(b"y".to_vec()))]);
}

#[test]
fn null_and_empty_are_two_things() {
    let samples = [
        Sample::tombstone(""),
        Sample::value("nullkey").key("k"),
        Sample::value("pass").key(""),
    ];
    let ran = told().run(samples).unwrap();
    let seen: Vec<_> = ran
        .emitted()
        .iter()
        .map(|e| (e.key.as_deref(), e.value.is_some()))
        .collect();
    assert_eq!(
        seen,
        [(Some(b"".as_slice()), false), (None, true), (Some(b""), true)]
    );
}

#[test]
fn records_are_filtered_routed_and_rejected_alone() {
    let ran = run(&["pass", "drop", "both", "half", "not a number", "7", "pass"]);
    assert_eq!(texts(&ran, "default"), ["pass", "both", "pass"]);
    assert_eq!(texts(&ran, "audit"), ["seen"]);
    assert_eq!(ran.filtered(), [1, 5]);
    let failed: Vec<_> = ran.rejects().iter().map(|failed| failed.record).collect();
    assert_eq!(failed, [3, 4]);
    assert_eq!(ran.rejects()[0].reason, "after half");
    assert!(ran.rejects()[1].reason.contains("expected ident"), "{ran:?}");
}

#[test]
fn an_unknown_output_stops_the_pipeline_even_if_swallowed() {
    let error = told()
        .run([Sample::value("pass"), Sample::value("unknown")])
        .unwrap_err();
    assert!(
        error.contains("\"nowhere\"") && error.contains("default"),
        "{error}"
    );
}

#[test]
fn a_retry_comes_back_until_it_is_exhausted() {
    let samples = || ["pass", "retry", "pass"].map(Sample::value);
    let ran = told().attempts(2).run(samples()).unwrap();
    assert_eq!(texts(&ran, "default"), ["pass", "retry", "pass"]);
    assert_eq!(ran.retries().len(), 2);
    let ran = told().attempts(1).run(samples()).unwrap();
    assert_eq!(texts(&ran, "default"), ["pass", "pass"]);
    assert_eq!(
        ran.exhausted(),
        [Failed {
            record: 1,
            reason: "not yet".to_owned()
        }]
    );
    assert_eq!(ran.filtered(), [] as [usize; 0]);
}

#[test]
fn impossible_values_reject_their_record() {
    let ran = run(&["negative", "pass"]);
    assert!(ran.rejects()[0].reason.contains("negative"));
    assert_eq!(texts(&ran, "default"), ["pass"]);
}

#[test]
fn the_first_answer_counts_and_later_records_are_not_lost() {
    let ran = run(&["nested", "pass"]);
    assert_eq!(
        ran.rejects(),
        [Failed {
            record: 0,
            reason: "inner".to_owned()
        }]
    );
    assert_eq!(texts(&ran, "default"), ["pass"]);
}

#[test]
fn logs_are_captured() {
    let ran = run(&["log"]);
    assert_eq!(
        ran.logs(),
        [Logged {
            level: Level::Warn,
            message: "told to".to_owned()
        }]
    );
}

#[test]
#[should_panic(expected = "told to")]
fn a_panic_fails_the_test() {
    run(&["panic"]);
}

#[test]
fn wrong_settings_say_what_is_wrong() {
    let error = |settings| Tester::<Told>::from_json(settings).err().unwrap();
    assert!(
        error("{}").contains("missing field `greeting`"),
        "{}",
        error("{}")
    );
    assert!(error("null").contains("missing field `greeting`"));
    assert!(error(r#"{"greeting": 1}"#).contains("expected a string"));
    assert!(error(r#"{"greeting": "a", "x": 1}"#).contains("unknown field `x`"));
    assert!(error(r#"{"greeting": ""}"#).contains("must not be empty"));
}

/// Answers for batches itself.
#[derive(Default)]
struct Whole {
    saved: Option<Error>,
}

impl Transform for Whole {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self::default())
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.emit(record)
    }

    fn batch(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        let records: Vec<_> = batch.iter().collect();
        for record in &records {
            out.attempt(record, |out| out.emit(record.with_json(&batch.len())?))?;
        }
        if let (Some(first), Some(last)) = (records.first(), records.last()) {
            if last.value() == Some(b"neighbour") {
                out.emit(first)?; // belongs to the last record, and is the first one's bytes
            }
            if last.value() == Some(b"neighbour of retry") {
                return self.saved.take().map_or(Ok(()), Err);
            }
            if first.value() == Some(b"retry") {
                self.saved = out.attempt(first, |_| Err(Error::retry("later"))).err();
                return Ok(());
            }
            if last.value() == Some(b"back") {
                out.attempt(first, |_| Ok(()))?;
            }
        }
        if records.iter().any(|record| record.value() == Some(b"bad")) {
            return Err(Error::reject("a bad one is among them"));
        }
        Ok(())
    }
}

#[test]
fn an_error_of_a_whole_batch_finds_its_record() {
    let mut whole = Tester::<Whole>::new(()).unwrap();
    let ran = whole.run(["a", "bad", "c"].map(Sample::value)).unwrap();
    assert_eq!(texts(&ran, "default"), ["1", "1"]);
    assert_eq!(
        ran.rejects(),
        [Failed {
            record: 1,
            reason: "a bad one is among them".to_owned()
        }]
    );
}

#[test]
fn records_of_another_place_are_copied() {
    let mut whole = Tester::<Whole>::from_json("{}").unwrap();
    let ran = whole
        .run([Sample::value("a").header("h", "1"), Sample::value("neighbour")])
        .unwrap();
    assert_eq!(texts(&ran, "default"), ["2", "2", "a"]);
    let copied = &ran.emitted()[2];
    assert_eq!((copied.record, copied.header("h")), (1, Some(b"1".as_slice())));
}

#[test]
fn records_that_nobody_answered_for_do_not_pass_for_filtered() {
    let mut whole = Tester::<Whole>::from_json("{}").unwrap();
    let ran = whole.run([Sample::value("retry")]).unwrap();
    assert_eq!(ran.exhausted().len(), 1);
    // It now has an error that says that a batch has ended, and returns it for another one.
    let error = whole
        .run(["a", "neighbour of retry"].map(Sample::value))
        .unwrap_err();
    assert!(error.contains("an error of another record"), "{error}");
}

#[test]
fn a_record_that_cannot_be_read_stops_the_pipeline() {
    let samples = ["pass", "pass"].map(Sample::value);
    let input = batch::Input {
        topic: "t",
        partition: 0,
        now_ms: 0,
        records: &samples,
        stream_times_ms: &[],
    };
    let mut bytes = vec![0; batch::encoded_len(&input).unwrap()];
    batch::encode(&input, &mut bytes).unwrap();
    let second = batch::INPUT_HEADER_LEN + batch::TOPIC_LEN + batch::RECORD_LEN;
    bytes[second + 28] = 0xFF; // the length of its value
    let failure = told().guest.process(&mut bytes).unwrap_err();
    assert!(failure.message().contains("entry 1"), "{failure:?}");
}

#[test]
fn records_answered_out_of_order_stop_the_pipeline() {
    let mut whole = Tester::<Whole>::from_json("{}").unwrap();
    let error = whole.run(["a", "back"].map(Sample::value)).unwrap_err();
    assert!(error.contains("in the order"), "{error}");
}

#[test]
fn partitions_come_in_batches_of_their_own() {
    let mut whole = Tester::<Whole>::new(()).unwrap();
    let samples = [0, 0, 1].map(|partition| Sample::value("x").partition(partition));
    assert_eq!(texts(&whole.run(samples).unwrap(), "default"), ["2", "2", "1"]);
}
