//! Why a module was not accepted, and what its owner can do about it.

use std::path::PathBuf;

use bytesize::ByteSize;
use strait_sdk::batch;

use super::fault::GuestFault;

/// A module (or the engine) that cannot be used. Displayed as the problem and its remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{problem}; {}", self.remedy())]
pub struct LoadError {
    /// What is wrong.
    pub problem: LoadProblem,
}

impl From<LoadProblem> for LoadError {
    fn from(problem: LoadProblem) -> Self {
        Self { problem }
    }
}

/// What is wrong with a module (or the engine).
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadProblem {
    /// wasmtime refuses this machine.
    #[error("the WebAssembly engine does not start: {reason}")]
    Engine { reason: String },
    #[error("cannot read module {path}: {reason}")]
    Read { path: PathBuf, reason: String },
    /// Larger than any transform.
    #[error("module {path} is larger than {}", ByteSize(*.bytes_max))]
    TooLarge { path: PathBuf, bytes_max: u64 },
    /// Not the file that `sha256` pins.
    #[error("module {path} has sha256 {found}, but {pinned} is pinned")]
    Pinned {
        path: PathBuf,
        pinned: String,
        found: String,
    },
    #[error("{path} is not a WebAssembly module")]
    NotWasm { path: PathBuf },
    /// A component, where a core module is wanted.
    #[error("{path} is a WebAssembly component")]
    Component { path: PathBuf },
    /// It does not validate, or needs what is switched off.
    #[error("module {path} cannot be compiled: {reason}")]
    Invalid { path: PathBuf, reason: String },
    /// Imports other than the host's `log`, as `module.name`.
    #[error("module {path} imports what Strait does not offer: {}", .names.join(", "))]
    UnknownImports { path: PathBuf, names: Vec<String> },
    /// Exports of the world that are not there.
    #[error("module {path} lacks the exports {}", .names.join(", "))]
    MissingExports { path: PathBuf, names: Vec<String> },
    /// An import or export of another type than the world's.
    #[error("in module {path}, {name} is {found} instead of {expected}")]
    Signature {
        path: PathBuf,
        name: String,
        expected: String,
        found: String,
    },
    /// It starts with more memory than its limit.
    #[error("module {path} starts with {} of memory, its limit is {}", ByteSize(*.minimum), ByteSize(*.limit))]
    MemoryMinimum { path: PathBuf, minimum: u64, limit: u64 },
    /// The stage's limit is larger than what the engine was sized for.
    #[error("limits.memory is {}, this process was started for {}", ByteSize(*.limit), ByteSize(*.engine_max))]
    MemoryLimit { limit: u64, engine_max: u64 },
    /// `describe` did not return what it should.
    #[error("module {path} does not describe itself: {reason}")]
    Description { path: PathBuf, reason: String },
    /// It speaks another batch format than this host.
    #[error(
        "module {path} (strait-sdk {sdk}) speaks batch format {format}, this strait speaks {}",
        batch::VERSION
    )]
    Format { path: PathBuf, sdk: String, format: u64 },
    /// Its SDK is of a later generation than this host.
    #[error("module {path} was built with strait-sdk {sdk}, this strait knows versions up to {host}")]
    Sdk {
        path: PathBuf,
        sdk: String,
        host: &'static str,
    },
    /// It faulted while it was started on trial.
    #[error("module {path} does not start: {fault}")]
    Start { path: PathBuf, fault: GuestFault },
    /// The transform refused its settings.
    #[error("module {path} cannot be configured: {message}")]
    Configure { path: PathBuf, message: String },
}

impl LoadError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match &self.problem {
            LoadProblem::Engine { .. } => {
                "run on a 64-bit Linux machine with enough address space (see `ulimit -v`)"
            }
            LoadProblem::Read { .. } => "correct the path of `module`, or build it with `strait build`",
            LoadProblem::TooLarge { .. } => "build it in release mode and strip it",
            LoadProblem::Pinned { .. } => {
                "deploy the pinned file, or update `sha256` if the change is wanted"
            }
            LoadProblem::NotWasm { .. } => {
                "name a .wasm file, or a crate's folder that `strait build` can build"
            }
            LoadProblem::Component { .. } => {
                "build a core module (target wasm32-unknown-unknown); components will be accepted later"
            }
            LoadProblem::Invalid { .. } => {
                "build it again; 64-bit memory, threads and several memories are not supported"
            }
            LoadProblem::UnknownImports { .. } => {
                "build for wasm32-unknown-unknown, and drop dependencies that need JavaScript, files, \
                 clocks or sockets"
            }
            LoadProblem::MissingExports { .. } => {
                "write `strait_sdk::export!(YourTransform);` and build with crate-type cdylib"
            }
            LoadProblem::Signature { .. } => {
                "export exactly the canonical lowering of the world strait:transform@1.0.0"
            }
            LoadProblem::MemoryMinimum { .. } => "raise limits.memory, or build with less initial memory",
            LoadProblem::MemoryLimit { .. } => "restart the process to raise limits.memory",
            LoadProblem::Description { .. } => "build it with a current strait-sdk",
            LoadProblem::Format { .. } => {
                "build it with a strait-sdk of this batch format, or run it with a strait that matches"
            }
            LoadProblem::Sdk { .. } => "update strait, or build it with an older strait-sdk",
            LoadProblem::Start { .. } => {
                "look at what the transform does in `new`: its limits hold there as well"
            }
            LoadProblem::Configure { .. } => "correct `settings` of the stage",
        }
    }
}
