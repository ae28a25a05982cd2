//! librdkafka's timed waits, by a clock that nobody sets.
//!
//! It waits with C11's `cnd_timedwait`, until a moment of the wall clock. If that clock is set
//! back meanwhile, the wait lasts until it shows the moment again: a member of a group that
//! nothing else woke was mute for as long. Nothing can be configured about it; but the symbol
//! is looked up when the program is linked, and is found here first. librdkafka looks at a
//! steady clock after each wait, so one that ends early does no harm.
//!
//! For glibc, whose `cnd_t` and `mtx_t` are its `pthread_cond_t` and `pthread_mutex_t`.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};

/// Values of C11's `thrd_*` in glibc.
const SUCCESS: c_int = 0;
const ERROR: c_int = 2;
const TIMED_OUT: c_int = 4;

const SECOND_NS: i128 = 1_000_000_000;

/// The clock may also be set between librdkafka's look at it and ours.
const WAIT_MAX_NS: i128 = SECOND_NS;

/// Whether any wait has come here.
static USED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn pthread_cond_clockwait(
        condition: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int;
}

/// C11's, for librdkafka.
///
/// # Safety
/// As C11 says: both are initialised, the mutex is held by this thread, `until` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    USED.store(true, Ordering::Relaxed);
    // SAFETY: readable by contract.
    let left = nanoseconds(unsafe { *until }) - now(CLOCK_REALTIME);
    if left <= 0 {
        return TIMED_OUT;
    }
    let until = moment(now(CLOCK_MONOTONIC) + left.min(WAIT_MAX_NS));
    // SAFETY: by contract; the moment lives until the call returns.
    match unsafe { pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &raw const until) } {
        0 => SUCCESS,
        libc::ETIMEDOUT => TIMED_OUT,
        _ => ERROR,
    }
}

/// Makes sure that the linker has met the symbol before librdkafka asks for it.
pub fn install() {
    std::hint::black_box(cnd_timedwait as *const ());
}

fn now(clock: clockid_t) -> i128 {
    let mut now = moment(0);
    // SAFETY: writes one moment; both clocks exist.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    nanoseconds(now)
}

fn nanoseconds(moment: timespec) -> i128 {
    i128::from(moment.tv_sec) * SECOND_NS + i128::from(moment.tv_nsec)
}

fn moment(nanoseconds: i128) -> timespec {
    timespec {
        tv_sec: i64::try_from(nanoseconds / SECOND_NS).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % SECOND_NS).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};

    use super::*;

    #[test]
    fn librdkafka_waits_here() {
        install();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", "127.0.0.1:1")
            .set("group.id", "waits")
            .create()
            .unwrap();
        drop(consumer.fetch_metadata(None, Duration::from_millis(50)));
        assert!(USED.load(Ordering::Relaxed));
    }

    #[test]
    fn a_wait_ends_in_time_whatever_the_clock_on_the_wall_is_to_show() {
        let mut condition = libc::PTHREAD_COND_INITIALIZER;
        let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
        let mut wait = |left_ns: i128| {
            let until = moment(now(CLOCK_REALTIME) + left_ns);
            let started = Instant::now();
            // SAFETY: initialised above, locked and unlocked here.
            let ended = unsafe {
                libc::pthread_mutex_lock(&raw mut mutex);
                let ended = cnd_timedwait(&raw mut condition, &raw mut mutex, &raw const until);
                libc::pthread_mutex_unlock(&raw mut mutex);
                ended
            };
            (ended, started.elapsed())
        };
        assert_eq!(wait(-1).0, TIMED_OUT);
        let (ended, took) = wait(SECOND_NS / 20);
        assert_eq!(ended, TIMED_OUT);
        assert!(took >= Duration::from_millis(50), "{took:?}");
        // As of a clock that was set back two hours since the caller looked at it.
        let (ended, took) = wait(7200 * SECOND_NS);
        assert_eq!(ended, TIMED_OUT);
        assert!(took < Duration::from_mins(1), "{took:?}");
    }
}
