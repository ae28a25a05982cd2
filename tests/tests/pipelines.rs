//! The pipelines to copy from do what they say: each one's sample, fed as `strait dev` does,
//! comes to what its expected file holds.
//!
//! The folder decides what is tested. The files run as they are, but for the broker's
//! address; so their topics must differ.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use strait::config::{self, Overrides};
use strait::dev::{sample, topics};
use strait::plan::{ModuleSource, Pipeline};
use strait_tests::binary::{self, Build};
use strait_tests::cluster::Cluster;
use strait_tests::fixture::WORK_LIMIT;
use strait_tests::produce::{Input, Message};
use strait_tests::strait::Strait;
use strait_tests::verifier::{Isolation, Row, Verifier};
use strait_tests::wait;

/// As many as `strait dev` gives a topic.
const PARTITIONS: i32 = 6;
/// Pipelines that run side by side: they wait more than they work.
const AT_ONCE: usize = 4;

/// A line of an expected file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    topic: String,
    #[serde(default)]
    key: Value,
    #[serde(default)]
    value: Value,
    /// Those that matter; a record may have more.
    #[serde(default)]
    headers: Map<String, Value>,
    /// If it matters.
    timestamp: Option<i64>,
}

impl Expected {
    fn is(&self, row: &Row) -> bool {
        let headers = self.headers.iter().all(|(name, value)| {
            let mut found = row.headers.iter().filter(|(header, _)| header == name);
            found
                .next()
                .is_some_and(|(_, bytes)| holds(bytes.as_deref(), value))
        });
        headers
            && holds(row.key.as_deref(), &self.key)
            && holds(row.value.as_deref(), &self.value)
            && self.timestamp.is_none_or(|ms| ms == row.timestamp_ms)
    }
}

/// Whether these bytes are what a sample means by such a value; of JSON, whatever its form.
fn holds(bytes: Option<&[u8]>, value: &Value) -> bool {
    match (bytes, value) {
        (None, value) => value.is_null(),
        (Some(bytes), Value::String(text)) => bytes == text.as_bytes(),
        (Some(_), Value::Null) => false,
        (Some(bytes), json) => serde_json::from_slice::<Value>(bytes).is_ok_and(|found| found == *json),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines")
}

fn expected_beside(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("expected.jsonl")
}

fn files(ending: &str) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(ending) {
            found.insert(path);
        }
    }
    Ok(found)
}

fn load(file: &Path, bootstrap: Option<&str>) -> Result<Pipeline> {
    let target = binary::target_folder()?;
    let overrides = Overrides {
        environment: [("CARGO_TARGET_DIR".to_owned(), target.display().to_string())].into(),
        bootstrap: bootstrap.map(str::to_owned),
        ..Overrides::default()
    };
    let pipelines = config::load(&[file.to_owned()], &overrides);
    let mut pipelines = pipelines.map_err(|findings| anyhow::anyhow!("{findings}"))?;
    pipelines.pop().context("a pipeline")
}

/// One pipeline of the folder on the shared broker.
struct Shipped {
    file: PathBuf,
    pipeline: Pipeline,
    cluster: Arc<Cluster>,
}

impl Shipped {
    fn new(file: &Path) -> Result<Self> {
        let cluster = Cluster::shared()?;
        Ok(Self {
            pipeline: load(file, Some(cluster.bootstrap()))?,
            file: file.to_owned(),
            cluster,
        })
    }

    fn verifier(&self) -> &Verifier {
        self.cluster.verifier()
    }

    /// Whatever is wrong with what it wrote.
    fn check(&self) -> Result<Vec<String>> {
        self.build()?;
        let samples = sample::read(&sample::path_beside(&self.file), &self.pipeline.input.topics)?;
        let inputs: BTreeSet<&str> = samples.iter().map(|sample| sample.topic.as_str()).collect();
        for topic in &topics::named(&self.pipeline) | &inputs {
            self.verifier().create_topic(topic, PARTITIONS, &[])?;
        }
        let input = Input::as_java(self.cluster.bootstrap())?;
        for sample in &samples {
            let sample = sample.clone();
            let message = Message {
                partition: None,
                key: sample.key,
                value: sample.value,
                headers: sample.headers,
                timestamp_ms: sample.timestamp_ms,
            };
            input.send(&sample.topic, &message)?;
        }
        input.flush()?;
        let data = tempfile::tempdir()?;
        let mut strait = self.start(data.path())?;
        let worked_off = wait::until("the end of the sample", WORK_LIMIT, || {
            if !strait.is_running()? {
                return Ok(Some(false));
            }
            inputs.iter().try_for_each(|topic| self.worked_off(topic))?;
            Ok(Some(true))
        })?;
        ensure!(worked_off, "it ended by itself: {}", strait.log());
        self.compare(&inputs)
    }

    /// The crates that it names, where it looks for them.
    fn build(&self) -> Result<()> {
        for stage in &self.pipeline.stages {
            let ModuleSource::Crate { artifact, .. } = &stage.module else {
                bail!("name the crate, so that a clone runs it: {:?}", stage.module)
            };
            let name = artifact.file_stem().context("a name")?.to_string_lossy();
            ensure!(binary::guest(&name)? == *artifact, "{}", artifact.display());
        }
        Ok(())
    }

