//! `strait dev [PATH]`: a pipeline on a laptop, with all that it needs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use crate::config::process::{LogFormat, ProcessArgs};
use crate::config::{self, Findings, OverrideArgs, Overrides, ProcessSettings};
use crate::dev::session::{self, Running, Runtime};
use crate::guest::Engine;
use crate::health::Health;
use crate::http::{self, ServeError, Server};
use crate::pipeline::modules;
use crate::pipeline::process::{PipelineEnd, Process, Settings};
use crate::plan::{Pipeline, PipelineName};
use crate::telemetry::failures::Values;
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

use super::run::silence_max;

const ANY_PORT: &str = "127.0.0.1:0";
const NOWHERE_YET: &str = "127.0.0.1:9092";
/// A developer's own records are no secret, but may be long.
const VALUE_BYTES_MAX: usize = 200;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline file, or a folder of them
    #[arg(default_value = ".", value_name = "PATH")]
    path: PathBuf,
    /// Nodes of the Kafka that is started: 1 or 3
    #[arg(long, default_value_t = 1, value_name = "N")]
    nodes: usize,
    /// Keep the data of the Kafka that is started in this folder [default: nowhere]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Partitions of the topics that are created
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// Sample input, one JSON object with key, value, headers, topic and timestamp a line, all of it
    /// optional [default: NAME.sample.jsonl beside NAME.yaml]
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Sample records a second; 0 feeds nothing
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    rate: u32,
    /// Do not watch the pipeline and its crates for changes
    #[arg(long)]
    no_watch: bool,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Runs until Ctrl-C. With `--bootstrap` no Kafka is started.
pub fn run(args: &Args) -> Result<ExitCode> {
    match attempt(args) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<Findings>() {
            Some(findings) => Ok(super::invalid(findings)),
            None => Err(error),
        },
    }
}

fn attempt(args: &Args) -> Result<()> {
    let settings = ProcessSettings::load(&args.process)?;
    let format = match settings.log_format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    logs::init(&settings.log, format)?;
    let metrics = Metrics::new(&rdkafka::util::get_rdkafka_version().1);
    let mut overrides = Overrides::from(args.overrides.clone());
    let own_broker = overrides.bootstrap.is_none();
    if own_broker {
        // Its address is known once it runs; until then any will do, also for a file that names none.
        overrides.bootstrap = Some(NOWHERE_YET.into());
    }
    let plans = config::load(std::slice::from_ref(&args.path), &overrides)?;
    let health = Health::new(silence_max(plans.iter()));
    let server = serve(&settings, args.process.http.is_some(), &metrics, &health)?;
    let mut strait = Strait {
        path: args.path.clone(),
        overrides,
        settings: Settings {
            data_dir: settings.data_dir,
            instance: settings.instance,
            values: Values::Shown {
                bytes_max: VALUE_BYTES_MAX,
            },
            until_end: false,
        },
        cache_dir: settings.cache_dir,
        metrics,
        health,
        server,
    };
    let session = session::Settings {
        own_broker,
        nodes: args.nodes,
        data: args.data.clone(),
        partitions: args.partitions,
        sample: args.sample.clone(),
        rate: args.rate,
        watch: !args.no_watch,
    };
    session::run(&session, &mut strait)
}

/// Another Strait may have the usual port; only an address that was asked for must be had.
fn serve(
    settings: &ProcessSettings,
    asked: bool,
    metrics: &Metrics,
    health: &Health,
) -> Result<Server, ServeError> {
    let address = settings.http.to_string();
    match http::serve(&address, metrics.clone(), health.clone()) {
        Err(ServeError::Bind { .. }) if !asked => http::serve(ANY_PORT, metrics.clone(), health.clone()),
        served => served,
    }
}

/// The rest of Strait, as a session sees it.
struct Strait {
    path: PathBuf,
    overrides: Overrides,
    settings: Settings,
    cache_dir: PathBuf,
    metrics: Metrics,
    health: Health,
    server: Server,
}

impl Runtime for Strait {
    fn load(&self) -> Result<Vec<Pipeline>> {
        Ok(config::load(std::slice::from_ref(&self.path), &self.overrides)?)
    }

    fn start(&mut self, pipelines: Vec<Pipeline>) -> Result<Box<dyn Running>> {
        let engine = Engine::new(&modules::engine_settings(pipelines.iter(), &self.cache_dir))?;
        let loaded = modules::load_unplaced(&engine, pipelines)?;
        let process = Process::start(loaded, &self.settings, &self.metrics, &self.health)?;
        Ok(Box::new(Pipelines::attend(process)?))
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn http(&self) -> String {
        format!("http://{}", self.server.address())
    }
}

/// Running pipelines, attended by a thread that waits for their ends.
struct Pipelines {
    drain: oneshot::Sender<()>,
    ended: Receiver<Result<(), String>>,
    thread: JoinHandle<()>,
}

impl Pipelines {
    fn attend(process: Process) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let (drain, draining) = oneshot::channel();
        let (sender, ended) = channel();
        let attend = move || {
            let end = runtime.block_on(until_all_ended(process, draining));
            // Nobody listens any more when the session is past waiting.
            sender.send(end).unwrap_or_default();
        };
        let thread = std::thread::Builder::new()
            .name("strait-pipelines".into())
            .spawn(attend);
        Ok(Self {
            drain,
            ended,
            thread: thread.context("starting a thread")?,
        })
    }
}

impl Running for Pipelines {
    fn ended(&mut self) -> Option<Result<(), String>> {
        match self.ended.try_recv() {
            Ok(end) => Some(end),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err("the thread that attends the pipelines is gone".into()))
            }
        }
    }

    fn drain(self: Box<Self>, within: Duration) -> Result<(), String> {
        // An error means that they have ended already, which the channel then tells.
        self.drain.send(()).unwrap_or_default();
        match self.ended.recv_timeout(within) {
            Ok(end) => {
                self.thread
                    .join()
                    .map_err(|_panic| "the thread that attends the pipelines panicked".to_owned())?;
                end
            }
            Err(_late) => Err(format!("draining took longer than {within:?}")),
        }
    }
}

async fn until_all_ended(mut process: Process, draining: oneshot::Receiver<()>) -> Result<(), String> {
    let mut failures = Vec::new();
    let mut draining = Some(draining);
    let drain = async move |draining: &mut Option<oneshot::Receiver<()>>| match draining {
        Some(asked) => asked.await.is_ok(),
        None => std::future::pending().await,
    };
    loop {
        tokio::select! {
            end = process.next_end() => match end {
                Some((_, PipelineEnd::Finished)) => {}
                Some((name, PipelineEnd::Failed(reason))) => failures.push(failure(&name, &reason)),
                None => break,
            },
            asked = drain(&mut draining) => {
                draining = None;
                if asked {
                    process.drain();
                }
            }
        }
    }
    process.join();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}

fn failure(name: &PipelineName, reason: &str) -> String {
    format!("pipeline {name} failed: {reason}")
}
