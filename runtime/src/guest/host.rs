//! What a guest finds on the host's side: its limits, and the functions it may import.
//!
//! Invariant: however much a guest logs, it costs little and fills no disk. A message is
//! cut at [`MESSAGE_BYTES_MAX`], and a stage writes at most [`LINES_PER_SECOND`] lines above
//! level trace; the next line says how many were left out.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Level;
use wasmtime::{Caller, Extern, Linker, Memory, TypedFunc};

use super::abi;
use super::limits::Limiter;
use super::state::{self, StateAccess};

/// Longest part of a guest's message (or error) that is kept.
pub(super) const MESSAGE_BYTES_MAX: usize = 4096;

/// Lines above trace that a stage's guests write together.
pub(super) const LINES_PER_SECOND: u32 = 10;

/// Where guests' lines go; for filters (`strait::guest=debug`).
const TARGET: &str = "strait::guest";

/// The host's side of one instance.
pub(super) struct HostState {
    pub(super) limiter: Limiter,
    /// The last error that the guest logged in this call: a panic's message.
    pub(super) last_error: Option<String>,
    /// How long this call may take.
    pub(super) deadline: Option<Duration>,
    /// When that is over.
    pub(super) until: Option<Instant>,
    /// Keyed state, if the pipeline has any.
    pub(super) state: Option<Rc<dyn StateAccess>>,
    /// Why the host ended this call: no record is to blame.
    pub(super) trouble: Option<String>,
    /// The guest's own, once it is linked.
    pub(super) memory: Option<Memory>,
    pub(super) realloc: Option<TypedFunc<(i32, i32, i32, i32), i32>>,
    stage: Arc<str>,
    gate: Arc<LogGate>,
}

impl HostState {
    pub(super) fn new(memory_bytes_max: usize, stage: Arc<str>, gate: Arc<LogGate>) -> Self {
        Self {
            limiter: Limiter::new(memory_bytes_max),
            last_error: None,
            deadline: None,
            until: None,
            state: None,
            trouble: None,
            memory: None,
            realloc: None,
            stage,
            gate,
        }
    }

    /// A call begins.
    pub(super) fn begin(&mut self, deadline: Option<Duration>) {
        self.limiter.begin();
        self.last_error = None;
        self.trouble = None;
        self.deadline = deadline;
        self.until = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
    }

    fn log(&mut self, level: Level, message: &str) {
        if level == Level::ERROR {
            self.last_error = Some(message.to_owned());
        }
        let left_out = if level == Level::TRACE {
            Some(0)
        } else {
            self.gate.admit(Instant::now())
        };
        let Some(left_out) = left_out else { return };
        let stage = &*self.stage;
        let left_out = (left_out > 0).then_some(left_out);
        match level {
            // Panics arrive here too, one a record: what fails is logged once by who counts it.
            Level::ERROR => {
                tracing::debug!(target: TARGET, stage, left_out, guest_level = "error", "{message}");
            }
            Level::WARN => tracing::warn!(target: TARGET, stage, left_out, "{message}"),
            Level::INFO => tracing::info!(target: TARGET, stage, left_out, "{message}"),
            Level::DEBUG => tracing::debug!(target: TARGET, stage, left_out, "{message}"),
            _ => tracing::trace!(target: TARGET, stage, left_out, "{message}"),
        }
    }
}

/// Lets through so many lines a second. Shared by all instances of a module, so that one
/// that is replaced after each trap gains nothing.
pub(super) struct LogGate(Mutex<Window>);

struct Window {
    began: Instant,
    passed: u32,
    left_out: u64,
}

impl LogGate {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Window {
            began: Instant::now(),
            passed: 0,
            left_out: 0,
        }))
    }

    /// `None`: say nothing. Otherwise how many lines were left out before this one.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.began) >= Duration::from_secs(1) {
            window.began = now;
            window.passed = 0;
        }
        if window.passed >= LINES_PER_SECOND {
            window.left_out = window.left_out.saturating_add(1);
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

/// Defines the world's imports, and nothing else.
pub(super) fn define(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap(abi::HOST_MODULE, abi::HOST_LOG, log)?;
    state::define(linker)
}

fn log(mut caller: Caller<'_, HostState>, level: i32, pointer: i32, length: i32) -> wasmtime::Result<()> {
    let level = abi::log_level(level);
    // A panic's message is wanted even if nobody reads the log.
    if level != Level::ERROR && !enabled(level) {
        return Ok(());
    }
    let Some(Extern::Memory(memory)) = caller.get_export(abi::MEMORY) else {
        return Err(wasmtime::Error::msg(
            "log was called before the guest's memory existed",
        ));
    };
    let (data, state) = memory.data_and_store_mut(&mut caller);
    let Some(bytes) = abi::slice(data, pointer, length) else {
        return Err(wasmtime::Error::msg(
            "log was called with a message outside the guest's memory",
        ));
    };
    state.log(level, &abi::text(bytes, MESSAGE_BYTES_MAX));
    Ok(())
}

fn enabled(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(target: TARGET, Level::ERROR),
        Level::WARN => tracing::enabled!(target: TARGET, Level::WARN),
        Level::INFO => tracing::enabled!(target: TARGET, Level::INFO),
        Level::DEBUG => tracing::enabled!(target: TARGET, Level::DEBUG),
        _ => tracing::enabled!(target: TARGET, Level::TRACE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chatty_guest_is_cut_short_and_the_next_line_says_so() {
        let gate = LogGate::new();
        let now = Instant::now();
        let passed = (0..1000).filter(|_| gate.admit(now).is_some()).count();
        assert_eq!(passed, LINES_PER_SECOND as usize);
        let later = now + Duration::from_secs(2);
        assert_eq!(gate.admit(later), Some(990));
        assert_eq!(gate.admit(later), Some(0));
    }
}
