//! What a process uses, as the operating system sees it, second by second, beside what it
//! had done by then, as the wire has counted it.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::proxy::{Api, Wire};

const EVERY: Duration = Duration::from_secs(1);

/// What a process uses at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Memory that it has allocated and touched. Pages of files are not among it: those of its code
    /// come when they are first run, and the kernel takes them away again as it likes.
    pub anonymous_kib: u64,
    /// With the pages of files.
    pub resident_kib: u64,
    pub files: u64,
    pub threads: u64,
}

impl Vitals {
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            anonymous_kib: field(&status, "RssAnon:")?,
            resident_kib: field(&status, "VmRSS:")?,
            files: u64::try_from(fs::read_dir(format!("/proc/{pid}/fd"))?.count())?,
            threads: field(&status, "Threads:")?,
        })
    }
}

fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number
        .with_context(|| format!("no {name} in the status"))?
        .parse()?)
}

/// One second.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Since the beginning.
    pub seconds: f64,
    pub vitals: Vitals,
    pub committed: u64,
    pub aborted: u64,
    /// Producers that got an epoch.
    pub inits: u64,
}

/// A thread that takes a sample every second until it is told to stop.
pub struct Watch {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Watch {
    /// Of the process; counts are of the owners with this prefix. Each sample is given to
    /// `keep` as well, at once: a long watch may be interrupted.
    pub fn start(
        pid: u32,
        wire: Arc<Wire>,
        prefix: String,
        mut keep: impl FnMut(&Sample) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (samples, stop) = (Arc::<Mutex<Vec<Sample>>>::default(), Arc::<AtomicBool>::default());
        let shared = (Arc::clone(&samples), Arc::clone(&stop));
        let started = Instant::now();
        let run = move || {
            let (samples, stop) = shared;
            let mut due = started;
            while !stop.load(Ordering::Relaxed) {
                let counts = wire.counts_of(&prefix);
                let sample = Sample {
                    seconds: started.elapsed().as_secs_f64(),
                    vitals: Vitals::of(pid)?,
                    committed: counts.committed,
                    aborted: counts.aborted,
                    inits: counts.code(Api::INIT_PRODUCER_ID, 0),
                };
                keep(&sample)?;
                samples
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(sample);
                due += EVERY;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("vitals".into()).spawn(run)?;
        Ok(Self {
            samples,
            stop,
            thread,
        })
    }

    /// All so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends it; gives all samples.
    pub fn stop(self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self
            .thread
            .join()
            .map_err(|_| anyhow!("the watching thread panicked"))?;
        ended?;
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(samples.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_uses_is_read() {
        let pid = std::process::id();
        let before = Vitals::of(pid).unwrap();
        assert!(before.anonymous_kib > 100 && before.resident_kib > before.anonymous_kib);
        assert!(before.threads >= 1 && before.files >= 3);
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(Vitals::of(pid).unwrap().files >= before.files.saturating_sub(20) + 50);
        drop(held);
        assert!(field("VmRSS:\t  12 kB\nThreads:\t3\n", "Threads:").unwrap() == 3);
        assert!(field("VmRSS:\t  12 kB\n", "Threads:").is_err());
    }
}
