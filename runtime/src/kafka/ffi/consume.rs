//! A consumer's client: the group, the assignment, and records in batches.

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::client::{Client, Kind, no_list};
use super::conf::Conf;
use super::error::{CallFailed, check, of_code, take, text};
use super::list::{List, topic_name};
use super::message::Message;
use super::timeout_ms;
use crate::kafka::{KafkaError, codes};

/// A consumer with its queue. All its events come through [`ConsumerClient::fetch`].
#[derive(Debug)]
pub struct ConsumerClient {
    queue: NonNull<rd::rd_kafka_queue_t>,
    client: Client,
}

// SAFETY: client and queue handles may be used from any thread.
unsafe impl Send for ConsumerClient {}

/// Where [`ConsumerClient::fetch`] puts what it got.
pub trait Sink {
    /// A run of records of one partition. `topic_handle` tells topics apart within one
    /// fetch, for less than comparing their names.
    fn records(
        &mut self,
        topic_handle: usize,
        topic: &str,
        partition: i32,
        run: impl ExactSizeIterator<Item = Message>,
    );
    fn failure(&mut self, failure: Failure);
}

/// An error in place of a record.
#[derive(Debug)]
pub struct Failure {
    pub topic: Option<String>,
    pub partition: i32,
    pub offset: i64,
    pub error: KafkaError,
}

/// Pointers of one fetch, kept to be filled again.
#[derive(Debug, Default)]
pub struct Scratch(Vec<*mut rd::rd_kafka_message_t>);

/// A group's metadata, as it was when it was taken.
#[derive(Debug)]
pub struct GroupMetadata {
    raw: NonNull<rd::rd_kafka_consumer_group_metadata_t>,
}