    fn start(&self, data: &Path) -> Result<Strait> {
        let mut command = Command::new(binary::strait(Build::Plain)?);
        command.arg("run").arg(&self.file);
        command.args(["--bootstrap", self.cluster.front()]);
        command
            .env("CARGO_TARGET_DIR", binary::target_folder()?)
            .env("STRAIT_DATA_DIR", data)
            .env("STRAIT_CACHE_DIR", binary::kept_folder("cache")?);
        Strait::start(command, &data.join("log"), Arc::clone(self.cluster.verifier()))
    }

    fn worked_off(&self, topic: &str) -> Result<()> {
        let committed = self.verifier().committed(self.pipeline.name.as_str())?;
        for ends in self.verifier().ends(topic)? {
            let at = committed.get(&(topic.to_owned(), ends.partition)).copied();
            ensure!(
                at.unwrap_or(0) == ends.high,
                "{topic}:{}: {at:?} of {}",
                ends.partition,
                ends.high
            );
        }
        Ok(())
    }

    fn compare(&self, inputs: &BTreeSet<&str>) -> Result<Vec<String>> {
        let file = expected_beside(&self.file);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let expected = text.lines().map(serde_json::from_str::<Expected>);
        let expected: Vec<Expected> = expected.collect::<Result<_, _>>().context("an expected line")?;
        ensure!(!expected.is_empty(), "{} expects nothing", file.display());
        let written = &topics::named(&self.pipeline) - inputs;
        let mut wrong = Vec::new();
        for line in &expected {
            if !written.contains(line.topic.as_str()) {
                wrong.push(format!("it does not write {}, which the file names", line.topic));
            }
        }
        for topic in written {
            let rows = self.verifier().read(topic, Isolation::ReadCommitted)?;
            let lines: Vec<&Expected> = expected.iter().filter(|line| line.topic == topic).collect();
            let same = lines
                .iter()
                .zip(&rows)
                .take_while(|(line, row)| line.is(row))
                .count();
            if same < lines.len().max(rows.len()) {
                let read: Vec<String> = rows.iter().map(|row| shown(topic, row)).collect();
                wrong.push(format!(
                    "{topic}: {} expected, {} read, which differ from number {} on:\n{}",
                    lines.len(),
                    rows.len(),
                    same + 1,
                    read.join("\n")
                ));
            }
        }
        Ok(wrong)
    }
}

/// As a line of an expected file could say it.
fn shown(topic: &str, row: &Row) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        None => Value::Null,
        Some(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
    };
    let headers: Map<String, Value> = row
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    format!(
        "{{\"topic\":{topic:?},\"key\":{},\"value\":{},\"headers\":{},\"timestamp\":{}}} in partition {}",
        text(&row.key),
        text(&row.value),
        Value::Object(headers),
        row.timestamp_ms,
        row.partition
    )
}

/// Whatever is wrong with one pipeline, as lines that begin with its file.
fn wrong(file: &Path) -> Vec<String> {
    let found = Shipped::new(file).and_then(|shipped| shipped.check());
    let found = found.unwrap_or_else(|error| vec![format!("{error:#}")]);
    let found = found.iter().map(|what| format!("{}: {what}", file.display()));
    found.collect()
}

#[test]
fn every_pipeline_makes_of_its_sample_what_is_expected() -> Result<()> {
    let pipelines: Vec<PathBuf> = files(".yaml")?.into_iter().collect();
    let mut all = Vec::new();
    for some in pipelines.chunks(AT_ONCE) {
        let found = thread::scope(|scope| {
            let runs = some.iter().map(|file| scope.spawn(|| wrong(file)));
            let runs: Vec<_> = runs.collect();
            let found = runs.into_iter().map(|run| run.join().ok());
            found.collect::<Option<Vec<_>>>()
        });
        all.extend(found.context("a check panicked")?.concat());
    }
    ensure!(all.is_empty(), "{}", all.join("\n\n"));
    Ok(())
}

#[test]
fn every_pipeline_has_its_sample_and_its_expectation_and_topics_of_its_own() -> Result<()> {
    let pipelines = files(".yaml")?;
    ensure!(pipelines.len() >= 7, "{pipelines:?}");
    let beside = |file: &PathBuf| [sample::path_beside(file), expected_beside(file)];
    let wanted: BTreeSet<PathBuf> = pipelines.iter().flat_map(beside).collect();
    let found = files(".jsonl")?;
    let (missing, stray) = (&wanted - &found, &found - &wanted);
    ensure!(
        missing.is_empty() && stray.is_empty(),
        "missing: {missing:?}; stray: {stray:?}"
    );
    let mut used = BTreeSet::new();
    for file in &pipelines {
        let pipeline = load(file, None)?;
        let stem = file.file_stem().context("a name")?.to_string_lossy();
        ensure!(
            pipeline.name.as_str() == stem,
            "{stem} is called {}",
            pipeline.name
        );
        for topic in topics::named(&pipeline) {
            ensure!(
                used.insert(topic.to_owned()),
                "{stem}: {topic} belongs to another one too"
            );
        }
    }
    Ok(())
}
