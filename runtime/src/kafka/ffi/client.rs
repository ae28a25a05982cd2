//! A client handle, and how it is freed.
//!
//! Freeing a client can hang (librdkafka 4514, 4674), so it always happens on a
//! thread of its own: the caller waits for a bounded time and then leaves it behind.
//!
//! A transactional producer must have no records in flight by then. librdkafka frees what it
//! knows of the transaction while its broker threads still run, and one that learns
//! just then that the producer is fenced frees the same text once more, which ends the
//! process (`rd_kafka_txns_term` against `rd_kafka_txn_set_fatal_error`, seen with 2.12.1).

use std::ptr::{self, NonNull};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::bindings as rd;

use super::conf::{Conf, Hooks, c_string, fatal_error};
use super::error::{of_code, text, written};
use super::timeout_ms;
use crate::kafka::{KafkaError, codes};

/// Which side of Kafka a client is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Consumer,
    Producer,
}

/// A live client.
#[derive(Debug)]
pub struct Client {
    raw: NonNull<rd::rd_kafka_t>,
    kind: Kind,
    hooks: Arc<Hooks>,
    freed: bool,
}

// SAFETY: librdkafka's handles may be used from any thread, several at once; the
// hooks are `Sync` by themselves.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

struct Raw(NonNull<rd::rd_kafka_t>);
// SAFETY: a handle may be freed on any thread.
unsafe impl Send for Raw {}

impl Client {
    pub fn new(kind: Kind, conf: Conf) -> Result<Self, KafkaError> {
        #[cfg(target_env = "gnu")]
        super::waits::install();
        let (conf, hooks) = conf.into_parts();
        let raw_kind = match kind {
            Kind::Consumer => rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Kind::Producer => rd::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        let mut why = [0_u8; 512];
        // SAFETY: the configuration is owned and given up; the buffer has its length.
        let raw = unsafe { rd::rd_kafka_new(raw_kind, conf.as_ptr(), why.as_mut_ptr().cast(), why.len()) };
        let Some(raw) = NonNull::new(raw) else {
            // SAFETY: on failure the configuration stays ours.
            unsafe { rd::rd_kafka_conf_destroy(conf.as_ptr()) };
            return Err(of_code(codes::LOCAL_INVALID_ARG, &written(&why)));
        };
        Ok(Self {
            raw,
            kind,
            hooks,
            freed: false,
        })
    }

    pub(super) fn raw(&self) -> *mut rd::rd_kafka_t {
        self.raw.as_ptr()
    }

    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// The client's own name, as its log lines carry it.
    pub fn name(&self) -> String {
        // SAFETY: live client; the name is constant.
        text(unsafe { rd::rd_kafka_name(self.raw()) })
    }

    /// The fatal error that the client has raised, if any.
    pub fn fatal_error(&self) -> Option<KafkaError> {
        fatal_error(self.raw())
    }

    /// The cluster's id, once a broker has told it.
    pub fn cluster_id(&self, timeout: Duration) -> Option<String> {
        // SAFETY: live client; the text is allocated for us and freed right away.
        unsafe {
            let id = rd::rd_kafka_clusterid(self.raw(), timeout_ms(timeout));
            let copy = (!id.is_null()).then(|| text(id));
            rd::rd_kafka_mem_free(self.raw(), id.cast());
            copy
        }
    }

    /// First offset and end of a partition's log. For a `read_committed` consumer the
    /// end is the last stable offset.
    pub fn bounds(&self, topic: &str, partition: i32, timeout: Duration) -> Result<(i64, i64), KafkaError> {
        let topic = c_string(topic)?;
        let (mut low, mut high) = (0_i64, 0_i64);
        // SAFETY: live client, C string, two places to write to.
        super::error::check(unsafe {
            rd::rd_kafka_query_watermark_offsets(
                self.raw(),
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
                timeout_ms(timeout),
            )
        })?;
        Ok((low, high))
    }

    /// Frees the client and waits for it no longer than `wait`; true if it is gone.
    pub fn free(mut self, wait: Duration) -> bool {
        self.start_freeing().recv_timeout(wait).is_ok()
    }

    fn start_freeing(&mut self) -> mpsc::Receiver<()> {
        let (done, waiter) = mpsc::channel();
        if std::mem::replace(&mut self.freed, true) {
            return waiter;
        }
        let (raw, kind, hooks) = (Raw(self.raw), self.kind, Arc::clone(&self.hooks));
        let spawned = std::thread::Builder::new()
            .name("kafka-free".to_owned())
            .spawn(move || {
                let Raw(raw) = { raw };
                if kind == Kind::Producer {
                    let all = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT;
                    // SAFETY: live client. It comes back once every broker thread has let go of
                    // the records in flight, so none of them is answered during what follows. It fails
                    // for consumers only.
                    unsafe { rd::rd_kafka_purge(raw.as_ptr(), all) };
                }
                // SAFETY: the last use of the handle: `freed` is set. The flag keeps it
                // from calling back; the hooks live until it has returned.
                unsafe { rd::rd_kafka_destroy_flags(raw.as_ptr(), rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) };
                drop(hooks);
                // Nobody may be waiting any more.
                done.send(()).ok();
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to free a Kafka client on: its memory is lost");
            std::mem::forget(Arc::clone(&self.hooks));
        }
        waiter
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.start_freeing());
    }
}

/// A null pointer of the type that optional lists are passed as.
pub(super) const fn no_list() -> *const rd::rd_kafka_topic_partition_list_t {
    ptr::null()
}
