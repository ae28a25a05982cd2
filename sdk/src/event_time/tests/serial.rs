//! However records are cut into batches, and whatever is aborted and done again, outputs and state
//! are those of a serial model.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::StreamTime;

/// Windows and timers in the plainest way: all at hand, in sorted maps.
#[derive(Clone, Default)]
struct Model {
    /// By the time at which it closes, its start and its key.
    minutes: BTreeMap<(i64, i64, String), u64>,
    sliding: BTreeMap<(i64, i64, String), u64>,
    timers: BTreeMap<String, i64>,
    emitted: Vec<(i64, String)>,
}

impl Model {
    fn record(&mut self, offset: i64, acts: &[Act], timestamp_ms: i64, now_ms: i64) {
        let before = self.clone();
        self.fire(offset, now_ms);
        self.close("minute", offset, now_ms);
        self.close("sliding", offset, now_ms);
        for act in acts {
            let late = match act {
                Act::Count(key) => {
                    let start = timestamp_ms / MINUTE_MS * MINUTE_MS;
                    count_in(&mut self.minutes, &[start], key, 70_000, now_ms)
                }
                Act::Slide(key) => {
                    let newest = timestamp_ms / MINUTE_MS * MINUTE_MS;
                    let starts = [newest - 2 * MINUTE_MS, newest - MINUTE_MS, newest];
                    count_in(&mut self.sliding, &starts, key, 3 * MINUTE_MS, now_ms)
                }
                Act::Set(key, ms) => {
                    self.timers.insert(key.clone(), now_ms + ms);
                    None
                }
                Act::Cancel(key) => {
                    self.timers.remove(key);
                    None
                }
                Act::Reject => {
                    *self = before;
                    return;
                }
                Act::Retry | Act::Whole => None,
            };
            self.emitted.extend(late.map(|text| (offset, text)));
        }
    }

    fn fire(&mut self, offset: i64, now_ms: i64) {
        let mut due: Vec<_> = self.timers.iter().map(|(key, due)| (*due, key.clone())).collect();
        due.retain(|(due, _)| *due <= now_ms);
        due.sort();
        due.truncate(PORTION);
        for (_, key) in &due {
            self.timers.remove(key);
        }
        for (at, key) in due {
            if key.as_bytes().first() == Some(&AGAIN) {
                self.timers.insert(key.clone(), at + AGAIN_MS);
            }
            self.emitted
                .push((offset, format!("timer {key} {}", at - NOW_MS)));
        }
    }

    fn close(&mut self, kind: &str, offset: i64, now_ms: i64) {
        let windows = if kind == "minute" {
            &mut self.minutes
        } else {
            &mut self.sliding
        };
        for _ in 0..PORTION {
            let Some(first) = windows.first_entry().filter(|first| first.key().0 <= now_ms) else {
                return;
            };
            let ((_, start, key), count) = first.remove_entry();
            self.emitted
                .push((offset, format!("{kind} {key} {} {count}", start - NOW_MS)));
        }
    }

    /// Keys of what is open or set, in the order of a store.
    fn left(&self) -> Vec<String> {
        let windows = self.minutes.iter().chain(&self.sliding);
        let mut left: Vec<_> = windows
            .map(|((_, start, key), count)| format!("{start} {key} {count}"))
            .collect();
        left.extend(self.timers.iter().map(|(key, due)| format!("{key} {due}")));
        left
    }
}

fn count_in(
    windows: &mut BTreeMap<(i64, i64, String), u64>,
    starts: &[i64],
    key: &str,
    closes_after_ms: i64,
    now_ms: i64,
) -> Option<String> {
    let (missed, open): (Vec<i64>, Vec<i64>) = starts
        .iter()
        .partition(|start| **start + closes_after_ms <= now_ms);
    for start in &open {
        *windows
            .entry((start + closes_after_ms, *start, key.to_owned()))
            .or_default() += 1;
    }
    let last = missed.last()?;
    Some(format!("late {} {} {}", last - NOW_MS, missed.len(), open.len()))
}

