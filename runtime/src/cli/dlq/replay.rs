//! `strait dlq replay`.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use crate::dlq::desk::Desk;
use crate::dlq::letter::Place;
use crate::dlq::replay::{self, Report, Request};
use crate::dlq::selection::State;

use super::{Filters, Of};
use crate::cli::FAILED;
use crate::cli::bar::Bar;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub of: Of,
    /// Only these letters, as partition:offset; without any and without filters, all that wait
    #[arg(value_name = "COORDINATE")]
    places: Vec<Place>,
    #[command(flatten)]
    filters: Filters,
    /// Put the records into this topic, and not back where they came from
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// Leave out records that were replayed so often already
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    max_replays: u32,
    /// Date the records now; else they keep their timestamps
    #[arg(long)]
    redate: bool,
    /// Only say what would be replayed
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Exits with 1 if a letter that was asked for could not be replayed.
pub fn run(args: &Args, desk: &Desk) -> anyhow::Result<ExitCode> {
    let request = Request {
        selection: args.filters.selection(&args.places, State::Waiting),
        to: args.to.clone(),
        replays_max: args.max_replays,
        redate: args.redate,
        dry_run: args.dry_run,
    };
    let bar = Bar::new("replaying");
    let report = replay::run(desk, &request, &mut |passed| bar.show(passed))?;
    drop(bar);
    print(args, &report, &mut std::io::stdout().lock())?;
    Ok(if report.left_out_count == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn print(args: &Args, report: &Report, out: &mut impl Write) -> anyhow::Result<()> {
    if args.json {
        let left_out = report.left_out.iter();
        let left_out: Vec<_> = left_out
            .map(|(place, why)| json!({ "coordinate": place.to_string(), "why": why }))
            .collect();
        let before = report.done_before.iter();
        let before: Vec<_> = before
            .map(|(place, mark)| json!({ "coordinate": place.to_string(), "state": mark.as_str() }))
            .collect();
        let report = json!({
            "replayed": report.replayed,
            "dry_run": args.dry_run,
            "done_before": before,
            "left_out": left_out,
            "left_out_count": report.left_out_count,
        });
        return Ok(writeln!(out, "{report:#}")?);
    }
    for (place, mark) in &report.done_before {
        writeln!(out, "{place}: {} before", mark.as_str())?;
    }
    for (place, why) in &report.left_out {
        writeln!(out, "{place}: left out: {why}")?;
    }
    let verb = if args.dry_run {
        "would be replayed"
    } else {
        "replayed"
    };
    write!(out, "{} {verb}", report.replayed)?;
    if report.left_out_count > 0 {
        write!(out, ", {} left out", report.left_out_count)?;
    }
    Ok(writeln!(out)?)
}
