//! `strait dev` from start to end: broker, topics, transforms, sample input, pipelines; then
//! a line each second, and a restart after each change, until somebody stops it.
//!
//! What holds: the pipelines are drained before the broker goes, so a session that ends in
//! good order leaves no transaction open and no process behind; a change that does not load
//! or compile leaves the running pipelines alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::feed::{Feed, Feeder};
use super::sample::Sample;
use super::screen::Screen;
use super::status::{self, Snapshot, Status};
use super::watch::{Changes, Watch};
use super::{build, sample, signals, topics};
use crate::broker::{Broker, BrokerSettings};
use crate::plan::{ModuleSource, Pipeline, PipelineName};

const EVERY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// What is wanted of the session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Start a broker of our own, since no other was named.
    pub own_broker: bool,
    pub nodes: usize,
    /// Where the own broker keeps its data; `None`: nowhere.
    pub data: Option<PathBuf>,
    /// Of topics that are created.
    pub partitions: i32,
    /// In place of the file beside the pipeline.
    pub sample: Option<PathBuf>,
    /// Sample records a second; 0 feeds nothing.
    pub rate: u32,
    pub watch: bool,
}

/// Pipelines that run in this process.
pub trait Running {
    /// How they ended, once all of them have, without having been asked to.
    fn ended(&mut self) -> Option<Result<(), String>>;
    /// Ends them at a transaction boundary.
    fn drain(self: Box<Self>, within: Duration) -> Result<(), String>;
}

/// What the session needs of the rest of Strait.
pub trait Runtime {
    /// Reads and validates the pipeline files.
    fn load(&self) -> Result<Vec<Pipeline>>;
    fn start(&mut self, pipelines: Vec<Pipeline>) -> Result<Box<dyn Running>>;
    /// All metrics, as they are scraped.
    fn metrics(&self) -> String;
    /// `http://ADDRESS`, under which they are.
    fn http(&self) -> String;
}

enum Event {
    Stop,
    Changed,
}

/// Runs until a signal, or until the pipelines have ended by themselves.
pub fn run(settings: &Settings, runtime: &mut dyn Runtime) -> Result<()> {
    let (sender, events) = channel();
    let stop = sender.clone();
    signals::listen(move || stop.send(Event::Stop).unwrap_or_default()).context("listening for Ctrl-C")?;
    let screen = Screen::new();
    let mut session = Session {
        settings,
        runtime,
        screen,
        sender,
        broker: None,
        pipelines: Vec::new(),
    };
    let mut live = session.begin()?;
    let outcome = session.follow(&mut live, &events);
    let ended = session.end(live);
    outcome.and(ended)
}

struct Session<'a> {
    settings: &'a Settings,
    runtime: &'a mut dyn Runtime,
    screen: Screen,
    sender: Sender<Event>,
    broker: Option<Broker>,
    /// As they run.
    pipelines: Vec<Pipeline>,
}

/// Sample input of one pipeline.
struct Input {
    pipeline: PipelineName,
    file: PathBuf,
    samples: Vec<Sample>,
}

impl Input {
    fn topics(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().map(|sample| sample.topic.as_str())
    }
}

/// What ends before the broker does.
struct Live {
    /// `None` while the pipelines have ended, and a change is waited for.
    running: Option<Box<dyn Running>>,
    feeders: Vec<Feeder>,
    watch: Option<Watch>,
}

