//! Windows and timers as an author sees them; against a serial model in `serial`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;
use crate::prelude::*;
use crate::testing::whole::refuse_whole;
use crate::testing::{Emitted, Ran, Sample, Tester};
use crate::{Batch, Outgoing};

mod serial;

const MINUTE_MS: i64 = 60_000;
/// A time like those of real records, at the start of a minute.
const NOW_MS: i64 = 28_333_333 * MINUTE_MS;

const MINUTES: Windows<u64> =
    Windows::tumbling("minutes", Duration::from_mins(1)).with_grace(Duration::from_secs(10));
const SLIDING: Windows<u64> = Windows::sliding("sliding", Duration::from_mins(3), Duration::from_mins(1));
const TIMERS: Timers = Timers::new("timers");

/// What a record tells [`Told`] to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Act {
    Count(String),
    Slide(String),
    /// Sets the timer of a key so many milliseconds from the stream time on.
    Set(String, i64),
    Cancel(String),
    Reject,
    /// The first time.
    Retry,
    /// Rejects the whole batch, unless the record is alone in it.
    Whole,
}

struct Told;

/// A key that begins with this has its timer set again when it fires.
const AGAIN: u8 = b'+';
const AGAIN_MS: i64 = 20_000;

impl Told {
    fn advance(record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        TIMERS.fire(out, |out, timer| {
            if timer.key.first() == Some(&AGAIN) {
                TIMERS.set(out, &timer.key, timer.due_ms + AGAIN_MS)?;
            }
            let text = format!(
                "timer {} {}",
                String::from_utf8_lossy(&timer.key),
                timer.due_ms - NOW_MS
            );
            out.emit(Outgoing::new().with_value(text))
        })?;
        let closed = |kind: &'static str| {
            move |out: &mut Output<'_>, closed: Closed<u64>| {
                let key = String::from_utf8_lossy(&closed.key).into_owned();
                let start = closed.window.start_ms - NOW_MS;
                let text = format!("{kind} {key} {start} {}", closed.value);
                out.emit(Outgoing::new().with_value(text))
            }
        };
        let minutes = MINUTES.advance(out, closed("minute"))?;
        let sliding = SLIDING.advance(out, closed("sliding"))?;
        for act in record.json::<Vec<Act>>()? {
            let arrival = match act {
                Act::Count(key) => minutes.update(out, record, key, |count| *count += 1)?,
                Act::Slide(key) => sliding.update(out, record, key, |count| *count += 1)?,
                Act::Set(key, ms) => {
                    TIMERS.set(out, key, record.stream_time().unwrap_or(0) + ms)?;
                    continue;
                }
                Act::Cancel(key) => {
                    TIMERS.cancel(out, key)?;
                    continue;
                }
                Act::Reject => return Err(Error::reject("told to")),
                Act::Retry if record.attempt() == 0 => return Err(Error::retry("told to")),
                Act::Retry | Act::Whole => continue,
            };
            if let Arrival::Late(late) = arrival {
                let text = format!(
                    "late {} {} {}",
                    late.window.start_ms - NOW_MS,
                    late.missed,
                    late.counted
                );
                out.emit(Outgoing::new().with_value(text))?;
            }
        }
        Ok(())
    }
}

impl Transform for Told {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        Self::advance(record, out)
    }

    fn batch(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        refuse_whole(batch, out, |record, out| self.record(record, out))
    }
}

fn tester() -> Tester<Told> {
    // The stores forget quickly, which must not touch what is to be done.
    let mut tester = Tester::<Told>::new(()).unwrap().attempts(1);
    for store in ["minutes", "sliding", "timers"] {
        tester = tester.store_with_ttl(store, Duration::from_millis(1));
    }
    tester
}

fn at(ms: i64, acts: &[Act]) -> Sample {
    Sample::json(&acts).timestamp(NOW_MS + ms)
}

fn count(ms: i64, key: &str) -> Sample {
    at(ms, &[Act::Count(key.to_owned())])
}

/// Which record emitted what.
fn texts(ran: &Ran) -> Vec<(usize, String)> {
    let text = |emitted: &Emitted| (emitted.record, emitted.text());
    ran.emitted().iter().map(text).collect()
}

