//! One test's stage: topics and a pipeline of its own on the shared broker.
//!
//! A fixture starts as a working pipeline, `NAME.in` to `NAME.out` in one lane
//! through one guest, with short timeouts; a test changes what it is about. The
//! file is written as JSON, which is YAML.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::binary::{self, Build};
use crate::cluster::Cluster;
use crate::ledger::{Account, Expected};
use crate::produce::{Input, Message};
use crate::strait::Strait;
use crate::verifier::{Isolation, Row, Verifier};
use crate::wait;

/// How long a pipeline under test may take to work off what it was given.
pub const WORK_LIMIT: Duration = Duration::from_mins(1);

/// A pipeline and its surroundings.
pub struct Fixture {
    name: String,
    folder: TempDir,
    document: Value,
    cluster: Arc<Cluster>,
    starts: AtomicU32,
    /// Where logs go; `None`: to the other files.
    logs: Option<PathBuf>,
}

impl Fixture {
    /// On the shared broker, with the topics `in` and `out` of so many partitions, and the
    /// named guest.
    pub fn new(test: &str, partitions: i32, guest: &str) -> Result<Self> {
        Self::on(Cluster::shared()?, test, partitions, guest)
    }

    /// The same on a cluster of its own.
    pub fn on(cluster: Arc<Cluster>, test: &str, partitions: i32, guest: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{test}-{}-{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let document = json!({
            "name": name,
            "kafka": {
                "bootstrap": cluster.front(),
            },
            "input": { "topics": [format!("{name}.in")] },
            "stages": [{ "wasm": { "module": binary::guest(guest)? } }],
            "outputs": { "default": format!("{name}.out") },
            "lanes": 1,
        });
        let folder = tempfile::Builder::new().prefix("strait-test-").tempdir()?;
        let fixture = Self {
            name,
            folder,
            document,
            cluster,
            starts: AtomicU32::new(0),
            logs: None,
        };
        fixture.create_topic("in", partitions)?;
        fixture.create_topic("out", partitions)?;
        Ok(fixture)
    }

    /// The pipeline's name: the consumer group id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The full name of one of this fixture's topics.
    pub fn topic(&self, short: &str) -> String {
        format!("{}.{short}", self.name)
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Where input is sent: the nodes themselves, whatever stands in front of them.
    pub fn bootstrap(&self) -> &str {
        self.cluster.bootstrap()
    }

    pub fn verifier(&self) -> &Arc<Verifier> {
        self.cluster.verifier()
    }

    pub fn create_topic(&self, short: &str, partitions: i32) -> Result<()> {
        self.verifier().create_topic(&self.topic(short), partitions, &[])
    }

    /// Sets a key of the pipeline's file, such as `on_error.then`.
    pub fn set(&mut self, path: &str, value: Value) -> Result<()> {
        put(&mut self.document, path, value)
    }

    /// Sets a key of the first stage, such as `limits.batch_deadline`.
    pub fn set_stage(&mut self, path: &str, value: Value) -> Result<()> {
        self.set_stage_at(0, path, value)
    }

    /// The same of another one, which calls a transform too.
    pub fn set_stage_at(&mut self, index: usize, path: &str, value: Value) -> Result<()> {
        let stage = self
            .document
            .pointer_mut(&format!("/stages/{index}/wasm"))
            .context("a wasm stage")?;
        put(stage, path, value)
    }

    /// Puts a `dedup` before all other stages, which no longer are where `set_stage` looks.
    pub fn dedup(&mut self, dedup: &Value) -> Result<()> {
        let stages = self.document.pointer_mut("/stages").and_then(Value::as_array_mut);
        stages.context("stages")?.insert(0, json!({ "dedup": dedup }));
        Ok(())
    }

    /// How long the group waits for a member that is silent. A dead process delays its
    /// successor for as long.
    pub fn set_session(&mut self, session: Duration) -> Result<()> {
        let session_ms = u64::try_from(session.as_millis())?;
        self.set(
            "kafka.consumer",
            json!({
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": session_ms / 4,
            }),
        )
    }

    /// Sends failed records to the topic `dlq`, which it creates, without a breaker.
    pub fn dead_letter(&mut self) -> Result<()> {
        self.create_topic("dlq", 1)?;
        self.set("on_error.then", json!("dead_letter"))?;
        self.set("on_error.dead_letter", json!(self.topic("dlq")))?;
        self.set("on_error.limit", json!("none"))
    }

    /// Where the fixture keeps its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Logs go to a folder that outlives the fixture, and is emptied now.
    pub fn keep_logs(&mut self, folder: PathBuf) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        self.logs = Some(folder);
        Ok(())
    }

    /// Writes the pipeline's file.
    pub fn write(&self) -> Result<PathBuf> {
        let path = self.path("pipeline.yaml");
        fs::write(&path, serde_json::to_string_pretty(&self.document)?)?;
        Ok(path)
    }

    /// `strait VERB`, which may be two words, with folders of this fixture.
    pub fn command(&self, build: Build, verb: &str) -> Result<Command> {
        let mut command = Command::new(binary::strait(build)?);
        command
            .args(verb.split(' '))
            .arg(self.write()?)
            .env("STRAIT_DATA_DIR", self.path("data"));
        command.env("STRAIT_CACHE_DIR", binary::kept_folder("cache")?);
        Ok(command)
    }

    /// Starts `strait run` on the pipeline's file.
    pub fn start(&self) -> Result<Strait> {
        self.start_command(self.command(Build::Plain, "run")?)
    }

    /// Starts a command that [`Fixture::command`] made.
    pub fn start_command(&self, command: Command) -> Result<Strait> {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let folder = self.logs.as_deref().unwrap_or(self.folder.path());
        let log = folder.join(format!("strait-{number}.log"));
        Strait::start(command, &log, Arc::clone(self.verifier()))
    }

    /// A `strait run` that kills itself at a point of its work; `:N` behind it says at which pass.
    pub fn command_that_dies(&self, point: &str) -> Result<Command> {
        let mut command = self.command(Build::Faulty, "run")?;
        command.env("STRAIT_FAIL_POINT", point);
        Ok(command)
    }

    /// Starts `strait run` and waits until it is ready.
    pub fn run(&self) -> Result<Strait> {
        let mut strait = self.start()?;
        strait.wait_ready()?;
        Ok(strait)
    }

    /// Sends records to the topic `in`.
    pub fn send(&self, messages: &[Message]) -> Result<()> {
        Input::new(self.bootstrap())?.send_all(&self.topic("in"), messages)
    }

    /// What a `read_committed` consumer finds in one of the topics.
    pub fn read(&self, short: &str) -> Result<Vec<Row>> {
        self.verifier().read(&self.topic(short), Isolation::ReadCommitted)
    }

    /// How often each key stands in `out`.
    pub fn key_counts(&self) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for row in self.read("out")? {
            *counts.entry(row.key_text()).or_default() += 1;
        }
        Ok(counts)
    }

