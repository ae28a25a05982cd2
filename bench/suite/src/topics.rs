//! Topics of a run, and what their logs tell afterwards.
//!
//! Outputs are dated by the broker when they are appended: so the logs tell the pace of
//! whoever wrote them, and nobody has to look on meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const ANSWER: Duration = Duration::from_secs(30);

/// Asks and changes the cluster.
pub struct Topics {
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    onlooker: BaseConsumer,
}

/// What stands in a topic, as a reader of committed records sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    pub records: u64,
    pub bytes: u64,
    /// Of keys and values, whatever their order.
    pub digest: u64,
    /// What is no record: the ends of transactions.
    pub markers: u64,
}

impl Topics {
    pub fn new(bootstrap: &str) -> Result<Self> {
        let client = |extra: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", bootstrap);
            for (key, value) in extra {
                config.set(*key, *value);
            }
            config
        };
        Ok(Self {
            admin: client(&[]).create()?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            onlooker: client(&[
                ("group.id", "bench.onlooker"),
                ("enable.auto.commit", "false"),
                ("enable.partition.eof", "false"),
                ("isolation.level", "read_committed"),
                ("fetch.queue.backoff.ms", "5"),
            ])
            .create()?,
        })
    }

    /// A new topic; `dated`: by the broker.
    pub fn create(&self, name: &str, partitions: i32, dated: bool) -> Result<()> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        if dated {
            topic = topic.set("message.timestamp.type", "LogAppendTime");
        }
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let created = self
            .runtime
            .block_on(self.admin.create_topics([&topic], &options))?;
        for outcome in created {
            outcome.map_err(|(topic, code)| anyhow!("cannot create {topic}: {code}"))?;
        }
        Ok(())
    }

    pub fn delete(&self, names: &[&str]) -> Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        for outcome in self.runtime.block_on(self.admin.delete_topics(names, &options))? {
            outcome.map_err(|(topic, code)| anyhow!("cannot delete {topic}: {code}"))?;
        }
        Ok(())
    }

    /// The topics that are there.
    pub fn names(&self) -> Result<Vec<String>> {
        let metadata = self.onlooker.fetch_metadata(None, ANSWER)?;
        Ok(metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned())
            .collect())
    }

    fn partitions(&self, topic: &str) -> Result<i32> {
        let metadata = self.onlooker.fetch_metadata(Some(topic), ANSWER)?;
        let topic = metadata.topics().first().context("no metadata")?;
        Ok(i32::try_from(topic.partitions().len())?)
    }

    /// So much was appended before a time, markers included.
    fn appended_before(&self, topic: &str, at_ms: i64, ends: &HashMap<i32, i64>) -> Result<i64> {
        let mut asked = TopicPartitionList::new();
        for partition in ends.keys() {
            asked.add_partition_offset(topic, *partition, Offset::Offset(at_ms))?;
        }
        let found = self.onlooker.offsets_for_times(asked, ANSWER)?;
        let offsets = found.elements().into_iter().map(|element| {
            let end = ends.get(&element.partition()).copied().unwrap_or_default();
            match element.offset() {
                Offset::Offset(offset) => offset,
                _ => end,
            }
        });
        Ok(offsets.sum())
    }

    /// When the log passed some shares of its length, between two moments. In milliseconds since the
    /// epoch, and how much had been appended by then.
    pub fn passed(&self, topic: &str, shares: &[f64], within: (i64, i64)) -> Result<Vec<(i64, i64)>> {
        let mut ends = HashMap::new();
        for partition in 0..self.partitions(topic)? {
            let (_, high) = self.onlooker.fetch_watermarks(topic, partition, ANSWER)?;
            ends.insert(partition, high);
        }
        let total: i64 = ends.values().sum();
        shares
            .iter()
            .map(|share| {
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    reason = "a share of a few million"
                )]
                let wanted = ((total as f64 * share) as i64).max(1);
                let (mut low, mut high) = within;
                while low < high {
                    let middle = low + (high - low) / 2;
                    if self.appended_before(topic, middle, &ends)? >= wanted {
                        high = middle;
                    } else {
                        low = middle + 1;
                    }
                }
                Ok((low, self.appended_before(topic, low, &ends)?))
            })
            .collect()
    }

    /// Reads all that is committed.
    pub fn content(&self, topic: &str) -> Result<Content> {
        let mut content = Content::default();
        let mut places = TopicPartitionList::new();
        let mut ends = HashMap::new();
        for partition in 0..self.partitions(topic)? {
            let (low, high) = self.onlooker.fetch_watermarks(topic, partition, ANSWER)?;
            content.markers += u64::try_from(high - low)?;
            if high > low {
                ends.insert(partition, high);
                places.add_partition_offset(topic, partition, Offset::Offset(low))?;
            }
        }
        self.onlooker.assign(&places)?;
        let outcome = self.read(&mut ends, &mut content);
        self.onlooker.unassign()?;
        outcome?;
        content.markers -= content.records;
        Ok(content)
    }

    fn read(&self, ends: &mut HashMap<i32, i64>, content: &mut Content) -> Result<()> {
        let mut quiet = 0;
        while !ends.is_empty() {
            let Some(message) = self.onlooker.poll(Duration::from_millis(100)) else {
                quiet += 1;
                ensure!(quiet < 300, "nothing came for 30 s; a transaction is open");
                self.drop_finished(ends)?;
                continue;
            };
            quiet = 0;
            let message = message?;
            let (key, value) = (message.key().unwrap_or(b""), message.payload().unwrap_or(b""));
            content.records += 1;
            content.bytes += (key.len() + value.len()) as u64;
            content.digest = content.digest.wrapping_add(digest(key, value));
            if ends
                .get(&message.partition())
                .is_some_and(|end| message.offset() + 1 >= *end)
            {
                ends.remove(&message.partition());
            }
        }
        Ok(())
    }

    /// The last of a log are markers, which move a position without a record.
    fn drop_finished(&self, ends: &mut HashMap<i32, i64>) -> Result<()> {
        for element in self.onlooker.position()?.elements() {
            if let Offset::Offset(position) = element.offset()
                && ends.get(&element.partition()).is_some_and(|end| position >= *end)
            {
                ends.remove(&element.partition());
            }
        }
        Ok(())
    }
}

/// FNV-1a of key and value.
fn digest(key: &[u8], value: &[u8]) -> u64 {
    let bytes = key.iter().chain([&0xff]).chain(value);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
