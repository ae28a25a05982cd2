//! Says that records fail, without saying it for every record, and without saying what is in
//! them.
//!
//! Invariants: one line for each stage and kind of failure of a pipeline, however many lanes
//! and records; a value is described by its length and a digest unless the operator asked for
//! its beginning; what a transform says is escaped and cut.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tracing::warn;

use crate::kafka::TopicPartition;
use crate::plan::PipelineName;
use crate::stage::{Failure, FailureKind};

/// Stages that are told apart; those of further ones are not logged.
const STAGES_MAX: usize = 1_000;

/// Characters of a transform's reason that are logged.
const REASON_CHARACTERS_MAX: usize = 500;

/// Bytes of the digest that are shown: enough to recognise a value, too few to confirm a
/// guess at it.
const DIGEST_BYTES: usize = 4;

/// Which failures have been seen.
#[derive(Debug, Default)]
pub struct FirstOfKind(HashMap<String, HashSet<FailureKind>>);

impl FirstOfKind {
    /// True exactly once for each stage and kind.
    pub fn is_first(&mut self, stage: &str, kind: FailureKind) -> bool {
        if let Some(seen) = self.0.get_mut(stage) {
            return seen.insert(kind);
        }
        if self.0.len() >= STAGES_MAX {
            return false;
        }
        self.0.insert(stage.to_owned(), HashSet::from([kind]));
        true
    }
}

/// What logs may say of a record's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Its length, and the beginning of its SHA-256.
    Masked,
    /// Its length, and up to so many bytes of it.
    Shown { bytes_max: usize },
}

impl Values {
    /// Describes a value.
    pub fn describe(self, value: Option<&[u8]>) -> String {
        let Some(value) = value else {
            return "null".to_owned();
        };
        let mut text = format!("{} bytes", value.len());
        match self {
            Self::Masked => {
                text.push_str(", sha256 ");
                for byte in Sha256::digest(value).iter().take(DIGEST_BYTES) {
                    // Writing to a string does not fail.
                    write!(text, "{byte:02x}").unwrap_or_default();
                }
            }
            Self::Shown { bytes_max } => {
                let beginning = value.get(..bytes_max).unwrap_or(value);
                let more = if beginning.len() < value.len() {
                    ", which begin with"
                } else {
                    ""
                };
                let shown = String::from_utf8_lossy(beginning);
                write!(text, "{more}: \"{}\"", shown.escape_debug()).unwrap_or_default();
            }
        }
        text
    }
}

/// Logs the first failed record of each kind of one pipeline. Shared by its lanes.
#[derive(Debug)]
pub struct FailureLog {
    pipeline: PipelineName,
    values: Values,
    seen: Mutex<FirstOfKind>,
}

impl FailureLog {
    pub fn new(pipeline: PipelineName, values: Values) -> Self {
        Self {
            pipeline,
            values,
            seen: Mutex::default(),
        }
    }

    /// A record failed for good. `offset` and `value` are those of the record.
    pub fn failed(&self, partition: &TopicPartition, offset: i64, failure: &Failure, value: Option<&[u8]>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.is_first(&failure.stage, failure.kind) {
            return;
        }
        drop(seen);
        let reason: String = failure.reason.chars().take(REASON_CHARACTERS_MAX).collect();
        warn!(
            pipeline = %self.pipeline,
            stage = %failure.stage,
            kind = failure.kind.as_str(),
            topic = %partition.topic,
            partition = partition.partition,
            offset,
            attempts = failure.attempts,
            module = %failure.module_sha256,
            value = self.values.describe(value),
            reason = %reason.escape_debug(),
            "a record failed; further ones of this kind are only counted"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_kind_is_logged_once_with_its_place_and_without_its_value() {
        let log = FailureLog::new(PipelineName::new("orders").unwrap(), Values::Masked);
        let partition = TopicPartition {
            topic: "in".into(),
            partition: 3,
        };
        let failure = Failure {
            record: 0,
            kind: FailureKind::Reject,
            reason: "amount is\nmissing".to_owned(),
            stage: "wasm".into(),
            module_sha256: "abc".into(),
            attempts: 1,
        };
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            log.failed(&partition, 42, &failure, Some(b"secret"));
            log.failed(&partition, 43, &failure, Some(b"secret"));
            log.failed(
                &partition,
                44,
                &Failure {
                    kind: FailureKind::Trap,
                    ..failure
                },
                Some(b"secret"),
            );
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for part in [
            "pipeline=orders",
            "stage=wasm",
            "offset=42",
            r"amount is\nmissing",
            "6 bytes, sha256",
        ] {
            assert!(lines[0].contains(part), "{part} missing in {text}");
        }
        assert!(
            lines[1].contains("offset=44") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn each_stage_and_kind_is_first_once() {
        let mut seen = FirstOfKind::default();
        assert!(seen.is_first("wasm", FailureKind::Reject));
        assert!(!seen.is_first("wasm", FailureKind::Reject));
        assert!(seen.is_first("wasm", FailureKind::Trap));
        assert!(seen.is_first("wasm-2", FailureKind::Reject));
        assert!(!seen.is_first("wasm", FailureKind::Trap));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = FirstOfKind::default();
        let first =
            |seen: &mut FirstOfKind, number| seen.is_first(&format!("s{number}"), FailureKind::Reject);
        assert!((0..STAGES_MAX).all(|number| first(&mut seen, number)));
        assert!(!first(&mut seen, STAGES_MAX));
        assert!(seen.is_first("s0", FailureKind::Trap), "known stages go on");
    }

    #[test]
    fn a_masked_value_shows_nothing_of_itself() {
        let secret = b"card 4111";
        let described = Values::Masked.describe(Some(secret));
        assert_eq!(described, "9 bytes, sha256 41c37e37");
        assert_eq!(described, Values::Masked.describe(Some(secret)));
        assert_ne!(described, Values::Masked.describe(Some(b"card 4112")));
    }

    #[test]
    fn a_shown_value_is_cut_and_cannot_forge_a_line() {
        let shown = Values::Shown { bytes_max: 5 };
        assert_eq!(
            shown.describe(Some(b"ab\ncdef")),
            r#"7 bytes, which begin with: "ab\ncd""#
        );
        assert_eq!(shown.describe(Some(b"a\"b")), r#"3 bytes: "a\"b""#);
        assert_eq!(
            shown.describe(Some(&[0xff, 0x1b])),
            "2 bytes: \"\u{fffd}\\u{1b}\""
        );
    }

    #[test]
    fn null_and_empty_are_told_apart() {
        assert_eq!(Values::Masked.describe(None), "null");
        assert_eq!(Values::Masked.describe(Some(b"")), "0 bytes, sha256 e3b0c442");
        assert_eq!(Values::Shown { bytes_max: 5 }.describe(None), "null");
    }
}
