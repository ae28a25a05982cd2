//! `strait offsets VERB PIPELINE`: the offsets of its group, shown, and set elsewhere.

mod reset;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use crate::config::OverrideArgs;
use crate::offsets::Trouble;
use crate::offsets::group::Group;

use super::INVALID;

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

/// Which pipeline it is about.
#[derive(Debug, clap::Args)]
struct Of {
    /// The pipeline's file
    #[arg(value_name = "PIPELINE")]
    path: PathBuf,
    #[command(flatten)]
    overrides: OverrideArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let of = match &args.verb {
        Verb::Show(args) => &args.of,
        Verb::Reset(args) => &args.of,
    };
    let checked = match super::one_pipeline(&of.path, &of.overrides) {
        Ok(checked) => checked,
        Err(findings) => return Ok(super::invalid(&findings)),
    };
    let plan = Arc::new(checked.pipeline);
    let done = match &args.verb {
        Verb::Show(args) => Group::of(&plan)
            .map_err(anyhow::Error::from)
            .and_then(|group| show::run(args, &group)),
        Verb::Reset(args) => reset::run(args, &plan),
    };
    match done {
        Err(error) if matches!(error.downcast_ref(), Some(Trouble::Usage(_))) => {
            super::complain(&error);
            Ok(ExitCode::from(INVALID))
        }
        Err(error) if super::is_closed(&error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}