fn expect(ran: &Ran, expected: &[(usize, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(record, text)| (*record, (*text).to_owned()))
        .collect();
    assert_eq!(texts(ran), expected);
}

#[test]
fn a_window_closes_with_the_record_that_reaches_its_grace() {
    let samples = [
        count(0, "a"),
        count(59_999, "b"),
        count(60_000, "a"), // the next minute
        count(59_000, "a"), // in the grace period
        count(69_999, "c"),
        count(70_000, "c"),
    ];
    let ran = tester().run(samples).unwrap();
    expect(&ran, &[(5, "minute a 0 2"), (5, "minute b 0 1")]);
}

#[test]
fn what_comes_later_is_handed_back() {
    let samples = [
        count(0, "a"),
        count(70_000, "a"),
        count(59_999, "a"),
        count(60_000, "a"),
    ];
    let ran = tester().run(samples).unwrap();
    expect(&ran, &[(1, "minute a 0 1"), (2, "late 0 1 0")]);
}

#[test]
fn a_record_from_the_future_closes_nothing() {
    let year = 365 * 24 * 60 * MINUTE_MS;
    for first in [
        [count(year, "f"), count(0, "a")],
        [count(0, "a"), count(year, "f")],
    ] {
        let ran = tester()
            .run(first.into_iter().chain([count(50_000, "a"), count(70_000, "b")]))
            .unwrap();
        expect(&ran, &[(3, "minute a 0 2")]);
    }
}

#[test]
fn a_record_counts_in_each_sliding_window_that_is_open() {
    let slide = |ms| at(ms, &[Act::Slide("k".to_owned())]);
    let m = MINUTE_MS;
    let ran = tester()
        .run([slide(0), slide(m), slide(2 * m), slide(0), slide(9 * m)])
        .unwrap();
    let expected = [
        (1, format!("sliding k {} 1", -2 * m)),
        (2, format!("sliding k {} 2", -m)),
        (3, format!("late {} 2 1", -m)),
        (4, "sliding k 0 4".to_owned()),
        (4, format!("sliding k {m} 2")),
        (4, format!("sliding k {} 1", 2 * m)),
    ];
    assert_eq!(texts(&ran), expected);
}

#[test]
fn the_first_windows_of_time_begin_with_it() {
    let windows: Vec<_> = SLIDING.windows(MINUTE_MS).map(|window| window.start_ms).collect();
    assert_eq!(windows, [0, MINUTE_MS]);
    assert_eq!(MINUTES.windows(i64::MAX).count(), 1);
}

#[test]
fn windows_may_begin_at_other_distances_than_parts_of_their_size() {
    let ms = Duration::from_millis;
    let starts = |time_ms| {
        let odd = Windows::<u64>::sliding("odd", ms(5), ms(2));
        odd.windows(time_ms)
            .map(|window| window.start_ms)
            .collect::<Vec<_>>()
    };
    assert_eq!((starts(10), starts(11)), (vec![6, 8, 10], vec![8, 10]));
}

#[test]
fn a_burst_is_done_in_portions_and_in_its_order() {
    let open = ["c", "b", "a", "e", "d", "g", "f"].map(|key| count(0, key));
    // The window of g is closed already, though its turn has not come.
    let late = [count(100_000, "x"), count(0, "g"), count(100_000, "x")];
    let ran = tester().run(open.into_iter().chain(late)).unwrap();
    let closed = |record, key: &str| (record, format!("minute {key} 0 1"));
    let mut expected: Vec<_> = ["a", "b", "c"].map(|key| closed(7, key)).to_vec();
    expected.extend(["d", "e", "f"].map(|key| closed(8, key)));
    expected.extend([(8, "late 0 1 0".to_owned()), closed(9, "g")]);
    assert_eq!(texts(&ran), expected);
}

#[test]
fn a_rejected_record_closes_nothing() {
    let reject = at(70_000, &[Act::Count("b".to_owned()), Act::Reject]);
    let ran = tester()
        .run([count(0, "a"), reject, count(70_000, "c"), count(200_000, "d")])
        .unwrap();
    expect(&ran, &[(2, "minute a 0 1"), (3, "minute c 60000 1")]);
    assert_eq!(ran.rejects().len(), 1);
}

#[test]
fn a_timer_fires_once_and_can_be_moved_and_cancelled() {
    let set = |ms, key: &str, after| at(ms, &[Act::Set(key.to_owned(), after)]);
    let samples = [
        set(0, "a", 10),
        set(0, "b", 20),
        set(1, "a", 99), // 100 instead of 10
        set(2, "c", -5), // due already
        at(30, &[Act::Cancel("d".to_owned())]),
        set(31, "e", 1),
        at(31, &[Act::Cancel("e".to_owned())]),
        at(99, &[]),
        at(100, &[]),
        at(500, &[]),
    ];
    let ran = tester().run(samples).unwrap();
    expect(&ran, &[(4, "timer c -3"), (4, "timer b 20"), (8, "timer a 100")]);
}

#[test]
fn impossible_windows_stop_the_pipeline() {
    struct Wrong;
    impl Transform for Wrong {
        type Settings = ();
        fn new((): ()) -> Result<Self> {
            Ok(Self)
        }
        fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
            let ms = Duration::from_millis;
            let windows = match record.value().unwrap_or_default() {
                b"empty" => Windows::<u64>::tumbling("w", ms(0)),
                b"gaps" => Windows::sliding("w", ms(5), ms(6)),
                b"many" => Windows::sliding("w", ms(65), ms(1)),
                _ => Windows::sliding("w", ms(64), ms(1)),
            };
            windows.advance(out, |_, _| Ok(())).map(|_| ())
        }
    }
    let run = |value| {
        Tester::<Wrong>::new(())
            .unwrap()
            .stores(["w"])
            .run([Sample::value(value)])
    };
    for wrong in ["empty", "gaps", "many"] {
        assert!(run(wrong).unwrap_err().contains("in 1 to 64"), "{wrong}");
    }
    run("possible").unwrap();
}

