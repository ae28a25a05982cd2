//! What the transactional and the plain producer share: a client, the topics it
//! writes to, and a thread that serves its events.
//!
//! Invariants: a refused record stays outstanding until that thread has served it, so
//! when a flush ends every refusal is in the list; nothing is reported for records
//! that arrive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ffi::client::Client;
use super::ffi::error::{CallFailed, of_code};
use super::ffi::produce::{Event, Outgoing, ProducerClient, TopicConf};
use super::settings::ProducerSettings;
use super::{FailedDelivery, Flaw, KafkaError, Produce, ProduceError, TransactionError, codes};

/// The event thread looks this often whether it should end.
const SERVE: Duration = Duration::from_millis(500);
/// How long a full queue is given to drain before it is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(1);
/// Of more refused records than this, the rest is only counted: the first tell why.
const REFUSED_MAX: usize = 10_000;
/// How long one wait for the queue to empty is.
const FLUSH_SLICE: Duration = Duration::from_millis(500);

/// A producer's client with its event thread.
#[derive(Debug)]
pub(super) struct Core {
    shared: Arc<Shared>,
    /// What each topic takes.
    limits: Vec<usize>,
}

/// What the threads of one producer share. The last one to let go frees the client.
#[derive(Debug)]
pub(super) struct Shared {
    pub client: ProducerClient,
    topics: Vec<String>,
    refused: Mutex<Vec<FailedDelivery>>,
    /// Whether any record was refused, ever.
    gap: AtomicBool,
    ended: AtomicBool,
}

