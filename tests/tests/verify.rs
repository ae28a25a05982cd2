//! `strait verify`: what is right is proven, and each kind of wrong is found and named.
//!
//! Tampered outputs are written by a plain producer, with the coordinates that a real run
//! would have given them.

mod repeats;
mod state;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strait::kafka::admin::Admin;
use strait::plan::Cluster;
use strait_tests::binary::{self, Build};
use strait_tests::fixture::Fixture;
use strait_tests::orders::{Fate, MINIMUM, order};
use strait_tests::produce::{Input, Message, Steady};
use strait_tests::strait::Strait;
use strait_tests::wait;

const STOP_LIMIT: Duration = Duration::from_secs(10);
const PARTITIONS: i32 = 6;
const SOURCE: &str = "strait-source";

/// What `strait verify --json` said.
struct Verdict {
    code: i32,
    report: Value,
}

impl Verdict {
    fn count(&self, kind: &str) -> u64 {
        let count = self.report.pointer(&format!("/findings/{kind}/count"));
        count.and_then(Value::as_u64).unwrap_or(u64::MAX)
    }

    fn number(&self, name: &str) -> u64 {
        let number = self.report.pointer(&format!("/{name}"));
        number.and_then(Value::as_u64).unwrap_or(u64::MAX)
    }

    /// The input offsets of the findings of a kind.
    fn offsets(&self, kind: &str) -> Vec<i64> {
        let listed = self.report.pointer(&format!("/findings/{kind}/listed"));
        let listed = listed.and_then(Value::as_array).into_iter().flatten();
        listed
            .filter_map(|finding| finding.pointer("/input/offset")?.as_i64())
            .collect()
    }

    fn proven(&self) -> Result<()> {
        ensure!(self.code == 0, "exit {}: {:#}", self.code, self.report);
        ensure!(self.report.get("proven") == Some(&json!(true)));
        Ok(())
    }

    /// Found only this, at these input offsets.
    fn found(&self, kind: &str, offsets: &[i64]) -> Result<()> {
        ensure!(self.code == 1, "exit {}: {:#}", self.code, self.report);
        ensure!(self.offsets(kind) == offsets, "{kind}: {:#}", self.report);
        for other in [
            "lost",
            "doubled",
            "out_of_order",
            "unexpected",
            "differs",
            "unproven",
        ] {
            ensure!(
                other == kind || self.count(other) == 0,
                "{other}: {:#}",
                self.report
            );
        }
        Ok(())
    }
}

fn verify(fixture: &Fixture, arguments: &[&str]) -> Result<Verdict> {
    let mut command = fixture.command(Build::Plain, "verify")?;
    let output = command.arg("--json").args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("exit {:?}: {said}", output.status.code()))?;
    Ok(Verdict {
        code: output.status.code().context("an exit code")?,
        report,
    })
}

/// What it prints without `--json`, and its exit code.
fn verify_text(fixture: &Fixture, arguments: &[&str]) -> Result<(i32, String)> {
    let output = fixture
        .command(Build::Plain, "verify")?
        .args(arguments)
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.code().context("an exit code")?,
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

fn traced(name: &str, partitions: i32, guest: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, partitions, guest)?;
    fixture.set("provenance", json!("headers"))?;
    Ok(fixture)
}

fn work_off(fixture: &Fixture) -> Result<()> {
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    Ok(())
}

#[test]
fn a_real_run_is_proven() -> Result<()> {
    let mut fixture = traced("verify-orders", 3, "orders")?;
    fixture.create_topic("audit", 2)?;
    fixture.dead_letter()?;
    fixture.set("outputs.audit", json!(fixture.topic("audit")))?;
    fixture.set_stage("settings", json!({ "minimum": MINIMUM }))?;
    let messages: Vec<Message> = (0..1000_u64)
        .map(|n| order(i32::try_from(n % 3).unwrap_or(0), n).to_partition(i32::try_from(n % 3).unwrap_or(0)))
        .collect();
    fixture.send(&messages)?;
    work_off(&fixture)?;
    let input = fixture.read("in")?;
    let of_fate = |fate| input.iter().filter(|row| Fate::of(row) == fate).count();
    let verdict = verify(&fixture, &[])?;
    verdict.proven()?;
    let expected = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    ensure!(verdict.number("inputs") == 1000, "{:#}", verdict.report);
    ensure!(verdict.number("outputs") == 2 * expected(of_fate(Fate::Accepted)));
    ensure!(verdict.number("filtered") == expected(of_fate(Fate::Filtered)));
    ensure!(verdict.number("dead_letters") == expected(of_fate(Fate::Malformed)));
    // With little memory it takes many rounds, and comes to the same.
    let small = verify(&fixture, &["--memory", "8KiB"])?;
    small.proven()?;
    ensure!(small.report == verdict.report, "{:#}", small.report);
    let (code, text) = verify_text(&fixture, &[])?;
    ensure!(
        code == 0 && text.contains("1000 inputs, each exactly once"),
        "{text}"
    );
    Ok(())
}

