//! The client's log lines, into `tracing` under the target `librdkafka`.

use std::ffi::{CStr, c_char, c_int};

use rdkafka::bindings as rd;

/// Called from any of the client's threads.
///
/// # Safety
/// Only librdkafka calls it, with C strings that live for the call.
pub(super) unsafe extern "C" fn on_log(
    client: *const rd::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: by the contract of this callback; the name of a client is constant.
    let (name, facility, line) = unsafe {
        (
            CStr::from_ptr(rd::rd_kafka_name(client)),
            CStr::from_ptr(facility),
            CStr::from_ptr(line),
        )
    };
    write(
        level,
        &name.to_string_lossy(),
        &facility.to_string_lossy(),
        &line.to_string_lossy(),
    );
}

/// syslog's levels. What the client calls an error (a refused connection, say) it
/// recovers from by itself, so it is a warning here.
pub fn write(level: i32, client: &str, facility: &str, line: &str) {
    match level {
        0..=2 => tracing::error!(target: "librdkafka", client, facility, "{line}"),
        3 | 4 => tracing::warn!(target: "librdkafka", client, facility, "{line}"),
        5 | 6 => tracing::info!(target: "librdkafka", client, facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", client, facility, "{line}"),
    }
}
