//! From a file to a transform that is known to run: read, checked, compiled, tried.
//!
//! Invariant: a [`Module`] exists only if an instance of it was started with these very
//! settings, outputs and stores, so a lane that cannot start one has met a changed machine.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strait_sdk::batch;
use tracing::info;
use wasmtime::InstancePre;

use super::cache::CodeCache;
use super::clock::Clock;
use super::contract;
use super::engine::{Compiler, Engine};
use super::fault::{FaultKind, GuestFault};
use super::host::{HostState, LogGate};
use super::instance::{Instance, StartError};
use super::load_error::{LoadError, LoadProblem};
use super::state::StateAccess;
use crate::plan::{Limits, Store, WasmStage};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// Output names are handed over by index.
const OUTPUTS_MAX: usize = u16::MAX as usize;
/// Longest name or version of a transform.
const LABEL_BYTES_MAX: usize = 256;
/// The SDK that this host was built with; it is released under the same version.
const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A transform, compiled and checked, ready to be instantiated in any lane.
#[derive(Clone)]
pub struct Module {
    blueprint: Arc<Blueprint>,
    sha256: Arc<str>,
    description: Arc<Description>,
}

/// What an instance is made from.
pub(super) struct Blueprint {
    pub(super) pre: InstancePre<HostState>,
    pub(super) clock: Option<Arc<Clock>>,
    pub(super) gate: Arc<LogGate>,
    pub(super) stage: Arc<str>,
    pub(super) limits: Limits,
    /// What `configure` gets.
    pub(super) configuration: Vec<u8>,
    pub(super) outputs: u16,
    pub(super) stores: u16,
}

/// What a transform says of itself.
#[derive(Debug, Deserialize)]
struct Description {
    name: String,
    version: String,
    sdk_version: String,
    format_version: u64,
}

/// What the host tells a transform before the first batch.
#[derive(Serialize)]
struct Configuration<'a> {
    settings: &'a serde_json::Value,
    outputs: &'a [String],
    stores: &'a [Store],
}

impl Engine {
    /// Reads, checks, compiles (or takes from the cache), instantiates once and configures
    /// it on trial. `outputs` are the pipeline's output names in `OutputIndex` order, `stores` those
    /// of its state.
    pub fn load(&self, stage: &WasmStage, outputs: &[String], stores: &[Store]) -> Result<Module, LoadError> {
        let began = Instant::now();
        let path = stage.module.artifact();
        self.check_budget(stage)?;
        let bytes = read(path)?;
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        check_header(&bytes, path)?;
        check_pin(stage, path, &sha256)?;

        let compiler = self.compiler(stage.limits.batch_deadline.is_some())?;
        let hits = self.cache().map(CodeCache::hits);
        let invalid = |error: wasmtime::Error| LoadProblem::Invalid {
            path: path.clone(),
            reason: error.root_cause().to_string(),
        };
        let module = wasmtime::Module::from_binary(&compiler.engine, &bytes).map_err(invalid)?;
        let cached = self.cache().map(CodeCache::hits) > hits;
        if let Some(cache) = self.cache() {
            cache.note_new();
        }
        contract::check(&module, path, stage.limits.memory_bytes as u64)?;
        let pre = compiler.linker.instantiate_pre(&module).map_err(invalid)?;
        let blueprint = Arc::new(blueprint(stage, outputs, stores, &compiler, pre));
        let description = Arc::new(try_out(&blueprint, path)?);
        info!(
            stage = &*stage.name,
            transform = description.name,
            version = description.version,
            sdk = description.sdk_version,
            sha256,
            cached,
            took_ms = began.elapsed().as_secs_f64() * 1e3,
            "module loaded"
        );
        Ok(Module {
            blueprint,
            sha256: sha256.into(),
            description,
        })
    }

    /// The process was sized for so much memory an instance.
    fn check_budget(&self, stage: &WasmStage) -> Result<(), LoadProblem> {
        let (limit, engine_max) = (stage.limits.memory_bytes, self.memory_bytes_max());
        if limit > engine_max {
            let (limit, engine_max) = (limit as u64, engine_max as u64);
            return Err(LoadProblem::MemoryLimit { limit, engine_max });
        }
        Ok(())
    }
}

impl Module {
    /// Digest of the file, in lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The name that the transform gives itself.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// The version that the transform gives itself.
    pub fn version(&self) -> &str {
        &self.description.version
    }

