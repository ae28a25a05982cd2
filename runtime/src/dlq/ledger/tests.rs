use proptest::prelude::*;

use super::*;
use crate::kafka::Flaw;
use crate::lane::testing::{Faults, Log, MemoryProducers};

/// The log in memory takes keys that begin so for marks.
const TOPIC_ID: &str = "start";
const LETTERS: i64 = 40;

fn marks_of(log: &Log) -> Marks {
    let mut marks = Marks::new(TOPIC_ID);
    for (key, value) in &log.0.borrow().control {
        marks.take(Some(key), Some(value)).unwrap();
    }
    marks
}

fn open(log: &Log) -> Result<Ledger<'_, MemoryProducers>, Trouble> {
    let read_marks = Box::new(|| Ok(marks_of(log)));
    Ledger::open(log.producers(), 1, "p", Duration::ZERO, 0, read_marks)
}

fn place(offset: i64) -> Place {
    Place { partition: 0, offset }
}

fn entry(offset: i64, value: &str) -> Entry {
    let record = Outgoing {
        topic: 0,
        name: "in".to_owned(),
        partition: None,
        key: None,
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
        timestamp_ms: None,
    };
    Entry {
        place: place(offset),
        mark: Some(Mark::Replayed),
        record: Some(record),
    }
}

/// As one run of the command: all that wait, in batches. Counts what it settled.
fn replay(log: &Log, batch: usize) -> Result<usize, Trouble> {
    let mut ledger = open(log)?;
    let waiting: Vec<i64> = (0..LETTERS)
        .filter(|offset| ledger.marks().of(place(*offset)).is_none())
        .collect();
    let mut done = 0;
    for batch in waiting.chunks(batch) {
        let entries = batch.iter().map(|offset| entry(*offset, &offset.to_string()));
        done += ledger.settle(entries.collect())?.done;
    }
    Ok(done)
}

fn produced(log: &Log) -> Vec<i64> {
    let outputs = log.0.borrow().outputs.clone();
    let number = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap().parse().unwrap();
    let mut produced: Vec<i64> = outputs.into_iter().map(|out| number(out.value)).collect();
    produced.sort_unstable();
    produced
}

proptest! {
    /// Every call may fail, before or after it took effect; whoever gives up is run again.
    #[test]
    fn whatever_fails_each_record_is_put_back_once(
        seed: u64, transaction in 0_u32..80, batch in 1_usize..12,
    ) {
        let faults = Faults { transaction, ..Faults::default() };
        let log = Log::new(Vec::new(), faults, seed);
        let done = (0..500).any(|_| replay(&log, batch).is_ok());
        prop_assert!(done, "it never came to an end");
        let all: Vec<i64> = (0..LETTERS).collect();
        prop_assert_eq!(&produced(&log), &all);
        // And once more replays nothing.
        let again = (0..500).find_map(|_| replay(&log, batch).ok());
        prop_assert_eq!(again, Some(0));
        prop_assert_eq!(produced(&log).len(), all.len());
    }
}

#[test]
fn a_second_one_ends_the_first_and_repeats_nothing() {
    let log = Log::new(Vec::new(), Faults::default(), 1);
    let mut first = open(&log).unwrap();
    let half = (0..20).map(|offset| entry(offset, &offset.to_string()));
    assert_eq!(first.settle(half.collect()).unwrap().done, 20);
    assert_eq!(replay(&log, 7).unwrap(), 20);
    let rest = (20..40).map(|offset| entry(offset, &offset.to_string()));
    let fenced = first.settle(rest.collect()).unwrap_err();
    assert!(matches!(fenced, Trouble::Fenced { .. }), "{fenced}");
    assert_eq!(produced(&log).len(), 40);
}

#[test]
fn a_record_that_the_broker_refuses_is_left_out_alone() {
    for seed in 0..20 {
        let faults = Faults {
            flawed: Some((b"7", Flaw::TooLarge)),
            ..Faults::default()
        };
        let log = Log::new(Vec::new(), faults, seed);
        let mut ledger = open(&log).unwrap();
        let entries = (0..12).map(|offset| entry(offset, &offset.to_string()));
        let settled = ledger.settle(entries.collect()).unwrap();
        let refused: Vec<Place> = settled.refused.iter().map(|(place, _)| *place).collect();
        assert_eq!((settled.done, refused), (11, vec![place(7)]));
        assert_eq!(marks_of(&log).of(place(7)), None, "it waits");
        assert_eq!(produced(&log), [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]);
    }
}
