//! One administrative request of those that the crate `rdkafka` does not wrap, and its answer.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::client::Client;
use super::error::{of_code, text};
use super::timeout_ms;
use crate::kafka::{KafkaError, codes};

/// Beyond the request's own timeout, after which there always is an answer.
const ANSWER_OVER: Duration = Duration::from_secs(5);

/// Options, and the queue for the answer.
pub(super) struct Request {
    options: NonNull<rd::rd_kafka_AdminOptions_t>,
    queue: NonNull<rd::rd_kafka_queue_t>,
    timeout: Duration,
}

impl Request {
    pub fn new(
        client: &Client,
        operation: rd::rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let no_memory = || of_code(codes::LOCAL_FAIL, "no memory for a request");
        // SAFETY: live client; null is checked.
        let options = NonNull::new(unsafe { rd::rd_kafka_AdminOptions_new(client.raw(), operation) })
            .ok_or_else(no_memory)?;
        // SAFETY: as above.
        let Some(queue) = NonNull::new(unsafe { rd::rd_kafka_queue_new(client.raw()) }) else {
            // SAFETY: created above, and used no more.
            unsafe { rd::rd_kafka_AdminOptions_destroy(options.as_ptr()) };
            return Err(no_memory());
        };
        let request = Self {
            options,
            queue,
            timeout,
        };
        // SAFETY: live options; no text of an error is asked for.
        unsafe {
            rd::rd_kafka_AdminOptions_set_request_timeout(
                request.options(),
                timeout_ms(timeout).max(1),
                std::ptr::null_mut(),
                0,
            );
        }
        Ok(request)
    }

    pub fn options(&self) -> *mut rd::rd_kafka_AdminOptions_t {
        self.options.as_ptr()
    }

    pub fn queue(&self) -> *mut rd::rd_kafka_queue_t {
        self.queue.as_ptr()
    }

    /// Waits for the answer; an error of the whole request is one here.
    pub fn answer(self) -> Result<Event, KafkaError> {
        let timeout = timeout_ms(self.timeout + ANSWER_OVER);
        // SAFETY: live queue; the event is ours.
        let event = NonNull::new(unsafe { rd::rd_kafka_queue_poll(self.queue(), timeout) })
            .map(Event)
            .ok_or_else(|| of_code(codes::LOCAL_TIMED_OUT, "no answer in time"))?;
        event.check()?;
        Ok(event)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe {
            rd::rd_kafka_AdminOptions_destroy(self.options());
            rd::rd_kafka_queue_destroy(self.queue());
        }
    }
}

/// An answer.
pub(super) struct Event(NonNull<rd::rd_kafka_event_t>);

impl Event {
    pub fn raw(&self) -> *mut rd::rd_kafka_event_t {
        self.0.as_ptr()
    }

    fn check(&self) -> Result<(), KafkaError> {
        // SAFETY: live event; the text belongs to it. Errors of a whole admin request
        // are the client's own or listed ones.
        let (code, message) = unsafe {
            (
                rd::rd_kafka_event_error(self.raw()) as i32,
                text(rd::rd_kafka_event_error_string(self.raw())),
            )
        };
        if code == codes::NO_ERROR {
            Ok(())
        } else {
            Err(of_code(code, &message))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { rd::rd_kafka_event_destroy(self.raw()) };
    }
}
