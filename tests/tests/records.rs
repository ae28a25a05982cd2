//! Records as they come: odd ones pass unchanged, bad ones fail alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strait_tests::binary::{self, Build};
use strait_tests::fixture::Fixture;
use strait_tests::ledger::{Account, Expected};
use strait_tests::produce::{Input, Message};
use strait_tests::verifier::Row;
use strait_tests::wait;

use crate::hostile;

const FAIL_LIMIT: Duration = Duration::from_secs(40);

/// Good records, with the bad ones in their places.
fn thousand(count: usize, bad: &[usize], command: &str) -> Vec<Message> {
    let value = |n: usize| if bad.contains(&n) { command } else { hostile::PASS };
    (0..count)
        .map(|n| Message::new(format!("k-{n}"), value(n)).with_header("h", Some(b"x")))
        .collect()
}

fn hostile_scenario(name: &str) -> Result<Fixture> {
    let mut fixture = Fixture::new(name, 1, "hostile")?;
    fixture.set_stage("limits.batch_deadline", json!("1s"))?;
    Ok(fixture)
}

/// The bad records reach the dead letter topic, all others the output, each once.
fn fail_alone(name: &str, kind: &str, count: usize, bad: &[usize], command: &str) -> Result<()> {
    only_these_fail(hostile_scenario(name)?, kind, &thousand(count, bad, command))
}

fn only_these_fail(mut fixture: Fixture, kind: &str, messages: &[Message]) -> Result<()> {
    fixture.dead_letter()?;
    fixture.send(messages)?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let input = fixture.read("in")?;
    let is_good = |row: &&Row| row.value_text() == hostile::PASS;
    let (good, bad): (Vec<&Row>, Vec<&Row>) = input.iter().partition(is_good);
    let expected = |rows: &[&Row]| rows.iter().map(|row| Expected::by_key(row)).collect::<Vec<_>>();
    ensure!(!good.is_empty() && !bad.is_empty());
    Account::by_key(&expected(&good), &fixture.read("out")?).settle("out")?;
    let letters = fixture.read("dlq")?;
    Account::by_key(&expected(&bad), &letters).settle("dlq")?;
    for (letter, original) in letters.iter().zip(&bad) {
        check_letter(&fixture, letter, original, kind).with_context(|| format!("{letter:?}"))?;
    }
    let labels = [("pipeline", fixture.name()), ("kind", kind)];
    let counted = strait.metric("strait_records_dead_lettered_total", &labels)?;
    ensure!(
        counted == Some(f64::from(u32::try_from(bad.len())?)),
        "dead letters counted: {counted:?}"
    );
    Ok(())
}

fn check_letter(fixture: &Fixture, letter: &Row, original: &Row, kind: &str) -> Result<()> {
    ensure!(
        letter.key == original.key && letter.value == original.value,
        "key or value changed"
    );
    let kept = original
        .headers
        .iter()
        .all(|header| letter.headers.contains(header));
    ensure!(kept, "a header of the record was lost");
    let header = |name: &str| {
        letter
            .header(&format!("strait-error-{name}"))
            .with_context(|| format!("no header strait-error-{name}"))
    };
    ensure!(header("kind")? == kind, "kind is {}", header("kind")?);
    ensure!(header("topic")? == fixture.topic("in"));
    ensure!(header("partition")? == original.partition.to_string());
    ensure!(header("offset")? == original.offset.to_string());
    ensure!(header("timestamp")? == original.timestamp_ms.to_string());
    ensure!(header("pipeline")? == fixture.name());
    let module = header("module")?;
    ensure!(
        module.len() == 64 && module.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "module {module}"
    );
    ensure!(header("attempts")?.parse::<u32>()? >= 1);
    for name in ["reason", "stage", "topic-id"] {
        ensure!(!header(name)?.is_empty(), "{name} is empty");
    }
    Ok(())
}

#[test]
fn a_reject_fails_alone() -> Result<()> {
    fail_alone("reject", "reject", 1000, &[0, 500, 999], hostile::REJECT)
}

#[test]
fn a_trap_fails_alone() -> Result<()> {
    fail_alone("trap", "trap", 1000, &[0, 500, 501, 999], hostile::TRAP)
}

#[test]
fn an_endless_loop_fails_alone() -> Result<()> {
    // The only bad one among 1,000, three times in a row; and two side by side.
    fail_alone("loop", "deadline", 3000, &[500, 1500, 2500, 2501], hostile::LOOP)
}

#[test]
fn a_memory_bomb_fails_alone() -> Result<()> {
    fail_alone("memory", "memory", 1000, &[500], hostile::MEMORY)
}

#[test]
fn an_oversized_output_fails_alone() -> Result<()> {
    fail_alone("oversized", "output", 1000, &[500], hostile::OVERSIZED)
}

