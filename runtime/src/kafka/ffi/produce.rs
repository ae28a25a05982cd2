//! A producer's client: topics, records, events and the transaction calls.
//!
//! Which transaction call may follow which is decided in `kafka::transaction`, the
//! only file that uses those here.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::client::{Client, Kind};
use super::conf::{Conf, c_string};
use super::consume::GroupMetadata;
use super::error::{CallFailed, check, of_code, take, text, written};
use super::list::List;
use super::{logs, timeout_ms};
use crate::kafka::{Header, KafkaError, codes};

/// A producer with the topics that it writes to. May be used from several threads.
#[derive(Debug)]
pub struct ProducerClient {
    topics: Vec<NonNull<rd::rd_kafka_topic_t>>,
    queue: NonNull<rd::rd_kafka_queue_t>,
    client: Client,
}

// SAFETY: topic and queue handles, like the client's, may be used from any thread.
unsafe impl Send for ProducerClient {}
// SAFETY: as above.
unsafe impl Sync for ProducerClient {}

/// A topic with its own settings (librdkafka's topic keys).
#[derive(Debug, Clone)]
pub struct TopicConf<'a> {
    pub name: &'a str,
    pub properties: Vec<(&'a str, &'a str)>,
}

/// A record as the library copies it.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub topic: usize,
    /// Below zero: the partitioner decides.
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
    /// 0: now.
    pub timestamp_ms: i64,
    pub origin: u64,
}

/// What [`ProducerClient::serve`] learned.
#[derive(Debug)]
pub enum Event {
    Refused {
        origin: u64,
        topic: String,
        error: KafkaError,
    },
    Error(KafkaError),
}

