//! librdkafka's errors as values.

use std::ffi::{CStr, c_char};

use rdkafka::bindings as rd;

use crate::kafka::{KafkaError, codes};

// The bindings give these an enumeration as argument or result, and it would be
// undefined behaviour to have a code in it that it does not list.
mod raw {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        pub safe fn rd_kafka_err2name(code: c_int) -> *const c_char;
        pub safe fn rd_kafka_err2str(code: c_int) -> *const c_char;
        pub fn rd_kafka_error_code(error: *const rdkafka::bindings::rd_kafka_error_t) -> c_int;
    }
}

/// An error of a call that may be part of a transaction.
#[derive(Debug, Clone)]
pub struct CallFailed {
    pub error: KafkaError,
    /// The library asks for an abort.
    pub abortable: bool,
}

/// The error that a code stands for; `message` empty: the library's description.
pub fn of_code(code: i32, message: &str) -> KafkaError {
    let name = text(raw::rd_kafka_err2name(code));
    let message = if message.is_empty() {
        text(raw::rd_kafka_err2str(code))
    } else {
        message.to_owned()
    };
    KafkaError {
        code,
        name,
        message,
        fatal: code == codes::LOCAL_FATAL,
        retriable: codes::is_transient(code),
    }
}

/// `Ok` for the code that means success.
pub(super) fn check(code: rd::rd_kafka_resp_err_t) -> Result<(), KafkaError> {
    check_code(code as i32)
}

pub(super) fn check_code(code: i32) -> Result<(), KafkaError> {
    if code == codes::NO_ERROR {
        Ok(())
    } else {
        Err(of_code(code, ""))
    }
}

/// The error in an object that stays with its owner, which is null for none.
///
/// # Safety
/// `error` is null or a live error object.
pub(super) unsafe fn of_object(error: *const rd::rd_kafka_error_t) -> Result<(), KafkaError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: by contract.
    let (code, message) = unsafe {
        (
            raw::rd_kafka_error_code(error),
            text(rd::rd_kafka_error_string(error)),
        )
    };
    if code == codes::NO_ERROR {
        Ok(())
    } else {
        Err(of_code(code, &message))
    }
}

/// Takes the error object that a call returned, which is null for success.
pub(super) fn take(error: *mut rd::rd_kafka_error_t) -> Result<(), CallFailed> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: `error` is a live error object that the call handed over; it is read,
    // its strings copied, and freed once, here.
    let failed = unsafe {
        let code = raw::rd_kafka_error_code(error);
        let failed = CallFailed {
            error: KafkaError {
                code,
                name: text(raw::rd_kafka_err2name(code)),
                message: text(rd::rd_kafka_error_string(error)),
                fatal: rd::rd_kafka_error_is_fatal(error) != 0,
                retriable: rd::rd_kafka_error_is_retriable(error) != 0,
            },
            abortable: rd::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        rd::rd_kafka_error_destroy(error);
        failed
    };
    Err(failed)
}

/// A copy of a C string; empty for null.
pub(super) fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: not null, and every caller passes a C string of the library that is
    // alive for the time of the call.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// What the library wrote into the buffer for an error text.
pub(super) fn written(buffer: &[u8]) -> String {
    CStr::from_bytes_until_nul(buffer).map_or_else(|_| String::new(), |s| s.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_carries_kafkas_name() {
        let error = of_code(codes::INVALID_PRODUCER_EPOCH, "");
        assert_eq!(error.name, "INVALID_PRODUCER_EPOCH");
        assert!(!error.message.is_empty() && !error.fatal && !error.retriable);
        assert_eq!(of_code(codes::LOCAL_TIMED_OUT, "x").message, "x");
    }

    #[test]
    fn a_code_that_no_list_knows_is_still_an_error() {
        let error = of_code(3210, "");
        assert_eq!(error.code, 3210);
        assert!(error.message.contains("3210"), "{error}");
    }
}
