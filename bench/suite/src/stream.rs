//! A stream of records by the clock, and how long each takes to come through.
//!
//! Records are sent by the clock, whatever becomes of those before, so a stall is felt by all that
//! should have come through meanwhile. The broker dates them when they are appended; who reads
//! committed outputs looks at the clock when they come. All are on one machine.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::process::now_ms;

/// So many keys, as the loader's.
const KEYS: u64 = 100_000;
const TICK: Duration = Duration::from_millis(1);
const FLUSH: Duration = Duration::from_secs(30);

/// Sends orders at a rate until it is stopped.
pub struct Sender {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Sender {
    /// Over all topics together, in turn.
    pub fn start(bootstrap: &str, topics: &[String], per_second: u64) -> Result<Self> {
        ensure!(!topics.is_empty(), "records go somewhere");
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("partitioner", "murmur2_random")
            .create()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (stop, topics) = (Arc::clone(&stop), topics.to_vec());
            move || send(&producer, &topics, per_second, &stop)
        });
        Ok(Self { stop, thread })
    }

    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the sender panicked"))?
    }
}

fn send(producer: &BaseProducer, topics: &[String], per_second: u64, stop: &AtomicBool) -> Result<()> {
    let begun = Instant::now();
    let (mut sent, mut key, mut value) = (0, String::new(), String::new());
    let mut topics = topics.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(begun.elapsed().as_micros())? * per_second / 1_000_000;
        while sent < due {
            fill(sent, &mut key, &mut value)?;
            let topic = topics.next().context("a topic")?;
            match producer.send(BaseRecord::to(topic).key(&key).payload(&value)) {
                Ok(()) => sent += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(TICK);
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(TICK);
    }
    Ok(producer.flush(FLUSH)?)
}

/// An order of about 200 bytes, as the loader writes it.
fn fill(number: u64, key: &mut String, value: &mut String) -> std::fmt::Result {
    let user = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
    key.clear();
    write!(key, "user-{user:06}")?;
    value.clear();
    write!(
        value,
        r#"{{"order":{number},"user":"user-{user:06}","amount":{},"currency":"EUR","note":"{:0>120}"}}"#,
        number % 99_700,
        number
    )
}

/// Reads committed outputs until it is stopped.
pub struct Reader {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Result<Vec<Seen>>>,
}

/// A record that came through.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub partition: i32,
    pub appended_ms: i64,
    pub took_ms: i64,
}

impl Reader {
    pub fn start(bootstrap: &str, topics: &[String], partitions: i32) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "bench.reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.queue.backoff.ms", "5")
            .create()?;
        let mut places = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..partitions {
                places.add_partition_offset(topic, partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&places)?;
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn({
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            move || {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let Some(message) = consumer.poll(Duration::from_millis(50)) else {
                        continue;
                    };
                    let message = message?;
                    let appended_ms = message.timestamp().to_millis().context("a date")?;
                    seen.push(Seen {
                        partition: message.partition(),
                        appended_ms,
                        took_ms: now_ms() - appended_ms,
                    });
                    count.store(seen.len(), Ordering::Relaxed);
                }
                Ok(seen)
            }
        });
        Ok(Self { stop, count, thread })
    }

    /// Until the first record has come.
    pub fn wait_for_one(&self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.count.load(Ordering::Relaxed) == 0 {
            ensure!(begun.elapsed() < limit, "nothing came for {} s", limit.as_secs());
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    pub fn stop(self) -> Result<Vec<Seen>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the reader panicked"))?
    }
}

impl Seen {
    /// When it came, since the epoch.
    pub fn came_ms(&self) -> i64 {
        self.appended_ms + self.took_ms
    }
}

/// The longest time between two moments in which nothing came of some partition.
pub fn longest_pause_ms(seen: &[Seen], from_ms: i64, to_ms: i64) -> i64 {
    let mut last = HashMap::new();
    let mut longest = 0;
    for seen in seen {
        let came = seen.came_ms();
        let before = last.insert(seen.partition, came).unwrap_or(came);
        if before >= from_ms && came <= to_ms {
            longest = longest.max(came - before);
        }
    }
    longest
}

/// How long records took that were appended between two moments, in milliseconds, sorted.
pub fn within(seen: &[Seen], from_ms: i64, to_ms: i64) -> Result<Vec<i64>> {
    let mut took: Vec<i64> = seen
        .iter()
        .filter(|seen| (from_ms..to_ms).contains(&seen.appended_ms))
        .map(|seen| seen.took_ms)
        .collect();
    ensure!(!took.is_empty(), "nothing came through");
    took.sort_unstable();
    Ok(took)
}

/// The value that a share of them does not exceed.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a few hundred thousand"
)]
pub fn percentile(sorted: &[i64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(at - 1).map_or(f64::NAN, |value| *value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<i64> = (1..=100).collect();
        let shares = [0.5, 0.99, 1.0].map(|share| percentile(&sorted, share).to_string());
        assert_eq!(shares, ["50", "99", "100"]);
        assert_eq!(percentile(&[7], 0.5).to_string(), "7");
    }

    #[test]
    fn a_pause_is_one_of_a_partition() {
        let seen = [(0, 10), (1, 11), (0, 20), (1, 41), (0, 42)].map(|(partition, came)| Seen {
            partition,
            appended_ms: 0,
            took_ms: came,
        });
        assert_eq!(longest_pause_ms(&seen, 0, 100), 30);
        assert_eq!(longest_pause_ms(&seen, 12, 100), 22);
    }

    #[test]
    fn only_what_was_appended_meanwhile_counts() {
        let seen = [(9, 1), (10, 5), (19, 3), (20, 7)].map(|(appended_ms, took_ms)| Seen {
            partition: 0,
            appended_ms,
            took_ms,
        });
        assert_eq!(within(&seen, 10, 20).unwrap(), [3, 5]);
        assert!(within(&seen, 30, 40).is_err());
    }
}
