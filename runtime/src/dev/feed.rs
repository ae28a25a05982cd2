//! Sample input, produced at a steady rate, over and over, by a thread of its own.
//!
//! Timestamps that the sample sets move on with each round, so that time does not go back.
//! An ordinary idempotent producer, so that what is counted as sent is in the topic once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::sample::Sample;

const TICK: Duration = Duration::from_millis(10);
const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// After a stall, this much is caught up on; the rest is let go.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Where to, and how fast.
#[derive(Debug, Clone)]
pub struct Feed {
    pub bootstrap: String,
    /// librdkafka settings that reaching the cluster takes.
    pub properties: Vec<(String, String)>,
    /// Records a second.
    pub rate: u32,
}

/// A feeding thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Feeder {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
}

struct Reports(Arc<Counts>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "the producer of sample input");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the producer of sample input");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.0.sent.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                if self.0.failed.load(Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "sample input was not delivered; said once");
                }
                self.0.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

impl Feeder {
    /// Starts to feed. `samples` is not empty.
    pub fn start(feed: Feed, samples: Vec<Sample>) -> Result<Self, KafkaError> {
        let counts = Arc::new(Counts::default());
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &feed.bootstrap)
            .set("linger.ms", "5")
            .set("enable.idempotence", "true");
        // Keys must go where Java's producers, and Strait's, send them.
        config
            .set("partitioner", "murmur2_random")
            .set("client.id", "strait-dev-sample");
        for (key, value) in &feed.properties {
            config.set(key, value);
        }
        let producer: ThreadedProducer<Reports> = config.create_with_context(Reports(Arc::clone(&counts)))?;
        let shared = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("strait-sample".into())
            .spawn(move || run(&feed, &samples, &producer, &shared))
            .map_err(|_no_thread| KafkaError::Canceled)?;
        Ok(Self {
            counts,
            thread: Some(thread),
        })
    }

    /// Records that the broker has acknowledged.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread that feeds sample input ended in a panic");
        }
    }
}

fn run(feed: &Feed, samples: &[Sample], producer: &ThreadedProducer<Reports>, counts: &Counts) {
    let mut pace = Pace::new(feed.rate, Instant::now());
    let span_ms = span(samples);
    let rounds = (0..).map(|round: i64| round.saturating_mul(span_ms));
    let mut endless = rounds.flat_map(|later_ms| samples.iter().map(move |sample| record(sample, later_ms)));
    while !counts.stop.load(Ordering::Relaxed) {
        for _ in 0..pace.due(Instant::now()) {
            let Some(record) = endless.next() else { return };
            if !send(record, producer, counts) {
                break;
            }
        }
        std::thread::sleep(TICK);
    }
    if let Err(error) = producer.flush(FLUSH_WITHIN) {
        tracing::debug!(%error, "sample input was still under way at the end");
    }
}

/// Waits while the producer's queue is full; false when it is time to stop.
fn send(
    mut record: BaseRecord<'_, [u8], [u8]>,
    producer: &ThreadedProducer<Reports>,
    counts: &Counts,
) -> bool {
    while !counts.stop.load(Ordering::Relaxed) {
        match producer.send(record) {
            Ok(()) => return true,
            Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                record = back;
                std::thread::sleep(TICK);
            }
            Err((error, _)) => {
                if counts.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "a sample record was refused; said once");
                }
                return true;
            }
        }
    }
    false
}

/// By how much each round is later than the one before: it begins right behind it.
fn span(samples: &[Sample]) -> i64 {
    let times = || samples.iter().filter_map(|sample| sample.timestamp_ms);
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    last.saturating_sub(first).saturating_add(1)
}

fn record(sample: &Sample, later_ms: i64) -> BaseRecord<'_, [u8], [u8]> {
    let mut record = BaseRecord::to(&sample.topic);
    record.timestamp = sample.timestamp_ms.map(|ms| ms.saturating_add(later_ms));
    record.key = sample.key.as_deref();
    record.payload = sample.value.as_deref();
    if sample.headers.is_empty() {
        return record;
    }
    let headers = OwnedHeaders::new_with_capacity(sample.headers.len());
    let headers = sample.headers.iter().fold(headers, |headers, (name, value)| {
        headers.insert(Header {
            key: name,
            value: value.as_deref(),
        })
    });
    record.headers(headers)
}

/// How many records are due: a steady rate without drift.
#[derive(Debug)]
struct Pace {
    rate: u32,
    since: Instant,
    given: u64,
}

impl Pace {
    fn new(rate: u32, since: Instant) -> Self {
        Self {
            rate,
            since,
            given: 0,
        }
    }

    fn due(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.since);
        let behind = self.wanted(elapsed).saturating_sub(self.given);
        if behind > self.wanted(BEHIND_MAX) {
            let most = self.wanted(BEHIND_MAX);
            *self = Self::new(self.rate, now);
            return most;
        }
        self.given += behind;
        behind
    }

    fn wanted(&self, time: Duration) -> u64 {
        let micros = time.as_micros() * u128::from(self.rate) / 1_000_000;
        u64::try_from(micros).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_dated_behind_the_one_before() {
        let at = |timestamp_ms| Sample {
            topic: "t".to_owned(),
            timestamp_ms,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let samples = [at(Some(50)), at(None), at(Some(90)), at(Some(40))];
        assert_eq!(span(&samples), 51);
        assert_eq!(record(&samples[3], 51).timestamp, Some(91));
        assert_eq!(record(&samples[1], 51).timestamp, None);
    }

    #[test]
    fn the_rate_is_kept_over_uneven_ticks() {
        let begin = Instant::now();
        let mut pace = Pace::new(1000, begin);
        let mut total = 0;
        for ms in [3, 17, 18, 400, 777, 1000] {
            total += pace.due(begin + Duration::from_millis(ms));
        }
        assert_eq!(total, 1000);
        assert_eq!(pace.due(begin + Duration::from_secs(1)), 0);
    }

    #[test]
    fn a_slow_rate_is_not_rounded_away() {
        let begin = Instant::now();
        let mut pace = Pace::new(2, begin);
        let total: u64 = (1..=200).map(|tick| pace.due(begin + TICK * tick)).sum();
        assert_eq!(total, 4);
    }

    #[test]
    fn a_long_stall_is_not_made_up_for_in_one_burst() {
        let begin = Instant::now();
        let mut pace = Pace::new(100, begin);
        let later = begin + Duration::from_mins(1);
        assert_eq!(pace.due(later), 100);
        assert_eq!(pace.due(later + Duration::from_millis(100)), 10);
    }
}
