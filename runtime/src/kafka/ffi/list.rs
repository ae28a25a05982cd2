//! Lists of topic partitions with offsets and errors.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};

use rdkafka::bindings as rd;

use super::conf::c_string;
use super::error::{of_code, text};
use crate::kafka::{KafkaError, Position, TopicPartition, codes};

/// librdkafka's mark for "no offset".
pub const OFFSET_INVALID: i64 = rd::RD_KAFKA_OFFSET_INVALID as i64;

/// An owned list.
#[derive(Debug)]
pub struct List {
    raw: NonNull<rd::rd_kafka_topic_partition_list_t>,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for List {}

/// One element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub code: i32,
}

impl List {
    pub fn new(capacity: usize) -> Result<Self, KafkaError> {
        let capacity = i32::try_from(capacity).unwrap_or(i32::MAX);
        // SAFETY: no pointers go in; null is checked.
        NonNull::new(unsafe { rd::rd_kafka_topic_partition_list_new(capacity) })
            .map(|raw| Self { raw })
            .ok_or_else(|| of_code(codes::LOCAL_FAIL, "no memory for a list of partitions"))
    }

    pub fn of_partitions(partitions: &[TopicPartition]) -> Result<Self, KafkaError> {
        let mut list = Self::new(partitions.len())?;
        for at in partitions {
            list.add(&at.topic, at.partition, OFFSET_INVALID)?;
        }
        Ok(list)
    }

    pub fn of_positions(positions: &[Position]) -> Result<Self, KafkaError> {
        let mut list = Self::new(positions.len())?;
        for at in positions {
            list.add(&at.partition.topic, at.partition.partition, at.offset)?;
        }
        Ok(list)
    }

    /// Topics alone, as a subscription takes them.
    pub fn of_topics(topics: &[&str]) -> Result<Self, KafkaError> {
        let mut list = Self::new(topics.len())?;
        for topic in topics {
            list.add(topic, -1, OFFSET_INVALID)?;
        }
        Ok(list)
    }

    pub fn add(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), KafkaError> {
        let topic: CString = c_string(topic)?;
        // SAFETY: live list; the library copies the name, and the returned element is
        // valid until the next addition.
        unsafe {
            let element = rd::rd_kafka_topic_partition_list_add(self.raw.as_ptr(), topic.as_ptr(), partition);
            (*element).offset = offset;
        }
        Ok(())
    }

    pub(super) fn raw(&self) -> *mut rd::rd_kafka_topic_partition_list_t {
        self.raw.as_ptr()
    }

    pub fn elements(&self) -> Vec<Element> {
        // SAFETY: live list.
        unsafe { elements_of(self.raw.as_ptr()) }
    }

    /// Offset and error code of the first element: for lists of one.
    pub fn first(&self) -> Option<(i64, i32)> {
        // SAFETY: live list; `cnt` elements follow `elems`.
        unsafe {
            let list = self.raw.as_ref();
            (list.cnt > 0).then(|| ((*list.elems).offset, code_of(list.elems)))
        }
    }

    /// The first error that an element carries.
    pub fn check_elements(&self) -> Result<(), KafkaError> {
        // SAFETY: live list.
        unsafe { check_elements_of(self.raw.as_ptr()) }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.raw.as_ptr()) };
    }
}

/// Read as an integer: a broker may send a code that the bindings do not list.
unsafe fn code_of(element: *const rd::rd_kafka_topic_partition_t) -> i32 {
    // SAFETY: the caller passes a live element; the field is an `int` in C.
    unsafe { ptr::read((&raw const (*element).err).cast::<i32>()) }
}

/// # Safety
/// `list` is null or a live list.
unsafe fn elements_of(list: *const rd::rd_kafka_topic_partition_list_t) -> Vec<Element> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: by contract live, with `cnt` elements at `elems`.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or_default();
        (0..count)
            .map(|i| {
                let element = (*list).elems.add(i);
                Element {
                    topic: text((*element).topic),
                    partition: (*element).partition,
                    offset: (*element).offset,
                    code: code_of(element),
                }
            })
            .collect()
    }
}

/// The first error that an element carries.
///
/// # Safety
/// `list` is null or a live list.
pub(super) unsafe fn check_elements_of(
    list: *const rd::rd_kafka_topic_partition_list_t,
) -> Result<(), KafkaError> {
    // SAFETY: passed on.
    let elements = unsafe { elements_of(list) };
    match elements.into_iter().find(|e| e.code != codes::NO_ERROR) {
        None => Ok(()),
        Some(e) => {
            let error = of_code(e.code, "");
            let message = format!("{} [{}]: {}", e.topic, e.partition, error.message);
            Err(KafkaError { message, ..error })
        }
    }
}

/// Topics and partitions of a list that the library owns.
///
/// # Safety
/// `list` is null or a live list.
pub(super) unsafe fn entries_of(list: *const rd::rd_kafka_topic_partition_list_t) -> Vec<(String, i32)> {
    // SAFETY: passed on.
    unsafe { elements_of(list) }
        .into_iter()
        .map(|e| (e.topic, e.partition))
        .collect()
}

/// A topic's name, borrowed from the handle.
///
/// # Safety
/// `topic` is a live topic handle that outlives the result.
pub(super) unsafe fn topic_name<'a>(topic: *const rd::rd_kafka_topic_t) -> &'a str {
    // SAFETY: the name is a C string that lives as long as the handle.
    let name = unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(topic)) };
    name.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_back_what_was_put_in() {
        let mut list = List::new(1).unwrap();
        list.add("a", 3, 17).unwrap();
        list.add("b", 0, OFFSET_INVALID).unwrap();
        let all = list.elements();
        assert_eq!(
            (all[0].topic.as_str(), all[0].partition, all[0].offset),
            ("a", 3, 17)
        );
        assert_eq!(
            (all[1].topic.as_str(), all[1].partition, all[1].offset),
            ("b", 0, OFFSET_INVALID)
        );
        assert_eq!(list.first(), Some((17, 0)));
        assert!(list.check_elements().is_ok());
        assert!(list.add("nul\0", 0, 0).is_err());
    }
}