#[test]
fn aborted_records_of_the_input_are_no_inputs() -> Result<()> {
    let fixture = traced("verify-aborts", 1, "identity")?;
    let input = Input::transactional(fixture.bootstrap(), fixture.name())?;
    for round in 0..6 {
        input.begin()?;
        let message = |n| Message::new(format!("{round}-{n}"), "v").to_partition(0);
        input.send_all(&fixture.topic("in"), &(0..10).map(message).collect::<Vec<_>>())?;
        if round % 2 == 0 {
            input.commit()?;
        } else {
            input.abort()?;
        }
    }
    work_off(&fixture)?;
    let verdict = verify(&fixture, &[])?;
    verdict.proven()?;
    ensure!(verdict.number("inputs") == 30, "{:#}", verdict.report);
    Ok(())
}

#[test]
fn another_module_is_named_and_can_be_given() -> Result<()> {
    let mut fixture = traced("verify-module", 1, "orders")?;
    fixture.set_stage("settings", json!({ "minimum": MINIMUM }))?;
    fixture.set("on_error.then", json!("skip"))?;
    fixture.set("on_error.limit", json!("none"))?;
    fixture.create_topic("audit", 1)?;
    fixture.set("outputs.audit", json!(fixture.topic("audit")))?;
    fixture.send(&(0..50).map(|n| order(0, n)).collect::<Vec<_>>())?;
    work_off(&fixture)?;
    let orders = binary::guest("orders")?;
    fixture.set_stage("module", json!(binary::guest("identity")?))?;
    fixture.set_stage("settings", json!({}))?;
    let verdict = verify(&fixture, &[])?;
    ensure!(
        verdict.code == 1 && verdict.count("differs") > 0,
        "{:#}",
        verdict.report
    );
    let notes = verdict
        .report
        .pointer("/notes")
        .map(Value::to_string)
        .unwrap_or_default();
    ensure!(notes.contains("--module PATH"), "{notes}");
    fixture.set_stage("settings", json!({ "minimum": MINIMUM }))?;
    verify(&fixture, &["--module", &orders.to_string_lossy()])?.proven()
}

#[test]
fn a_live_pipeline_is_proven_and_its_group_left_alone() -> Result<()> {
    let fixture = traced("verify-live", 2, "identity")?;
    let mut strait = fixture.run()?;
    let make = |partition, number| Message::new(format!("{partition}-{number}"), "value");
    let steady = Steady::start(fixture.bootstrap(), &fixture.topic("in"), 2, 500, make)?;
    wait::until_true("some output", Duration::from_secs(20), || {
        Ok(fixture.read("out")?.len() > 500)
    })?;
    for _ in 0..3 {
        verify(&fixture, &[])?.proven()?;
        ensure!(fixture.verifier().members(fixture.name())?.len() == 1);
    }
    steady.stop()?;
    fixture.wait_worked_off(&mut strait)?;
    verify(&fixture, &[])?.proven()
}

/// A pipeline that never ran: the records of its only input partition are copied by hand, and
/// wrongly where a test wants it.
struct Tampering {
    fixture: Fixture,
    cluster_id: String,
    topic_id: String,
    dress: fn(Message, i64) -> Message,
}

const RECORDS: i64 = 10;

impl Tampering {
    fn new(name: &str) -> Result<Self> {
        Self::of(traced(name, 1, "identity")?, |message, _| message)
    }

    /// Of records to which this is done, by their offsets; the pipeline makes nothing else of them.
    fn of(fixture: Fixture, dress: fn(Message, i64) -> Message) -> Result<Self> {
        let message = |offset| dress(Self::bare(offset), offset);
        fixture.send(&(0..RECORDS).map(message).collect::<Vec<_>>())?;
        let cluster = Cluster {
            bootstrap: fixture.bootstrap().to_owned(),
            ..Cluster::default()
        };
        let admin = Admin::open(&cluster, fixture.name())?;
        let topic = admin.describe_topic(&fixture.topic("in"), STOP_LIMIT)?;
        Ok(Self {
            cluster_id: admin.cluster_id(STOP_LIMIT)?,
            topic_id: topic.id.context("a topic id")?,
            fixture,
            dress,
        })
    }

