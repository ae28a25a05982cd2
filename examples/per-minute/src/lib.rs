//! Counts records by key and minute, by the time of the records.
//!
//! ```yaml
//! settings: { grace_ms: 10000 }
//! state: { minutes: {} }
//! outputs: { default: counts, late: counts.late }
//! ```
//!
//! A minute's count is emitted once, when the minute is closed: as soon as the records of its
//! partition have come past its end and the grace period. Until then records may come in any
//! order. What comes later is late, and goes to the output `late` as it is.
//!
//! The clock of whoever wrote the records decides, and no other. A backlog of a day gives the
//! same counts as a day spent waiting; and where no record comes, no minute ends.

use std::time::Duration;

use strait_sdk::Outgoing;
use strait_sdk::event_time::{Arrival, Closed, Windows};
use strait_sdk::prelude::*;

/// `settings` of the pipeline.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long a minute waits for records behind its end.
    #[serde(default = "ten_seconds")]
    grace_ms: u64,
}

fn ten_seconds() -> u64 {
    10_000
}

/// What is emitted for a key and a minute.
#[derive(Serialize)]
struct Minute {
    start_ms: i64,
    end_ms: i64,
    count: u64,
}

/// The transform.
pub struct PerMinute {
    minutes: Windows<u64>,
}

impl Transform for PerMinute {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let minutes = Windows::tumbling("minutes", Duration::from_mins(1));
        Ok(Self {
            minutes: minutes.with_grace(Duration::from_millis(settings.grace_ms)),
        })
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let minutes = self.minutes.advance(out, emit)?;
        let Some(key) = record.key() else {
            return Err(Error::reject("a record without a key counts for nobody"));
        };
        match minutes.update(out, record, key, |count| *count += 1)? {
            Arrival::OnTime => Ok(()),
            Arrival::Late(_) => out.to("late").emit(record),
        }
    }
}

fn emit(out: &mut Output<'_>, closed: Closed<u64>) -> Result<()> {
    let minute = Minute {
        start_ms: closed.window.start_ms,
        end_ms: closed.window.end_ms,
        count: closed.value,
    };
    let outgoing = Outgoing::new()
        .with_key(closed.key)
        .with_timestamp(closed.window.end_ms);
    out.emit(outgoing.with_json(&minute)?)
}

strait_sdk::export!(PerMinute);

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::testing::{Ran, Sample, Tester};

    const MINUTE_MS: i64 = 60_000;
    const START_MS: i64 = 28_000_000 * MINUTE_MS;

    fn per_minute() -> Tester<PerMinute> {
        Tester::<PerMinute>::from_json("{}")
            .unwrap()
            .outputs(["default", "late"])
            .stores(["minutes"])
    }

    fn at(ms: i64, key: &str) -> Sample {
        Sample::value("x").key(key).timestamp(START_MS + ms)
    }

    /// Key, minute and count of what was emitted, and by which record.
    fn counts(ran: &Ran) -> Vec<(usize, String, i64, u64)> {
        let counts = ran.to("default").into_iter().map(|emitted| {
            let value: serde_json::Value = emitted.json().unwrap();
            let key = String::from_utf8(emitted.key.clone().unwrap()).unwrap();
            let minute = (value["start_ms"].as_i64().unwrap() - START_MS) / MINUTE_MS;
            (emitted.record, key, minute, value["count"].as_u64().unwrap())
        });
        counts.collect()
    }

    #[test]
    fn a_minute_is_counted_once_it_is_closed() {
        let samples = [
            at(0, "a"),
            at(1_000, "b"),
            at(61_000, "a"),
            at(59_000, "a"), // in the grace period
            at(70_000, "a"),
            at(200_000, "b"),
        ];
        for batch_records in [1, 2, 6] {
            let ran = per_minute()
                .batch_records(batch_records)
                .run(samples.clone())
                .unwrap();
            let expected = [(4, "a", 0, 2), (4, "b", 0, 1), (5, "a", 1, 2)];
            let expected =
                expected.map(|(record, key, minute, count)| (record, key.to_owned(), minute, count));
            assert_eq!(counts(&ran), expected);
            assert_eq!(ran.emitted()[0].timestamp, Some(START_MS + MINUTE_MS));
        }
    }

    #[test]
    fn what_is_late_passes_to_an_output_of_its_own() {
        let ran = per_minute()
            .run([at(0, "a"), at(70_000, "a"), at(59_999, "a")])
            .unwrap();
        let late = ran.to("late");
        assert_eq!((late.len(), late[0].record, late[0].text().as_str()), (1, 2, "x"));
    }

    #[test]
    fn a_record_from_the_future_ends_no_minute() {
        let ran = per_minute()
            .run([at(0, "a"), at(500 * MINUTE_MS, "b"), at(1, "a")])
            .unwrap();
        assert_eq!((counts(&ran).len(), ran.to("late").len()), (0, 0));
    }

    #[test]
    fn partitions_have_a_time_of_their_own() {
        let ran = per_minute()
            .run([at(0, "a"), at(90_000, "b").partition(1), at(1, "a")])
            .unwrap();
        assert_eq!(counts(&ran), []);
    }

    #[test]
    fn the_grace_is_a_setting() {
        let mut tester = Tester::<PerMinute>::from_json(r#"{"grace_ms": 0}"#)
            .unwrap()
            .stores(["minutes"]);
        let ran = tester
            .run([at(0, "a"), at(60_000, "a"), Sample::value("x")])
            .unwrap();
        assert_eq!(counts(&ran), [(1, "a".to_owned(), 0, 1)]);
        assert_eq!(ran.rejects()[0].record, 2);
    }
}
