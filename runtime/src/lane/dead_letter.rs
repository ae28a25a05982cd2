//! What a dead letter says of the record that it carries: the headers, in four styles.
//!
//! A dead letter keeps the key, the value and the headers of its record; these headers
//! follow them. Kafka readers take the last header of a name, so a record that fails again
//! after a replay is described by its last failure. `streams`, `spring` and `connect` use
//! the names and encodings of Kafka Streams (KIP-1034), Spring's
//! `DeadLetterPublishingRecoverer` and Kafka Connect (KIP-298), for tools that know those.
//! There is no Java exception here: its class is `strait.<kind>`, and headers for a stack
//! trace are left out.
//!
//! Invariants: style `strait` is UTF-8 text throughout; the reason never exceeds
//! [`REASON_BYTES_MAX`], and gives way where the topic takes less, so a failure cannot make a letter
//! too large to post.

pub mod told;

use std::borrow::Cow;

use crate::kafka::{Header, wire_bytes};
use crate::plan::HeaderStyle;
use crate::stage::FailureKind;

/// Says that a letter holds neither key, value nor headers of its record, since with them it
/// would be larger than the topic takes. They stand where the coordinates point to.
pub const TRUNCATED: Header<'static> = (b"strait-error-truncated", Some(b"true"));

/// A longer reason is cut.
pub const REASON_BYTES_MAX: usize = 4096;

/// A failed record, as its dead letter tells of it.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    pub kind: FailureKind,
    pub reason: &'a str,
    pub stage: &'a str,
    pub module_sha256: &'a str,
    pub attempts: u32,
    pub topic: &'a str,
    /// Kafka's text form of the topic's UUID; empty if the cluster did not tell.
    pub topic_id: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// -1 if the record has none.
    pub timestamp_ms: i64,
    pub pipeline: &'a str,
    /// Connect calls it the task.
    pub lane: usize,
}

/// Headers to append to those of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterHeaders(Vec<(&'static str, Vec<u8>)>);

impl LetterHeaders {
    pub fn new(style: HeaderStyle, letter: &DeadLetter<'_>) -> Self {
        let mut headers = Self(Vec::with_capacity(11));
        match style {
            HeaderStyle::Strait => headers.strait(letter),
            HeaderStyle::Streams => headers.streams(letter),
            HeaderStyle::Spring => headers.spring(letter),
            HeaderStyle::Connect => headers.connect(letter),
        }
        headers
    }

    /// Of a letter that holds nothing of its record, and has so many bytes at the most, if that can be
    /// had at the cost of the reason.
    pub fn alone(style: HeaderStyle, letter: &DeadLetter<'_>, bytes_max: usize) -> Self {
        let whole = Self::new(style, letter);
        let headers: Vec<Header<'_>> = whole.iter().chain([TRUNCATED]).collect();
        let excess = wire_bytes(None, None, &headers).saturating_sub(bytes_max);
        if excess == 0 {
            return whole;
        }
        let told = reason(letter.reason);
        let short = cut(&told, told.len().saturating_sub(excess));
        Self::new(
            style,
            &DeadLetter {
                reason: &short,
                ..*letter
            },
        )
    }

