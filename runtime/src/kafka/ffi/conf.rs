//! A client's configuration and the callbacks it is created with.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::bindings as rd;

use super::error::{of_code, text, written};
use super::list::entries_of;
use super::logs;
use crate::kafka::guard::Guard;
use crate::kafka::{KafkaError, codes};

/// More of these between two polls are dropped: they only inform.
const NOTICES_MAX: usize = 1000;

/// What the client told through a callback, in order.
#[derive(Debug)]
pub enum Notice {
    Assigned(Vec<(String, i32)>),
    Revoked {
        partitions: Vec<(String, i32)>,
        lost: bool,
    },
    Statistics(String),
    Error(KafkaError),
}

/// What the callbacks write to. Its address is the client's opaque pointer, so it
/// outlives the client.
#[derive(Debug)]
pub struct Hooks {
    notices: Mutex<Vec<Notice>>,
    guard: Guard,
    /// The queue that is being polled, to be woken when a notice comes.
    pub(super) queue: AtomicPtr<rd::rd_kafka_queue_t>,
}

impl Hooks {
    fn new() -> Self {
        Self {
            notices: Mutex::default(),
            guard: Guard::default(),
            queue: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn has_notices(&self) -> bool {
        !self
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn record(&self, notice: Notice) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let only_informs = matches!(notice, Notice::Statistics(_) | Notice::Error(_));
        if notices.len() < NOTICES_MAX || !only_informs {
            notices.push(notice);
        }
        drop(notices);
        let queue = self.queue.load(Ordering::Acquire);
        if !queue.is_null() {
            // SAFETY: the owner of the queue clears the pointer before it frees it, on
            // the thread that polls, which is the one that calls back.
            unsafe { rd::rd_kafka_queue_yield(queue) };
        }
    }
}

/// A configuration under construction.
#[derive(Debug)]
pub struct Conf {
    raw: NonNull<rd::rd_kafka_conf_t>,
    hooks: Arc<Hooks>,
}

impl Conf {
    pub fn new() -> Result<Self, KafkaError> {
        // SAFETY: no arguments; null is checked.
        let raw = NonNull::new(unsafe { rd::rd_kafka_conf_new() })
            .ok_or_else(|| of_code(codes::LOCAL_FAIL, "no memory for a configuration"))?;
        let hooks = Arc::new(Hooks::new());
        // SAFETY: `raw` is live; the opaque pointer stays valid as `Client` keeps the
        // hooks until the library has freed the client.
        unsafe {
            rd::rd_kafka_conf_set_opaque(raw.as_ptr(), Arc::as_ptr(&hooks).cast_mut().cast());
            rd::rd_kafka_conf_set_log_cb(raw.as_ptr(), Some(logs::on_log));
        }
        Ok(Self { raw, hooks })
    }

    /// Sets one of librdkafka's own keys.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), KafkaError> {
        let (c_key, c_value) = (c_string(key)?, c_string(value)?);
        let mut why = [0_u8; 512];
        // SAFETY: live configuration, C strings, and a buffer with its true length.
        let outcome = unsafe {
            rd::rd_kafka_conf_set(
                self.raw.as_ptr(),
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

    /// Rebalances, errors and statistics become notices, recorded by whoever polls.
    pub fn record_notices(&mut self) {
        let raw = self.raw.as_ptr();
        // SAFETY: live configuration; the callbacks match the declared types.
        unsafe {
            rd::rd_kafka_conf_set_rebalance_cb(raw, Some(on_rebalance));
            rd::rd_kafka_conf_set_error_cb(raw, Some(on_error));
            rd::rd_kafka_conf_set_stats_cb(raw, Some(on_statistics));
        }
    }

    /// Delivery reports and errors come as events on the main queue.
    pub fn deliver_events(&mut self) {
        // SAFETY: live configuration.
        unsafe {
            rd::rd_kafka_conf_set_events(
                self.raw.as_ptr(),
                rd::RD_KAFKA_EVENT_DR | rd::RD_KAFKA_EVENT_ERROR,
            );
        };
    }

    /// Shows the guard every response.
    pub fn watch_responses(&mut self) -> Result<(), KafkaError> {
        let guard: *const Guard = &raw const self.hooks.guard;
        // SAFETY: live configuration, static name; the guard lives in the hooks, which
        // outlive the client.
        super::error::check(unsafe {
            rd::rd_kafka_conf_interceptor_add_on_new(
                self.raw.as_ptr(),
                INTERCEPTOR.as_ptr(),
                Some(on_new),
                guard.cast_mut().cast(),
            )
        })
    }

    /// The parts, for the client to be created; the caller owns the raw one now.
    pub(super) fn into_parts(self) -> (NonNull<rd::rd_kafka_conf_t>, Arc<Hooks>) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the reference count moves out once.
        (this.raw, unsafe { ptr::read(&raw const this.hooks) })
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: owned, and not handed to a client (that takes it apart instead).
        unsafe { rd::rd_kafka_conf_destroy(self.raw.as_ptr()) };
    }
}

const INTERCEPTOR: &CStr = c"strait";

/// A C string, or an error that shows the text.
pub(super) fn c_string(value: &str) -> Result<CString, KafkaError> {
    CString::new(value).map_err(|_| {
        of_code(
            codes::LOCAL_INVALID_ARG,
            &format!("{value:?} contains a null byte"),
        )
    })
}

unsafe extern "C" fn on_rebalance(
    client: *mut rd::rd_kafka_t,
    code: rd::rd_kafka_resp_err_t,
    partitions: *mut rd::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the hooks (see `Conf::new`); the list lives for the call.
    let (hooks, partitions) = unsafe { (&*opaque.cast::<Hooks>(), entries_of(partitions)) };
    if code as i32 == codes::LOCAL_ASSIGN_PARTITIONS {
        hooks.record(Notice::Assigned(partitions));
        return;
    }
    if code as i32 != codes::LOCAL_REVOKE_PARTITIONS {
        hooks.record(Notice::Error(of_code(code as i32, "the rebalance failed")));
    }
    // SAFETY: the client is alive, since it calls.
    let lost = unsafe { rd::rd_kafka_assignment_lost(client) } != 0;
    hooks.record(Notice::Revoked { partitions, lost });
}

unsafe extern "C" fn on_error(
    client: *mut rd::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the hooks (see `Conf::new`).
    let hooks = unsafe { &*opaque.cast::<Hooks>() };
    let error = if code == codes::LOCAL_FATAL {
        fatal_error(client).unwrap_or_else(|| of_code(code, &text(reason)))
    } else {
        of_code(code, &text(reason))
    };
    hooks.record(Notice::Error(error));
}

unsafe extern "C" fn on_statistics(
    _client: *mut rd::rd_kafka_t,
    json: *mut c_char,
    length: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: `opaque` is the hooks; the library passes `length` bytes of text.
    let (hooks, json) = unsafe {
        (
            &*opaque.cast::<Hooks>(),
            std::slice::from_raw_parts(json.cast::<u8>(), length),
        )
    };
    hooks.record(Notice::Statistics(String::from_utf8_lossy(json).into_owned()));
    0
}

unsafe extern "C" fn on_new(
    client: *mut rd::rd_kafka_t,
    _conf: *const rd::rd_kafka_conf_t,
    guard: *mut c_void,
    _why: *mut c_char,
    _why_size: usize,
) -> rd::rd_kafka_resp_err_t {
    #[cfg(feature = "fault-injection")]
    // SAFETY: as below.
    let added = unsafe {
        rd::rd_kafka_interceptor_add_on_request_sent(client, INTERCEPTOR.as_ptr(), Some(on_request), guard)
    };
    #[cfg(feature = "fault-injection")]
    if added as i32 != codes::NO_ERROR {
        return added;
    }
    // SAFETY: called while the client is being created, the one time that it allows this.
    unsafe {
        rd::rd_kafka_interceptor_add_on_response_received(
            client,
            INTERCEPTOR.as_ptr(),
            Some(on_response),
            guard,
        )
    }
}

/// A request was written to its broker's connection.
#[cfg(feature = "fault-injection")]
unsafe extern "C" fn on_request(
    _client: *mut rd::rd_kafka_t,
    _socket: c_int,
    _broker_name: *const c_char,
    _broker: i32,
    api_key: i16,
    _api_version: i16,
    _correlation: i32,
    _size: usize,
    _guard: *mut c_void,
) -> rd::rd_kafka_resp_err_t {
    crate::fault::request_sent(api_key);
    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Called from the client's broker threads, which must not be held up.
unsafe extern "C" fn on_response(
    _client: *mut rd::rd_kafka_t,
    _socket: c_int,
    _broker_name: *const c_char,
    broker: i32,
    api_key: i16,
    _api_version: i16,
    _correlation: i32,
    _size: usize,
    _round_trip: i64,
    code: rd::rd_kafka_resp_err_t,
    guard: *mut c_void,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: the pointer that `watch_responses` registered.
    let guard = unsafe { &*guard.cast::<Guard>() };
    guard.observe(api_key, code as i32, broker);
    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// The fatal error that the client has raised, if any.
pub(super) fn fatal_error(client: *mut rd::rd_kafka_t) -> Option<KafkaError> {
    let mut why = [0_u8; 512];
    // SAFETY: live client, buffer with its true length.
    let code = unsafe { rd::rd_kafka_fatal_error(client, why.as_mut_ptr().cast(), why.len()) } as i32;
    (code != codes::NO_ERROR).then(|| KafkaError {
        fatal: true,
        ..of_code(code, &written(&why))
    })
}
