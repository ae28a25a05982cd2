//! `strait verify PIPELINE`: prove that the outputs hold each input exactly once, or list
//! what does not.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;

use crate::config::process::ProcessArgs;
use crate::config::{Checked, Code, Finding, Findings, KeyPath, ProcessSettings};
use crate::guest::Engine;
use crate::inquiry::bound::{Bound, time_ago};
use crate::pipeline::modules;
use crate::plan::{ModuleSource, Pipeline, Provenance};
use crate::verify::finding::LISTED_MAX;
use crate::verify::range::Asked;
use crate::verify::report::Report;
use crate::verify::{self, Progress, Request};

use super::FAILED;
use super::bar::Bar;
use super::of::Of;

/// Findings of a kind that are printed unless all are asked for.
const SHOWN_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only inputs from here on: topic:partition=offset, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "BOUND")]
    from: Vec<Bound>,
    /// Only inputs before this: topic:partition=offset, or a time
    #[arg(long, value_name = "BOUND")]
    to: Vec<Bound>,
    /// Only inputs that are not older, such as 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Recompute with this module: the file that ran; STAGE=PATH where there are several
    #[arg(long, value_name = "[STAGE=]PATH")]
    module: Vec<String>,
    /// Take what is missing of an input that cannot be recomputed for filtered
    #[arg(long)]
    assume_filtered: bool,
    /// Memory for what is known of the inputs; with less, the outputs are read more often
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    memory: ByteSize,
    /// List everything that was found, not the first 100 of each kind
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of: Of,
}

/// Exits with 0 if it is proven.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = match ProcessSettings::load(&ProcessArgs::default()) {
        Ok(settings) => settings,
        Err(findings) => return Ok(super::invalid(&findings)),
    };
    let checked = match pipeline(args) {
        Ok(checked) => checked,
        Err(findings) => return Ok(super::invalid(&findings)),
    };
    let sizes = modules::engine_settings(std::iter::once(&checked.pipeline), &settings.cache_dir);
    let loaded = match modules::load(&Engine::new(&sizes)?, vec![checked]) {
        Ok(loaded) => loaded.into_iter().next(),
        Err(findings) => return Ok(super::invalid(&findings)),
    };
    let Some(loaded) = loaded else {
        anyhow::bail!("no pipeline was loaded");
    };
    let request = Request {
        plan: Arc::new(loaded.plan),
        modules: loaded.modules,
        asked: asked(args),
        assume_filtered: args.assume_filtered,
        memory_bytes: usize::try_from(args.memory.as_u64()).unwrap_or(usize::MAX),
    };
    let bar = Bar::new("asking");
    let report = verify::run(&request, &mut |progress| match progress {
        Progress::Passed(passed) => bar.show(passed),
        Progress::Inputs => bar.say("reading inputs"),
        Progress::Outputs => bar.say("reading outputs"),
    })?;
    drop(bar);
    print(&report, args, &mut std::io::stdout().lock())?;
    Ok(if report.proven {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn asked(args: &Args) -> Asked {
    let since = args.since.map(|ago| Bound::Time(time_ago(ago)));
    Asked {
        from: args.from.iter().cloned().chain(since).collect(),
        to: args.to.clone(),
    }
}

/// The one pipeline of the file, fit to be verified.
fn pipeline(args: &Args) -> Result<Checked, Findings> {
    let mut checked = args.of.checked()?;
    if checked.pipeline.provenance != Provenance::Headers {
        return Err(one(checked.places.error(
            Code::ValueChoice,
            &KeyPath::of("provenance"),
            "the outputs do not tell which input they come from, so nothing can be proven of them",
            "write `provenance: headers`; it counts for what is produced from then on",
        )));
    }
    replace_modules(&args.module, &mut checked.pipeline).map_err(|what| {
        let stages: Vec<&str> = checked.pipeline.stages.iter().map(|stage| &*stage.name).collect();
        let remedy = format!("write --module STAGE=PATH with a stage of {}", stages.join(", "));
        one(checked
            .places
            .error(Code::ModuleMissing, &KeyPath::of("stages"), what, remedy))
    })?;
    Ok(checked)
}

fn one(finding: Finding) -> Findings {
    std::iter::once(finding).collect()
}

/// Puts other modules in place of those of the file; a pin of the file does not count for
/// them.
fn replace_modules(given: &[String], pipeline: &mut Pipeline) -> Result<(), String> {
    for text in given {
        let named = text
            .split_once('=')
            .and_then(|(name, path)| Some((pipeline.stages.iter().position(|s| *s.name == *name)?, path)));
        let (index, path) = match named {
            Some(named) => named,
            None if pipeline.stages.len() == 1 => (0, text.as_str()),
            None => return Err(format!("--module {text} does not say of which stage")),
        };
        if let Some(stage) = pipeline.stages.get_mut(index) {
            stage.module = ModuleSource::File(path.into());
            stage.sha256 = None;
        }
    }
    Ok(())
}

fn print(report: &Report, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.json {
        serde_json::to_writer_pretty(&mut *out, report)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "{report}")?;
    let shown = if args.all { usize::MAX } else { SHOWN_MAX };
    for (kind, listed) in report.findings.iter().filter(|(_, listed)| listed.count > 0) {
        for finding in listed.listed.iter().take(shown) {
            writeln!(out, "{}: {finding}", kind.as_str())?;
        }
        let hidden = listed.listed.len().saturating_sub(shown);
        if hidden > 0 {
            writeln!(out, "{}: {hidden} more; --all lists them", kind.as_str())?;
        } else if listed.listed.len() == LISTED_MAX {
            writeln!(out, "{}: only the first {LISTED_MAX} are kept", kind.as_str())?;
        }
    }
    Ok(())
}
