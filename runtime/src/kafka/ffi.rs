//! The one room of the runtime with `unsafe`: librdkafka's C interface behind
//! types that cannot be misused.
//!
//! Invariants: every raw pointer has one owner here that frees it; what borrows
//! from a client keeps that client alive by reference count; what librdkafka
//! calls back only records and returns; error codes are read as integers, for a
//! broker may send one that the bindings' enumeration does not know.
#![allow(
    unsafe_code,
    reason = "the foreign function interface of librdkafka has its one room here"
)]

pub mod admin;
pub mod client;
pub mod conf;
pub mod consume;
pub mod error;
pub mod groups;
pub mod list;
pub mod logs;
pub mod message;
#[cfg(test)]
#[cfg(feature = "slow-tests")]
pub mod mock;
pub mod produce;
mod request;
#[cfg(target_env = "gnu")]
mod waits;

/// librdkafka's version, as it names itself.
pub fn version() -> String {
    // SAFETY: returns a static C string.
    let text = unsafe { std::ffi::CStr::from_ptr(rdkafka::bindings::rd_kafka_version_str()) };
    text.to_string_lossy().into_owned()
}

/// A duration as librdkafka takes it; at least 1 ms unless it is zero.
fn timeout_ms(timeout: std::time::Duration) -> std::ffi::c_int {
    let rounded = timeout.as_micros().div_ceil(1000);
    std::ffi::c_int::try_from(rounded).unwrap_or(std::ffi::c_int::MAX)
}
