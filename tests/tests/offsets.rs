//! `strait offsets`: what is shown is so, a reset is refused where it could not be kept, and what stands
//! beside the offsets goes with them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strait_tests::binary::Build;
use strait_tests::fixture::Fixture;
use strait_tests::produce::Message;
use strait_tests::server::{Kind, Server};
use strait_tests::verifier::Row;
use strait_tests::wait;

const STOP_LIMIT: Duration = Duration::from_secs(10);
const FAIL_LIMIT: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(30);

/// What `strait offsets` did.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn exits(self, code: i32) -> Result<Self> {
        let Self { code: is, out, err } = &self;
        ensure!(*is == Some(code), "exit {is:?} and not {code}: {out}{err}");
        Ok(self)
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| self.out.clone())
    }
}

fn offsets(fixture: &Fixture, verb: &str, arguments: &[&str]) -> Result<Said> {
    let mut command = fixture.command(Build::Plain, &format!("offsets {verb}"))?;
    let output = command.args(arguments).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

fn reset(fixture: &Fixture, arguments: &[&str], code: i32) -> Result<Said> {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--yes"]).collect();
    offsets(fixture, "reset", &arguments)?.exits(code)
}

/// A field of each partition, as `--json` tells it.
fn each(said: &Said, field: &str) -> Result<Vec<Value>> {
    let json = said.json()?;
    let partitions = json.get("partitions").and_then(Value::as_array);
    let partitions = partitions.context("partitions")?.iter();
    partitions
        .map(|partition| partition.get(field).cloned().context("a field"))
        .collect()
}

fn messages(prefix: &str, count: i32, partitions: i32) -> Vec<Message> {
    let message = |n| Message::new(format!("{prefix}-{n}"), "value").to_partition(n % partitions);
    (0..count).map(message).collect()
}

fn work_off(fixture: &Fixture) -> Result<()> {
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    Ok(())
}

fn wait_nobody(fixture: &Fixture) -> Result<()> {
    wait::until_true("a group that nobody is in", PATIENCE, || {
        Ok(fixture.verifier().members(fixture.name())?.is_empty())
    })
}

fn committed(fixture: &Fixture) -> Result<BTreeMap<i32, i64>> {
    let committed = fixture.verifier().committed(fixture.name())?;
    Ok(committed
        .into_iter()
        .map(|((_, partition), offset)| (partition, offset))
        .collect())
}

/// Each key of `out` stands there so often.
fn check_counts(fixture: &Fixture, expected: impl Fn(&str) -> usize) -> Result<()> {
    let counts = fixture.key_counts()?;
    let wrong: Vec<_> = counts
        .iter()
        .filter(|(key, count)| **count != expected(key))
        .collect();
    ensure!(wrong.is_empty() && !counts.is_empty(), "{wrong:?} of {counts:?}");
    Ok(())
}

#[test]
fn shows_how_far_the_group_has_come() -> Result<()> {
    let fixture = Fixture::new("offsets-show", 2, "identity")?;
    fixture.send(&messages("m", 10, 2))?;
    let before = offsets(&fixture, "show", &[])?.exits(0)?.out;
    for part in [
        "nobody is in it, and it has no offset",
        "will begin at the start of the log",
    ] {
        ensure!(before.contains(part), "{before}");
    }
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let running = offsets(&fixture, "show", &["--json"])?.exits(0)?.json()?;
    let member = running.pointer("/members/0/client_id").and_then(Value::as_str);
    ensure!(
        member.is_some_and(|member| member.starts_with(fixture.name())),
        "{running:#}"
    );
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    fixture.send(&messages("more", 3, 1))?;
    let said = offsets(&fixture, "show", &["--json"])?.exits(0)?;
    for (field, expected) in [
        ("committed", [5, 5]),
        ("end", [8, 5]),
        ("lag", [3, 0]),
        ("start", [0, 0]),
        ("began", [0, 0]),
    ] {
        ensure!(
            each(&said, field)? == expected.map(|n| json!(n)),
            "{field}: {}",
            said.out
        );
    }
    fixture
        .verifier()
        .forget_offsets(fixture.name(), &fixture.topic("in"))?;
    let lost = offsets(&fixture, "show", &[])?.exits(0)?.out;
    ensure!(lost.contains("has lost its offset"), "{lost}");
    Ok(())
}

#[test]
fn what_was_read_is_read_again_and_a_dry_run_changes_nothing() -> Result<()> {
    let fixture = Fixture::new("offsets-back", 2, "identity")?;
    fixture.send(&messages("m", 20, 2))?;
    work_off(&fixture)?;
    let stood = committed(&fixture)?;
    let topic = fixture.topic("in");
    for wrong in [
        vec!["--to", "1000"],
        vec!["--to", "nowhere:0=1"],
        vec!["--to", "yesterday"],
        vec!["--to", "earliest", "--since", "1h"],
        vec!["--to", "earliest", "--state", "clear"],
        vec!["--to", "latest", "--claims", "drop"],
        vec![],
    ] {
        reset(&fixture, &wrong, 2)?;
    }
    let asks = offsets(&fixture, "reset", &["--to", "earliest"])?.exits(2)?;
    ensure!(asks.err.contains("--yes"), "{}", asks.err);
    let dry = offsets(&fixture, "reset", &["--to", "earliest", "--dry-run", "--json"])?.exits(0)?;
    ensure!(each(&dry, "read_again")? == [json!(10), json!(10)], "{}", dry.out);
    ensure!(committed(&fixture)? == stood);
    let one = format!("{topic}:1=4");
    let said = reset(&fixture, &["--to", &one], 0)?;
    ensure!(
        said.out.contains(&format!("{topic}:1: 10 -> 4, 6 read again")),
        "{}",
        said.out
    );
    ensure!(committed(&fixture)? == BTreeMap::from([(0, 10), (1, 4)]));
    work_off(&fixture)?;
    let again = |key: &str| {
        let n: i32 = key.trim_start_matches("m-").parse().unwrap_or_default();
        1 + usize::from(n % 2 == 1 && n / 2 >= 4)
    };
    check_counts(&fixture, again)?;
    reset(&fixture, &["--since", "1h"], 0)?;
    work_off(&fixture)?;
    check_counts(&fixture, |key| again(key) + 1)?;
    fixture.send(&messages("passed-over", 10, 2))?;
    reset(&fixture, &["--to", "latest"], 0)?;
    work_off(&fixture)?;
    check_counts(&fixture, |key| again(key) + 1)
}

#[test]
fn a_group_with_members_is_left_alone() -> Result<()> {
    let fixture = Fixture::new("offsets-running", 1, "identity")?;
    fixture.send(&messages("m", 10, 1))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let said = reset(&fixture, &["--to", "earliest"], 1)?;
    let member = format!("has members: {}.", fixture.name());
    ensure!(said.err.contains(&member), "{}", said.err);
    let plan = offsets(&fixture, "reset", &["--to", "earliest", "--dry-run"])?
        .exits(0)?
        .out;
    ensure!(plan.contains("10 -> 0, 10 read again"), "{plan}");
    ensure!(committed(&fixture)? == BTreeMap::from([(0, 10)]));
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    check_counts(&fixture, |_| 1)
}

#[test]
fn offsets_that_an_open_transaction_may_still_move_are_left_alone() -> Result<()> {
    let mut fixture = Fixture::new("offsets-open", 1, "identity")?;
    fixture.set_session(Duration::from_secs(3))?;
    let mut strait = fixture.start_command(fixture.command_that_dies("after-send-offsets:2")?)?;
    strait.wait_ready()?;
    fixture.send(&messages("m", 10, 1))?;
    strait.wait_end(FAIL_LIMIT)?;
    wait_nobody(&fixture)?;
    let said = reset(&fixture, &["--to", "latest"], 1)?;
    ensure!(said.err.contains("a transaction of"), "{}", said.err);
    work_off(&fixture)?;
    reset(&fixture, &["--to", "earliest"], 0)?;
    work_off(&fixture)?;
    check_counts(&fixture, |_| 2)
}

#[test]
fn an_offset_that_was_lost_is_set_again() -> Result<()> {
    let fixture = Fixture::new("offsets-lost", 1, "identity")?;
    fixture.send(&messages("m", 10, 1))?;
    work_off(&fixture)?;
    fixture
        .verifier()
        .forget_offsets(fixture.name(), &fixture.topic("in"))?;
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    ensure!(strait.log().contains("strait offsets reset"), "{}", strait.log());
    wait_nobody(&fixture)?;
    let said = reset(&fixture, &["--to", "7"], 0)?;
    ensure!(said.out.contains("no offset -> 7"), "{}", said.out);
    work_off(&fixture)?;
    check_counts(&fixture, |key| if key < "m-7" { 1 } else { 2 })
}

#[test]
fn verify_knows_what_was_read_before_the_group_began() -> Result<()> {
    let mut fixture = Fixture::new("offsets-verify", 1, "identity")?;
    fixture.set("input.start", json!("latest"))?;
    fixture.set("provenance", json!("headers"))?;
    fixture.send(&messages("before", 10, 1))?;
    let mut strait = fixture.run()?;
    wait::until_true("the committed start", PATIENCE, || {
        Ok(committed(&fixture)? == BTreeMap::from([(0, 10)]))
    })?;
    fixture.send(&messages("after", 5, 1))?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    reset(&fixture, &["--to", "3"], 0)?;
    work_off(&fixture)?;
    check_counts(&fixture, |key| if key.starts_with("after") { 2 } else { 1 })?;
    let shown = offsets(&fixture, "show", &["--json"])?.exits(0)?;
    ensure!(each(&shown, "began")? == [json!(3)], "{}", shown.out);
    let mut verify = fixture.command(Build::Plain, "verify")?;
    let output = verify.arg("--json").output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let count = |kind: &str| report.pointer(&format!("/findings/{kind}/count")).cloned();
    // What was read twice is doubled, and what was read late is late; nothing else is wrong.
    for (kind, expected) in [
        ("unexpected", 0),
        ("lost", 0),
        ("doubled", 5),
        ("out_of_order", 7),
    ] {
        ensure!(count(kind) == Some(json!(expected)), "{kind}: {report:#}");
    }
    ensure!(report.get("inputs") == Some(&json!(12)), "{report:#}");
    Ok(())
}

#[test]
fn claims_of_a_changelog_go_with_the_offsets() -> Result<()> {
    let mut fixture = Fixture::new("offsets-changelog", 1, "identity")?;
    fixture.dedup(&json!({ "id": "key" }))?;
    fixture.send(&messages("m", 10, 1))?;
    fixture.send(&messages("m", 10, 1))?;
    work_off(&fixture)?;
    check_counts(&fixture, |_| 1)?;
    reset(&fixture, &["--to", "earliest"], 0)?;
    work_off(&fixture)?;
    check_counts(&fixture, |_| 2)?;
    // Nothing is claimed that was not committed, so nothing is asked.
    fixture.send(&messages("n", 10, 1))?;
    reset(&fixture, &["--to", "latest"], 0)?;
    fixture.send(&messages("n", 10, 1))?;
    work_off(&fixture)?;
    check_counts(&fixture, |key| if key.starts_with('n') { 1 } else { 2 })?;
    ensure!(fixture.key_counts()?.len() == 20);
    Ok(())
}

/// A pipeline that has died with claims on ten records, none of which has come through, and two repeats of
/// others behind them.
fn claimed(kind: Kind) -> Result<(Fixture, Server)> {
    let mut fixture = Fixture::new(&format!("offsets-{}", kind.name()), 1, "identity")?;
    let server = Server::start(kind, fixture.verifier())?;
    fixture.dedup(&json!({ "id": "key", "store": server.store(&server.url()), "window": "1h" }))?;
    fixture.set_session(Duration::from_secs(3))?;
    fixture.send(&messages("through", 5, 1))?;
    work_off(&fixture)?;
    let mut strait = fixture.start_command(fixture.command_that_dies("after-claim:1")?)?;
    strait.wait_ready()?;
    let mut input = messages("stuck", 10, 1);
    input.extend(messages("through", 2, 1));
    fixture.send(&input)?;
    strait.wait_end(FAIL_LIMIT)?;
    wait_nobody(&fixture)?;
    let said = reset(&fixture, &["--to", "latest"], 2)?;
    ensure!(said.err.contains("--claims drop"), "{}", said.err);
    ensure!(
        committed(&fixture)? == BTreeMap::from([(0, 5)]),
        "refused, and done all the same"
    );
    Ok((fixture, server))
}

fn repeats_pass_after_their_claims_were_dropped(kind: Kind) -> Result<()> {
    let (fixture, _server) = claimed(kind)?;
    let said = reset(&fixture, &["--to", "latest", "--claims", "drop", "--json"], 0)?;
    let dropped = said.json()?.get("claims_dropped").and_then(Value::as_u64);
    ensure!(
        dropped.is_some_and(|dropped| (1..=10).contains(&dropped)),
        "{}",
        said.out
    );
    // The same once more passes over nothing, so nothing is asked of the store.
    reset(&fixture, &["--to", "latest", "--claims", "drop"], 0)?;
    fixture.send(&messages("stuck", 10, 1))?;
    fixture.send(&messages("through", 5, 1))?;
    work_off(&fixture)?;
    // What came through is still known.
    fixture.check_each_key_once(15)
}

#[test]
fn repeats_of_what_was_passed_over_pass_if_claims_are_dropped_redis() -> Result<()> {
    repeats_pass_after_their_claims_were_dropped(Kind::Redis)
}

#[test]
fn repeats_of_what_was_passed_over_pass_if_claims_are_dropped_postgres() -> Result<()> {
    repeats_pass_after_their_claims_were_dropped(Kind::Postgres)
}

#[test]
fn repeats_of_what_was_passed_over_pass_if_claims_are_dropped_mariadb() -> Result<()> {
    repeats_pass_after_their_claims_were_dropped(Kind::MariaDb)
}

/// The risk that the user is asked about: a message of which nothing comes through.
#[test]
fn repeats_of_what_was_passed_over_are_dropped_if_claims_are_kept() -> Result<()> {
    let (fixture, _server) = claimed(Kind::Redis)?;
    reset(&fixture, &["--to", "latest", "--claims", "keep"], 0)?;
    fixture.send(&messages("stuck", 10, 1))?;
    work_off(&fixture)?;
    let through = fixture.key_counts()?;
    ensure!(through.len() < 15, "{through:?}");
    // Backward no choice is needed: a record finds its own claim.
    reset(&fixture, &["--to", "earliest"], 0)?;
    work_off(&fixture)?;
    check_counts(&fixture, |key| 1 + usize::from(through.contains_key(key)))?;
    ensure!(fixture.key_counts()?.len() == 15);
    Ok(())
}

fn paying(name: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, 2, "balance")?;
    fixture.set("state", json!({ "balance": {} }))?;
    fixture.set_stage("settings", json!({ "overdraft": 1_000_000 }))?;
    Ok(fixture)
}