impl Session<'_> {
    fn begin(&mut self) -> Result<Live> {
        let mut pipelines = self.runtime.load()?;
        ensure!(
            self.settings.sample.is_none() || pipelines.len() == 1,
            "--sample is for one pipeline, and there are {}: name one file, or put a sample beside each",
            pipelines.len()
        );
        let inputs = self.samples(&pipelines)?;
        self.build(&pipelines)?;
        if self.settings.own_broker {
            let screen = &self.screen;
            let mut progress = |line: &str| screen.say(line);
            let broker = Broker::start(BrokerSettings {
                nodes: self.settings.nodes,
                data: self.settings.data.clone(),
                ..BrokerSettings::new(&mut progress)
            })?;
            self.broker = Some(broker);
        }
        self.point_to_broker(&mut pipelines);
        self.create_topics(&pipelines, &inputs)?;
        let running = self.runtime.start(pipelines.clone())?;
        self.pipelines = pipelines;
        let names: Vec<&str> = self
            .pipelines
            .iter()
            .map(|pipeline| pipeline.name.as_str())
            .collect();
        self.screen
            .say(&format!("running {}; Ctrl-C ends it", names.join(", ")));
        let http = self.runtime.http();
        self.screen
            .say(&format!("metrics {http}/metrics  readiness {http}/readyz"));
        let feeders = self.feed(inputs)?;
        Ok(Live {
            running: Some(running),
            feeders,
            watch: self.watch(),
        })
    }

    fn build(&self, pipelines: &[Pipeline]) -> Result<bool> {
        let mut changed = false;
        for stage in pipelines.iter().flat_map(|pipeline| &pipeline.stages) {
            if let ModuleSource::Crate { folder, artifact } = &stage.module {
                changed |= self
                    .screen
                    .aside(|| build::build(folder, artifact, &mut |line| self.screen.say(line)))?;
            }
        }
        Ok(changed)
    }

    /// Settings of security are for the cluster that the file names, not for ours.
    fn point_to_broker(&self, pipelines: &mut [Pipeline]) {
        let Some(broker) = &self.broker else { return };
        for cluster in pipelines.iter_mut().map(|pipeline| &mut pipeline.cluster) {
            cluster.bootstrap = broker.bootstrap();
            for list in [
                &mut cluster.properties,
                &mut cluster.consumer_properties,
                &mut cluster.producer_properties,
            ] {
                list.retain(|(key, _)| !["security.", "sasl.", "ssl."].iter().any(|p| key.starts_with(p)));
            }
        }
    }

    fn create_topics(&self, pipelines: &[Pipeline], inputs: &[Input]) -> Result<()> {
        for pipeline in pipelines {
            let fed = inputs.iter().filter(|input| input.pipeline == pipeline.name);
            let fed: BTreeSet<&str> = fed.flat_map(Input::topics).collect();
            let created = topics::create_missing(pipeline, &fed, self.settings.partitions)?;
            if !created.is_empty() {
                let partitions = self.settings.partitions;
                self.screen.say(&format!(
                    "created {} with {partitions} partition(s)",
                    created.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// What to feed, read before anything starts that would have to be ended again.
    fn samples(&self, pipelines: &[Pipeline]) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        if self.settings.rate == 0 {
            return Ok(inputs);
        }
        for pipeline in pipelines {
            let beside = sample::path_beside(&pipeline.source);
            let file = match &self.settings.sample {
                Some(file) => file.clone(),
                None if beside.is_file() => beside,
                None => {
                    self.screen
                        .say(&format!("no sample input: there is no {}", beside.display()));
                    continue;
                }
            };
            inputs.push(Input {
                pipeline: pipeline.name.clone(),
                samples: sample::read(&file, &pipeline.input.topics)?,
                file,
            });
        }
        Ok(inputs)
    }

    fn feed(&self, inputs: Vec<Input>) -> Result<Vec<Feeder>> {
        let mut feeders = Vec::new();
        for input in inputs {
            let named = |other: &&Pipeline| other.name == input.pipeline;
            let Some(pipeline) = self.pipelines.iter().find(named) else {
                continue;
            };
            let (rate, count, shown) = (self.settings.rate, input.samples.len(), input.file.display());
            let topics: BTreeSet<&str> = input.topics().collect();
            let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
            self.screen.say(&format!(
                "feeding {count} records of {shown} to {topics}, over and over, {rate} a second"
            ));
            let bootstrap = pipeline.cluster.bootstrap.clone();
            let feed = Feed {
                bootstrap,
                properties: pipeline.cluster.properties.clone(),
                rate,
            };
            feeders.push(Feeder::start(feed, input.samples)?);
        }
        Ok(feeders)
    }

    fn watch(&self) -> Option<Watch> {
        if !self.settings.watch {
            return None;
        }
        let sender = self.sender.clone();
        let watch = Watch::start(&self.pipelines, move || {
            sender.send(Event::Changed).unwrap_or_default();
        });
        match watch {
            Ok(watch) => Some(watch),
            Err(error) => {
                self.screen
                    .say(&format!("changes of files are not noticed: {error}"));
                None
            }
        }
    }

    fn follow(&mut self, live: &mut Live, events: &Receiver<Event>) -> Result<()> {
        let (mut recent, mut changes, mut next) = (Status::default(), Changes::default(), Instant::now());
        loop {
            match events.recv_timeout(LOOK) {
                Ok(Event::Stop) => return Ok(()),
                Ok(Event::Changed) => changes.note(Instant::now()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            let now = Instant::now();
            if changes.take_settled(now) {
                self.restart(live)?;
            }
            if now >= next && live.running.is_some() {
                next = now + EVERY;
                self.screen
                    .status(&recent.line(now, Snapshot::parse(&self.runtime.metrics())));
            }
            if let Some(ended) = live.running.as_mut().and_then(|running| running.ended()) {
                live.running = None;
                self.after_end(ended)?;
            }
        }
    }

    /// Somebody at a terminal may mend what is broken; elsewhere nobody would.
    fn after_end(&self, ended: Result<(), String>) -> Result<()> {
        let reason = ended.err().unwrap_or_else(|| "all pipelines have ended".into());
        if self.settings.watch && self.screen.is_terminal() {
            self.screen
                .say(&format!("{reason}\nchange a file to start again; Ctrl-C ends it"));
            return Ok(());
        }
        bail!(reason)
    }

    /// Goes on as before where the change does not load, compile or make a difference.
    fn restart(&mut self, live: &mut Live) -> Result<()> {
        let loaded = self.runtime.load().and_then(|mut pipelines| {
            self.point_to_broker(&mut pipelines);
            let built = self.build(&pipelines)?;
            Ok((pipelines, built))
        });
        let (pipelines, built) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                self.screen
                    .say(&format!("{error:#}\nthe change is not taken over"));
                return Ok(());
            }
        };
        // A plan has no other way to be compared, and this is no place in a hurry.
        if !built && live.running.is_some() && format!("{pipelines:?}") == format!("{:?}", self.pipelines) {
            return Ok(());
        }
        if let Some(running) = live.running.take() {
            running.drain(DRAIN_WITHIN).map_err(anyhow::Error::msg)?;
        }
        self.create_topics(&pipelines, &[])?;
        live.running = Some(self.runtime.start(pipelines.clone())?);
        self.pipelines = pipelines;
        live.watch = self.watch();
        self.screen.say("took the change over");
        Ok(())
    }

    fn end(&mut self, live: Live) -> Result<()> {
        self.screen.finish();
        self.screen.say("ending: sample input, pipelines, broker");
        let sent: u64 = live.feeders.iter().map(Feeder::sent).sum();
        drop(live.feeders);
        let drained = match live.running {
            Some(running) => running.drain(DRAIN_WITHIN).map_err(anyhow::Error::msg),
            None => Ok(()),
        };
        let totals = Snapshot::parse(&self.runtime.metrics());
        self.screen.say(&status::summary(sent, &totals));
        self.broker = None;
        drained
    }
}
