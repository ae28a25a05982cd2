//! `strait offsets VERB PIPELINE`: the offsets of its group, shown, and set elsewhere.

mod reset;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use crate::offsets::group::Group;

use super::of::Of;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how far the group has come in each partition of the input
    Show(show::Args),
    /// Set the offsets of a group that nobody is in
    Reset(reset::Args),
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let of = match &args.verb {
        Verb::Show(args) => &args.of,
        Verb::Reset(args) => &args.of,
    };
    of.with(|plan| match &args.verb {
        Verb::Show(args) => show::run(args, &Group::of(plan)?),
        Verb::Reset(args) => reset::run(args, plan),
    })
}
