//! What a dead letter tells of its record, read back in whichever style it was written.
//!
//! Invariants: what [`LetterHeaders`](super::LetterHeaders) writes is read back to the same
//! values, as far as its style tells them. Only the headers that the letter itself has added
//! are read, those at its end: a record that was a dead letter before keeps what it said then.

use strait_sdk::batch::Record;

use super::TRUNCATED;
use crate::kafka::Header;
use crate::plan::HeaderStyle;
use crate::stage::FailureKind;

/// What is known of a failed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub style: HeaderStyle,
    /// `None`: one that this version does not know.
    pub kind: Option<FailureKind>,
    pub reason: String,
    pub stage: Option<String>,
    pub module_sha256: Option<String>,
    pub attempts: Option<u32>,
    pub topic: String,
    pub topic_id: Option<String>,
    pub partition: i32,
    pub offset: i64,
    /// `None` too if the record has none.
    pub timestamp_ms: Option<i64>,
    pub pipeline: Option<String>,
    /// It holds neither key, value nor headers of its record.
    pub is_truncated: bool,
    /// So many headers, the first ones, are the record's own.
    pub own_headers: usize,
}

const STYLES: [HeaderStyle; 4] = [
    HeaderStyle::Strait,
    HeaderStyle::Streams,
    HeaderStyle::Spring,
    HeaderStyle::Connect,
];

impl Told {
    /// `None` if it is no dead letter in any of the styles.
    pub fn read<R: Record + ?Sized>(record: &R) -> Option<Self> {
        let added = Added::find(record)?;
        let names = names(added.style);
        let partition = added.number(names.partition)?;
        let kind = added.text(names.kind);
        Some(Self {
            style: added.style,
            kind: kind.as_deref().and_then(kind_of),
            reason: added.text(names.reason).unwrap_or_default(),
            stage: names.stage.and_then(|name| added.text(name)),
            module_sha256: names.module.and_then(|name| added.filled(name)),
            attempts: names
                .attempts
                .and_then(|name| u32::try_from(added.number(name)?).ok()),
            topic: added.text(names.topic)?,
            topic_id: names.topic_id.and_then(|name| added.filled(name)),
            partition: i32::try_from(partition).ok()?,
            offset: added.number(names.offset)?,
            timestamp_ms: names
                .timestamp
                .and_then(|name| added.number(name))
                .filter(|timestamp_ms| *timestamp_ms >= 0),
            pipeline: names.pipeline.and_then(|name| added.text(name)),
            is_truncated: added.is_truncated,
            own_headers: added.own,
        })
    }
}

/// The headers that a letter has added to those of its record.
struct Added<'r, R: ?Sized> {
    record: &'r R,
    style: HeaderStyle,
    is_truncated: bool,
    own: usize,
    end: usize,
}

impl<'r, R: Record + ?Sized> Added<'r, R> {
    fn find(record: &'r R) -> Option<Self> {
        let count = record.header_count();
        let last = record.header(count.checked_sub(1)?)?;
        let is_truncated = last == TRUNCATED;
        let end = count - usize::from(is_truncated);
        let (last, _) = record.header(end.checked_sub(1)?)?;
        let style = STYLES.into_iter().find(|style| is_of(*style, last))?;
        let mut own = end;
        while let Some((name, _)) = own.checked_sub(1).and_then(|index| record.header(index)) {
            let is_met = (own..end).any(|index| record.header(index).is_some_and(|(met, _)| met == name));
            if is_met || !is_of(style, name) {
                break;
            }
            own -= 1;
        }
        Some(Self {
            record,
            style,
            is_truncated,
            own,
            end,
        })
    }

    fn value(&self, name: &str) -> Option<&'r [u8]> {
        let mut added = (self.own..self.end).filter_map(|index| self.record.header(index));
        let found: Header<'r> = added.find(|(found, _)| *found == name.as_bytes())?;
        found.1
    }

    fn text(&self, name: &str) -> Option<String> {
        let value = self.value(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str) -> Option<i64> {
        let value = self.value(name)?;
        if self.style == HeaderStyle::Spring {
            let short = || value.try_into().map(i32::from_be_bytes).map(i64::from);
            return value.try_into().map(i64::from_be_bytes).or_else(|_| short()).ok();
        }
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

/// The kind of that name; where a class of exceptions is told, it is `strait.<kind>`.
fn kind_of(text: &str) -> Option<FailureKind> {
    let name = text.strip_prefix("strait.").unwrap_or(text);
    FailureKind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

/// Which headers tell what.
struct Names {
    topic: &'static str,
    topic_id: Option<&'static str>,
    partition: &'static str,
    offset: &'static str,
    timestamp: Option<&'static str>,
    kind: &'static str,
    reason: &'static str,
    stage: Option<&'static str>,
    module: Option<&'static str>,
    attempts: Option<&'static str>,
    pipeline: Option<&'static str>,
    /// Written, and not read.
    others: &'static [&'static str],
}

fn is_of(style: HeaderStyle, name: &[u8]) -> bool {
    let names = names(style);
    let always = [
        names.topic,
        names.partition,
        names.offset,
        names.kind,
        names.reason,
    ];
    let told = [
        names.topic_id,
        names.timestamp,
        names.stage,
        names.module,
        names.attempts,
        names.pipeline,
    ];
    let told = told.into_iter().flatten();
    let mut all = always.into_iter().chain(told).chain(names.others.iter().copied());
    all.any(|known| known.as_bytes() == name)
}

const fn names(style: HeaderStyle) -> Names {
    match style {
        HeaderStyle::Strait => Names {
            topic: "strait-error-topic",
            topic_id: Some("strait-error-topic-id"),
            partition: "strait-error-partition",
            offset: "strait-error-offset",
            timestamp: Some("strait-error-timestamp"),
            kind: "strait-error-kind",
            reason: "strait-error-reason",
            stage: Some("strait-error-stage"),
            module: Some("strait-error-module"),
            attempts: Some("strait-error-attempts"),
            pipeline: Some("strait-error-pipeline"),
            others: &[],
        },
        HeaderStyle::Streams => Names {
            topic: "__streams.errors.topic",
            topic_id: None,
            partition: "__streams.errors.partition",
            offset: "__streams.errors.offset",
            timestamp: None,
            kind: "__streams.errors.exception",
            reason: "__streams.errors.message",
            stage: None,
            module: None,
            attempts: None,
            pipeline: None,
            others: &[],
        },
        HeaderStyle::Spring => Names {
            topic: "kafka_dlt-original-topic",
            topic_id: None,
            partition: "kafka_dlt-original-partition",
            offset: "kafka_dlt-original-offset",
            timestamp: Some("kafka_dlt-original-timestamp"),
            kind: "kafka_dlt-exception-fqcn",
            reason: "kafka_dlt-exception-message",
            stage: None,
            module: None,
            attempts: None,
            pipeline: Some("kafka_dlt-original-consumer-group"),
            others: &[],
        },
        HeaderStyle::Connect => Names {
            topic: "__connect.errors.topic",
            topic_id: None,
            partition: "__connect.errors.partition",
            offset: "__connect.errors.offset",
            timestamp: None,
            kind: "__connect.errors.exception.class.name",
            reason: "__connect.errors.exception.message",
            stage: Some("__connect.errors.class.name"),
            module: None,
            attempts: None,
            pipeline: Some("__connect.errors.connector.name"),
            others: &["__connect.errors.task.id", "__connect.errors.stage"],
        },
    }
}

#[cfg(test)]
mod tests;