impl Core {
    /// `transactional_id` `None`: a plain, idempotent producer.
    pub fn open(settings: &ProducerSettings, transactional_id: Option<&str>) -> Result<Self, KafkaError> {
        let mut conf = settings.conf(transactional_id)?;
        conf.deliver_events();
        conf.watch_responses()?;
        let topics: Vec<_> = settings
            .topics
            .iter()
            .map(|t| TopicConf {
                name: &t.name,
                properties: t
                    .compression
                    .iter()
                    .map(|codec| ("compression.codec", codec.as_str()))
                    .collect(),
            })
            .collect();
        let shared = Arc::new(Shared {
            client: ProducerClient::new(conf, &topics)?,
            topics: settings.topics.iter().map(|t| t.name.clone()).collect(),
            refused: Mutex::default(),
            gap: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("kafka-events".to_owned());
        thread.spawn(move || serving.serve()).map_err(|error| {
            of_code(
                codes::LOCAL_FAIL,
                &format!("no thread for the producer's events: {error}"),
            )
        })?;
        let limits = settings.topics.iter().map(|t| t.max_message_bytes).collect();
        Ok(Self { shared, limits })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn client(&self) -> &ProducerClient {
        &self.shared.client
    }

    pub fn handle(&self) -> &Client {
        self.shared.client.client()
    }

    /// Queues a record, waiting while the queue is full.
    pub fn produce(&self, record: &Produce<'_>, deadline: Instant) -> Result<(), ProduceError> {
        let bytes = record.wire_bytes();
        let limit = self.limits.get(record.topic).copied();
        let topic = || self.shared.topics.get(record.topic).cloned().unwrap_or_default();
        let too_large = |limit| ProduceError::TooLarge {
            topic: topic(),
            bytes,
            limit,
        };
        if let Some(limit) = limit.filter(|limit| bytes > *limit) {
            return Err(too_large(limit));
        }
        let outgoing = Outgoing {
            topic: record.topic,
            partition: record.partition.unwrap_or(-1),
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms.unwrap_or_default().max(0),
            origin: record.origin,
        };
        loop {
            let Err(failed) = self.client().produce(&outgoing) else {
                return Ok(());
            };
            match failed.error.code {
                codes::LOCAL_QUEUE_FULL if Instant::now() < deadline => std::thread::sleep(QUEUE_FULL_PAUSE),
                codes::LOCAL_QUEUE_FULL => return Err(TransactionError::NoVerdict(failed.error).into()),
                codes::LOCAL_UNKNOWN_PARTITION => {
                    return Err(ProduceError::NoSuchPartition {
                        topic: topic(),
                        partition: outgoing.partition,
                    });
                }
                codes::MESSAGE_SIZE_TOO_LARGE => {
                    return Err(too_large(limit.unwrap_or(bytes)));
                }
                _ => return Err(self.broken(failed).into()),
            }
        }
    }

    /// Inside a transaction the library takes no record any more once the transaction
    /// or the producer has failed, and says no more than that.
    fn broken(&self, failed: CallFailed) -> TransactionError {
        match self.handle().fatal_error() {
            Some(cause) => TransactionError::Fatal {
                fenced: codes::is_fenced(cause.code),
                cause,
            },
            None if failed.abortable || failed.error.code == codes::LOCAL_STATE => {
                TransactionError::Abortable(failed.error)
            }
            None => TransactionError::Fatal {
                fenced: false,
                cause: failed.error,
            },
        }
    }

    /// Waits until every record is acknowledged or refused.
    pub fn flush(&self, deadline: Instant) -> Result<(), TransactionError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client().flush(FLUSH_SLICE.min(left)) {
                Ok(()) => return Ok(()),
                Err(error) if error.code != codes::LOCAL_TIMED_OUT || left.is_zero() => {
                    return Err(TransactionError::NoVerdict(error));
                }
                Err(_) => {}
            }
            if let Some(cause) = self.handle().fatal_error() {
                return Err(TransactionError::Fatal {
                    fenced: codes::is_fenced(cause.code),
                    cause,
                });
            }
        }
    }

    /// A refused batch has used up its sequence numbers: the broker would refuse the
    /// next one as out of order, and with it one more transaction.
    pub fn gap(&self) -> Option<String> {
        let gap = self.shared.gap.load(Ordering::Acquire);
        gap.then(|| "a refused record left a gap in the sequence".to_owned())
    }

    pub fn take_refused(&self) -> Vec<FailedDelivery> {
        std::mem::take(&mut *self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.client.wake();
    }
}

impl Shared {
    fn serve(&self) {
        while !self.ended.load(Ordering::Acquire) {
            self.client.serve(SERVE, |event| self.record(event));
        }
    }

    fn record(&self, event: Event) {
        match event {
            // Dropped by an abort: nothing is wrong with the record.
            Event::Refused { error, .. }
                if matches!(error.code, codes::LOCAL_PURGE_QUEUE | codes::LOCAL_PURGE_INFLIGHT) => {}
            Event::Refused { origin, topic, error } => {
                self.gap.store(true, Ordering::Release);
                let place = self.topics.iter().position(|name| *name == topic);
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                if refused.len() < REFUSED_MAX {
                    refused.push(FailedDelivery {
                        origin,
                        topic: place.unwrap_or(usize::MAX),
                        flaw: flaw(error.code),
                        error: KafkaError {
                            message: format!("{}, in {topic}", error.message),
                            ..error
                        },
                    });
                }
            }
            Event::Error(error) if error.fatal => {
                tracing::warn!(client = self.client.client().name(), %error, "the producer has to be replaced");
            }
            Event::Error(error) => {
                tracing::debug!(client = self.client.client().name(), %error, "trouble the client recovers from");
            }
        }
    }
}

/// What shares a batch with such a record is refused with it: as `_INVALID_DIFFERENT_RECORD` where the
/// broker names the guilty ones, else all alike. Both were seen of one broker in one transaction.
const fn flaw(code: i32) -> Option<Flaw> {
    match code {
        codes::MESSAGE_SIZE_TOO_LARGE | codes::RECORD_LIST_TOO_LARGE => Some(Flaw::TooLarge),
        codes::INVALID_TIMESTAMP | codes::INVALID_RECORD => Some(Flaw::Invalid),
        _ => None,
    }
}