/// What the tester has in the place of [`Model::left`].
fn left(tester: &Tester<Told>) -> Vec<String> {
    let committed = tester.committed();
    let mut left = Vec::new();
    for store in committed.values().flat_map(|partition| &partition.stores) {
        for (key, entry) in store {
            let number = |bytes: &[u8]| i64::from_be_bytes(*bytes.first_chunk().unwrap());
            match key.as_slice() {
                [255, b'w', at @ ..] => {
                    let key = std::str::from_utf8(&at[16..]).unwrap();
                    let count = std::str::from_utf8(&entry.value[8..]).unwrap();
                    left.push(format!("{} {key} {count}", number(&at[8..])));
                }
                [255, b'k', key @ ..] => {
                    let key = std::str::from_utf8(key).unwrap();
                    left.push(format!("{key} {}", number(&entry.value)));
                }
                _ => {}
            }
        }
    }
    left
}

/// A transaction: records handed over at once, records in it, and whether it is aborted first.
type Transaction = (usize, usize, bool);

/// Runs it as the runtime does: an abort throws away what came after the last commit.
fn run(samples: &[Sample], transactions: &[Transaction]) -> (Tester<Told>, Vec<(i64, String)>) {
    let mut tester = tester().with_pages(200);
    let (mut emitted, mut rest) = (Vec::new(), samples);
    let mut transactions = transactions.iter().cycle();
    while !rest.is_empty() {
        let (batch_records, records, aborted) = *transactions.next().unwrap();
        let committed = tester.committed();
        let (now, later) = rest.split_at(records.min(rest.len()));
        tester.set_batch_records(batch_records);
        if aborted {
            // It dies somewhere, and is cut in another way when it comes back.
            tester.run(now[..now.len().div_ceil(2)].to_vec()).unwrap();
            tester.go_back(committed, ());
            tester.set_batch_records(batch_records + 1);
        }
        let ran = tester.run(now.to_vec()).unwrap();
        let first = samples.len() - rest.len();
        emitted.extend(
            texts(&ran)
                .into_iter()
                .map(|(record, text)| (i64::try_from(first + record).unwrap(), text)),
        );
        rest = later;
    }
    (tester, emitted)
}

fn act() -> impl Strategy<Value = Act> {
    let key = || prop::sample::select(["a", "b", "c", "d", "e", "+f", "+g"].map(str::to_owned).to_vec());
    prop_oneof![
        6 => key().prop_map(Act::Count),
        3 => key().prop_map(Act::Slide),
        3 => (key(), -5_000..200_000_i64).prop_map(|(key, ms)| Act::Set(key, ms)),
        1 => key().prop_map(Act::Cancel),
        1 => Just(Act::Reject),
        1 => Just(Act::Retry),
        1 => Just(Act::Whole),
    ]
}

/// How far the next record is from the one before.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0..20_000_i64,
        2 => -100_000..100_000_i64,
        1 => Just(30 * MINUTE_MS),
    ]
}

/// Timestamps: mostly near each other, some from the future.
fn records() -> impl Strategy<Value = Vec<(i64, Vec<Act>)>> {
    let record = (step(), prop::bool::weighted(0.05), vec(act(), 0..4));
    vec(record, 1..60).prop_map(|records| {
        let mut at = NOW_MS;
        let mut place = |(step, future, acts): (i64, bool, Vec<Act>)| {
            at = (at + step).max(NOW_MS - 10 * MINUTE_MS);
            (if future { at + 400 * MINUTE_MS } else { at }, acts)
        };
        records.into_iter().map(&mut place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn cuts_and_aborts_change_nothing(
        records in records(),
        transactions in vec((1..9_usize, 1..20_usize, any::<bool>()), 1..8),
    ) {
        let mut model = Model::default();
        let mut time = StreamTime::default();
        let mut samples = Vec::new();
        for (offset, (timestamp_ms, acts)) in (0..).zip(&records) {
            model.record(offset, acts, *timestamp_ms, time.observe(*timestamp_ms));
            samples.push(Sample::json(&acts).timestamp(*timestamp_ms).offset(offset));
        }
        let (cut, emitted) = run(&samples, &transactions);
        prop_assert_eq!(&emitted, &model.emitted);
        prop_assert_eq!(left(&cut), model.left());
        // To the last byte: what the SDK keeps for itself too.
        let (whole, again) = run(&samples, &[(usize::MAX, usize::MAX, false)]);
        prop_assert_eq!(again, emitted);
        prop_assert_eq!(cut.committed(), whole.committed());
    }
}
