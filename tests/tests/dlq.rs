//! `strait dlq`: dead letters are found in every style, put back as they were, and given up.

mod once;
mod repeats;

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strait_tests::binary::{self, Build};
use strait_tests::fixture::Fixture;
use strait_tests::produce::{Input, Message};
use strait_tests::verifier::Row;
use strait_tests::wait;

const STOP_LIMIT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(1);

/// What `strait dlq` did.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    fn exits(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == Some(code),
            "exit {:?} and not {code}: {}{}",
            self.code,
            self.out,
            self.err
        );
        Ok(self)
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| self.out.clone())
    }

    fn number(&self, name: &str) -> Result<u64> {
        let json = self.json()?;
        json.get(name).and_then(Value::as_u64).context("a number")
    }
}

fn command(fixture: &Fixture, verb: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = fixture.command(Build::Plain, &format!("dlq {verb}"))?;
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

fn dlq(fixture: &Fixture, verb: &str, arguments: &[&str]) -> Result<Said> {
    Ok(Said::of(&command(fixture, verb, arguments)?.output()?))
}

/// What `list --json` prints.
fn listed(fixture: &Fixture, arguments: &[&str]) -> Result<Vec<Value>> {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let said = dlq(fixture, "list", &arguments)?.exits(0)?;
    let lines = said.out.lines();
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn texts<'v>(letters: &'v [Value], pointer: &str) -> Vec<&'v str> {
    let text = |letter: &'v Value| letter.pointer(pointer).and_then(Value::as_str);
    letters.iter().filter_map(text).collect()
}

fn replayed(fixture: &Fixture, arguments: &[&str], code: i32) -> Result<u64> {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    dlq(fixture, "replay", &arguments)?
        .exits(code)?
        .number("replayed")
}

fn failing(name: &str, partitions: i32) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, partitions, "hostile")?;
    fixture.dead_letter()?;
    Ok(fixture)
}

fn work_off(fixture: &Fixture) -> Result<()> {
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    Ok(())
}

/// Letters of a pipeline that never ran, as it would have written them.
fn write_letters(fixture: &Fixture, pipeline: &str, offsets: std::ops::Range<i64>) -> Result<()> {
    let topic = fixture.topic("in");
    let topic_id = fixture.verifier().topic_id(&topic)?;
    let letter = |offset: i64| {
        let kind = if offset % 5 == 0 { "trap" } else { "reject" };
        let reason = format!("because of {}", offset % 3);
        let said = [
            ("reason", reason.as_str()),
            ("kind", kind),
            ("stage", "wasm"),
            ("module", "ab12"),
            ("topic", &topic),
            ("topic-id", &topic_id),
            ("partition", "0"),
            ("offset", &offset.to_string()),
            ("timestamp", "1700000000000"),
            ("attempts", "1"),
            ("pipeline", pipeline),
        ];
        let record = Message::new(format!("k{offset}"), format!("v{offset}")).with_header("h", Some(b"1"));
        said.into_iter().fold(record, |record, (name, value)| {
            record.with_header(&format!("strait-error-{name}"), Some(value.as_bytes()))
        })
    };
    let letters: Vec<Message> = offsets.map(letter).collect();
    Input::new(fixture.bootstrap())?.send_all(&fixture.topic("dlq"), &letters)
}

/// How often each key stands in the input.
fn counts(fixture: &Fixture) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for row in fixture.read("in")? {
        *counts.entry(row.key_text()).or_default() += 1;
    }
    Ok(counts)
}

