//! Values with a unit: durations, sizes, rates, and the other texts that have a
//! grammar of their own. Each is parsed here and nowhere else; the JSON Schema names
//! the grammar (`x-strait`), and the parse that keeps spans looks it up by that name.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::dedup::message_id::IdSource;
use crate::plan::PipelineName;

/// Why a text is not a value of its kind, and what one looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub remedy: String,
}

impl Wrong {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// Checks a text against the kind that the schema names; `None` for a kind that is
/// not known, which a test rules out.
pub fn check(kind: &str, text: &str) -> Option<Result<(), Wrong>> {
    Some(match kind {
        "duration" => Span::try_from(text.to_owned()).map(drop),
        "deadline" => Deadline::try_from(text.to_owned()).map(drop),
        "size" => Size::try_from(text.to_owned()).map(drop),
        "rate" => Rate::try_from(text.to_owned()).map(drop),
        "topic" => Topic::try_from(text.to_owned()).map(drop),
        "sha256" => sha256(text),
        "name" => name(text),
        "output" => output(text),
        "pattern" => pattern(text),
        "message-id" => message_id(text),
        "address" => address(text),
        "log-filter" => log_filter(text),
        "property" => Ok(()),
        _ => return None,
    })
}

/// A text with a grammar, kept as what it means.
macro_rules! kind {
    ($type:ident, $kind:literal, $json:tt, $example:literal, $doc:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $json, "x-strait": $kind, "examples": [$example], "description": $doc })
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

/// A length of time, more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

kind!(
    Span,
    "duration",
    "string",
    "100ms",
    "A duration: 100ms, 5s, 1m, 24h, 30d."
);

const DURATION_MAX: Duration = Duration::from_hours(10 * 365 * 24);

impl TryFrom<String> for Span {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        const REMEDY: &str = "write a number with its unit: ms, s, m, h or d, such as 100ms";
        match humantime::parse_duration(&text) {
            Ok(duration) if duration.is_zero() => Err(Wrong::new("the duration is zero", REMEDY)),
            Ok(duration) if duration > DURATION_MAX => {
                Err(Wrong::new(format!("`{text}` is more than ten years"), REMEDY))
            }
            Ok(duration) => Ok(Self(duration)),
            Err(_) => Err(Wrong::new(format!("`{text}` is no duration"), REMEDY)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1000, "s"),
            (1, "ms"),
        ];
        let sub_ms = !self.0.subsec_nanos().is_multiple_of(1_000_000);
        match units
            .iter()
            .find(|(unit_ms, _)| ms > 0 && ms.is_multiple_of(*unit_ms))
        {
            Some((unit_ms, unit)) if !sub_ms => write!(f, "{}{unit}", ms / unit_ms),
            _ => write!(f, "{}", humantime::format_duration(self.0)),
        }
    }
}

/// How long one batch may take; `none` trusts the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Deadline(pub Option<Span>);

kind!(
    Deadline,
    "deadline",
    "string",
    "5s",
    "A duration, or none for modules that are trusted to return."
);