    /// In the order in which they are produced.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_slice())))
    }

    fn strait(&mut self, letter: &DeadLetter<'_>) {
        self.text("strait-error-reason", reason(letter.reason));
        self.text("strait-error-kind", letter.kind.as_str());
        self.text("strait-error-stage", letter.stage);
        self.text("strait-error-module", letter.module_sha256);
        self.text("strait-error-topic", letter.topic);
        self.text("strait-error-topic-id", letter.topic_id);
        self.text("strait-error-partition", letter.partition.to_string());
        self.text("strait-error-offset", letter.offset.to_string());
        self.text("strait-error-timestamp", letter.timestamp_ms.to_string());
        self.text("strait-error-attempts", letter.attempts.to_string());
        self.text("strait-error-pipeline", letter.pipeline);
    }

    fn streams(&mut self, letter: &DeadLetter<'_>) {
        self.text("__streams.errors.exception", class(letter.kind));
        self.text("__streams.errors.message", reason(letter.reason));
        self.text("__streams.errors.topic", letter.topic);
        self.text("__streams.errors.partition", letter.partition.to_string());
        self.text("__streams.errors.offset", letter.offset.to_string());
    }

    /// Numbers are big-endian binary here, as Spring's `ByteBuffer` writes them. The type of
    /// the timestamp is left out: the record does not carry it this far.
    fn spring(&mut self, letter: &DeadLetter<'_>) {
        self.text("kafka_dlt-original-topic", letter.topic);
        self.binary("kafka_dlt-original-partition", &letter.partition.to_be_bytes());
        self.binary("kafka_dlt-original-offset", &letter.offset.to_be_bytes());
        self.binary("kafka_dlt-original-timestamp", &letter.timestamp_ms.to_be_bytes());
        self.text("kafka_dlt-original-consumer-group", letter.pipeline);
        self.text("kafka_dlt-exception-fqcn", class(letter.kind));
        self.text("kafka_dlt-exception-message", reason(letter.reason));
    }

    fn connect(&mut self, letter: &DeadLetter<'_>) {
        self.text("__connect.errors.topic", letter.topic);
        self.text("__connect.errors.partition", letter.partition.to_string());
        self.text("__connect.errors.offset", letter.offset.to_string());
        self.text("__connect.errors.connector.name", letter.pipeline);
        self.text("__connect.errors.task.id", letter.lane.to_string());
        self.text("__connect.errors.stage", "TRANSFORMATION");
        self.text("__connect.errors.class.name", letter.stage);
        self.text("__connect.errors.exception.class.name", class(letter.kind));
        self.text("__connect.errors.exception.message", reason(letter.reason));
    }

    fn text(&mut self, name: &'static str, value: impl AsRef<str>) {
        self.binary(name, value.as_ref().as_bytes());
    }

    fn binary(&mut self, name: &'static str, value: &[u8]) {
        self.0.push((name, value.to_vec()));
    }
}

fn class(kind: FailureKind) -> String {
    format!("strait.{}", kind.as_str())
}

