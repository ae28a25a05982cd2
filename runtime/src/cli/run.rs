//! `strait run PATH...`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::process::{LogFormat, ProcessArgs};
use crate::config::{OverrideArgs, ProcessSettings};
use crate::health::Health;
use crate::http;
use crate::pipeline::process::{PipelineEnd, Process, Settings};
use crate::plan::Pipeline;
use crate::telemetry::{failures::Values, logs, metrics::Metrics};

use super::FAILED;

/// A drain that takes longer is cut off: what it left open, the next start ends.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// A lane that says nothing for this long, beyond the longest step it may take, is stuck.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What is logged of a value at most.
const VALUE_BYTES_MAX: usize = 200;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files, and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// `end`: stop when the lag found at the start is worked off
    #[arg(long, value_name = "WHEN")]
    until: Option<Until>,
    /// End at once when one pipeline fails
    #[arg(long)]
    fail_fast: bool,
    /// Log the value of the first failing record of a kind, instead of its length and digest
    #[arg(long)]
    log_values: bool,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Until {
    End,
}

/// Runs until all pipelines have ended or a signal drains them.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = match ProcessSettings::load(&args.process) {
        Ok(settings) => settings,
        Err(findings) => return Ok(super::invalid(&findings)),
    };
    let format = match settings.log_format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    logs::init(&settings.log, format)?;
    let loaded = match super::load(&args.paths, &args.overrides, &settings.cache_dir)? {
        Ok(loaded) => loaded,
        Err(findings) => return Ok(super::invalid(&findings)),
    };
    let metrics = Metrics::new(&rdkafka::util::get_rdkafka_version().1);
    let health = Health::new(silence_max(loaded.iter().map(|loaded| &loaded.plan)));
    let server = http::serve(&settings.http.to_string(), metrics.clone(), health.clone())?;
    tracing::info!(address = %server.address(), "http listening");
    let values = if args.log_values {
        Values::Shown {
            bytes_max: VALUE_BYTES_MAX,
        }
    } else {
        Values::Masked
    };
    let until_end = args.until == Some(Until::End);
    let settings = Settings {
        data_dir: settings.data_dir,
        instance: settings.instance,
        values,
        until_end,
    };
    let process = Process::start(loaded, &settings, &metrics, &health)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that waits for signals")?
        .block_on(attend(process, args.fail_fast))
}

/// A lane is silent for as long as one batch or one commit takes.
pub fn silence_max<'a>(plans: impl Iterator<Item = &'a Pipeline>) -> Duration {
    let longest = plans.map(|plan| plan.timeouts.transaction).max();
    SILENCE_MAX + longest.unwrap_or_default()
}

/// Waits for signals and for pipelines to end.
async fn attend(mut process: Process, fail_fast: bool) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut failed = false;
    loop {
        tokio::select! {
            end = process.next_end() => match end {
                Some((_, PipelineEnd::Finished)) => {}
                Some((_, PipelineEnd::Failed(_))) => {
                    failed = true;
                    if fail_fast {
                        return drain(process, true).await;
                    }
                }
                None => break,
            },
            _ = terminate.recv() => return drain(process, failed).await,
            _ = interrupt.recv() => return drain(process, failed).await,
            _ = hangup.recv() => tracing::warn!("SIGHUP: this version has nothing to reload"),
        }
    }
    process.join();
    Ok(code(failed))
}

/// Lets every lane finish its transaction, within a bound.
async fn drain(mut process: Process, mut failed: bool) -> anyhow::Result<ExitCode> {
    tracing::info!("draining");
    process.drain();
    let ended = async {
        while let Some((_, end)) = process.next_end().await {
            failed |= matches!(end, PipelineEnd::Failed(_));
        }
    };
    if tokio::time::timeout(DRAIN_MAX, ended).await.is_err() {
        tracing::error!("draining took longer than {DRAIN_MAX:?}; the next start ends what is left open");
        return Ok(ExitCode::from(FAILED));
    }
    process.join();
    Ok(code(failed))
}

fn code(failed: bool) -> ExitCode {
    if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}