#[test]
fn letters_of_every_style_are_listed_and_shown() -> Result<()> {
    let mut fixture = failing("dlq-styles", 1)?;
    let styles = ["strait", "streams", "spring", "connect"];
    for style in styles {
        fixture.set("on_error.header_style", json!(style))?;
        let value = format!("reject:not in {style}");
        fixture.send(&[Message::new(style, value).with_header("h", Some(&[0xff]))])?;
        work_off(&fixture)?;
    }
    write_letters(&fixture, "another", 0..1)?;
    Input::new(fixture.bootstrap())?.send_all(&fixture.topic("dlq"), &[Message::new("k", "no letter")])?;
    let letters = listed(&fixture, &[])?;
    ensure!(texts(&letters, "/style") == styles, "{letters:#?}");
    ensure!(texts(&letters, "/kind") == ["reject"; 4], "{letters:#?}");
    let topic = fixture.topic("in");
    ensure!(texts(&letters, "/origin/topic") == [topic.as_str(); 4]);
    for ((letter, style), offset) in letters.iter().zip(styles).zip(0..) {
        ensure!(
            letter.pointer("/origin/offset") == Some(&json!(offset)),
            "{letter:#}"
        );
        ensure!(
            letter.get("reason") == Some(&json!(format!("not in {style}"))),
            "{letter:#}"
        );
        let place = format!("0:{}", letter.get("offset").context("an offset")?);
        let shown = dlq(&fixture, "show", &[&place])?.exits(0)?.out;
        for part in [
            format!("value      reject:not in {style}"),
            format!("key        {style}"),
            "header     h = hex ff".to_owned(),
            format!("record     {}:0:{offset}", fixture.topic("in")),
        ] {
            ensure!(shown.contains(&part), "{part}: {shown}");
        }
        let shown = dlq(&fixture, "show", &[&place, "--json"])?.exits(0)?.json()?;
        ensure!(
            shown.pointer("/headers/0/value/hex") == Some(&json!("ff")),
            "{shown:#}"
        );
    }
    let only = listed(&fixture, &["--reason", "spring"])?;
    ensure!(texts(&only, "/style") == ["spring"]);
    ensure!(listed(&fixture, &["--kind", "trap"])?.is_empty());
    ensure!(listed(&fixture, &["--since", "2h"])?.len() == 4);
    ensure!(listed(&fixture, &["--until", "2h"])?.is_empty());
    ensure!(listed(&fixture, &["--limit", "2"])?.len() == 2);
    let text = dlq(&fixture, "list", &["--limit", "2"])?.exits(0)?.out;
    let summary =
        "4 waiting: 4 reject; the first 2 are listed; 1 of other pipelines; 1 that are no dead letters";
    ensure!(text.lines().last() == Some(summary), "{text}");
    dlq(&fixture, "show", &["0:9999"])?.exits(1)?;
    dlq(&fixture, "show", &["7:0"])?.exits(2)?;
    dlq(&fixture, "list", &["--kind", "mistake"])?.exits(2)?;
    Ok(())
}

