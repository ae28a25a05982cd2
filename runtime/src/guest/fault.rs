//! Why a guest call gave no result, told so that a stage can act on it.

use wasmtime::{Trap, WasmBacktrace};

use super::host::HostState;

/// A call that failed as a whole. The instance is of no more use.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct GuestFault {
    /// What a stage acts on.
    pub kind: FaultKind,
    /// For people: a panic's message where there is one.
    pub message: String,
    /// The record that the guest said it was at; a hint, never proof.
    pub record: Option<usize>,
}

/// Why a call gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The guest failed; some record may be to blame.
    #[error(transparent)]
    Fault(#[from] GuestFault),
    /// The guest itself says that it does not fit this pipeline (an unknown output name).
    #[error("{0}")]
    Pipeline(String),
}

/// The kinds of guest faults, as metrics and dead letters name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It trapped (a panic is a trap; its message is `GuestFault::message`).
    Trap,
    /// It ran longer than its deadline.
    Deadline,
    /// It gave up after it was refused more memory, or no memory was left to start it.
    Memory,
    /// Its result is malformed, too large, or names what does not exist.
    Output,
}

impl FaultKind {
    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Output => "output",
        }
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl GuestFault {
    pub(super) fn output(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Output, message)
    }

    pub(super) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            record: None,
        }
    }

    /// Reads what ended a call out of wasmtime's error and of what the call left behind.
    pub(super) fn of_error(error: &wasmtime::Error, state: &HostState) -> Self {
        let trap = error.downcast_ref::<Trap>();
        if trap == Some(&Trap::Interrupt) {
            let deadline = humantime::format_duration(state.deadline.unwrap_or_default());
            return Self::new(FaultKind::Deadline, format!("it ran longer than {deadline}"));
        }
        if state.limiter.refused() {
            let limit = bytesize::ByteSize(state.limiter.memory_bytes_max() as u64);
            let message = format!("it wanted more memory than limits.memory allows ({limit})");
            return Self::new(FaultKind::Memory, message);
        }
        if let Some(full) = error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::new(
                FaultKind::Memory,
                format!("no room for one more instance: {full}"),
            );
        }
        let message = state.last_error.clone().unwrap_or_else(|| describe(error, trap));
        Self::new(FaultKind::Trap, message)
    }
}

/// The trap and the function it happened in, if the module kept its names.
fn describe(error: &wasmtime::Error, trap: Option<&Trap>) -> String {
    let what = trap.map_or_else(|| error.root_cause().to_string(), ToString::to_string);
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map_or(&[][..], WasmBacktrace::frames);
    match frames.iter().find_map(wasmtime::FrameInfo::func_name) {
        Some(name) => format!("{what} in {name}"),
        None => what,
    }
}