// SAFETY: never written to after it was made.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl ConsumerClient {
    pub fn new(conf: Conf) -> Result<Self, KafkaError> {
        let client = Client::new(Kind::Consumer, conf)?;
        // SAFETY: live consumer; null is checked.
        let queue = unsafe {
            check(rd::rd_kafka_poll_set_consumer(client.raw()))?;
            NonNull::new(rd::rd_kafka_queue_get_consumer(client.raw()))
        };
        let queue = queue.ok_or_else(|| of_code(codes::LOCAL_FAIL, "the consumer has no queue"))?;
        client.hooks().queue.store(queue.as_ptr(), Ordering::Release);
        Ok(Self { queue, client })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn subscribe(&self, topics: &List) -> Result<(), KafkaError> {
        // SAFETY: live consumer and list, which is copied.
        check(unsafe { rd::rd_kafka_subscribe(self.client.raw(), topics.raw()) })
    }

    pub fn unsubscribe(&self) -> Result<(), KafkaError> {
        // SAFETY: live consumer.
        check(unsafe { rd::rd_kafka_unsubscribe(self.client.raw()) })
    }

    /// Waits up to `timeout` for a first record, then takes up to `records_max` of
    /// those that are there. Returns early when a notice was recorded.
    pub fn fetch(
        self: &Rc<Self>,
        scratch: &mut Scratch,
        records_max: usize,
        timeout: Duration,
        sink: &mut impl Sink,
    ) {
        let buffer = &mut scratch.0;
        buffer.clear();
        buffer.reserve(records_max.max(1));
        let mut count = self.take_up_to(buffer.as_mut_ptr(), 1, timeout);
        if count == 1 && records_max > 1 {
            // A batch call with a timeout would hold on until the batch is full.
            // SAFETY: room for `records_max` was reserved, one is used.
            let rest = unsafe { buffer.as_mut_ptr().add(1) };
            count += self.take_up_to(rest, records_max - 1, Duration::ZERO);
        }
        // SAFETY: the calls have written `count` pointers, within the capacity.
        unsafe { buffer.set_len(count) };
        self.hand_over(buffer, sink);
    }

    fn take_up_to(&self, into: *mut *mut rd::rd_kafka_message_t, count: usize, timeout: Duration) -> usize {
        // SAFETY: the callers have room for `count` pointers at `into`.
        let got = unsafe {
            rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), timeout_ms(timeout), into, count)
        };
        usize::try_from(got).unwrap_or_default()
    }

    /// Runs of one partition go to their vector at once, so that it grows once.
    fn hand_over(self: &Rc<Self>, buffer: &mut Vec<*mut rd::rd_kafka_message_t>, sink: &mut impl Sink) {
        let mut rest = buffer.as_slice();
        while let Some((&first, _)) = rest.split_first() {
            // SAFETY: each pointer is a live message, not null, that this call owns; one with an
            // error is freed here, the others become `Message`s.
            unsafe {
                if code_of(first) != codes::NO_ERROR {
                    sink.failure(failure_of(first));
                    rd::rd_kafka_message_destroy(first);
                    rest = rest.split_at(1).1;
                    continue;
                }
                let (topic, partition) = ((*first).rkt, (*first).partition);
                let same = |m: &&*mut rd::rd_kafka_message_t| {
                    (***m).rkt == topic && (***m).partition == partition && code_of(**m) == codes::NO_ERROR
                };
                let length = rest.iter().take_while(same).count();
                let (run, others) = rest.split_at(length);
                let owned = run
                    .iter()
                    .map(|raw| Message::new(NonNull::new_unchecked(*raw), Rc::clone(self)));
                sink.records(topic.addr(), topic_name(topic), partition, owned);
                rest = others;
            }
        }
        buffer.clear();
    }

    /// Whether members give back only what moves, or everything.
    pub fn is_cooperative(&self) -> bool {
        // SAFETY: live consumer; null or a static C string comes back.
        unsafe {
            let protocol = rd::rd_kafka_rebalance_protocol(self.client.raw());
            !protocol.is_null() && CStr::from_ptr(protocol) == c"COOPERATIVE"
        }
    }

    /// Replaces the whole assignment; `None` empties it.
    pub fn assign(&self, partitions: Option<&List>) -> Result<(), KafkaError> {
        let list = partitions.map_or(no_list(), |l| l.raw().cast_const());
        // SAFETY: live consumer; the list is null or live, and copied.
        check(unsafe { rd::rd_kafka_assign(self.client.raw(), list) })
    }

    pub fn incremental_assign(&self, partitions: &List) -> Result<(), KafkaError> {
        // SAFETY: live consumer and list, which is copied.
        take(unsafe { rd::rd_kafka_incremental_assign(self.client.raw(), partitions.raw()) })
            .map_err(|e| e.error)
    }

    pub fn incremental_unassign(&self, partitions: &List) -> Result<(), KafkaError> {
        // SAFETY: live consumer and list, which is copied.
        take(unsafe { rd::rd_kafka_incremental_unassign(self.client.raw(), partitions.raw()) })
            .map_err(|e| e.error)
    }

    pub fn assignment_lost(&self) -> bool {
        // SAFETY: live consumer.
        unsafe { rd::rd_kafka_assignment_lost(self.client.raw()) != 0 }
    }

    /// Fills the list with committed offsets; each element may carry an error.
    pub fn committed(&self, list: &List, timeout: Duration) -> Result<(), KafkaError> {
        // SAFETY: live consumer; the list is ours and is written to during the call only.
        check(unsafe { rd::rd_kafka_committed(self.client.raw(), list.raw(), timeout_ms(timeout)) })
    }

    /// Replaces the times in the list by the first offsets that are not older.
    pub fn offsets_for_times(&self, list: &List, timeout: Duration) -> Result<(), KafkaError> {
        // SAFETY: live consumer; the list is ours and is written to during the call only.
        check(unsafe { rd::rd_kafka_offsets_for_times(self.client.raw(), list.raw(), timeout_ms(timeout)) })
    }

    /// Fills the list with what was last handed over, plus one.
    pub fn position(&self, list: &List) -> Result<(), KafkaError> {
        // SAFETY: live consumer; the list is ours.
        check(unsafe { rd::rd_kafka_position(self.client.raw(), list.raw()) })
    }

    /// Moves the partitions; each element carries its outcome.
    pub fn seek(&self, list: &List, timeout: Duration) -> Result<(), CallFailed> {
        // SAFETY: live consumer; the list is ours. A timeout above zero makes it wait.
        take(unsafe {
            rd::rd_kafka_seek_partitions(self.client.raw(), list.raw(), timeout_ms(timeout).max(1))
        })
    }

    pub fn pause(&self, list: &List) -> Result<(), KafkaError> {
        // SAFETY: live consumer; the list is ours.
        check(unsafe { rd::rd_kafka_pause_partitions(self.client.raw(), list.raw()) })
    }

    pub fn resume(&self, list: &List) -> Result<(), KafkaError> {
        // SAFETY: live consumer; the list is ours.
        check(unsafe { rd::rd_kafka_resume_partitions(self.client.raw(), list.raw()) })
    }

    /// Commits outside any transaction and waits for the answer.
    pub fn commit(&self, list: &List) -> Result<(), KafkaError> {
        // SAFETY: live consumer and list; 0 means that the call waits.
        check(unsafe { rd::rd_kafka_commit(self.client.raw(), list.raw(), 0) })
    }

    /// `None` without a member id or a generation: a commit with such metadata is
    /// not fenced at all.
    pub fn group_metadata(&self) -> Option<GroupMetadata> {
        let metadata = self.unfenced_group_metadata()?;
        (metadata.generation() >= 0 && metadata.has_member_id()).then_some(metadata)
    }

    /// As the client has it, be it a member or not.
    pub fn unfenced_group_metadata(&self) -> Option<GroupMetadata> {
        // SAFETY: live consumer; what comes back is ours.
        let raw = unsafe { rd::rd_kafka_consumer_group_metadata(self.client.raw()) };
        NonNull::new(raw).map(|raw| GroupMetadata { raw })
    }

    /// Begins to leave the group. The rebalance it causes comes through `fetch`.
    pub fn start_closing(&self) -> Result<(), KafkaError> {
        // SAFETY: live consumer and queue.
        take(unsafe { rd::rd_kafka_consumer_close_queue(self.client.raw(), self.queue.as_ptr()) })
            .map_err(|e| e.error)
    }

    pub fn is_closed(&self) -> bool {
        // SAFETY: live consumer.
        unsafe { rd::rd_kafka_consumer_closed(self.client.raw()) != 0 }
    }

    /// Frees the client, waiting no longer than `wait`.
    pub fn free(self, wait: Duration) -> bool {
        let this = std::mem::ManuallyDrop::new(self);
        this.release_queue();
        // SAFETY: `this` is never dropped, so the client moves out once.
        unsafe { ptr::read(&raw const this.client) }.free(wait)
    }

    fn release_queue(&self) {
        self.client
            .hooks()
            .queue
            .store(ptr::null_mut(), Ordering::Release);
        // SAFETY: our reference to the queue, given back once: by `free` or by `drop`.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Drop for ConsumerClient {
    fn drop(&mut self) {
        self.release_queue();
    }
}