#[test]
fn records_go_back_once_as_they_were() -> Result<()> {
    let mut fixture = failing("dlq-replay", 2)?;
    let message = |n: i32| {
        let value = if n % 3 == 0 { "reject:later" } else { "fine" };
        Message {
            timestamp_ms: Some(1_700_000_000_000 + i64::from(n)),
            ..Message::new(format!("k{n}"), value)
                .with_header("h", Some(n.to_string().as_bytes()))
                .with_header("null", None)
                .to_partition(n % 2)
        }
    };
    let messages: Vec<Message> = (0..30).map(message).collect();
    fixture.send(&messages)?;
    work_off(&fixture)?;
    ensure!(fixture.read("dlq")?.len() == 10);
    ensure!(replayed(&fixture, &["--dry-run"], 0)? == 10);
    ensure!(fixture.read("in")?.len() == 30, "a dry run changes nothing");
    let letters = listed(&fixture, &[])?;
    let places = texts(&letters, "/coordinate");
    let (first, third) = (
        places.first().context("a place")?,
        places.get(2).context("a place")?,
    );
    ensure!(replayed(&fixture, &[first, third], 0)? == 2);
    let before = dlq(&fixture, "replay", &[first])?.exits(0)?.out;
    ensure!(before.contains(&format!("{first}: replayed before")), "{before}");
    ensure!(replayed(&fixture, &[], 0)? == 8);
    ensure!(replayed(&fixture, &[], 0)? == 0, "a second run replays nothing");
    let input = fixture.read("in")?;
    ensure!(input.len() == 40, "{}", input.len());
    let cluster_and_topic = |row: &Row| {
        let first = row.header("strait-replayed").unwrap_or_default();
        first.split('/').map(str::to_owned).collect::<Vec<_>>()
    };
    for row in input.iter().filter(|row| row.header("strait-replays").is_some()) {
        let original = input.iter().find(|other| {
            other.key == row.key && other.partition == row.partition && other.offset < row.offset
        });
        let original = original.context("its original in the same partition")?;
        ensure!(original.value == row.value && original.timestamp_ms == row.timestamp_ms);
        ensure!(row.headers.starts_with(&original.headers), "{row:?}");
        ensure!(row.headers.len() == original.headers.len() + 2, "{row:?}");
        let first = cluster_and_topic(row);
        let expected = [
            fixture.verifier().topic_id(&fixture.topic("in"))?,
            original.partition.to_string(),
            original.offset.to_string(),
            "1".to_owned(),
            "1".to_owned(),
            fixture.name().to_owned(),
        ];
        ensure!(first.get(2..) == Some(&expected), "{first:?}");
        ensure!(row.header("strait-replays").as_deref() == Some("1"));
    }
    ensure!(listed(&fixture, &[])?.is_empty());
    ensure!(listed(&fixture, &["--state", "replayed"])?.len() == 10);
    fixture.set_stage("module", json!(binary::guest("identity")?))?;
    work_off(&fixture)?;
    let out: Vec<String> = fixture.read("out")?.iter().map(Row::key_text).collect();
    ensure!(out.len() == 30, "{out:?}");
    Ok(())
}

#[test]
fn what_is_purged_waits_no_more_and_what_is_done_with_can_be_deleted() -> Result<()> {
    let fixture = failing("dlq-purge", 1)?;
    write_letters(&fixture, fixture.name(), 0..10)?;
    write_letters(&fixture, "another", 10..11)?;
    write_letters(&fixture, fixture.name(), 11..20)?;
    dlq(&fixture, "purge", &["--yes"])?.exits(2)?;
    let asks = dlq(&fixture, "purge", &["--kind", "trap"])?.exits(2)?;
    ensure!(asks.err.contains("--yes"), "{}", asks.err);
    let purge = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
        dlq(&fixture, "purge", &arguments)?.exits(0)
    };
    ensure!(purge(&["--kind", "trap", "--dry-run"])?.number("purged")? == 3);
    ensure!(purge(&["--kind", "trap", "--yes"])?.number("purged")? == 3);
    ensure!(purge(&["--kind", "trap", "--yes"])?.number("purged")? == 0);
    ensure!(purge(&["0:1", "0:3", "--yes"])?.number("purged")? == 2);
    ensure!(listed(&fixture, &[])?.len() == 14);
    ensure!(listed(&fixture, &["--state", "purged"])?.len() == 5);
    ensure!(replayed(&fixture, &["0:0", "0:2"], 0)? == 1, "0:0 is purged");
    // 0 to 3 are done with.
    let start = |fixture: &Fixture| -> Result<i64> {
        let ends = fixture.verifier().ends(&fixture.topic("dlq"))?;
        Ok(ends.first().context("a partition")?.start)
    };
    purge(&["--delete", "--dry-run"])?;
    ensure!(start(&fixture)? == 0);
    purge(&["--delete", "--yes"])?;
    ensure!(start(&fixture)? == 4, "{}", start(&fixture)?);
    ensure!(listed(&fixture, &["--state", "all"])?.len() == 15);
    // That of another pipeline waits, for all that we know.
    purge(&["--all", "--delete", "--yes"])?;
    ensure!(start(&fixture)? == 10, "{}", start(&fixture)?);
    ensure!(replayed(&fixture, &[], 0)? == 0);
    let key = |row: &Row| row.value.is_some().then(|| row.key_text());
    let marks = format!("__strait.{}.dlq", fixture.name());
    let rows = fixture
        .verifier()
        .read(&marks, strait_tests::verifier::Isolation::ReadCommitted)?;
    let mut latest = BTreeMap::new();
    for row in &rows {
        latest.insert(row.key_text(), key(row));
    }
    let alive = latest.values().flatten().count();
    ensure!(alive == 9, "marks of what is deleted are taken back: {latest:?}");
    let setting = counts(&fixture)?;
    ensure!(setting.len() == 1, "{setting:?}");
    Ok(())
}