    /// A fresh, configured instance: some microseconds, and what the transform's `new` takes.
    /// `state` is what it may read of the lane's state.
    pub fn instantiate(&self, state: Option<Rc<dyn StateAccess>>) -> Result<Instance, GuestFault> {
        Instance::start(&self.blueprint, state).map_err(|error| match error {
            StartError::Fault(fault) => fault,
            // It accepted the same settings on trial.
            StartError::Refused(message) => GuestFault::new(FaultKind::Trap, message),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadProblem> {
    let failed = |e: std::io::Error| LoadProblem::Read {
        path: path.into(),
        reason: e.to_string(),
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(LoadProblem::TooLarge {
            path: path.into(),
            bytes_max: FILE_BYTES_MAX,
        });
    }
    Ok(bytes)
}

/// Modules and components share the magic and differ in what follows it.
fn check_header(bytes: &[u8], path: &Path) -> Result<(), LoadProblem> {
    match bytes.split_first_chunk::<8>() {
        Some((b"\0asm\x01\0\0\0", _)) => Ok(()),
        Some((&[0, b'a', b's', b'm', _, _, 1, 0], _)) => Err(LoadProblem::Component { path: path.into() }),
        _ => Err(LoadProblem::NotWasm { path: path.into() }),
    }
}

fn check_pin(stage: &WasmStage, path: &Path, found: &str) -> Result<(), LoadProblem> {
    match &stage.sha256 {
        Some(pinned) if !pinned.eq_ignore_ascii_case(found) => Err(LoadProblem::Pinned {
            path: path.into(),
            pinned: pinned.clone(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn blueprint(
    stage: &WasmStage,
    outputs: &[String],
    stores: &[Store],
    compiler: &Compiler,
    pre: InstancePre<HostState>,
) -> Blueprint {
    // More names than an index can tell apart cannot be reached by a guest.
    let outputs = outputs.get(..OUTPUTS_MAX).unwrap_or(outputs);
    let configuration = Configuration {
        settings: &stage.settings,
        outputs,
        stores,
    };
    Blueprint {
        pre,
        clock: compiler.clock.clone(),
        gate: Arc::new(LogGate::new()),
        stage: Arc::clone(&stage.name),
        limits: stage.limits,
        configuration: serde_json::json!(configuration).to_string().into_bytes(),
        outputs: u16::try_from(outputs.len()).unwrap_or(u16::MAX),
        stores: u16::try_from(stores.len()).unwrap_or(u16::MAX),
    }
}

impl Description {
    fn parse(json: &[u8], path: &Path) -> Result<Self, LoadProblem> {
        let no_description = |reason| LoadProblem::Description {
            path: path.into(),
            reason,
        };
        let this: Self = serde_json::from_slice(json).map_err(|e| no_description(e.to_string()))?;
        // They become metric labels.
        if this.name.len().max(this.version.len()) > LABEL_BYTES_MAX {
            return Err(no_description(format!(
                "name or version is longer than {LABEL_BYTES_MAX} bytes"
            )));
        }
        let (path, sdk, format) = (path.into(), this.sdk_version.clone(), this.format_version);
        if format != u64::from(batch::VERSION) {
            return Err(LoadProblem::Format { path, sdk, format });
        }
        match (generation(&sdk), generation(SDK_VERSION)) {
            (Some(theirs), Some(ours)) if theirs <= ours => Ok(this),
            _ => Err(LoadProblem::Sdk {
                path,
                sdk,
                host: SDK_VERSION,
            }),
        }
    }
}

/// What differs between versions that do not promise to understand each other: the major
/// version, and below 1.0 the minor one.
fn generation(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(str::parse::<u64>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(if major == 0 { (0, minor) } else { (major, 0) })
}

/// One instance, to hear what it says of itself and of its settings.
fn try_out(blueprint: &Arc<Blueprint>, path: &Path) -> Result<Description, LoadProblem> {
    let start = |fault| LoadProblem::Start {
        path: path.into(),
        fault,
    };
    let mut instance = Instance::create(blueprint).map_err(start)?;
    let json = instance.describe().map_err(start)?;
    let description = Description::parse(&json, path)?;
    instance.configure().map_err(|error| match error {
        StartError::Fault(fault) => start(fault),
        StartError::Refused(message) => LoadProblem::Configure {
            path: path.into(),
            message,
        },
    })?;
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart_by_what_they_promise() {
        assert!(generation("0.1.9") < generation("0.2.0"));
        assert_eq!(generation("1.2.3"), generation("1.9.0-rc.1"));
        assert!(generation("0.9.0") < generation("1.0.0"));
        assert_eq!(generation("new"), None);
    }
}
