//! The command line: one file a verb, and what verbs share.
//!
//! Exit codes: 0 fine, 1 it failed, 2 wrong usage or invalid configuration.

mod bar;
pub mod build;
pub mod check;
pub mod dev;
pub mod dlq;
mod of;
pub mod offsets;
pub mod run;
pub mod schema;
pub mod verify;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::config::process::ProcessArgs;
use crate::config::{self, Code, Finding, Findings, KeyPath, OverrideArgs, Overrides, ProcessSettings};
use crate::fault;
use crate::guest::Engine;
use crate::pipeline::modules::{self, Loaded};
use crate::pipeline::preflight;

/// Something failed while it ran.
pub const FAILED: u8 = 1;

/// Wrong usage, or invalid configuration.
pub const INVALID: u8 = 2;

/// Kafka topics in, WebAssembly transforms, Kafka topics out, exactly once.
#[derive(Debug, Parser)]
#[command(name = "strait", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run every pipeline in these files and folders
    Run(run::Args),
    /// Run pipelines on a laptop, with a Kafka, topics and input of their own
    Dev(dev::Args),
    /// Build the modules that are crates
    Build(build::Args),
    /// Validate pipelines
    Check(check::Args),
    /// Prove that the outputs hold each input exactly once, or list what does not
    Verify(verify::Args),
    /// List, show, replay and purge dead letters
    Dlq(dlq::Args),
    /// Show the offsets of a pipeline's group, and set them elsewhere
    Offsets(offsets::Args),
    /// Print the JSON Schema of the pipeline file
    Schema(schema::Args),
}

/// Parses the arguments, does what they say, and reports what went wrong.
pub fn main() -> ExitCode {
    if let Err(error) = fault::arm() {
        complain(&error.into());
        return ExitCode::from(INVALID);
    }
    let result = match Cli::parse().verb {
        Verb::Run(args) => run::run(&args),
        Verb::Dev(args) => dev::run(&args),
        Verb::Build(args) => build::run(&args),
        Verb::Check(args) => run_check(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Dlq(args) => dlq::run(&args),
        Verb::Offsets(args) => offsets::run(&args),
        Verb::Schema(args) => schema::run(&args),
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(if is_usage(&error) { INVALID } else { FAILED })
    })
}

/// The user asked for what is not there, or has to choose.
fn is_usage(error: &anyhow::Error) -> bool {
    use crate::{dlq, offsets, verify};
    matches!(error.downcast_ref(), Some(verify::Trouble::Usage(_)))
        || matches!(error.downcast_ref(), Some(dlq::Trouble::Usage(_)))
        || matches!(error.downcast_ref(), Some(offsets::Trouble::Usage(_)))
}

/// Says what went wrong, with its causes.
#[expect(clippy::print_stderr, reason = "this is where the command talks to its user")]
fn complain(error: &anyhow::Error) {
    eprintln!("strait: {error:#}");
}

/// Whoever reads along has had enough.
fn is_closed(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Asks on the terminal.
#[expect(clippy::print_stderr, reason = "this is where the command talks to its user")]
fn go_on() -> io::Result<bool> {
    eprint!("Go on? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Reads and validates pipelines and loads their modules, or says all that is wrong.
pub fn load(
    paths: &[PathBuf],
    overrides: &OverrideArgs,
    cache_dir: &Path,
) -> anyhow::Result<Result<Vec<Loaded>, Findings>> {
    let config::Report { pipelines, findings } = config::report(paths, &Overrides::from(overrides.clone()));
    let plans = pipelines.iter().map(|checked| &checked.pipeline);
    let engine = Engine::new(&modules::engine_settings(plans, cache_dir))?;
    let loaded = modules::load(&engine, pipelines);
    if findings.has_errors() {
        let mut all = findings;
        all.extend(loaded.err().unwrap_or_default());
        all.sort();
        return Ok(Err(all));
    }
    for finding in findings.iter() {
        tracing::warn!(code = finding.code.as_str(), "{finding}");
    }
    Ok(loaded)
}

/// Says what is wrong with the configuration.
#[expect(clippy::print_stderr, reason = "this is where the command talks to its user")]
pub fn invalid(findings: &Findings) -> ExitCode {
    eprint!("{}", findings.render(config::finding::colour(&std::io::stderr())));
    ExitCode::from(INVALID)
}

/// `strait check`: the files, then the modules of each pipeline whose file is fine, then
/// unless `--offline` its cluster.
fn run_check(args: &check::Args) -> anyhow::Result<ExitCode> {
    let settings = match ProcessSettings::load(&ProcessArgs::default()) {
        Ok(settings) => settings,
        Err(findings) => return Ok(invalid(&findings)),
    };
    let mut look = |checked: &config::Checked| {
        let sizes = modules::engine_settings(std::iter::once(&checked.pipeline), &settings.cache_dir);
        let mut findings = modules::check(&Engine::new(&sizes)?, checked);
        if !args.offline {
            findings.extend(look_at_cluster(checked));
        }
        Ok(findings)
    };
    check::run(args, &mut look)
}

fn look_at_cluster(checked: &config::Checked) -> Vec<Finding> {
    let finding = |code, key: &str, what: String, remedy: String| {
        checked.places.error(code, &KeyPath::of(key), what, remedy)
    };
    match preflight::look(&Arc::new(checked.pipeline.clone())) {
        Ok(misfits) => misfits
            .into_iter()
            .map(|m| finding(Code::ClusterMisfit, &m.key, m.what, m.remedy))
            .collect(),
        Err(error) => vec![finding(
            Code::ClusterUnreachable,
            "kafka.bootstrap",
            format!("cannot ask the cluster: {error}"),
            "start it, correct the address, or check with --offline".to_owned(),
        )],
    }
}
