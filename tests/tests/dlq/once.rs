//! Each record is put back once, whatever dies in between.

use std::fs;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use strait_tests::binary::Build;
use strait_tests::fixture::Fixture;
use strait_tests::wait;

use super::{PATIENCE, Said, counts, failing, replayed, write_letters};

fn each_put_back_once(fixture: &Fixture, letters: usize) -> Result<()> {
    let counts = counts(fixture)?;
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    ensure!(repeated.is_empty(), "put back more than once: {repeated:?}");
    ensure!(counts.len() == letters, "{} of {letters} came back", counts.len());
    Ok(())
}

#[test]
fn a_replay_that_dies_anywhere_is_finished_by_the_next() -> Result<()> {
    for point in [
        "replay-before-commit:2",
        "during-end-txn:2",
        "replay-after-commit:2",
    ] {
        let fixture = failing("dlq-dies", 1)?;
        write_letters(&fixture, fixture.name(), 0..1600)?;
        let mut dying = fixture.command(Build::Faulty, "dlq replay")?;
        let died = dying.env("STRAIT_FAIL_POINT", point).output()?;
        ensure!(died.status.code().is_none(), "{point}: it lives: {died:?}");
        let left = replayed(&fixture, &[], 0)?;
        // Two transactions of 500 at the most had committed.
        ensure!((600..=1100).contains(&left), "{point}: {left} were left");
        each_put_back_once(&fixture, 1600).context(point)?;
        ensure!(replayed(&fixture, &[], 0)? == 0);
        fixture.check_no_open_transaction(&["in"])?;
    }
    Ok(())
}

/// Waits until the process stands still.
fn wait_stopped(child: &Child) -> Result<()> {
    let stat = format!("/proc/{}/stat", child.id());
    wait::until_true("a process that stands still", PATIENCE, || {
        let stat = fs::read_to_string(&stat)?;
        let (_, fields) = stat.rsplit_once(')').context("a stat line")?;
        Ok(fields.trim_start().starts_with('T'))
    })
}

#[test]
fn of_two_replays_at_once_the_first_ends_and_nothing_is_put_back_twice() -> Result<()> {
    for point in ["replay-before-commit:2", "replay-after-commit:1"] {
        let fixture = failing("dlq-two", 1)?;
        write_letters(&fixture, fixture.name(), 0..1600)?;
        let first = fixture
            .command(Build::Faulty, "dlq replay")?
            .env("STRAIT_FAIL_POINT", point)
            .env("STRAIT_FAIL_ACTION", "stop")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        fixture.verifier().guard(first.id())?;
        wait_stopped(&first)?;
        ensure!(replayed(&fixture, &[], 0)? == 1100, "{point}");
        let pid = Pid::from_raw(i32::try_from(first.id())?).context("a process id")?;
        kill_process(pid, Signal::CONT)?;
        let number = first.id();
        let said = Said::of(&first.wait_with_output()?).exits(1)?;
        fixture.verifier().unguard(number)?;
        ensure!(said.err.contains("another replay or purge"), "{}", said.err);
        each_put_back_once(&fixture, 1600).context(point)?;
    }
    Ok(())
}