#[test]
fn a_malformed_output_fails_alone() -> Result<()> {
    let mut messages = thousand(1000, &[], "");
    for (damage, message) in hostile::MALFORMED
        .iter()
        .zip(messages.iter_mut().skip(20).step_by(50))
    {
        message.value = Some(format!("malformed:{damage}").into_bytes());
    }
    only_these_fail(Fixture::new("malformed", 1, "malformed")?, "output", &messages)
}

#[test]
fn a_retry_is_tried_again_in_its_place() -> Result<()> {
    let fixture = hostile_scenario("retry")?;
    fixture.send(&thousand(1000, &[0, 500, 501], hostile::RETRY_TWICE))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_copied()?;
    let retried = strait.metric("strait_records_retried_total", &[("pipeline", fixture.name())])?;
    ensure!(retried >= Some(3.0), "retried: {retried:?}");
    Ok(())
}

#[test]
fn retries_that_are_used_up_fail_alone() -> Result<()> {
    fail_alone("retries", "retry", 1000, &[500], hostile::RETRY)
}

#[test]
fn a_record_larger_than_its_topic_takes_fails_alone() -> Result<()> {
    let mut fixture = Fixture::new("too-large", 1, "identity")?;
    fixture.dead_letter()?;
    let small = fixture.topic("small");
    fixture
        .verifier()
        .create_topic(&small, 1, &["max.message.bytes=20000"])?;
    fixture.set("outputs.default", json!(small))?;
    let mut messages = thousand(100, &[], "");
    let large = Message::new("large", vec![b'x'; 30_000]);
    messages.insert(50, large);
    fixture.send(&messages)?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let rows = fixture.read("small")?;
    ensure!(
        rows.len() == 100 && rows.iter().all(|row| row.key_text() != "large"),
        "{} rows",
        rows.len()
    );
    let input = fixture.read("in")?;
    let original = input
        .iter()
        .find(|row| row.key_text() == "large")
        .context("the large record")?;
    let letters = fixture.read("dlq")?;
    ensure!(letters.len() == 1, "{} dead letters", letters.len());
    letters
        .iter()
        .try_for_each(|letter| check_letter(&fixture, letter, original, "too-large"))
}

#[test]
fn an_unknown_output_is_an_error_of_the_pipeline() -> Result<()> {
    let mut fixture = hostile_scenario("unknown-output")?;
    fixture.dead_letter()?;
    fixture.send(&thousand(100, &[50], hostile::UNKNOWN_OUTPUT))?;
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    ensure!(
        fixture.read("dlq")?.is_empty(),
        "an error of the pipeline is no dead letter"
    );
    check_stopped_before(&fixture, 50)
}

#[test]
fn stop_keeps_what_precedes_and_nothing_else() -> Result<()> {
    let fixture = hostile_scenario("stop")?;
    fixture.send(&thousand(1000, &[500], hostile::TRAP))?;
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let log = strait.log();
    ensure!(
        log.contains("500") && log.contains(&fixture.topic("in")),
        "the log does not say which: {log}"
    );
    check_stopped_before(&fixture, 500)
}

/// What is committed stands in the output, and reaches no further than the bad record.
fn check_stopped_before(fixture: &Fixture, offset: i64) -> Result<()> {
    let committed = fixture.verifier().committed(fixture.name())?;
    let at = committed.get(&(fixture.topic("in"), 0)).copied().unwrap_or(0);
    ensure!(at <= offset, "committed to {at}, beyond the bad record");
    let input = fixture.read("in")?;
    let done = input.iter().filter(|row| row.offset < at).map(Expected::by_key);
    Account::by_key(&done.collect::<Vec<_>>(), &fixture.read("out")?).settle("out")?;
    fixture.check_no_open_transaction(&["out"])
}

#[test]
fn skip_counts_and_goes_on() -> Result<()> {
    let mut fixture = hostile_scenario("skip")?;
    fixture.set("on_error", json!({ "then": "skip", "limit": "none" }))?;
    fixture.send(&thousand(1000, &[10, 500], hostile::TRAP))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let labels = [("pipeline", fixture.name()), ("kind", "trap")];
    let skipped = strait.metric("strait_records_skipped_total", &labels)?;
    ensure!(skipped == Some(2.0), "skipped: {skipped:?}");
    let input = fixture.read("in")?;
    let good = input
        .iter()
        .filter(|row| row.value_text() != hostile::TRAP)
        .map(Expected::by_key);
    Account::by_key(&good.collect::<Vec<_>>(), &fixture.read("out")?).settle("out")
}

