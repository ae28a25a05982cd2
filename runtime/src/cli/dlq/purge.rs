//! `strait dlq purge`.

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::dlq::Trouble;
use crate::dlq::desk::Desk;
use crate::dlq::letter::Place;
use crate::dlq::purge::{self, Deletion};
use crate::dlq::selection::State;

use super::bar::Bar;
use super::{Filters, Of};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub of: Of,
    /// Only these letters, as partition:offset
    #[arg(value_name = "COORDINATE")]
    places: Vec<Place>,
    #[command(flatten)]
    filters: Filters,
    /// All that wait
    #[arg(long)]
    all: bool,
    /// Delete for good what lies before the first letter that still waits
    #[arg(long)]
    delete: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, desk: &Desk) -> anyhow::Result<ExitCode> {
    let selection = args.filters.selection(&args.places, State::Waiting);
    let marks = args.all || selection.is_narrow();
    if !marks && !args.delete {
        let what = "say which letters to purge: coordinates, filters, or --all; or --delete";
        return Err(Trouble::Usage(what.to_owned()).into());
    }
    if !args.yes && !args.dry_run && !std::io::stdin().is_terminal() {
        let what = "there is no terminal to ask on: look with --dry-run, then say --yes";
        return Err(Trouble::Usage(what.to_owned()).into());
    }
    let bar = Bar::new("reading");
    let mut show = |passed| bar.show(passed);
    let mut purged = 0;
    if marks {
        purged = purge::count(desk, &selection, &mut show)?;
    }
    let mut deletions = Vec::new();
    if args.delete {
        deletions = purge::deletions(desk, marks.then_some(&selection), &mut show)?;
    }
    drop(bar);
    let is_nothing = purged == 0 && deletions.is_empty();
    if is_nothing || args.dry_run {
        return print(args, purged, &deletions);
    }
    if !args.yes && !agreed(desk, purged, &deletions)? {
        return print(args, 0, &[]);
    }
    if purged > 0 {
        let bar = Bar::new("purging");
        purged = purge::mark(desk, &selection, &mut |passed| bar.show(passed))?;
    }
    if args.delete {
        let bar = Bar::new("deleting");
        // By the marks that have committed by now.
        deletions = purge::deletions(desk, None, &mut |passed| bar.show(passed))?;
        purge::delete(desk, &deletions)?;
    }
    print(args, purged, &deletions)
}

#[expect(clippy::print_stderr, reason = "this is where the command talks to its user")]
fn agreed(desk: &Desk, purged: u64, deletions: &[Deletion]) -> anyhow::Result<bool> {
    if purged > 0 {
        eprintln!("{purged} dead letters of {} will never be replayed.", desk.topic);
    }
    for Deletion {
        partition, before, ..
    } in deletions
    {
        eprintln!(
            "Everything before {partition}:{before} of {} will be deleted.",
            desk.topic
        );
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn print(args: &Args, purged: u64, deletions: &[Deletion]) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let deleted = deletions.iter();
        let deleted: Vec<_> = deleted
            .map(|d| json!({ "partition": d.partition, "from": d.start, "before": d.before }))
            .collect();
        let report = json!({ "purged": purged, "deleted": deleted, "dry_run": args.dry_run });
        writeln!(out, "{report:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let would = if args.dry_run { "would be " } else { "" };
    for Deletion {
        partition,
        start,
        before,
    } in deletions
    {
        writeln!(
            out,
            "partition {partition}: offsets {start} to {before} {would}deleted"
        )?;
    }
    writeln!(out, "{purged} {would}purged")?;
    Ok(ExitCode::SUCCESS)
}
