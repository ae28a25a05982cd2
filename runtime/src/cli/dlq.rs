//! `strait dlq VERB PIPELINE`: dead letters, listed, shown, replayed, purged.

mod list;
mod purge;
mod replay;
mod show;
mod told;

use std::process::ExitCode;

use clap::Subcommand;

use crate::dlq::desk::Desk;
use crate::dlq::letter::Place;
use crate::dlq::selection::{Kind, Selection, State, When};

use super::of::Of;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List dead letters
    List(list::Args),
    /// Show all of one dead letter
    Show(show::Args),
    /// Put the records of dead letters back, each exactly once
    Replay(replay::Args),
    /// Give dead letters up, and delete what is done with
    Purge(purge::Args),
}

/// Which of its letters.
#[derive(Debug, Clone, clap::Args)]
struct Filters {
    /// Only this kind, such as reject or trap; may be given several times
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only this stage, such as wasm or dedup
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Only reasons that contain this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only records that are not older: a time, or a duration back such as 2h
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Only records before this: a time, or a duration back
    #[arg(long, visible_alias = "before", value_name = "WHEN")]
    until: Option<When>,
    /// Only this partition of the dead letters' topic
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
}

impl Filters {
    fn selection(&self, places: &[Place], state: State) -> Selection {
        Selection {
            kinds: self.kind.clone(),
            stage: self.stage.clone(),
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
            partition: self.partition,
            places: places.iter().copied().collect(),
            state,
        }
    }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let of = match &args.verb {
        Verb::List(args) => &args.of,
        Verb::Show(args) => &args.of,
        Verb::Replay(args) => &args.of,
        Verb::Purge(args) => &args.of,
    };
    of.with(|plan| {
        let desk = Desk::open(plan)?;
        match &args.verb {
            Verb::List(args) => list::run(args, &desk),
            Verb::Show(args) => show::run(args, &desk),
            Verb::Replay(args) => replay::run(args, &desk),
            Verb::Purge(args) => purge::run(args, &desk),
        }
    })
}
