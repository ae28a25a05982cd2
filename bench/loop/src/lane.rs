//! One lane: a consumer in the group and a transactional producer, on one thread.
#![allow(unsafe_code, reason = "the cheapest calls are C's")]

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::bindings as rd;

use crate::Run;
use crate::raw::{COPY, Conf, Kind, Value, argument, check, check_code, memory, produce};
use crate::usage::{Usage, usage};

/// What the lanes share.
#[derive(Debug, Default)]
pub struct Progress {
    pub expected: u64,
    /// Records in transactions that have committed.
    pub committed: AtomicU64,
    pub commits: AtomicU64,
    /// When the first record came, and what the process had used by then.
    pub first: OnceLock<(Instant, Usage)>,
}

struct Lane {
    consumer: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
    producer: *mut rd::rd_kafka_t,
    topic: *mut rd::rd_kafka_topic_t,
    input: CString,
    /// The next offset of each partition that had records in this transaction.
    next: Vec<(i32, i64)>,
    records: u64,
}

const TIMEOUT_MS: i32 = 60_000;

pub fn run(run: &Run, group: &str, number: usize, progress: &Progress) -> anyhow::Result<()> {
    let mut lane = open(run, group, number)?;
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
                // SAFETY: live producer.
                check("begin", unsafe { rd::rd_kafka_begin_transaction(lane.producer) })?;
                begun = Some(Instant::now());
            }
            lane.copy(buffer.split_at(count).0)?;
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
    let producer = Conf::new(
        &[
            ("bootstrap.servers", &run.bootstrap),
            ("transactional.id", &format!("{group}.{number}")),
            ("client.id", &format!("loop-{number}")),
            ("transaction.timeout.ms", "30000"),
            ("linger.ms", "5"),
            ("delivery.report.only.error", "true"),
            ("partitioner", "murmur2_random"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "131072"),
            ("retry.backoff.ms", "10"),
            ("enable.metrics.push", "false"),
        ],
        &run.producer_properties,
    )?
    .with_delivery_events()
    .open(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
    let (input, output) = (
        CString::new(run.input.as_str())?,
        CString::new(run.output.as_str())?,
    );
    // SAFETY: live clients, C strings; the list is freed after its use.
    unsafe {
        check("init", rd::rd_kafka_init_transactions(producer, TIMEOUT_MS))?;
        check_code("queue", rd::rd_kafka_poll_set_consumer(consumer))?;
        let topics = rd::rd_kafka_topic_partition_list_new(1);
        rd::rd_kafka_topic_partition_list_add(topics, input.as_ptr(), -1);
        check_code("subscribe", rd::rd_kafka_subscribe(consumer, topics))?;
        rd::rd_kafka_topic_partition_list_destroy(topics);
        Ok(Lane {
            consumer,
            queue: rd::rd_kafka_queue_get_consumer(consumer),
            producer,
            topic: rd::rd_kafka_topic_new(producer, output.as_ptr(), ptr::null_mut()),
            input,
            next: Vec::new(),
            records: 0,
        })
    }
}

impl Lane {
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

    fn copy(&mut self, messages: &[*mut rd::rd_kafka_message_t]) -> anyhow::Result<()> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        for message in messages.iter().copied() {
            // SAFETY: a live message that is ours; freed at the end, when the producer
            // has copied what it needs.
            unsafe {
                if (*message).err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let text = CStr::from_ptr(rd::rd_kafka_message_errstr(message)).to_string_lossy();
                    bail!("consume: {text}");
                }
                let timestamp = rd::rd_kafka_message_timestamp(message, &raw mut kind);
                let mut arguments = [
                    argument(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: self.topic }),
                    argument(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: COPY }),
                    argument(
                        Kind::RD_KAFKA_VTYPE_KEY,
                        memory((*message).key, (*message).key_len),
                    ),
                    argument(
                        Kind::RD_KAFKA_VTYPE_VALUE,
                        memory((*message).payload, (*message).len),
                    ),
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
                produce(self.producer, arguments.split_at(count).0)?;
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

    fn commit(&mut self) -> anyhow::Result<()> {
        // SAFETY: live clients; list and metadata are freed after their use.
        unsafe {
            check_code("flush", rd::rd_kafka_flush(self.producer, TIMEOUT_MS))?;
            let list = rd::rd_kafka_topic_partition_list_new(i32::try_from(self.next.len())?);
            for (partition, offset) in self.next.drain(..) {
                let element = rd::rd_kafka_topic_partition_list_add(list, self.input.as_ptr(), partition);
                (*element).offset = offset;
            }
            let member = rd::rd_kafka_consumer_group_metadata(self.consumer);
            let sent = rd::rd_kafka_send_offsets_to_transaction(self.producer, list, member, TIMEOUT_MS);
            rd::rd_kafka_consumer_group_metadata_destroy(member);
            rd::rd_kafka_topic_partition_list_destroy(list);
            check("send offsets", sent)?;
            check(
                "commit",
                rd::rd_kafka_commit_transaction(self.producer, TIMEOUT_MS),
            )
        }
    }

    fn close(self) {
        // SAFETY: each handle is freed once, the client last.
        unsafe {
            rd::rd_kafka_topic_destroy(self.topic);
            rd::rd_kafka_destroy(self.producer);
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_consumer_close(self.consumer);
            rd::rd_kafka_destroy(self.consumer);
        }
    }
}
