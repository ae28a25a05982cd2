//! Pipelines that drop repeats: a dropped one is right, a lost first one is found.

use super::*;

/// The ids of the last three records of ten are those of the first.
const IDS: i64 = 7;

fn with_id(message: Message, offset: i64) -> Message {
    message.with_header("message-id", Some(format!("m{}", offset % IDS).as_bytes()))
}

/// Ten records, written by hand, of a pipeline that drops repeats by this store.
fn tampering(name: &str, store: &str) -> Result<Tampering> {
    let mut fixture = traced(name, 1, "identity")?;
    fixture.dedup(&json!({ "id": "header:message-id", "store": store }))?;
    Tampering::of(fixture, with_id)
}

/// Records with ids, in the partition that `place` says.
fn messages(count: i32, place: impl Fn(i32) -> i32) -> Vec<Message> {
    let message = |n: i32| {
        let id = format!("m{n}");
        Message::new(id.clone(), "value")
            .with_header("message-id", Some(id.as_bytes()))
            .to_partition(place(n))
    };
    (0..count).map(message).collect()
}

#[test]
fn repeats_that_a_changelog_drops_are_proven() -> Result<()> {
    let mut fixture = traced("verify-changelog", 3, "identity")?;
    fixture.dedup(&json!({ "id": "header:message-id" }))?;
    fixture.set("commit", json!({ "interval": "50ms", "records": 20 }))?;
    fixture.set_session(Duration::from_secs(3))?;
    let messages = messages(300, |n| n % 3);
    let mut strait = fixture.start_command(fixture.command_that_dies("after-send-offsets:4")?)?;
    strait.wait_ready()?;
    fixture.send(&messages)?;
    fixture.send(&messages)?;
    strait.wait_end(Duration::from_secs(40))?;
    work_off(&fixture)?;
    let verdict = verify(&fixture, &[])?;
    verdict.proven()?;
    ensure!(verdict.number("inputs") == 600, "{:#}", verdict.report);
    ensure!(verdict.number("repeated") == 300, "{:#}", verdict.report);
    let small = verify(&fixture, &["--memory", "4KiB"])?;
    small.proven()?;
    ensure!(small.report == verdict.report, "{:#}", small.report);
    let (_, text) = verify_text(&fixture, &[])?;
    ensure!(text.contains("0 skipped, 300 repeats"), "{text}");
    Ok(())
}

#[test]
fn a_first_one_that_is_missing_is_lost_and_a_repeat_that_passed_is_unexpected() -> Result<()> {
    let honest = tampering("verify-changelog-right", "changelog")?;
    let mut outputs = honest.outputs();
    outputs.truncate(usize::try_from(IDS)?);
    let fixture = honest.with(&outputs)?;
    // What stands before the range counts, as far as it is still there.
    for from in [0, IDS] {
        let from = format!("{}:0={from}", fixture.topic("in"));
        let verdict = verify(&fixture, &["--from", &from])?;
        verdict.proven()?;
        ensure!(verdict.number("repeated") == 3, "{:#}", verdict.report);
    }
    fixture.verifier().truncate_topic(&fixture.topic("in"), 2)?;
    verify(&fixture, &[])?.found("unproven", &[0, IDS])?;

    let lossy = tampering("verify-changelog-lost", "changelog")?;
    let mut outputs = lossy.outputs();
    outputs.truncate(usize::try_from(IDS)?);
    outputs.remove(1);
    verify(&lossy.with(&outputs)?, &[])?.found("lost", &[1])?;

    let passing = tampering("verify-changelog-passed", "changelog")?;
    let mut outputs = passing.outputs();
    outputs.truncate(usize::try_from(IDS)? + 1);
    verify(&passing.with(&outputs)?, &[])?.found("unexpected", &[IDS])
}

#[test]
fn repeats_in_other_partitions_are_proven_if_one_came_through() -> Result<()> {
    let mut fixture = traced("verify-memory", 3, "identity")?;
    fixture.dedup(&json!({ "id": "header:message-id", "store": "memory" }))?;
    fixture.set("lanes", json!(3))?;
    let mut strait = fixture.run()?;
    fixture.send(&messages(200, |n| n % 3))?;
    fixture.send(&messages(200, |n| (n + 1) % 3))?;
    fixture.wait_worked_off(&mut strait)?;
    ensure!(strait.terminate(STOP_LIMIT)? == 0);
    let verdict = verify(&fixture, &[])?;
    verdict.proven()?;
    ensure!(verdict.number("inputs") == 400, "{:#}", verdict.report);
    ensure!(verdict.number("repeated") == 200, "{:#}", verdict.report);
    let small = verify(&fixture, &["--memory", "2KiB"])?;
    small.proven()?;
    ensure!(small.report == verdict.report, "{:#}", small.report);
    Ok(())
}

#[test]
fn a_message_of_which_nothing_came_through_is_lost() -> Result<()> {
    // The second of them is the one that came through.
    let honest = tampering("verify-memory-right", "memory")?;
    let mut outputs = honest.outputs();
    outputs.remove(0);
    verify(&honest.with(&outputs)?, &[])?.proven()?;

    let lossy = tampering("verify-memory-lost", "memory")?;
    let mut outputs = lossy.outputs();
    outputs.remove(usize::try_from(IDS)?);
    outputs.remove(0);
    let fixture = lossy.with(&outputs)?;
    verify(&fixture, &[])?.found("lost", &[0, IDS])?;
    // Who claimed it may stand before the range.
    let from = format!("{}:0=1", fixture.topic("in"));
    verify(&fixture, &["--from", &from])?.found("unproven", &[IDS])
}
