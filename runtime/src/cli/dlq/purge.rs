//! `strait dlq purge`.

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::cli::bar::Bar;
use crate::dlq::Trouble;
use crate::dlq::desk::Desk;
use crate::dlq::letter::Place;
use crate::dlq::purge::{self, Deletion, Report};
use crate::dlq::selection::State;

use super::{Filters, Of};

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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
    let selection = marks.then_some(&selection);
    let bar = Bar::new("reading");
    let mut report = purge::look(desk, selection, args.delete, &mut |passed| bar.show(passed))?;
    drop(bar);
    let is_nothing = report.purged == 0 && report.deletions.is_empty();
    // Deleting also takes marks back whose letters the topic's retention has removed.
    if !args.dry_run && (args.delete || !is_nothing) {
        if !is_nothing && !args.yes && !agreed(desk, &report)? {
            return print(args, &Report::default());
        }
        let bar = Bar::new("purging");
        report = purge::carry_out(desk, selection, args.delete, &mut |passed| bar.show(passed))?;
    }
    print(args, &report)
}

#[expect(clippy::print_stderr, reason = "this is where the command talks to its user")]
fn agreed(desk: &Desk, report: &Report) -> anyhow::Result<bool> {
    let Report { purged, deletions } = report;
    if *purged > 0 {
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
    Ok(crate::cli::go_on()?)
}

fn print(args: &Args, report: &Report) -> anyhow::Result<ExitCode> {
    let Report { purged, deletions } = report;
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
