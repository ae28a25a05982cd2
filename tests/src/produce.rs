//! Input for the pipelines under test. A record counts as sent only when the
//! broker has acknowledged it; one that was refused fails the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

const PATIENCE: Duration = Duration::from_secs(30);

/// A record to send.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// `None`: wherever the client puts it.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// `None`: the time at which it is sent.
    pub timestamp_ms: Option<i64>,
}

impl Message {
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: Some(key.into()),
            value: Some(value.into()),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn to_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }
}

/// Counts what the broker did with the records.
#[derive(Default)]
struct Reports {
    refused: AtomicU64,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A producer of input records, with transactions if it has an id.
pub struct Input {
    producer: ThreadedProducer<Reports>,
}

impl Input {
    pub fn new(bootstrap: &str) -> Result<Self> {
        Self::open(&Self::settings(bootstrap))
    }

    /// Keys go where Java's producers send them, and `strait dev`.
    pub fn as_java(bootstrap: &str) -> Result<Self> {
        Self::open(Self::settings(bootstrap).set("partitioner", "murmur2_random"))
    }

    /// Every record must be sent between [`Input::begin`] and [`Input::commit`] or
    /// [`Input::abort`].
    pub fn transactional(bootstrap: &str, id: &str) -> Result<Self> {
        let input = Self::open(Self::settings(bootstrap).set("transactional.id", id))?;
        input.producer.init_transactions(PATIENCE)?;
        Ok(input)
    }

    fn settings(bootstrap: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        config.set("enable.idempotence", "true");
        config.set("linger.ms", "5");
        config.set("topic.metadata.refresh.interval.ms", "1000");
        config.set("message.max.bytes", "16777216");
        config
    }

    fn open(config: &ClientConfig) -> Result<Self> {
        let producer = config
            .create_with_context(Reports::default())
            .context("open an input producer")?;
        Ok(Self { producer })
    }

    /// Queues a record.
    pub fn send(&self, topic: &str, message: &Message) -> Result<()> {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &message.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_ref(),
            });
        }
        let mut record: BaseRecord<'_, Vec<u8>, Vec<u8>> = BaseRecord::to(topic).headers(headers);
        record.partition = message.partition;
        record.timestamp = message.timestamp_ms;
        record.key = message.key.as_ref();
        record.payload = message.value.as_ref();
        let started = Instant::now();
        loop {
            let Err((error, refused)) = self.producer.send(record) else {
                return Ok(());
            };
            // A partition that was added a moment ago is found at the next look.
            let soon = [RDKafkaErrorCode::QueueFull, RDKafkaErrorCode::UnknownPartition];
            let soon = soon.map(KafkaError::MessageProduction).contains(&error);
            ensure!(soon && started.elapsed() < PATIENCE, "send to {topic}: {error}");
            thread::sleep(Duration::from_millis(5));
            record = refused;
        }
    }

    /// Queues them all, and waits until the broker has them.
    pub fn send_all(&self, topic: &str, messages: &[Message]) -> Result<()> {
        for message in messages {
            self.send(topic, message)?;
        }
        self.flush()
    }

    /// Waits until every queued record is acknowledged.
    pub fn flush(&self) -> Result<()> {
        self.producer.flush(PATIENCE)?;
        let refused = self.producer.context().refused.load(Ordering::Relaxed);
        ensure!(refused == 0, "{refused} input records were refused");
        Ok(())
    }

    pub fn begin(&self) -> Result<()> {
        Ok(self.producer.begin_transaction()?)
    }

    pub fn commit(&self) -> Result<()> {
        Ok(self.producer.commit_transaction(PATIENCE)?)
    }

    /// What was sent since [`Input::begin`] stays in the log, marked as aborted.
    pub fn abort(&self) -> Result<()> {
        self.flush()?;
        Ok(self.producer.abort_transaction(PATIENCE)?)
    }
}

/// Input at a steady rate, round robin over the partitions, until it is stopped.
pub struct Steady {
    thread: JoinHandle<Result<u64>>,
    stop: Arc<AtomicBool>,
    partitions: Arc<AtomicI32>,
    sent: Arc<AtomicU64>,
}

impl Steady {
    /// `make` is given the partition and the number of the record in the whole stream.
    pub fn start(
        bootstrap: &str,
        topic: &str,
        partitions: i32,
        per_second: u32,
        make: impl Fn(i32, u64) -> Message + Send + 'static,
    ) -> Result<Self> {
        let input = Input::new(bootstrap)?;
        let topic = topic.to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let partitions = Arc::new(AtomicI32::new(partitions));
        let sent = Arc::new(AtomicU64::new(0));
        let shared = (Arc::clone(&stop), Arc::clone(&partitions), Arc::clone(&sent));
        let run = move || {
            let (stop, partitions, sent) = shared;
            let started = Instant::now();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let due = (started.elapsed().as_millis() * u128::from(per_second)) / 1000;
                while u128::from(number) < due {
                    let count = u64::try_from(partitions.load(Ordering::Relaxed))?;
                    let partition = i32::try_from(number % count)?;
                    input.send(&topic, &make(partition, number).to_partition(partition))?;
                    number += 1;
                }
                sent.store(number, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
            input.flush()?;
            Ok(number)
        };
        let thread = thread::Builder::new().name("input".into()).spawn(run)?;
        Ok(Self {
            thread,
            stop,
            partitions,
            sent,
        })
    }

    /// Records so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// From now on the input goes to so many partitions.
    pub fn spread_over(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// Ends the stream; gives the number of records, all acknowledged.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the input thread panicked"))?
    }
}