    /// So many keys stand in `out`, each once.
    pub fn check_each_key_once(&self, keys: usize) -> Result<()> {
        let counts = self.key_counts()?;
        ensure!(
            counts.len() == keys,
            "{} keys of {keys} came through",
            counts.len()
        );
        let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(doubled.is_empty(), "{doubled:?}");
        Ok(())
    }

    /// Waits until the group has committed the end of every partition of `in`.
    pub fn wait_worked_off(&self, strait: &mut Strait) -> Result<()> {
        self.wait_worked_off_topic(strait, &self.topic("in"))
    }

    /// Like [`Fixture::wait_worked_off`], for any topic.
    pub fn wait_worked_off_topic(&self, strait: &mut Strait, topic: &str) -> Result<()> {
        let reached = wait::until(
            "the committed offsets at the end of the input",
            WORK_LIMIT,
            || {
                if !strait.is_running()? {
                    return Ok(Some(false));
                }
                self.committed_to_end(topic)?;
                Ok(Some(true))
            },
        );
        if !reached? {
            bail!("it ended before the input was worked off");
        }
        Ok(())
    }

    /// An error tells by how much it is not.
    pub fn committed_to_end(&self, topic: &str) -> Result<()> {
        let committed: HashMap<(String, i32), i64> = self.verifier().committed(&self.name)?;
        for ends in self.verifier().ends(topic)? {
            let at = committed.get(&(topic.to_owned(), ends.partition)).copied();
            // Nothing was ever in a partition whose end is 0: no commit needed.
            ensure!(
                at.unwrap_or(0) == ends.high,
                "{topic}:{} is committed to {at:?} of {}",
                ends.partition,
                ends.high
            );
        }
        Ok(())
    }

    /// No transaction of the pipeline is undecided, in the coordinator or in a log.
    pub fn check_no_open_transaction(&self, topics: &[&str]) -> Result<()> {
        for transaction in self.verifier().transactions(&self.ids())? {
            let decided = ["CompleteCommit", "CompleteAbort", "Empty", "Dead"];
            ensure!(
                decided.contains(&transaction.state.as_str()),
                "undecided: {transaction:?}"
            );
        }
        for short in topics {
            let topic = self.topic(short);
            let open = self.verifier().open_transactions(&topic)?;
            ensure!(open == 0, "{topic}: {open} transactions are open");
            for ends in self.verifier().ends(&topic)? {
                ensure!(
                    ends.last_stable == ends.high,
                    "{topic}: the end is not stable: {ends:?}"
                );
            }
        }
        Ok(())
    }

    /// The id of a transaction of such ids that is open now.
    pub fn open_transaction_of(&self, id_prefix: &str) -> Result<Option<String>> {
        let known = self.verifier().transactions(id_prefix)?;
        let open = known.into_iter().find(|known| known.state == "Ongoing");
        Ok(open.map(|known| known.id))
    }

    /// Waits until one is.
    pub fn wait_open_transaction_of(&self, id_prefix: &str) -> Result<String> {
        wait::until("an open transaction", Duration::from_secs(20), || {
            self.open_transaction_of(id_prefix)
        })
    }

    /// Waits until any transaction of the pipeline is open.
    pub fn wait_open_transaction(&self) -> Result<String> {
        self.wait_open_transaction_of(&self.ids())
    }

    /// What all transactional ids of the pipeline begin with.
    pub fn ids(&self) -> String {
        format!("{}.", self.name)
    }

    /// Each record of `in` stands in `out` exactly once, in order, found by its key.
    pub fn check_copied(&self) -> Result<()> {
        let expected: Vec<Expected> = self.read("in")?.iter().map(Expected::by_key).collect();
        ensure!(
            !expected.is_empty(),
            "the input is empty, so this would prove nothing"
        );
        Account::by_key(&expected, &self.read("out")?).settle("out")
    }
}

fn put(document: &mut Value, path: &str, value: Value) -> Result<()> {
    let mut place = document;
    for key in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = place
            .as_object_mut()
            .context("a map")?
            .entry(key)
            .or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}