#[test]
fn a_letter_that_does_not_hold_its_record_is_replayed_from_where_it_stood() -> Result<()> {
    let mut fixture = Fixture::new("dlq-truncated", 1, "hostile")?;
    fixture
        .verifier()
        .create_topic(&fixture.topic("dlq"), 1, &["max.message.bytes=2000"])?;
    fixture.set("on_error.then", json!("dead_letter"))?;
    fixture.set("on_error.dead_letter", json!(fixture.topic("dlq")))?;
    fixture.set("on_error.limit", json!("none"))?;
    let long = |n: i32| Message::new(format!("k{n}"), "reject:later").with_header("h", Some(&[b'x'; 3000]));
    fixture.send(&[long(0), long(1)])?;
    work_off(&fixture)?;
    let letters = listed(&fixture, &[])?;
    ensure!(
        letters
            .iter()
            .all(|letter| letter.get("truncated") == Some(&json!(true)))
    );
    ensure!(replayed(&fixture, &["0:0"], 0)? == 1);
    let input = fixture.read("in")?;
    let (first, back) = (
        input.first().context("a record")?,
        input.get(2).context("its return")?,
    );
    ensure!(first.value == back.value && back.headers.len() == 3, "{back:?}");
    fixture.verifier().truncate_topic(&fixture.topic("in"), 2)?;
    let said = dlq(&fixture, "replay", &[])?.exits(1)?;
    ensure!(said.out.contains("is gone"), "{}", said.out);
    // Another record stands there in a topic of the same name.
    fixture.verifier().delete_topic(&fixture.topic("in"))?;
    wait::until_true("the input made again", PATIENCE, || {
        Ok(fixture.create_topic("in", 1).is_ok())
    })?;
    fixture.send(&[
        Message::new("x", "x"),
        Message::new("y", "y"),
        Message::new("z", "z"),
    ])?;
    let said = dlq(&fixture, "replay", &[])?.exits(1)?;
    ensure!(said.out.contains("is gone"), "{}", said.out);
    ensure!(fixture.read("in")?.len() == 3);
    Ok(())
}

#[test]
fn records_can_go_elsewhere_and_mistakes_are_named() -> Result<()> {
    let mut fixture = failing("dlq-to", 1)?;
    write_letters(&fixture, fixture.name(), 0..3)?;
    fixture.set("internal_topics", json!("require"))?;
    let said = dlq(&fixture, "replay", &[])?.exits(1)?;
    let marks = format!("__strait.{}.dlq", fixture.name());
    ensure!(
        said.err.contains(&marks) && said.err.contains("cleanup.policy=compact"),
        "{}",
        said.err
    );
    fixture.set("internal_topics", json!("create"))?;
    fixture.create_topic("repair", 3)?;
    let repair = fixture.topic("repair");
    for wrong in [fixture.topic("dlq"), marks, "nowhere".to_owned()] {
        dlq(&fixture, "replay", &["--to", &wrong])?.exits(2)?;
    }
    ensure!(replayed(&fixture, &["--to", &repair, "--redate"], 0)? == 3);
    let rows = fixture.read("repair")?;
    ensure!(rows.len() == 3 && rows.iter().all(|row| row.timestamp_ms > 1_700_000_000_000));
    ensure!(counts(&fixture)?.is_empty());
    let said = dlq(&fixture, "replay", &["0:99"])?.exits(1)?;
    ensure!(
        said.out.contains("0:99: left out: there is no record"),
        "{}",
        said.out
    );
    fixture.set("on_error.then", json!("skip"))?;
    fixture.set("on_error.dead_letter", Value::Null)?;
    dlq(&fixture, "list", &[])?.exits(2)?;
    Ok(())
}