#[test]
fn a_window_of_another_type_stops_the_pipeline_and_rejects_nobody() {
    struct Changed;
    impl Transform for Changed {
        type Settings = ();
        fn new((): ()) -> Result<Self> {
            Ok(Self)
        }
        fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
            let texts = Windows::<String>::tumbling("minutes", Duration::from_mins(1));
            let grace = Duration::from_secs(if record.value() == Some(b"same") { 10 } else { 0 });
            let texts = texts.with_grace(grace);
            let windows = MINUTES.advance(out, |_, _| Ok(()))?;
            assert!(!windows.update(out, record, "k", |count| *count += 1)?.is_late());
            let texts = texts.advance(out, |_, _| Ok(()))?;
            texts.update(out, record, "k", String::clear).map(|_| ())
        }
    }
    let run = |values: &[&str]| {
        let mut changed = Tester::<Changed>::new(()).unwrap().stores(["minutes"]);
        let ms = [NOW_MS, NOW_MS + 100_000].into_iter();
        let samples = ms
            .zip(values)
            .map(|(ms, value)| Sample::value(*value).timestamp(ms));
        changed.run(samples.collect::<Vec<_>>()).unwrap_err()
    };
    let (updated, closed) = (run(&["same"]), run(&["other", "other"]));
    assert!(
        updated.contains("\"minutes\"") && updated.contains("another type"),
        "{updated}"
    );
    assert!(
        closed.contains("\"minutes\"") && closed.contains("no such window"),
        "{closed}"
    );
}

/// Keeps keys of its own beside timers.
struct Shared;

impl Transform for Shared {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        TIMERS.fire(out, |_, _| Ok(()))?;
        let key = record.key().unwrap_or_default();
        TIMERS.set(out, key, record.stream_time().unwrap_or(0) + 1_000_000)?;
        out.store("timers").put(key, "mine")?;
        let scanned: Vec<_> = out.store("timers").scan("")?.map(|(key, _)| key).collect();
        out.emit(record.with_json(&scanned)?)
    }
}

#[test]
fn an_authors_keys_and_the_sdks_share_a_store_and_do_not_meet() {
    let keys: [&[u8]; 7] = [b"a", &[255], &[255, b't'], &[255, 254], &[255, 255], &[254], &[0]];
    for (page_bytes, batch_records) in [(1, 1), (100, 3), (1000, 9)] {
        let shared = Tester::<Shared>::new(()).unwrap().stores(["timers"]);
        let mut shared = shared.with_pages(page_bytes).batch_records(batch_records);
        let ran = shared.run(keys.map(|key| Sample::value("").key(key))).unwrap();
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        let scanned: Vec<Vec<u8>> = ran.emitted().last().unwrap().json().unwrap();
        assert_eq!(scanned, sorted);
        let stored = shared.stored("timers");
        assert!(
            stored.iter().map(|entry| entry.key.as_slice()).eq(sorted),
            "{stored:?}"
        );
    }
}

#[test]
fn while_nothing_is_due_the_runtime_is_asked_once_in_a_call() {
    use crate::testing::host::watch::{Asked, asked};

    let mut tester = tester();
    tester
        .run([count(0, "a"), at(0, &[Act::Set("t".to_owned(), 50_000)])])
        .unwrap();
    asked();
    tester.run((0..100).map(|n| at(n, &[]))).unwrap();
    assert_eq!(
        asked(),
        Asked { gets: 3, scans: 0 },
        "one mark for each of three stores"
    );
    tester.run((0..100).map(|n| at(30_000 + n * 1_000, &[]))).unwrap();
    let Asked { gets, scans } = asked();
    assert!(
        gets <= 3 && scans <= 4,
        "{gets} {scans}: a page and its end, for a window and a timer"
    );
    tester.run((0..100).map(|n| at(200_000 + n, &[]))).unwrap();
    assert_eq!(asked(), Asked { gets: 3, scans: 0 }, "nothing is left");
}
