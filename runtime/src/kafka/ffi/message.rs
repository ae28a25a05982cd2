//! A consumed record, still in the client's memory.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use rdkafka::bindings as rd;
use strait_sdk::batch;

use super::consume::ConsumerClient;
use crate::kafka::codes;

/// A record of an input topic. Its bytes are borrowed from the fetch they came in,
/// which it keeps alive, as it does the client.
pub struct Message {
    raw: NonNull<rd::rd_kafka_message_t>,
    headers: Cell<Headers>,
    _client: Rc<ConsumerClient>,
}

/// Headers are parsed when they are first asked for: most transforms never do.
#[derive(Clone, Copy)]
enum Headers {
    Unparsed,
    None,
    Parsed(NonNull<rd::rd_kafka_headers_t>),
}

impl Message {
    /// # Safety
    /// `raw` is a message without error that `client` has just handed over.
    pub(super) unsafe fn new(raw: NonNull<rd::rd_kafka_message_t>, client: Rc<ConsumerClient>) -> Self {
        Self {
            raw,
            headers: Cell::new(Headers::Unparsed),
            _client: client,
        }
    }

    fn fields(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: owned and live until `drop`; its error field is 0, a listed code.
        unsafe { self.raw.as_ref() }
    }

    fn headers(&self) -> Option<NonNull<rd::rd_kafka_headers_t>> {
        if let Headers::Unparsed = self.headers.get() {
            let mut parsed = ptr::null_mut();
            // SAFETY: live message; the list stays owned by it. It is not `Sync`, so
            // nobody parses at the same time.
            let code = unsafe { rd::rd_kafka_message_headers(self.raw.as_ptr(), &raw mut parsed) } as i32;
            let state = NonNull::new(parsed)
                .filter(|_| code == codes::NO_ERROR)
                .map_or(Headers::None, Headers::Parsed);
            self.headers.set(state);
        }
        match self.headers.get() {
            Headers::Parsed(list) => Some(list),
            Headers::Unparsed | Headers::None => None,
        }
    }
}

/// Bytes that the client owns; null is no bytes, which differs from none of them.
///
/// # Safety
/// `start` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: by contract.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

impl batch::Record for Message {
    fn offset(&self) -> i64 {
        self.fields().offset
    }

    fn timestamp_ms(&self) -> i64 {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: live message and a place to write to.
        unsafe { rd::rd_kafka_message_timestamp(self.raw.as_ptr(), &raw mut kind) }
    }

    fn key(&self) -> Option<&[u8]> {
        let fields = self.fields();
        // SAFETY: the message's own key, alive as long as it is.
        unsafe { bytes(fields.key, fields.key_len) }
    }

    fn value(&self) -> Option<&[u8]> {
        let fields = self.fields();
        // SAFETY: the message's own value, alive as long as it is.
        unsafe { bytes(fields.payload, fields.len) }
    }

    fn header_count(&self) -> usize {
        // SAFETY: the list belongs to the live message.
        self.headers()
            .map_or(0, |list| unsafe { rd::rd_kafka_header_cnt(list.as_ptr()) })
    }

    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let list = self.headers()?;
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to the live message, and three places to write to.
        // On success the name is a C string and the value null or `length` bytes,
        // both owned by the list.
        unsafe {
            let code = rd::rd_kafka_header_get_all(
                list.as_ptr(),
                index,
                &raw mut name,
                &raw mut value,
                &raw mut length,
            ) as i32;
            (code == codes::NO_ERROR).then(|| (CStr::from_ptr(name).to_bytes(), bytes(value, length)))
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: owned; the client it belongs to is still alive.
        unsafe { rd::rd_kafka_message_destroy(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never its content: that may be anybody's secret.
        f.debug_struct("Message")
            .field("offset", &self.fields().offset)
            .finish_non_exhaustive()
    }
}