/// The reason, cut at a character where it is too long.
fn reason(text: &str) -> Cow<'_, str> {
    cut(text, REASON_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    const CUT: &str = "...";
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let Some(room) = bytes_max.checked_sub(CUT.len()) else {
        return Cow::Borrowed("");
    };
    let end = text.floor_char_boundary(room);
    Cow::Owned(format!("{}{CUT}", text.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: DeadLetter<'static> = DeadLetter {
        kind: FailureKind::TooLarge,
        reason: "größer als erlaubt",
        stage: "wasm",
        module_sha256: "ab12",
        attempts: 2,
        topic: "orders",
        topic_id: "q3xMSJ2uQ0mHkVcQ1p9FWA",
        partition: 258,
        offset: 4_294_967_296,
        timestamp_ms: 1_700_000_000_000,
        pipeline: "clean-orders",
        lane: 1,
    };

    fn text(style: HeaderStyle) -> Vec<(String, String)> {
        LetterHeaders::new(style, &LETTER)
            .iter()
            .map(|(name, value)| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(name), text(value.unwrap()))
            })
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn strait_says_everything_in_text() {
        let expected = pairs(&[
            ("strait-error-reason", "größer als erlaubt"),
            ("strait-error-kind", "too-large"),
            ("strait-error-stage", "wasm"),
            ("strait-error-module", "ab12"),
            ("strait-error-topic", "orders"),
            ("strait-error-topic-id", "q3xMSJ2uQ0mHkVcQ1p9FWA"),
            ("strait-error-partition", "258"),
            ("strait-error-offset", "4294967296"),
            ("strait-error-timestamp", "1700000000000"),
            ("strait-error-attempts", "2"),
            ("strait-error-pipeline", "clean-orders"),
        ]);
        assert_eq!(text(HeaderStyle::Strait), expected);
    }

    #[test]
    fn streams_and_connect_are_text_under_their_names() {
        let streams = pairs(&[
            ("__streams.errors.exception", "strait.too-large"),
            ("__streams.errors.message", "größer als erlaubt"),
            ("__streams.errors.topic", "orders"),
            ("__streams.errors.partition", "258"),
            ("__streams.errors.offset", "4294967296"),
        ]);
        assert_eq!(text(HeaderStyle::Streams), streams);
        let connect = pairs(&[
            ("__connect.errors.topic", "orders"),
            ("__connect.errors.partition", "258"),
            ("__connect.errors.offset", "4294967296"),
            ("__connect.errors.connector.name", "clean-orders"),
            ("__connect.errors.task.id", "1"),
            ("__connect.errors.stage", "TRANSFORMATION"),
            ("__connect.errors.class.name", "wasm"),
            ("__connect.errors.exception.class.name", "strait.too-large"),
            ("__connect.errors.exception.message", "größer als erlaubt"),
        ]);
        assert_eq!(text(HeaderStyle::Connect), connect);
    }

    #[test]
    fn spring_has_its_numbers_big_endian() {
        let headers = LetterHeaders::new(HeaderStyle::Spring, &LETTER);
        let value = |name: &str| {
            let found = headers.iter().find(|header| header.0 == name.as_bytes());
            found.and_then(|header| header.1.map(<[u8]>::to_vec)).unwrap()
        };
        assert_eq!(value("kafka_dlt-original-partition"), [0, 0, 1, 2]);
        assert_eq!(value("kafka_dlt-original-offset"), [0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(
            value("kafka_dlt-original-timestamp"),
            1_700_000_000_000_i64.to_be_bytes()
        );
        assert_eq!(value("kafka_dlt-original-topic"), b"orders");
        assert_eq!(value("kafka_dlt-original-consumer-group"), b"clean-orders");
        assert_eq!(value("kafka_dlt-exception-fqcn"), b"strait.too-large");
        assert_eq!(
            value("kafka_dlt-exception-message"),
            "größer als erlaubt".as_bytes()
        );
    }

    #[test]
    fn a_letter_without_its_record_fits_at_the_cost_of_its_reason() {
        let long = "ä".repeat(3000);
        let letter = DeadLetter {
            reason: &long,
            ..LETTER
        };
        let bytes = |headers: &LetterHeaders| {
            let headers: Vec<Header<'_>> = headers.iter().chain([TRUNCATED]).collect();
            wire_bytes(None, None, &headers)
        };
        for style in [
            HeaderStyle::Strait,
            HeaderStyle::Streams,
            HeaderStyle::Spring,
            HeaderStyle::Connect,
        ] {
            let whole = LetterHeaders::new(style, &letter);
            assert_eq!(LetterHeaders::alone(style, &letter, bytes(&whole)), whole);
            let least = bytes(&LetterHeaders::new(style, &DeadLetter { reason: "", ..letter }));
            for bytes_max in least..bytes(&whole) {
                let cut = bytes(&LetterHeaders::alone(style, &letter, bytes_max));
                assert!(
                    cut <= bytes_max && bytes_max - cut < 6,
                    "{style:?}: {cut} of {bytes_max}"
                );
            }
            assert_eq!(bytes(&LetterHeaders::alone(style, &letter, 0)), least);
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let long = "ä".repeat(REASON_BYTES_MAX);
        let cut = reason(&long);
        assert!(cut.len() <= REASON_BYTES_MAX && cut.len() > REASON_BYTES_MAX - 6);
        assert!(cut.ends_with("ä..."));
        assert_eq!(reason(&long[..REASON_BYTES_MAX]), long[..REASON_BYTES_MAX]);
    }
}