    fn bare(offset: i64) -> Message {
        Message::new(format!("k{offset}"), format!("v{offset}")).to_partition(0)
    }

    /// The right output of the input record at `offset`.
    fn output(&self, offset: i64) -> Message {
        (self.dress)(Self::bare(offset), offset).with_header(SOURCE, Some(self.source_of(offset).as_bytes()))
    }

    fn source_of(&self, offset: i64) -> String {
        let (cluster, topic, name) = (&self.cluster_id, &self.topic_id, self.fixture.name());
        format!("1/{cluster}/{topic}/0/{offset}/1/1/{name}")
    }

    fn outputs(&self) -> Vec<Message> {
        (0..RECORDS).map(|offset| self.output(offset)).collect()
    }

    /// With these outputs, and everything committed.
    fn with(self, outputs: &[Message]) -> Result<Fixture> {
        let fixture = self.fixture;
        Input::new(fixture.bootstrap())?.send_all(&fixture.topic("out"), outputs)?;
        let (group, topic) = (fixture.name().to_owned(), fixture.topic("in"));
        fixture.verifier().commit(&group, &topic, RECORDS)?;
        Ok(fixture)
    }
}

#[test]
fn what_is_written_right_is_proven_and_others_do_not_count() -> Result<()> {
    let tampering = Tampering::new("verify-right")?;
    let mut outputs = tampering.outputs();
    outputs.push(Message::new("stray", "without a coordinate"));
    let name = tampering.fixture.name().to_owned();
    let other = tampering.source_of(3).replace(&name, "another");
    outputs.push(Message::new("k3", "v3").with_header(SOURCE, Some(other.as_bytes())));
    outputs.push(Message::new("k3", "v3").with_header(SOURCE, Some(b"9/what")));
    let verdict = verify(&tampering.with(&outputs)?, &[])?;
    verdict.proven()?;
    ensure!(verdict.number("inputs") == 10, "{:#}", verdict.report);
    for kind in ["untraced", "unreadable", "other_pipeline"] {
        ensure!(
            verdict.number(&format!("ignored/{kind}")) == 1,
            "{:#}",
            verdict.report
        );
    }
    Ok(())
}

#[test]
fn a_lost_output_is_named_and_ranges_leave_it_out() -> Result<()> {
    let tampering = Tampering::new("verify-lost")?;
    let mut outputs = tampering.outputs();
    outputs.remove(4);
    let fixture = tampering.with(&outputs)?;
    verify(&fixture, &[])?.found("lost", &[4])?;
    let (code, text) = verify_text(&fixture, &[])?;
    let named = format!(
        "lost: {}:0:4 part 1 of 1 is not there in {}",
        fixture.topic("in"),
        fixture.topic("out")
    );
    ensure!(code == 1 && text.contains(&named), "{text}");
    let bound = |offset: i64| format!("{}:0={offset}", fixture.topic("in"));
    let before = verify(&fixture, &["--to", &bound(4)])?;
    before.proven()?;
    ensure!(before.number("inputs") == 4 && before.number("ignored/outside_range") == 5);
    let behind = verify(&fixture, &["--from", &bound(5)])?;
    behind.proven()?;
    ensure!(behind.number("inputs") == 5, "{:#}", behind.report);
    verify(&fixture, &["--from", &bound(4), "--to", &bound(5)])?.found("lost", &[4])?;
    verify(&fixture, &["--since", "1h"])?.found("lost", &[4])?;
    let later = verify(&fixture, &["--from", "2999-01-01T00:00:00Z"])?;
    ensure!(
        later.code == 1 && later.number("inputs") == 0,
        "nothing was looked at, so nothing is proven: {:#}",
        later.report
    );
    let (code, text) = verify_text(&fixture, &["--from", &bound(5), "--to", &bound(5)])?;
    ensure!(code == 2 && text.contains("ends before it begins"), "{text}");
    let (code, text) = verify_text(&fixture, &["--from", "elsewhere:0=1"])?;
    ensure!(code == 2 && text.contains("no partition of the input"), "{text}");
    // What is missing of a known module's input was not filtered.
    verify(&fixture, &["--assume-filtered"])?.found("lost", &[4])
}

#[test]
fn a_doubled_output_is_named() -> Result<()> {
    let tampering = Tampering::new("verify-doubled")?;
    let mut outputs = tampering.outputs();
    outputs.push(tampering.output(7));
    verify(&tampering.with(&outputs)?, &[])?.found("doubled", &[7])
}

#[test]
fn swapped_outputs_are_named() -> Result<()> {
    let tampering = Tampering::new("verify-swapped")?;
    let mut outputs = tampering.outputs();
    outputs.swap(2, 3);
    verify(&tampering.with(&outputs)?, &[])?.found("out_of_order", &[2])
}