fn payments(count: i32) -> Vec<Message> {
    let payment = |n: i32| Message::new(format!("account-{}", n % 2), r#"{"amount": 1}"#).to_partition(n % 2);
    (0..count).map(payment).collect()
}

/// How many payments the last output of each account tells.
fn counted(fixture: &Fixture) -> Result<Vec<u64>> {
    let mut last = BTreeMap::new();
    for row in fixture.read("out")? {
        let account: Value = serde_json::from_str(&Row::value_text(&row))?;
        let payments = account.get("payments").and_then(Value::as_u64);
        last.insert(row.key_text(), payments.context("a count")?);
    }
    Ok(last.into_values().collect())
}

#[test]
fn state_is_counted_anew_or_gone_on_with_as_is_asked() -> Result<()> {
    let fixture = paying("offsets-state")?;
    let topic = fixture.topic("in");
    fixture.send(&payments(20))?;
    work_off(&fixture)?;
    ensure!(counted(&fixture)? == [10, 10]);
    let asks = reset(&fixture, &["--to", "earliest"], 2)?;
    ensure!(asks.err.contains("--state"), "{}", asks.err);
    let one = format!("{topic}:0=4");
    reset(&fixture, &["--to", &one, "--state", "clear"], 2)?;
    ensure!(committed(&fixture)? == BTreeMap::from([(0, 10), (1, 10)]));
    let changelog = format!("__strait.{}.state.balance.{topic}", fixture.name());
    let id = fixture.verifier().topic_id(&changelog)?;
    let said = reset(&fixture, &["--to", "earliest", "--state", "clear"], 0)?;
    ensure!(said.out.contains(&format!("{changelog} deleted")), "{}", said.out);
    work_off(&fixture)?;
    ensure!(
        fixture.verifier().topic_id(&changelog)? != id,
        "it was not made anew"
    );
    ensure!(counted(&fixture)? == [10, 10], "{:?}", counted(&fixture)?);
    ensure!(fixture.read("out")?.len() == 40);
    // Six of the first account count twice.
    reset(&fixture, &["--to", &one, "--state", "keep"], 0)?;
    work_off(&fixture)?;
    ensure!(counted(&fixture)? == [16, 10], "{:?}", counted(&fixture)?);
    // Also where nothing is left of the local copy.
    reset(&fixture, &["--to", "8", "--state", "keep"], 0)?;
    std::fs::remove_dir_all(fixture.path("data").join("state"))?;
    work_off(&fixture)?;
    ensure!(counted(&fixture)? == [18, 12], "{:?}", counted(&fixture)?);
    // And what is passed over counts never.
    fixture.send(&payments(6))?;
    reset(&fixture, &["--to", "latest", "--state", "keep"], 0)?;
    fixture.send(&payments(2))?;
    work_off(&fixture)?;
    ensure!(counted(&fixture)? == [19, 13], "{:?}", counted(&fixture)?);
    Ok(())
}
