//! One lane: a consumer in the group and a producer, on one thread.
#![allow(unsafe_code, reason = "the cheapest calls are C's")]

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::bindings as rd;

use crate::commit::TIMEOUT_MS;
use crate::raw::{COPY, Conf, Kind, STARTED, Value, argument, check, check_code, memory, produce};
use crate::usage::{Usage, usage};
use crate::work::{Left, Worker};
use crate::{Delivery, Run};

/// What the lanes share.
#[derive(Debug, Default)]
pub struct Progress {
    pub expected: u64,
    pub partitions: usize,
    /// Of each lane.
    pub assigned: Vec<AtomicUsize>,
    /// Records whose offsets are committed.
    pub committed: AtomicU64,
    pub commits: AtomicU64,
    /// When the first record came, and what the process had used by then.
    pub first: OnceLock<(Instant, Usage)>,
}

pub struct Lane {
    pub consumer: *mut rd::rd_kafka_t,
    pub producer: *mut rd::rd_kafka_t,
    pub delivery: Delivery,
    pub input: CString,
    /// The next offset of each partition that had records since the last commit.
    pub next: Vec<(i32, i64)>,
    queue: *mut rd::rd_kafka_queue_t,
    topics: Vec<*mut rd::rd_kafka_topic_t>,
    worker: Worker,
    records: u64,
}

pub fn run(run: &Run, group: &str, number: usize, progress: &Progress) -> anyhow::Result<()> {
    let mut lane = open(run, group, number)?;
    lane.wait_for_all(number, progress)?;
    let interval = Duration::from_millis(run.commit_ms);
    let mut buffer: Vec<*mut rd::rd_kafka_message_t> = vec![ptr::null_mut(); run.batch.max(2)];
    let mut begun: Option<Instant> = None;
    while progress.committed.load(Ordering::Relaxed) < progress.expected {
        let wait = begun.map_or(Duration::from_millis(20), |at| {
            interval.saturating_sub(at.elapsed())
        });
        let count = lane.take(&mut buffer, i32::try_from(wait.as_millis())?);
        if count > 0 {
            progress.first.get_or_init(|| (Instant::now(), usage()));
            if begun.is_none() {
                lane.begin()?;
                begun = Some(Instant::now());
            }
            lane.pass_on(buffer.split_at(count).0)?;
        }
        if begun.is_some_and(|at| at.elapsed() >= interval || (count == 0 && lane.records > 0)) {
            lane.commit()?;
            progress
                .committed
                .fetch_add(std::mem::take(&mut lane.records), Ordering::Relaxed);
            progress.commits.fetch_add(1, Ordering::Relaxed);
            begun = None;
        }
    }
    lane.close();
    Ok(())
}

fn open(run: &Run, group: &str, number: usize) -> anyhow::Result<Lane> {
    let consumer = Conf::new(
        &[
            ("bootstrap.servers", &run.bootstrap),
            ("group.id", group),
            ("client.id", &format!("loop-{number}")),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            ("fetch.queue.backoff.ms", "5"),
            ("enable.metrics.push", "false"),
        ],
        &run.consumer_properties,
    )?
    .with_assignments()
    .open(rd::rd_kafka_type_t::RD_KAFKA_CONSUMER)?;
    let producer = open_producer(run, group, number)?;
    let input = CString::new(run.input.as_str())?;
    let outputs = run.outputs.iter().map(|name| CString::new(name.as_str()));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    // SAFETY: live clients, C strings; the list is freed after its use.
    unsafe {
        if run.delivery == Delivery::ExactlyOnce {
            check("init", rd::rd_kafka_init_transactions(producer, TIMEOUT_MS))?;
        }
        check_code("queue", rd::rd_kafka_poll_set_consumer(consumer))?;
        let subscription = rd::rd_kafka_topic_partition_list_new(1);
        rd::rd_kafka_topic_partition_list_add(subscription, input.as_ptr(), -1);
        check_code("subscribe", rd::rd_kafka_subscribe(consumer, subscription))?;
        rd::rd_kafka_topic_partition_list_destroy(subscription);
        Ok(Lane {
            consumer,
            producer,
            delivery: run.delivery,
            input,
            next: Vec::new(),
            queue: rd::rd_kafka_queue_get_consumer(consumer),
            topics: outputs
                .iter()
                .map(|name| rd::rd_kafka_topic_new(producer, name.as_ptr(), ptr::null_mut()))
                .collect(),
            worker: Worker::new(run.work),
            records: 0,
        })
    }
}

fn open_producer(run: &Run, group: &str, number: usize) -> anyhow::Result<*mut rd::rd_kafka_t> {
    let transactional_id = format!("{group}.{number}");
    let client_id = format!("loop-{number}");
    let mut pairs = vec![
        ("bootstrap.servers", run.bootstrap.as_str()),
        ("client.id", &client_id),
        ("linger.ms", "5"),
        ("enable.idempotence", "true"),
        ("delivery.report.only.error", "true"),
        ("partitioner", "murmur2_random"),
        ("queue.buffering.max.messages", "500000"),
        ("queue.buffering.max.kbytes", "131072"),
        ("retry.backoff.ms", "10"),
        ("enable.metrics.push", "false"),
    ];
    if run.delivery == Delivery::ExactlyOnce {
        pairs.push(("transactional.id", &transactional_id));
        pairs.push(("transaction.timeout.ms", "30000"));
    }
    Conf::new(&pairs, &run.producer_properties)?
        .with_delivery_events()
        .open(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER)
}