impl TryFrom<String> for Deadline {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        if text == "none" {
            return Ok(Self(None));
        }
        let span = Span::try_from(text).map_err(|wrong| Wrong {
            remedy: wrong.remedy + ", or none",
            ..wrong
        })?;
        Ok(Self(Some(span)))
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(span) => span.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// A number of bytes, more than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub usize);

kind!(
    Size,
    "size",
    (["string", "integer"]),
    "64MiB",
    "A number of bytes: 65536, 64KiB, 4MiB, 1GiB."
);

impl TryFrom<String> for Size {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        const REMEDY: &str = "write bytes with their unit: KiB, MiB or GiB, such as 64MiB";
        let bytes = text
            .parse::<bytesize::ByteSize>()
            .ok()
            .and_then(|size| usize::try_from(size.as_u64()).ok());
        match bytes {
            Some(0) => Err(Wrong::new("the size is zero", REMEDY)),
            Some(bytes) => Ok(Self(bytes)),
            None => Err(Wrong::new(format!("`{text}` is no size"), REMEDY)),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units
            .iter()
            .find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A share between nothing and all, kept as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(pub f64);

kind!(
    Rate,
    "rate",
    "string",
    "5%",
    "A percentage above 0 % and at most 100 %."
);

impl TryFrom<String> for Rate {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        let percent = text
            .strip_suffix('%')
            .and_then(|number| number.trim_end().parse::<f64>().ok());
        match percent {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent / 100.0)),
            Some(_) => Err(Wrong::new(
                format!("`{text}` is out of range"),
                "write more than 0% and at most 100%",
            )),
            None => Err(Wrong::new(
                format!("`{text}` is no percentage"),
                "write a number and a percent sign, such as 5%",
            )),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// A topic that users may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(pub String);

kind!(Topic, "topic", "string", "orders.clean", "A topic name.");

/// Characters of a topic's name, at most.
pub const TOPIC_NAME_MAX: usize = 249;
/// What starts the names of Strait's own topics.
pub const INTERNAL_PREFIX: &str = "__strait.";
/// Topics of the cluster itself.
pub const CLUSTER_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

impl TryFrom<String> for Topic {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        const REMEDY: &str = "write 1 to 249 characters out of a-z, A-Z, 0-9, '.', '_' and '-'";
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.starts_with(INTERNAL_PREFIX) || CLUSTER_TOPICS.contains(&text.as_str()) {
            return Err(Wrong::new(
                format!("the topic `{text}` is internal"),
                "name a topic of your own",
            ));
        }
        if text.is_empty()
            || text.len() > TOPIC_NAME_MAX
            || text == "."
            || text == ".."
            || !text.chars().all(legal)
        {
            return Err(Wrong::new(format!("`{text}` is no topic name"), REMEDY));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn sha256(text: &str) -> Result<(), Wrong> {
    if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Wrong::new(
        "this is no SHA-256",
        "write its 64 hexadecimal digits, as `sha256sum` prints them",
    ))
}

fn name(text: &str) -> Result<(), Wrong> {
    let remedy = "write 1 to 128 characters out of a-z, A-Z, 0-9, '.', '_' and '-'";
    PipelineName::new(text)
        .map(drop)
        .map_err(|_| Wrong::new(format!("`{text}` is no pipeline name"), remedy))
}

fn output(text: &str) -> Result<(), Wrong> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(legal) {
        return Ok(());
    }
    Err(Wrong::new(
        format!("`{text}` is no name"),
        "write 1 to 64 characters out of a-z, A-Z, 0-9, '_' and '-'",
    ))
}

/// librdkafka compiles patterns as POSIX extended expressions: what only Rust and
/// Perl know would silently match something else there.
fn pattern(text: &str) -> Result<(), Wrong> {
    if !text.starts_with('^') {
        return Err(Wrong::new(
            "a pattern begins with `^`",
            format!("write ^{text}, or use `topics` for plain names"),
        ));
    }
    let foreign = [
        "\\d", "\\D", "\\p", "\\x", "\\u", "\\A", "\\z", "(?", "*?", "+?", "??", "}?", "*+", "++", "&&", "[[",
    ];
    if let Some(found) = foreign.iter().find(|construct| text.contains(**construct)) {
        let what = format!(
            "`{found}` is not part of POSIX extended regular expressions, which Kafka clients in C use"
        );
        return Err(Wrong::new(
            what,
            "write classes such as [0-9] and groups such as (a|b)",
        ));
    }
    match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            Err(Wrong::new(
                format!("this is no regular expression: {reason}"),
                "mend it, such as \"^orders\\\\.in\\\\..*\"",
            ))
        }
    }
}

fn message_id(text: &str) -> Result<(), Wrong> {
    let wrong = || {
        Wrong::new(
            format!("`{text}` names no message id"),
            "write key, value, header:NAME or json:/POINTER",
        )
    };
    IdSource::parse(text).map(drop).ok_or_else(wrong)
}

fn address(text: &str) -> Result<(), Wrong> {
    let wrong = || {
        Wrong::new(
            format!("`{text}` is no address"),
            "write IP:PORT, such as 127.0.0.1:9600 or 0.0.0.0:9600",
        )
    };
    super::process::address(text).map(drop).ok_or_else(wrong)
}

fn log_filter(text: &str) -> Result<(), Wrong> {
    let wrong = |error| {
        Wrong::new(
            format!("`{text}` is no log filter: {error}"),
            "write a level, such as info or warn,strait=debug",
        )
    };
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(drop)
        .map_err(wrong)
}
