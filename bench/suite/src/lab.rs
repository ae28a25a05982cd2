//! The broker, the inputs and the programs that all runs share.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use strait::broker::{Broker, BrokerSettings, Jit};

use crate::contender::Programs;
use crate::run::Input;
use crate::topics::Topics;

/// As brokers are run, but for what takes memory that a run may need.
const PROPERTIES: [(&str, &str); 3] = [
    ("group.initial.rebalance.delay.ms", "0"),
    ("log.segment.bytes", "268435456"),
    ("offsets.topic.num.partitions", "8"),
];

/// Where everything is measured.
pub struct Lab {
    pub programs: Programs,
    pub topics: Topics,
    broker: Broker,
    inputs: HashMap<Wanted, Input>,
    runs: AtomicU64,
}

/// What an input is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub records: u64,
    pub partitions: i32,
    pub value_bytes: usize,
    pub compression: Option<&'static str>,
    /// Each record carries an id of its own.
    pub ids: bool,
}

impl Wanted {
    /// Records of about 200 bytes in six partitions.
    pub fn plain(records: u64) -> Self {
        Self {
            records,
            partitions: 6,
            value_bytes: 200,
            compression: None,
            ids: false,
        }
    }
}

impl Lab {
    pub fn open(programs: Programs, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let settings = BrokerSettings {
            jit: Jit::Throughput,
            properties: PROPERTIES
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..BrokerSettings::new(progress)
        };
        let broker = Broker::start(settings)?;
        Ok(Self {
            programs,
            topics: Topics::new(&broker.bootstrap())?,
            broker,
            inputs: HashMap::new(),
            runs: AtomicU64::new(0),
        })
    }

    pub fn bootstrap(&self) -> String {
        self.broker.bootstrap()
    }

    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    pub fn broker_pid(&self) -> Result<u32> {
        Ok(self.broker.pid(0)?)
    }

    /// One that no run has had.
    pub fn name(&self) -> String {
        format!("run-{}", self.runs.fetch_add(1, Ordering::Relaxed))
    }

    /// Deletes all topics that a run has made, the internal ones included.
    pub fn forget(&self, name: &str) -> Result<()> {
        let all = self.topics.names()?;
        let (out, own) = (format!("{name}."), format!("__strait.{name}."));
        let peers = format!("{name}-");
        let of_run =
            |topic: &&String| topic.starts_with(&out) || topic.starts_with(&own) || topic.starts_with(&peers);
        let of_run: Vec<&str> = all.iter().filter(of_run).map(String::as_str).collect();
        if of_run.is_empty() {
            return Ok(());
        }
        self.topics.delete(&of_run)
    }

    /// A topic like this, filled when it is asked for first.
    pub fn input(&mut self, wanted: Wanted) -> Result<Input> {
        if let Some(input) = self.inputs.get(&wanted) {
            return Ok(input.clone());
        }
        let topic = format!("input-{}", self.inputs.len());
        self.topics.create(&topic, wanted.partitions, false)?;
        let mut load = Command::new(&self.programs.native);
        load.args(["load", "--bootstrap", &self.bootstrap(), "--topic", &topic])
            .args(["--records", &wanted.records.to_string()])
            .args(["--value-bytes", &wanted.value_bytes.to_string()]);
        if let Some(codec) = wanted.compression {
            load.args(["--set", &format!("compression.codec={codec}")]);
        }
        if wanted.ids {
            load.arg("--ids");
        }
        let status = load.status().context("run the loader")?;
        ensure!(status.success(), "the loader failed ({status})");
        let content = self.topics.content(&topic)?;
        ensure!(
            content.records == wanted.records,
            "{} records were loaded into {topic}",
            content.records
        );
        let input = Input {
            topic,
            partitions: wanted.partitions,
            records: wanted.records,
            bytes: content.bytes,
            compression: wanted.compression,
        };
        self.inputs.insert(wanted, input.clone());
        Ok(input)
    }

    /// Frees the disk.
    pub fn drop_input(&mut self, wanted: Wanted) -> Result<()> {
        let input = self.inputs.get(&wanted).ok_or_else(|| anyhow!("no such input"))?;
        self.topics.delete(&[&input.topic])?;
        self.inputs.remove(&wanted);
        Ok(())
    }
}
