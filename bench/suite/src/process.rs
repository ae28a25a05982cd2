//! A process under measurement: what it used, when, and how it ended.
//!
//! Invariant: a process that is dropped is killed and waited for.
#![allow(unsafe_code, reason = "wait4 and sysconf are C functions")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Between two looks at what it has used.
const LOOK: Duration = Duration::from_millis(20);

/// User and system time that two processes had used at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Since the epoch.
    pub at_ms: i64,
    pub client: Duration,
    pub broker: Duration,
    /// The largest resident set of the client so far.
    pub peak_bytes: u64,
}

/// A process that runs.
pub struct Running {
    pid: i32,
    log: PathBuf,
    /// User and system time in all.
    ended: Option<Duration>,
    sampler: Option<Sampler>,
}

struct Sampler {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts it; what it says goes into `log`.
    pub fn start(mut command: Command, log: &Path, broker: u32) -> Result<Self> {
        let file = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let pid = i32::try_from(child.id())?;
        Ok(Self {
            pid,
            log: log.to_owned(),
            ended: None,
            sampler: Some(Sampler::start(pid.cast_unsigned(), broker)),
        })
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has ended well; the user and system time that it has used.
    pub fn wait(&mut self, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Some(used) = self.reap(libc::WNOHANG)? {
                return Ok(used);
            }
            std::thread::sleep(LOOK);
        }
        bail!("it has not ended after {} s; {}", limit.as_secs(), self.tail());
    }

    /// Asks it to end, and waits.
    pub fn end(&mut self, limit: Duration) -> Result<Duration> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Its peak of memory is not asked for here: that would be the greater of its own and ours.
    fn reap(&mut self, flags: i32) -> Result<Option<Duration>> {
        let mut status = 0;
        // SAFETY: a plain structure of numbers, for which all zeros is a value.
        let mut used = unsafe { std::mem::zeroed::<libc::rusage>() };
        // SAFETY: a child of ours that nobody else waits for, and places to fill.
        let reaped = unsafe { libc::wait4(self.pid, &raw mut status, flags, &raw mut used) };
        if reaped == 0 {
            return Ok(None);
        }
        ensure!(reaped == self.pid, "cannot wait for process {}", self.pid);
        let time = |t: libc::timeval| {
            Duration::from_micros(t.tv_sec.cast_unsigned() * 1_000_000 + t.tv_usec.cast_unsigned())
        };
        let used = time(used.ru_utime) + time(used.ru_stime);
        self.ended = Some(used);
        // 143: a Java process that was asked to end.
        let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        ensure!(
            matches!(code, Some(0 | 143)),
            "it ended with status {status}; {}",
            self.tail()
        );
        Ok(Some(used))
    }

    fn tail(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().rev().take(20).collect();
        let tail: Vec<&str> = lines.into_iter().rev().collect();
        format!("its last words:\n{}", tail.join("\n"))
    }

    /// What it and the broker had used, moment by moment.
    pub fn samples(&mut self) -> Vec<Sample> {
        let Some(sampler) = self.sampler.take() else {
            return Vec::new();
        };
        sampler.stop()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() && self.signal(Signal::KILL).is_ok() {
            let _gone = self.reap(0);
        }
        if let Some(sampler) = self.sampler.take() {
            sampler.stop();
        }
    }
}

impl Sample {
    fn take(client: u32, broker: u32) -> Option<Self> {
        Some(Self {
            at_ms: now_ms(),
            peak_bytes: peak_bytes(client)?,
            client: cpu(client)?,
            broker: cpu(broker)?,
        })
    }
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

impl Sampler {
    fn start(client: u32, broker: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (stop, samples) = (Arc::clone(&stop), Arc::clone(&samples));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(sample) = Sample::take(client, broker) {
                        samples
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(sample);
                    }
                    std::thread::sleep(LOOK);
                }
            }
        });
        Self {
            stop,
            samples,
            thread,
        }
    }

    fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        let _panicked = self.thread.join();
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// User and system time of a process.
fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold blanks.
    let fields = stat.rsplit_once(')')?.1;
    let mut times = fields
        .split_whitespace()
        .skip(11)
        .map_while(|field| field.parse::<u64>().ok());
    let ticks = times.next()? + times.next()?;
    // SAFETY: it reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u64::try_from(per_second).ok().filter(|ticks| *ticks > 0)?;
    Some(Duration::from_micros(ticks * 1_000_000 / per_second))
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
