//! Who does the work: Strait, the loop written by hand, Kafka Streams.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::work::{Dedup, Work};

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    pub strait: PathBuf,
    pub native: PathBuf,
    /// Class path of the peer.
    pub streams: String,
    /// The folder of built transforms, `NAME.wasm`.
    pub modules: PathBuf,
    /// Another revision of Strait, and what to call it.
    pub other: Option<(String, PathBuf)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    Strait(Delivery),
    /// Of another revision.
    Other(Delivery),
    Native(Delivery),
    Streams {
        delivery: Delivery,
        tuned: bool,
    },
}

/// One of them at work.
pub struct Job<'a> {
    pub bootstrap: &'a str,
    /// Consumer group, application, pipeline: new for each run.
    pub name: &'a str,
    pub work: &'a Work,
    pub input: &'a str,
    pub outputs: &'a [String],
    /// It ends when it has seen so many; 0: when it is told.
    pub records: u64,
    /// Of what is written.
    pub compression: Option<&'a str>,
    pub lanes: usize,
    /// More of the pipeline's file.
    pub pipeline: Map<String, Value>,
    /// A folder of its own.
    pub folder: &'a Path,
}

/// As the loop's; Strait checks them unless told otherwise, so the others have to as well.
const CHECKS: &str = "check.crcs=true";

/// What people set on Kafka Streams when throughput matters.
const TUNED: [&str; 5] = [
    "producer.batch.size=262144",
    "producer.linger.ms=5",
    "max.poll.records=5000",
    "consumer.fetch.min.bytes=65536",
    "statestore.cache.max.bytes=67108864",
];

impl Contender {
    pub fn label(&self, programs: &Programs) -> String {
        let name = match self {
            Self::Strait(_) => "Strait".to_owned(),
            Self::Other(_) => {
                let other = programs.other.as_ref();
                format!("Strait {}", other.map_or("", |(name, _)| name))
            }
            Self::Native(_) => "loop by hand".to_owned(),
            Self::Streams { tuned: false, .. } => "Kafka Streams".to_owned(),
            Self::Streams { tuned: true, .. } => "Kafka Streams, tuned".to_owned(),
        };
        match self.delivery() {
            Delivery::ExactlyOnce => name,
            Delivery::AtLeastOnce => format!("{name}, at least once"),
        }
    }

    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Strait(delivery)
            | Self::Other(delivery)
            | Self::Native(delivery)
            | Self::Streams { delivery, .. } => *delivery,
        }
    }

    /// One process for the jobs; only Strait takes several.
    pub fn command(&self, jobs: &[Job<'_>], programs: &Programs) -> Result<Command> {
        let program = match self {
            Self::Strait(_) => &programs.strait,
            Self::Other(_) => programs.other.as_ref().map_or(&programs.strait, |(_, path)| path),
            Self::Native(delivery) => return Ok(native(*delivery, only(jobs)?, programs)),
            Self::Streams { delivery, tuned } => {
                return Ok(streams(*delivery, *tuned, only(jobs)?, programs));
            }
        };
        strait(program, self.delivery(), jobs, programs)
    }
}

fn only<'j, 'a>(jobs: &'j [Job<'a>]) -> Result<&'j Job<'a>> {
    match jobs {
        [job] => Ok(job),
        _ => bail!("it does one job at a time"),
    }
}

fn strait(program: &Path, delivery: Delivery, jobs: &[Job<'_>], programs: &Programs) -> Result<Command> {
    let job = jobs.first().context("a job")?;
    let mut command = Command::new(program);
    command.arg("run");
    for job in jobs {
        let file = job.folder.join(format!("{}.yaml", job.name));
        // JSON is YAML.
        fs::write(&file, pipeline(delivery, job, programs).to_string())?;
        command.arg(file);
    }
    command
        .args(["--http", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
        .arg(job.folder.join("data"));
    if job.records > 0 {
        command.args(["--until", "end"]);
    }
    Ok(command)
}

/// The pipeline's file. What is not said here is as a user gets it.
fn pipeline(delivery: Delivery, job: &Job<'_>, programs: &Programs) -> Value {
    let module = programs.modules.join(job.work.module()).with_extension("wasm");
    let mut stages = Vec::new();
    if let Some(dedup) = job.work.dedup() {
        stages.push(json!({ "dedup": dedup_stage(dedup) }));
    }
    let settings = job.work.settings();
    let mut wasm = json!({ "module": module });
    if !settings.is_null()
        && let Some(wasm) = wasm.as_object_mut()
    {
        wasm.insert("settings".to_owned(), settings);
    }
    stages.push(json!({ "wasm": wasm }));
    let outputs = ["default", "second", "third"].iter().zip(job.outputs);
    let outputs: Map<String, Value> = outputs
        .map(|(name, topic)| {
            let output = json!({ "topic": topic, "compression": job.compression.unwrap_or("none") });
            ((*name).to_owned(), output)
        })
        .collect();
    let mut file = json!({
        "name": job.name,
        "kafka": { "bootstrap": job.bootstrap },
        "input": { "topics": [job.input] },
        "stages": stages,
        "outputs": outputs,
        "lanes": job.lanes,
        "delivery": match delivery {
            Delivery::ExactlyOnce => "exactly_once",
            Delivery::AtLeastOnce => "at_least_once",
        },
    });
    if let Some(file) = file.as_object_mut() {
        if *job.work == Work::State {
            file.insert("state".to_owned(), json!({ "balance": {} }));
        }
        file.extend(job.pipeline.clone());
    }
    file
}

fn dedup_stage(dedup: &Dedup) -> Value {
    let store = match dedup {
        Dedup::Observe | Dedup::Changelog => json!("changelog"),
        Dedup::Memory => json!("memory"),
        Dedup::Server { store, .. } => store.clone(),
    };
    let mode = match dedup {
        Dedup::Observe => "observe",
        _ => "drop",
    };
    json!({ "id": "header:message-id", "store": store, "mode": mode })
}

fn native(delivery: Delivery, job: &Job<'_>, programs: &Programs) -> Command {
    let mut command = Command::new(&programs.native);
    command
        .args(["run", "--bootstrap", job.bootstrap, "--group", job.name])
        .args(["--input", job.input, "--lanes", &job.lanes.to_string()])
        .args(["--work", job.work.name(), "--consumer", CHECKS]);
    command.args(match delivery {
        Delivery::ExactlyOnce => ["--delivery", "exactly-once"],
        Delivery::AtLeastOnce => ["--delivery", "at-least-once"],
    });
    for output in job.outputs {
        command.args(["--output", output]);
    }
    if let Some(codec) = job.compression {
        command.args(["--producer", &format!("compression.codec={codec}")]);
    }
    command
}

fn streams(delivery: Delivery, tuned: bool, job: &Job<'_>, programs: &Programs) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .args([&programs.streams, "StreamsPeer"])
        .args(["--bootstrap", job.bootstrap, "--application-id", job.name])
        .args(["--input", job.input, "--work", job.work.name()])
        .args(["--threads", &job.lanes.to_string()])
        .args(["--records", &job.records.to_string(), "--folder"])
        .arg(job.folder.join("streams"));
    command.args(match delivery {
        Delivery::ExactlyOnce => ["--guarantee", "exactly_once_v2"],
        Delivery::AtLeastOnce => ["--guarantee", "at_least_once"],
    });
    for output in job.outputs {
        command.args(["--output", output]);
    }
    if let Some(codec) = job.compression {
        command.args(["--set", &format!("producer.compression.type={codec}")]);
    }
    for pair in TUNED.iter().filter(|_| tuned) {
        command.args(["--set", pair]);
    }
    command
}
