//! What this process has used so far.
#![allow(unsafe_code, reason = "getrusage is a C function")]

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// The largest resident set.
    pub rss_mib: f64,
}

pub fn usage() -> Usage {
    // SAFETY: a plain structure of numbers, for which all zeros is a value, and a
    // call that fills it.
    let used = unsafe {
        let mut used = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut used);
        used
    };
    let time = |t: libc::timeval| {
        Duration::from_micros(t.tv_sec.cast_unsigned() * 1_000_000 + t.tv_usec.cast_unsigned())
    };
    #[expect(clippy::cast_precision_loss, reason = "a size in KiB for people")]
    let rss_mib = used.ru_maxrss as f64 / 1024.0;
    Usage {
        cpu: time(used.ru_utime) + time(used.ru_stime),
        rss_mib,
    }
}
