//! A guest that misbehaves as its records tell it to.
//!
//! | value | what it does |
//! | --- | --- |
//! | `panic`, `panic:WORDS` | panics with these words |
//! | `loop` | never ends |
//! | `bomb` | allocates until there is no more |
//! | `oversize` | emits one value of 17 MiB |
//! | `unknown-output` | emits to an output that no pipeline has, and ignores the error |
//! | `reject`, `reject:WORDS` | rejects itself, after it has emitted |
//! | `retry:N` | asks for another try until it was tried N times, then passes |
//! | `retry-always` | asks for another try, always |
//! | `spin:N` | counts to N million, then passes |
//! | `drop` | is filtered |
//! | `many:N` | is emitted N times |
//! | `tombstone`, `nullkey` | is emitted with a null value or key |
//! | `big:N` | is emitted with a value of N bytes |
//! | `partition:N` | is emitted to partition N |
//! | `to:NAME` | is emitted to the output NAME |
//! | `log:WORDS` | logs these words as a warning, then passes |
//! | anything else | passes |
//!
//! The settings `{"refuse": "WORDS"}` make it refuse its settings with these words, and
//! `{"panic": true}` makes it panic when it is configured; with `{"quick": true}` it spins for
//! nobody.
#![allow(clippy::panic, reason = "panicking when told to is what it is for")]

use std::hint::black_box;

use strait_sdk::log;
use strait_sdk::prelude::*;

/// `settings` of the pipeline.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Settings {
    refuse: Option<String>,
    panic: bool,
    quick: bool,
}

/// The transform.
pub struct Hostile {
    quick: bool,
}

impl Transform for Hostile {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        assert!(!settings.panic, "told to panic");
        settings.refuse.map_or(
            Ok(Self {
                quick: settings.quick,
            }),
            |words| Err(Error::reject(words)),
        )
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let Some(told) = record.value().and_then(|value| std::str::from_utf8(value).ok()) else {
            return out.emit(record);
        };
        let (verb, rest) = told.split_once(':').unwrap_or((told, ""));
        match (verb, rest) {
            ("panic", "") => panic!("told to panic"),
            ("panic", words) => panic!("{words}"),
            ("loop", _) => endless(),
            ("bomb", _) => bomb(),
            ("oversize", _) => out.emit(record.with_value(vec![b'x'; 17 << 20])),
            ("unknown-output", _) => {
                drop(out.to("no-such-output").emit(record));
                Ok(())
            }
            ("reject", words) => {
                out.emit(record)?;
                Err(Error::reject(if words.is_empty() {
                    "told to reject"
                } else {
                    words
                }))
            }
            ("retry", times) if record.attempt() < number(times)? => Err(Error::retry("told to retry")),
            ("retry-always", _) => {
                out.emit(record)?;
                Err(Error::retry("told to retry always"))
            }
            ("spin", millions) => {
                if !self.quick {
                    spin(number(millions)?);
                }
                out.emit(record)
            }
            ("drop", _) => Ok(()),
            ("many", times) => (0..number(times)?).try_for_each(|_| out.emit(record)),
            ("tombstone", _) => out.emit(record.tombstone()),
            ("nullkey", _) => out.emit(record.with_key(None::<&[u8]>)),
            ("big", bytes) => out.emit(record.with_value(vec![b'x'; number(bytes)? as usize])),
            ("partition", partition) => out.emit(record.with_partition(partition.parse()?)),
            ("to", output) => out.to(output).emit(record),
            ("log", words) => {
                log::warn(words);
                out.emit(record)
            }
            _ => out.emit(record),
        }
    }
}

fn number(text: &str) -> Result<u32> {
    Ok(text.parse()?)
}

fn endless() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// The compiler must not see that nobody reads what it holds.
fn bomb() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
        black_box(&held);
    }
}

fn spin(millions: u32) {
    for turn in 0..u64::from(millions) * 1_000_000 {
        black_box(turn);
    }
}

strait_sdk::export!(Hostile);

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::testing::{Ran, Sample, Tester};

    fn run(values: &[&str]) -> Ran {
        let mut hostile = Tester::<Hostile>::from_json("{}").unwrap().attempts(2);
        hostile
            .run(values.iter().map(|value| Sample::value(*value).key("k")))
            .unwrap()
    }

    #[test]
    fn it_does_what_it_is_told() {
        let values = [
            "fine",
            "drop",
            "many:3",
            "reject",
            "retry:2",
            "retry-always",
            "tombstone",
            "nullkey",
            "big:9",
        ];
        let ran = run(&values);
        let records: Vec<_> = ran.emitted().iter().map(|emitted| emitted.record).collect();
        assert_eq!(records, [0, 2, 2, 2, 4, 6, 7, 8]);
        assert_eq!(ran.filtered(), [1]);
        assert_eq!(ran.rejects()[0].record, 3);
        assert_eq!(ran.exhausted()[0].record, 5);
        let last: Vec<_> = ran
            .emitted()
            .iter()
            .rev()
            .take(3)
            .map(|e| (e.key.is_some(), e.text()))
            .collect();
        let expected =
            [(true, "xxxxxxxxx"), (false, "nullkey"), (true, "")].map(|(key, text)| (key, text.to_owned()));
        assert_eq!(last, expected);
    }

    #[test]
    fn it_fails_as_it_is_told() {
        let mut hostile = Tester::<Hostile>::new(Settings::default()).unwrap();
        assert!(
            hostile
                .run([Sample::value("unknown-output")])
                .unwrap_err()
                .contains("no-such-output")
        );
        assert!(
            Tester::<Hostile>::from_json(r#"{"refuse": "no"}"#)
                .unwrap_err()
                .contains("no")
        );
    }

    #[test]
    #[should_panic(expected = "boo")]
    fn it_panics_when_told_to() {
        run(&["panic:boo"]);
    }
}
