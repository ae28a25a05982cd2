//! `strait dlq show`.

use std::fmt::Write as _;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use bytesize::ByteSize;
use serde::Serialize;
use strait_sdk::batch::Record;

use crate::dlq::desk::{Desk, Read};
use crate::dlq::letter::{Letter, Place};
use crate::dlq::marks::Mark;
use crate::dlq::selection::Selection;

use super::Of;
use super::told::{Told, line, lines, state, style, time};
use crate::cli::FAILED;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub of: Of,
    /// Where it stands in its topic: partition:offset
    #[arg(value_name = "COORDINATE")]
    place: Place,
    /// Show no more of the key, the value and each header
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    bytes: ByteSize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// All of a letter.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    told: Told<'a>,
    headers: Vec<Header>,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

#[derive(Debug, Serialize)]
struct Header {
    name: String,
    value: Option<Bytes>,
}

/// Text if it is some, else hexadecimal.
#[derive(Debug, Serialize)]
struct Bytes {
    /// Of all of it.
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    /// There is more of it.
    cut: bool,
}

pub fn run(args: &Args, desk: &Desk) -> anyhow::Result<ExitCode> {
    let selection = Selection {
        places: [args.place].into(),
        ..Selection::default()
    };
    let marks = desk.marks()?;
    let most = usize::try_from(args.bytes.as_u64()).unwrap_or(usize::MAX);
    let mut printed = None;
    desk.letters(&selection, &mut |_| {}, &mut |record, read| {
        printed = Some(match read {
            Read::Ours(letter) | Read::Others(letter) => {
                Ok(print(args, desk, record, &letter, marks.of(letter.place), most))
            }
            Read::NoLetter(place) => Err(format!("{place} of {} is no dead letter", desk.topic)),
        });
        Ok(ControlFlow::Break(()))
    })?;
    let missing = || Err(format!("there is no record {} in {}", args.place, desk.topic));
    match printed.unwrap_or_else(missing) {
        Ok(text) => {
            std::io::stdout().write_all(text?.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            super::super::complain(&anyhow::anyhow!(why));
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn print(
    args: &Args,
    desk: &Desk,
    record: &dyn Record,
    letter: &Letter,
    mark: Option<Mark>,
    most: usize,
) -> anyhow::Result<String> {
    let headers = (0..letter.told.own_headers).filter_map(|index| record.header(index));
    let shown = Shown {
        told: Told::new(letter, mark),
        headers: headers
            .map(|(name, value)| Header {
                name: String::from_utf8_lossy(name).into_owned(),
                value: value.map(|value| Bytes::new(value, most)),
            })
            .collect(),
        key: record.key().map(|key| Bytes::new(key, most)),
        value: record.value().map(|value| Bytes::new(value, most)),
    };
    if args.json {
        return Ok(serde_json::to_string_pretty(&shown)? + "\n");
    }
    Ok(text(desk, letter, mark, &shown))
}

fn text(desk: &Desk, letter: &Letter, mark: Option<Mark>, shown: &Shown<'_>) -> String {
    let mut out = String::new();
    let told = &letter.told;
    let mut row = |name: &str, value: &str| writeln!(out, "{name:<10} {value}").ok();
    row(
        "letter",
        &format!("{} of {}, {}", letter.place, desk.topic, state(mark)),
    );
    row("record", &line(&letter.origin()));
    row("topic id", &line(told.topic_id.as_deref().unwrap_or("-")));
    row("time", &time(told.timestamp_ms.unwrap_or(letter.timestamp_ms)));
    row("kind", told.kind.map_or("?", crate::stage::FailureKind::as_str));
    row("stage", &line(told.stage.as_deref().unwrap_or("-")));
    row("module", &line(told.module_sha256.as_deref().unwrap_or("-")));
    row(
        "attempts",
        &told.attempts.map_or("-".to_owned(), |n| n.to_string()),
    );
    row("pipeline", &line(told.pipeline.as_deref().unwrap_or("-")));
    row("replays", &letter.replays.to_string());
    row("style", style(told.style));
    row("reason", &lines(&told.reason));
    if told.is_truncated {
        row("record", TRUNCATED);
        return out;
    }
    for header in &shown.headers {
        row(
            "header",
            &format!("{} = {}", line(&header.name), of(header.value.as_ref())),
        );
    }
    row("key", &of(shown.key.as_ref()));
    row("value", &of(shown.value.as_ref()));
    out
}

const TRUNCATED: &str = "not held here, since the letter would be too large: it stands where it failed";

fn of(bytes: Option<&Bytes>) -> String {
    let Some(bytes) = bytes else {
        return "null".to_owned();
    };
    let cut = if bytes.cut {
        format!(" ... ({} bytes)", bytes.length)
    } else {
        String::new()
    };
    match (&bytes.text, &bytes.hex) {
        (Some(text), _) => lines(&pretty(text)) + &cut,
        (None, hex) => format!("hex {}{cut}", hex.as_deref().unwrap_or_default()),
    }
}

/// An object or a list of JSON gets lines.
fn pretty(text: &str) -> String {
    let json = text
        .starts_with(['{', '['])
        .then(|| serde_json::from_str::<serde_json::Value>(text));
    let json = json.and_then(Result::ok);
    json.and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| text.to_owned())
}

impl Bytes {
    fn new(all: &[u8], most: usize) -> Self {
        let shown = all.get(..most).unwrap_or(all);
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            // Cut within a character.
            Err(error) if shown.len() < all.len() && error.error_len().is_none() => {
                std::str::from_utf8(shown.get(..error.valid_up_to()).unwrap_or_default()).ok()
            }
            Err(_) => None,
        };
        let hex = text.is_none().then(|| {
            let mut hex = String::with_capacity(shown.len() * 2);
            for byte in shown {
                // Writing to a String cannot fail.
                write!(hex, "{byte:02x}").ok();
            }
            hex
        });
        Self {
            length: all.len(),
            text: text.map(str::to_owned),
            hex,
            cut: shown.len() < all.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_or_json_or_hexadecimal_and_bounded() {
        let show = |bytes: &[u8], most| of(Some(&Bytes::new(bytes, most)));
        assert_eq!(show(b"text", 9), "text");
        assert_eq!(show(b"{\"a\":1}", 9), "{\n  \"a\": 1\n}");
        assert_eq!(show(&[0xff, 0], 9), "hex ff00");
        assert_eq!(show("größe".as_bytes(), 3), "gr ... (7 bytes)");
        assert_eq!(show(&[0xff; 9], 2), "hex ffff ... (9 bytes)");
        assert_eq!(of(None), "null");
    }
}
