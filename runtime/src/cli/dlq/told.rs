//! A letter for people and for programs: as text that no terminal takes for a command, and as
//! JSON.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::dlq::letter::Letter;
use crate::dlq::marks::Mark;
use crate::plan::HeaderStyle;

/// What `--json` prints of a letter.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    coordinate: String,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    time: String,
    state: &'static str,
    style: &'static str,
    kind: Option<&'static str>,
    reason: &'a str,
    stage: Option<&'a str>,
    module: Option<&'a str>,
    attempts: Option<u32>,
    pipeline: Option<&'a str>,
    replays: u32,
    truncated: bool,
    origin: Origin<'a>,
}

#[derive(Debug, Serialize)]
struct Origin<'a> {
    topic: &'a str,
    topic_id: Option<&'a str>,
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
}

impl<'a> Told<'a> {
    pub fn new(letter: &'a Letter, mark: Option<Mark>) -> Self {
        let told = &letter.told;
        Self {
            coordinate: letter.place.to_string(),
            partition: letter.place.partition,
            offset: letter.place.offset,
            timestamp_ms: letter.timestamp_ms,
            time: time(letter.timestamp_ms),
            state: state(mark),
            style: style(told.style),
            kind: told.kind.map(crate::stage::FailureKind::as_str),
            reason: &told.reason,
            stage: told.stage.as_deref(),
            module: told.module_sha256.as_deref(),
            attempts: told.attempts,
            pipeline: told.pipeline.as_deref(),
            replays: letter.replays,
            truncated: told.is_truncated,
            origin: Origin {
                topic: &told.topic,
                topic_id: told.topic_id.as_deref(),
                partition: told.partition,
                offset: told.offset,
                timestamp_ms: told.timestamp_ms,
            },
        }
    }
}

pub fn state(mark: Option<Mark>) -> &'static str {
    mark.map_or("waiting", Mark::as_str)
}

pub const fn style(style: HeaderStyle) -> &'static str {
    match style {
        HeaderStyle::Strait => "strait",
        HeaderStyle::Streams => "streams",
        HeaderStyle::Spring => "spring",
        HeaderStyle::Connect => "connect",
    }
}

/// `-` if there is none.
pub fn time(timestamp_ms: i64) -> String {
    let since = u64::try_from(timestamp_ms).ok().map(Duration::from_millis);
    let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
    // The year 10000 has no such form.
    let time = time.filter(|_| timestamp_ms < 253_402_300_800_000);
    time.map_or("-".to_owned(), |time| {
        humantime::format_rfc3339_seconds(time).to_string()
    })
}

/// On one line.
pub fn line(text: &str) -> String {
    plain(text, |_| false)
}

/// On several lines, if it has them.
pub fn lines(text: &str) -> String {
    plain(text, |c| matches!(c, '\n' | '\t'))
}

fn plain(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !keeps(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_commands_the_terminal() {
        assert_eq!(line("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(lines("a\n\u{7}b"), "a\n\\u{7}b");
    }

    #[test]
    fn every_timestamp_has_a_form() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20Z");
        assert_eq!(time(253_402_300_799_999), "9999-12-31T23:59:59Z");
        for none in [-1, i64::MIN, i64::MAX, 253_402_300_800_000] {
            assert_eq!(time(none), "-");
        }
    }
}
