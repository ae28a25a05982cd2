//! `strait schema`: the JSON Schema of the pipeline file, for editors.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::schema;

/// Print the JSON Schema of the pipeline file
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let text = serde_json::to_string_pretty(&schema::printed())?;
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