#[test]
fn an_output_above_the_committed_offset_is_named() -> Result<()> {
    let tampering = Tampering::new("verify-above")?;
    let mut outputs = tampering.outputs();
    outputs.push(tampering.output(RECORDS));
    verify(&tampering.with(&outputs)?, &[])?.found("unexpected", &[RECORDS])
}

#[test]
fn an_altered_output_is_named() -> Result<()> {
    let tampering = Tampering::new("verify-altered")?;
    let mut outputs = tampering.outputs();
    if let Some(output) = outputs.get_mut(5) {
        output.value = Some(b"V5".to_vec());
    }
    verify(&tampering.with(&outputs)?, &[])?.found("differs", &[5])
}

#[test]
fn an_input_past_its_retention_is_unproven() -> Result<()> {
    let tampering = Tampering::new("verify-retention")?;
    let outputs = tampering.outputs();
    let fixture = tampering.with(&outputs)?;
    fixture.verifier().truncate_topic(&fixture.topic("in"), 6)?;
    let verdict = verify(&fixture, &[])?;
    verdict.found("unproven", &[0])?;
    ensure!(verdict.count("unproven") == 6, "{:#}", verdict.report);
    let assumed = verify(&fixture, &["--assume-filtered"])?;
    assumed.proven()?;
    ensure!(assumed.number("assumed") == 6 && assumed.number("inputs") == 4);
    verify(&fixture, &["--from", &format!("{}:0=6", fixture.topic("in"))])?.proven()
}

#[test]
fn what_lies_before_the_start_of_the_group_is_not_lost() -> Result<()> {
    let mut fixture = traced("verify-start", 1, "identity")?;
    fixture.set("input.start", json!("latest"))?;
    let messages: Vec<Message> = (0..20).map(|n| Message::new(format!("k{n}"), "v")).collect();
    fixture.send(&messages)?;
    let mut strait = fixture.run()?;
    wait::until("the committed start", Duration::from_secs(20), || {
        fixture.committed_to_end(&fixture.topic("in")).map(Some)
    })?;
    fixture.send(&messages)?;
    fixture.wait_worked_off(&mut strait)?;
    let verdict = verify(&fixture, &[])?;
    verdict.proven()?;
    ensure!(verdict.number("inputs") == 20, "{:#}", verdict.report);
    Ok(())
}

#[test]
fn outputs_without_coordinates_and_unknown_groups_are_refused() -> Result<()> {
    let mut fixture = Fixture::new("verify-refused", 1, "identity")?;
    let (code, text) = verify_text(&fixture, &[])?;
    ensure!(
        code == 2 && text.contains("write `provenance: headers`"),
        "{text}"
    );
    fixture.set("provenance", json!("headers"))?;
    let (code, text) = verify_text(&fixture, &[])?;
    ensure!(code == 1 && text.contains("has committed nothing"), "{text}");
    let (code, text) = verify_text(&fixture, &["--from", "x"])?;
    ensure!(code == 2, "{text}");
    Ok(())
}

/// A build that commits offsets outside the transaction, killed a few times, is found out.
#[test]
fn offsets_outside_the_transaction_are_found_out() -> Result<()> {
    let mut fixture = orders("verify-faulty")?;
    fixture.set("provenance", json!("headers"))?;
    let start = || -> Result<Strait> {
        let mut command = fixture.command(Build::Faulty, "run")?;
        command.env("STRAIT_FAULT", "offsets-outside-transaction");
        let mut strait = fixture.start_command(command)?;
        strait.wait_ready()?;
        Ok(strait)
    };
    let steady = Steady::start(fixture.bootstrap(), &fixture.topic("in"), PARTITIONS, 400, order)?;
    for _ in 0..6 {
        let mut strait = start()?;
        fixture.wait_open_transaction()?;
        strait.kill()?;
    }
    let mut strait = start()?;
    steady.stop()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    let verdict = verify(&fixture, &[])?;
    ensure!(verdict.code == 1, "the fault went unseen: {:#}", verdict.report);
    ensure!(verdict.count("lost") > 0, "{:#}", verdict.report);
    Ok(())
}

fn orders(name: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, PARTITIONS, "orders")?;
    fixture.create_topic("audit", PARTITIONS)?;
    fixture.dead_letter()?;
    fixture.set("outputs.audit", json!(fixture.topic("audit")))?;
    fixture.set_stage("settings", json!({ "minimum": MINIMUM }))?;
    fixture.set("lanes", json!(2))?;
    fixture.set_session(Duration::from_secs(3))?;
    Ok(fixture)
}