#[test]
fn the_breaker_stops_a_bad_module() -> Result<()> {
    let mut fixture = hostile_scenario("breaker")?;
    fixture.dead_letter()?;
    let limit = json!({ "rate": "5%", "over": "1m", "at_least": 100, "then": "stop" });
    fixture.set("on_error.limit", limit)?;
    let bad: Vec<usize> = (0..20_000).step_by(2).collect();
    fixture.send(&thousand(20_000, &bad, hostile::REJECT))?;
    let mut strait = fixture.start()?;
    ensure!(strait.wait_exit(FAIL_LIMIT)? == 1);
    let letters = fixture.read("dlq")?.len();
    ensure!(
        letters < bad.len() / 2,
        "{letters} dead letters before the breaker"
    );
    ensure!(
        strait.log().contains("limit"),
        "the log does not name on_error.limit"
    );
    fixture.check_no_open_transaction(&["out", "dlq"])
}

#[test]
fn a_batch_that_is_all_filtered_commits() -> Result<()> {
    let fixture = hostile_scenario("filtered")?;
    let bad: Vec<usize> = (0..500).collect();
    fixture.send(&thousand(500, &bad, hostile::FILTER))?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(fixture.read("out")?.is_empty());
    wait::until("the count of filtered records", Duration::from_secs(10), || {
        let filtered = strait.metric("strait_records_filtered_total", &[("pipeline", fixture.name())])?;
        ensure!(filtered == Some(500.0), "filtered: {filtered:?}");
        Ok(Some(()))
    })
}

#[test]
fn odd_records_pass_unchanged() -> Result<()> {
    let fixture = Fixture::new("odd", 1, "identity")?;
    let mut many_headers = Message::new("many-headers", "v");
    for n in 0..100 {
        // Some names twice, some values null, some empty.
        let value: Option<&[u8]> = [None, Some(b"".as_slice()), Some(&[0, 159, 255])][n % 3];
        many_headers = many_headers.with_header(&format!("h-{}", n / 2), value);
    }
    fixture.send(&[
        Message {
            key: Some(b"tombstone".to_vec()),
            ..Message::default()
        },
        Message {
            value: Some(b"null key".to_vec()),
            ..Message::default()
        },
        Message::default(),
        Message::new("empty value", ""),
        Message::new("", "empty key"),
        Message::new(vec![0, 255, 128], vec![0, 159, 146, 150]),
        Message::new("1 MB", vec![b'm'; 1_000_000]),
        many_headers,
    ])?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    let content = |short: &str| -> Result<Vec<_>> {
        let rows = fixture.read(short)?.into_iter();
        Ok(rows
            .map(|row| (row.key, row.value, row.headers, row.timestamp_ms))
            .collect())
    };
    let (input, output) = (content("in")?, content("out")?);
    ensure!(
        input.len() == 8 && output.len() == 8,
        "{} of {} records",
        output.len(),
        input.len()
    );
    for (put, got) in input.iter().zip(&output) {
        ensure!(put == got, "{:?} became {:?}", put.0, got.0);
    }
    Ok(())
}

#[test]
fn aborted_input_is_passed_over_and_lag_reaches_zero() -> Result<()> {
    let fixture = Fixture::new("aborted-input", 1, "identity")?;
    let topic = fixture.topic("in");
    let input = Input::transactional(fixture.bootstrap(), &format!("input-{}", fixture.name()))?;
    let stretch = |name: &str, commit: bool| -> Result<()> {
        let messages: Vec<Message> = (0..200)
            .map(|n| Message::new(format!("{name}-{n}"), "v"))
            .collect();
        input.begin()?;
        input.send_all(&topic, &messages)?;
        if commit { input.commit() } else { input.abort() }
    };
    stretch("first", true)?;
    stretch("aborted", false)?;
    stretch("second", true)?;
    let mut strait = fixture.run()?;
    fixture.wait_worked_off(&mut strait)?;
    // While it runs: a tail of nothing but an aborted stretch and control records.
    stretch("aborted-tail", false)?;
    fixture.wait_worked_off(&mut strait)?;
    fixture.check_copied()?;
    let labels = [
        ("pipeline", fixture.name()),
        ("topic", topic.as_str()),
        ("partition", "0"),
    ];
    wait::until("lag 0", Duration::from_secs(10), || {
        for name in ["strait_consumer_lag_records", "strait_last_stable_offset_lag"] {
            let lag = strait.metric(name, &labels)?;
            ensure!(lag == Some(0.0), "{name} is {lag:?}");
        }
        Ok(Some(()))
    })
}

#[test]
fn a_module_that_asks_for_an_import_is_refused_by_name() -> Result<()> {
    let mut fixture = Fixture::new("importer", 1, "identity")?;
    fixture.set_stage("module", json!(binary::guest("importer")?))?;
    let output = fixture.command(Build::Plain, "run")?.output()?;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    let said = String::from_utf8(output.stderr)?;
    ensure!(said.contains(hostile::IMPORT), "the import is not named: {said}");
    Ok(())
}