impl GroupMetadata {
    pub(super) fn raw(&self) -> *const rd::rd_kafka_consumer_group_metadata_t {
        self.raw.as_ptr()
    }

    /// A member that no consumer stands behind.
    #[cfg(test)]
    #[cfg(feature = "slow-tests")]
    pub fn for_test(group: &str, generation: i32, member: &str) -> Option<Self> {
        let group = super::conf::c_string(group).ok()?;
        let member = super::conf::c_string(member).ok()?;
        // SAFETY: C strings, which are copied; no group instance id.
        NonNull::new(unsafe {
            rd::rd_kafka_consumer_group_metadata_new_with_genid(
                group.as_ptr(),
                generation,
                member.as_ptr(),
                ptr::null(),
            )
        })
        .map(|raw| Self { raw })
    }

    pub fn generation(&self) -> i32 {
        // SAFETY: live metadata.
        unsafe { rd::rd_kafka_consumer_group_metadata_generation_id(self.raw()) }
    }

    fn has_member_id(&self) -> bool {
        // SAFETY: live metadata; the id is owned by it.
        !text(unsafe { rd::rd_kafka_consumer_group_metadata_member_id(self.raw()) }).is_empty()
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { rd::rd_kafka_consumer_group_metadata_destroy(self.raw.as_ptr()) };
    }
}

/// Read as an integer: a broker may send a code that the bindings do not list.
///
/// # Safety
/// `message` is live.
unsafe fn code_of(message: *const rd::rd_kafka_message_t) -> i32 {
    // SAFETY: by contract; the field is an `int` in C.
    unsafe { ptr::read((&raw const (*message).err).cast::<i32>()) }
}

/// # Safety
/// `message` is live and carries an error.
unsafe fn failure_of(message: *const rd::rd_kafka_message_t) -> Failure {
    // SAFETY: by contract. The text is the message's own or static.
    unsafe {
        let topic = (*message).rkt;
        Failure {
            topic: (!topic.is_null()).then(|| topic_name(topic).to_owned()),
            partition: (*message).partition,
            offset: (*message).offset,
            error: of_code(code_of(message), &text(rd::rd_kafka_message_errstr(message))),
        }
    }
}