impl ProducerClient {
    pub fn new(conf: Conf, topics: &[TopicConf<'_>]) -> Result<Self, KafkaError> {
        let client = Client::new(Kind::Producer, conf)?;
        // SAFETY: live client; null is checked.
        let queue = NonNull::new(unsafe { rd::rd_kafka_queue_get_main(client.raw()) })
            .ok_or_else(|| of_code(codes::LOCAL_FAIL, "the producer has no queue"))?;
        let mut this = Self {
            topics: Vec::with_capacity(topics.len()),
            queue,
            client,
        };
        for topic in topics {
            let handle = this.open_topic(topic)?;
            this.topics.push(handle);
        }
        Ok(this)
    }

    fn open_topic(&self, topic: &TopicConf<'_>) -> Result<NonNull<rd::rd_kafka_topic_t>, KafkaError> {
        let name = c_string(topic.name)?;
        // SAFETY: live client. The copy of the topic defaults is ours until it is
        // given up to `topic_new`, which takes it whether it succeeds or not.
        unsafe {
            let conf = rd::rd_kafka_default_topic_conf_dup(self.client.raw());
            for (key, value) in &topic.properties {
                if let Err(error) = set_topic_property(conf, key, value) {
                    rd::rd_kafka_topic_conf_destroy(conf);
                    return Err(error);
                }
            }
            NonNull::new(rd::rd_kafka_topic_new(self.client.raw(), name.as_ptr(), conf))
        }
        .ok_or_else(|| {
            of_code(
                codes::LOCAL_INVALID_ARG,
                &format!("cannot write to topic {:?}", topic.name),
            )
        })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Queues a copy of the record.
    pub fn produce(&self, record: &Outgoing<'_>) -> Result<(), CallFailed> {
        use rd::rd_kafka_vtype_t as Kind;
        let topic = self
            .topics
            .get(record.topic)
            .ok_or_else(|| unknown_topic(record.topic))?;
        let headers = OwnedHeaders::new(record.headers)?;
        let (key, value) = (memory(record.key), memory(record.value));
        let origin = usize::try_from(record.origin).unwrap_or(usize::MAX);
        let arguments = [
            argument(Kind::RD_KAFKA_VTYPE_RKT, Union { rkt: topic.as_ptr() }),
            argument(
                Kind::RD_KAFKA_VTYPE_PARTITION,
                Union {
                    i32_: record.partition.max(-1),
                },
            ),
            argument(
                Kind::RD_KAFKA_VTYPE_MSGFLAGS,
                Union {
                    i: rd::RD_KAFKA_MSG_F_COPY,
                },
            ),
            argument(Kind::RD_KAFKA_VTYPE_KEY, key),
            argument(Kind::RD_KAFKA_VTYPE_VALUE, value),
            argument(
                Kind::RD_KAFKA_VTYPE_TIMESTAMP,
                Union {
                    i64_: record.timestamp_ms,
                },
            ),
            argument(
                Kind::RD_KAFKA_VTYPE_OPAQUE,
                Union {
                    ptr: std::ptr::without_provenance_mut::<c_void>(origin),
                },
            ),
            argument(
                Kind::RD_KAFKA_VTYPE_HEADERS,
                Union {
                    headers: headers.raw(),
                },
            ),
        ];
        let count = if headers.is_empty() {
            arguments.len() - 1
        } else {
            arguments.len()
        };
        // SAFETY: live handles; key and value are copied (flag above) while they are
        // borrowed; the headers are taken over only on success.
        take(unsafe { rd::rd_kafka_produceva(self.client.raw(), arguments.as_ptr(), count) })?;
        headers.given_up();
        Ok(())
    }

    /// Records that are queued, in flight, or refused and not yet served.
    pub fn outstanding(&self) -> usize {
        // SAFETY: live client.
        usize::try_from(unsafe { rd::rd_kafka_outq_len(self.client.raw()) }).unwrap_or_default()
    }

    /// Waits until nothing is outstanding. Sends at once what would linger.
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        // SAFETY: live client.
        check(unsafe { rd::rd_kafka_flush(self.client.raw(), timeout_ms(timeout)) })
    }

    /// Drops what is queued and not yet sent; each record comes back as refused.
    pub fn purge_queue(&self) -> Result<(), KafkaError> {
        // SAFETY: live client.
        check(unsafe { rd::rd_kafka_purge(self.client.raw(), rd::RD_KAFKA_PURGE_F_QUEUE) })
    }

    /// Waits for one event and hands over what it says.
    pub fn serve(&self, timeout: Duration, mut each: impl FnMut(Event)) {
        // SAFETY: live queue; the event, if any, is ours until it is destroyed below,
        // and nothing borrowed from it outlives that.
        unsafe {
            let event = rd::rd_kafka_queue_poll(self.queue.as_ptr(), timeout_ms(timeout));
            if event.is_null() {
                return;
            }
            match rd::rd_kafka_event_type(event) {
                rd::RD_KAFKA_EVENT_DR => each_refused(event, &mut each),
                rd::RD_KAFKA_EVENT_ERROR => {
                    let message = text(rd::rd_kafka_event_error_string(event));
                    let code = rd::rd_kafka_event_error(event) as i32;
                    let fatal = rd::rd_kafka_event_error_is_fatal(event) != 0;
                    each(Event::Error(KafkaError {
                        fatal,
                        ..of_code(code, &message)
                    }));
                }
                other => logs::write(
                    7,
                    &self.client.name(),
                    "EVENT",
                    &format!("unexpected event {other}"),
                ),
            }
            rd::rd_kafka_event_destroy(event);
        }
    }

    /// Makes a waiting [`ProducerClient::serve`] return.
    pub fn wake(&self) {
        // SAFETY: live queue.
        unsafe { rd::rd_kafka_queue_yield(self.queue.as_ptr()) };
    }

    pub(in crate::kafka) fn init_transactions(&self, timeout: Duration) -> Result<(), CallFailed> {
        // SAFETY: live client.
        take(unsafe { rd::rd_kafka_init_transactions(self.client.raw(), timeout_ms(timeout)) })
    }

    pub(in crate::kafka) fn begin_transaction(&self) -> Result<(), CallFailed> {
        // SAFETY: live client.
        take(unsafe { rd::rd_kafka_begin_transaction(self.client.raw()) })
    }

    pub(in crate::kafka) fn send_offsets(
        &self,
        offsets: &List,
        member: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), CallFailed> {
        // SAFETY: live client, list and metadata; both are copied.
        take(unsafe {
            rd::rd_kafka_send_offsets_to_transaction(
                self.client.raw(),
                offsets.raw(),
                member.raw(),
                timeout_ms(timeout),
            )
        })
    }

    pub(in crate::kafka) fn commit_transaction(&self, timeout: Duration) -> Result<(), CallFailed> {
        // SAFETY: live client.
        take(unsafe { rd::rd_kafka_commit_transaction(self.client.raw(), timeout_ms(timeout)) })
    }

    pub(in crate::kafka) fn abort_transaction(&self, timeout: Duration) -> Result<(), CallFailed> {
        // SAFETY: live client.
        take(unsafe { rd::rd_kafka_abort_transaction(self.client.raw(), timeout_ms(timeout)) })
    }
}

impl Drop for ProducerClient {
    fn drop(&mut self) {
        // SAFETY: our references, given back once, before the client is freed.
        unsafe {
            for topic in &self.topics {
                rd::rd_kafka_topic_destroy(topic.as_ptr());
            }
            rd::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

type Union = rd::rd_kafka_vu_s__bindgen_ty_1;

fn argument(vtype: rd::rd_kafka_vtype_t, u: Union) -> rd::rd_kafka_vu_t {
    rd::rd_kafka_vu_t { vtype, u }
}

fn memory(bytes: Option<&[u8]>) -> Union {
    let (start, size) = bytes.map_or((std::ptr::null(), 0), |b| (b.as_ptr(), b.len()));
    Union {
        mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: start.cast_mut().cast(),
            size,
        },
    }
}

fn unknown_topic(index: usize) -> CallFailed {
    let error = of_code(
        codes::LOCAL_UNKNOWN_TOPIC,
        &format!("the producer was opened without output {index}"),
    );
    CallFailed {
        error,
        abortable: false,
    }
}

/// # Safety
/// `conf` is a live topic configuration.
unsafe fn set_topic_property(
    conf: *mut rd::rd_kafka_topic_conf_t,
    key: &str,
    value: &str,
) -> Result<(), KafkaError> {
    let (c_key, c_value) = (c_string(key)?, c_string(value)?);
    let mut why = [0_u8; 512];
    // SAFETY: by contract, with C strings and a buffer with its true length.
    let outcome = unsafe {
        rd::rd_kafka_topic_conf_set(
            conf,
            c_key.as_ptr(),
            c_value.as_ptr(),
            why.as_mut_ptr().cast(),
            why.len(),
        )
    };
    if outcome == rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
        Ok(())
    } else {
        Err(of_code(
            codes::LOCAL_INVALID_ARG,
            &format!("{key}: {}", written(&why)),
        ))
    }
}

/// # Safety
/// `event` is a live delivery report.
unsafe fn each_refused(event: *mut rd::rd_kafka_event_t, each: &mut impl FnMut(Event)) {
    // SAFETY: by contract; the messages belong to the event, which keeps their topics, and their error field
    // is read as an integer, for it may hold a code that the bindings do not list. What the broker
    // said of each is freed before the event is served (librdkafka 2.12.1), so it is not read.
    unsafe {
        loop {
            let message = rd::rd_kafka_event_message_next(event);
            if message.is_null() {
                return;
            }
            let code = std::ptr::read((&raw const (*message).err).cast::<i32>());
            if code != codes::NO_ERROR {
                let origin = (*message)._private.addr() as u64;
                let topic = (*message).rkt;
                let topic = (!topic.is_null()).then(|| text(rd::rd_kafka_topic_name(topic)));
                each(Event::Refused {
                    origin,
                    topic: topic.unwrap_or_default(),
                    error: of_code(code, ""),
                });
            }
        }
    }
}

/// Headers on their way into a record.
struct OwnedHeaders(Option<NonNull<rd::rd_kafka_headers_t>>);

impl OwnedHeaders {
    fn new(headers: &[Header<'_>]) -> Result<Self, CallFailed> {
        if headers.is_empty() {
            return Ok(Self(None));
        }
        // SAFETY: null is checked below; the list is owned from here on.
        let raw = NonNull::new(unsafe { rd::rd_kafka_headers_new(headers.len()) });
        let this = Self(raw);
        for (name, value) in headers {
            let (start, size) = value.map_or((std::ptr::null(), 0), |v| (v.as_ptr(), v.len()));
            // SAFETY: live list; name and value are copied with the lengths given.
            let code = raw.map_or(codes::LOCAL_FAIL, |list| unsafe {
                rd::rd_kafka_header_add(
                    list.as_ptr(),
                    name.as_ptr().cast(),
                    name.len().cast_signed(),
                    start.cast(),
                    size.cast_signed(),
                ) as i32
            });
            if code != codes::NO_ERROR {
                return Err(CallFailed {
                    error: of_code(code, "cannot add a header"),
                    abortable: false,
                });
            }
        }
        Ok(this)
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn raw(&self) -> *mut rd::rd_kafka_headers_t {
        self.0.map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    /// The record owns them now.
    fn given_up(self) {
        std::mem::forget(self);
    }
}

impl Drop for OwnedHeaders {
    fn drop(&mut self) {
        if let Some(list) = self.0 {
            // SAFETY: owned, and not handed over (that forgets it).
            unsafe { rd::rd_kafka_headers_destroy(list.as_ptr()) };
        }
    }
}
