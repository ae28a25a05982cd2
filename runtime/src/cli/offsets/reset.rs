//! `strait offsets reset`.

use std::cmp::Ordering;
use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::cli::bar::Bar;
use crate::inquiry::bound::time_ago;
use crate::offsets::Trouble;
use crate::offsets::goal::{Goal, Goals, Spot};
use crate::offsets::group::Group;
use crate::offsets::plan::{Choices, Move, OfClaims, OfState};
use crate::offsets::reset::{Done, Reset, carry_out, keeps, planned};
use crate::plan::{ClaimStore, DedupMode, Pipeline};

use super::Of;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub of: Of,
    /// Where to: earliest, latest, an offset, a time such as 2026-01-31T12:00:00Z; or of one
    /// partition, and then as often as there are some: topic:partition=offset
    #[arg(long, value_name = "GOAL")]
    to: Vec<Goal>,
    /// To the first record that is not older, such as 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// What becomes of claims in the store of dedup on records that are passed over
    #[arg(long, value_name = "WHAT")]
    claims: Option<OfClaims>,
    /// What becomes of the pipeline's state
    #[arg(long, value_name = "WHAT")]
    state: Option<OfState>,
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

pub fn run(args: &Args, plan: &Arc<Pipeline>) -> anyhow::Result<ExitCode> {
    let since = args.since.map(|ago| Goal::All(Spot::Time(time_ago(ago))));
    let goals = Goals::of(args.to.iter().cloned().chain(since)).map_err(Trouble::Usage)?;
    if !args.yes && !args.dry_run && !std::io::stdin().is_terminal() {
        let what = "there is no terminal to ask on: look with --dry-run, then say --yes";
        return Err(Trouble::Usage(what.to_owned()).into());
    }
    let group = Group::of(plan)?;
    if !args.dry_run {
        group.refuse_members()?;
    }
    let known = group.look()?;
    let reset = Reset {
        moves: planned(&group, &known, &goals)?,
        choices: Choices {
            claims: args.claims,
            state: args.state,
        },
    };
    let mut out = std::io::stdout().lock();
    let asks = !args.yes && !args.dry_run;
    if !args.json {
        print_plan(plan, &reset, &mut out)?;
    } else if asks {
        print_plan(plan, &reset, &mut std::io::stderr())?;
    }
    reset
        .choices
        .check(keeps(plan), &known.partitions, &reset.moves)
        .map_err(Trouble::Usage)?;
    let mut done = Done::default();
    if !args.dry_run {
        if asks && !super::super::go_on()? {
            return Ok(ExitCode::SUCCESS);
        }
        // It begins with the first report: of the steps only that of the claims reads so much.
        let mut bar = None;
        done = carry_out(&group, &reset, &mut |passed| {
            bar.get_or_insert_with(|| Bar::new("dropping claims"))
                .show(passed);
        })?;
    }
    if args.json {
        writeln!(out, "{:#}", as_json(&group, args.dry_run, &reset, &done))?;
    } else if args.dry_run {
        writeln!(out, "nothing was changed")?;
    } else {
        print_done(plan, &done, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn passed_over(step: &Move) -> i64 {
    let offsets = step.passed_over();
    offsets.end - offsets.start
}

fn print_plan(plan: &Pipeline, reset: &Reset, out: &mut impl Write) -> std::io::Result<()> {
    for step in &reset.moves {
        let name = step.facts.name();
        let Some(from) = step.facts.committed else {
            writeln!(out, "{name}: no offset -> {}", step.to)?;
            continue;
        };
        let what = match from.cmp(&step.to) {
            Ordering::Equal => {
                writeln!(out, "{name}: stays at {from}")?;
                continue;
            }
            Ordering::Greater => format!("{} read again", step.again()),
            Ordering::Less => format!("{} passed over", passed_over(step)),
        };
        writeln!(out, "{name}: {from} -> {}, {what}", step.to)?;
    }
    let again = reset.moves.iter().any(|step| step.again() > 0);
    if again && let Some(dedup) = plan.dedup.as_ref().filter(|dedup| dedup.mode == DedupMode::Drop) {
        let what = match dedup.store {
            ClaimStore::Memory { .. } => "knows nothing of before, so what is read again passes",
            _ => "lets what is read again pass: it finds its own claims",
        };
        writeln!(out, "dedup {what}")?;
    }
    Ok(())
}

fn print_done(plan: &Pipeline, done: &Done, out: &mut impl Write) -> std::io::Result<()> {
    if done.dropped.claims > 0 {
        writeln!(out, "{} claims dropped", done.dropped.claims)?;
    }
    if done.dropped.gone > 0 {
        let what = "records are gone, and claims on them could not be looked for: they end with their window";
        writeln!(out, "{} {what}", done.dropped.gone)?;
    }
    for topic in &done.cleared {
        writeln!(out, "{topic} deleted")?;
    }
    if !done.cleared.is_empty() && !plan.internal_topics.create {
        writeln!(out, "create them anew: the pipeline says how when it starts")?;
    }
    writeln!(out, "done")
}

fn as_json(group: &Group, dry_run: bool, reset: &Reset, done: &Done) -> serde_json::Value {
    let partitions = reset.moves.iter().map(|step| {
        json!({
            "topic": &*step.facts.id.topic,
            "partition": step.facts.id.partition,
            "from": step.facts.committed,
            "to": step.to,
            "read_again": step.again(),
            "passed_over": passed_over(step),
        })
    });
    json!({
        "group": group.name(),
        "dry_run": dry_run,
        "partitions": partitions.collect::<Vec<_>>(),
        "claims_dropped": done.dropped.claims,
        "claims_not_found": done.dropped.gone,
        "state_deleted": done.cleared,
    })
}