impl Lane {
    /// Until each partition belongs to one lane, and each lane has some.
    fn wait_for_all(&self, number: usize, progress: &Progress) -> anyhow::Result<()> {
        let mut early = [ptr::null_mut(); 2];
        while !STARTED.load(Ordering::Relaxed) {
            if self.take(&mut early, 10) > 0 {
                bail!("a record came before all lanes were there");
            }
            let count = self.assignment(|list| list.cnt)?;
            if let Some(own) = progress.assigned.get(number) {
                own.store(usize::try_from(count)?, Ordering::Relaxed);
            }
            let counts = progress.assigned.iter().map(|lane| lane.load(Ordering::Relaxed));
            let counts: Vec<usize> = counts.collect();
            if counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == progress.partitions {
                STARTED.store(true, Ordering::Relaxed);
            }
        }
        // SAFETY: live consumer and list.
        self.assignment(|list| unsafe { rd::rd_kafka_resume_partitions(self.consumer, list) })
            .and_then(|code| check_code("resume", code))
    }

    fn assignment<T>(
        &self,
        look: impl FnOnce(&mut rd::rd_kafka_topic_partition_list_t) -> T,
    ) -> anyhow::Result<T> {
        let mut list = ptr::null_mut();
        // SAFETY: live consumer, a place for the list, which is freed after its use.
        unsafe {
            check_code(
                "assignment",
                rd::rd_kafka_assignment(self.consumer, &raw mut list),
            )?;
            let seen = look(&mut *list);
            rd::rd_kafka_topic_partition_list_destroy(list);
            Ok(seen)
        }
    }

    /// Waits for a first record, then takes what is there.
    fn take(&self, buffer: &mut [*mut rd::rd_kafka_message_t], wait_ms: i32) -> usize {
        let start = buffer.as_mut_ptr();
        // SAFETY: live queue; the buffer holds as many pointers as asked for.
        unsafe {
            let first = rd::rd_kafka_consume_batch_queue(self.queue, wait_ms, start, 1);
            if first < 1 {
                return 0;
            }
            let more = rd::rd_kafka_consume_batch_queue(self.queue, 0, start.add(1), buffer.len() - 1);
            1 + usize::try_from(more).unwrap_or_default()
        }
    }

    fn pass_on(&mut self, messages: &[*mut rd::rd_kafka_message_t]) -> anyhow::Result<()> {
        for message in messages.iter().copied() {
            // SAFETY: a live message that is ours; freed at the end, when the producer
            // has copied what it needs.
            unsafe {
                if (*message).err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let text = CStr::from_ptr(rd::rd_kafka_message_errstr(message)).to_string_lossy();
                    bail!("consume: {text}");
                }
                let value = match (*message).payload.cast::<u8>() {
                    start if start.is_null() => &[],
                    start => std::slice::from_raw_parts(start, (*message).len),
                };
                let value = match self.worker.work(value)? {
                    Left::Nothing => None,
                    Left::Same => Some(memory((*message).payload, (*message).len)),
                    Left::Value(made) => Some(memory(made.as_ptr().cast_mut().cast(), made.len())),
                };
                if let Some(value) = value {
                    for topic in &self.topics {
                        copy(self.producer, *topic, message, value)?;
                    }
                }
                self.moved_to((*message).partition, (*message).offset + 1);
                rd::rd_kafka_message_destroy(message);
            }
        }
        self.records += messages.len() as u64;
        Ok(())
    }

    fn moved_to(&mut self, partition: i32, offset: i64) {
        match self.next.iter_mut().find(|(p, _)| *p == partition) {
            Some((_, next)) => *next = offset,
            None => self.next.push((partition, offset)),
        }
    }

    fn close(self) {
        // SAFETY: each handle is freed once, the client last.
        unsafe {
            for topic in self.topics {
                rd::rd_kafka_topic_destroy(topic);
            }
            rd::rd_kafka_destroy(self.producer);
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_consumer_close(self.consumer);
            rd::rd_kafka_destroy(self.consumer);
        }
    }
}

/// Produces key, headers and timestamp of a record, and a value.
///
/// # Safety
/// The handles are live, and `value` is memory that holds as long as the call.
unsafe fn copy(
    producer: *mut rd::rd_kafka_t,
    topic: *mut rd::rd_kafka_topic_t,
    message: *mut rd::rd_kafka_message_t,
    value: Value,
) -> anyhow::Result<()> {
    let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: by contract.
    unsafe {
        let timestamp = rd::rd_kafka_message_timestamp(message, &raw mut kind);
        let mut arguments = [
            argument(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: topic }),
            argument(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: COPY }),
            argument(
                Kind::RD_KAFKA_VTYPE_KEY,
                memory((*message).key, (*message).key_len),
            ),
            argument(Kind::RD_KAFKA_VTYPE_VALUE, value),
            argument(
                Kind::RD_KAFKA_VTYPE_TIMESTAMP,
                Value {
                    i64_: timestamp.max(0),
                },
            ),
            argument(Kind::RD_KAFKA_VTYPE_END, Value { i: 0 }),
        ];
        let mut headers = ptr::null_mut();
        let found = rd::rd_kafka_message_headers(message, &raw mut headers);
        let mut count = arguments.len() - 1;
        if found == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            && let [.., last] = &mut arguments
        {
            let copy = rd::rd_kafka_headers_copy(headers);
            *last = argument(Kind::RD_KAFKA_VTYPE_HEADERS, Value { headers: copy });
            count += 1;
        }
        produce(producer, arguments.split_at(count).0)
    }
}
