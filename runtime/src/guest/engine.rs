//! What is shared by all modules of a process: compiler, instance pool, clock, code cache.
//!
//! There are two engines, because a module either checks for its deadline everywhere or
//! (trusted, `batch_deadline: none`) nowhere, which saves it about a fifth. The second one
//! is made when it is first needed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, Linker, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use super::cache::CodeCache;
use super::clock::Clock;
use super::host::{self, HostState};
use super::limits::TABLE_ENTRIES_MAX;
use super::load_error::{LoadError, LoadProblem};

/// Address space of one memory, so that compiled code needs no bounds checks (they cost
/// more than half again).
const RESERVATION_BYTES: u64 = 4 << 30;
const GUARD_BYTES: u64 = 32 << 20;
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// What a slot keeps of its memory when an instance is replaced. Above it the kernel has to
/// take pages away and give them back, which costs more than all the rest of a restart.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;
/// wasmtime's own data of one instance; a limit, not an allocation.
const INSTANCE_BYTES_MAX: usize = 4 << 20;
/// An instance on trial while a module is loaded, beside those that run.
const TRIAL_INSTANCES: u32 = 2;

/// Process-wide: compiled code, the instance pool, the epoch clock.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

/// What the engine is sized for.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Where compiled modules are kept; `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// Instances that may live at once (lanes x stages, and spares for replacement).
    pub instances_max: u32,
    /// The largest `limits.memory` of any stage.
    pub memory_bytes_max: usize,
}

struct Inner {
    settings: EngineSettings,
    cache: Option<CodeCache>,
    checked: Arc<Compiler>,
    trusted: Mutex<Option<Arc<Compiler>>>,
}

/// One wasmtime engine and what its modules are linked with.
pub(super) struct Compiler {
    pub(super) engine: wasmtime::Engine,
    pub(super) linker: Linker<HostState>,
    /// Where there are deadlines.
    pub(super) clock: Option<Arc<Clock>>,
}

impl Engine {
    pub fn new(settings: &EngineSettings) -> Result<Self, LoadError> {
        let cache = settings.cache_dir.as_deref().and_then(CodeCache::open);
        let checked = Arc::new(Compiler::new(settings, cache.as_ref(), true)?);
        let settings = settings.clone();
        Ok(Self(Arc::new(Inner {
            settings,
            cache,
            checked,
            trusted: Mutex::new(None),
        })))
    }

    /// The largest `limits.memory` that the pool has room for.
    pub(super) fn memory_bytes_max(&self) -> usize {
        self.0.settings.memory_bytes_max
    }

    pub(super) fn cache(&self) -> Option<&CodeCache> {
        self.0.cache.as_ref()
    }

    /// For modules with deadlines, or without.
    pub(super) fn compiler(&self, deadlines: bool) -> Result<Arc<Compiler>, LoadError> {
        if deadlines {
            return Ok(Arc::clone(&self.0.checked));
        }
        let mut trusted = self.0.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiler) = &*trusted {
            return Ok(Arc::clone(compiler));
        }
        let compiler = Arc::new(Compiler::new(&self.0.settings, self.cache(), false)?);
        *trusted = Some(Arc::clone(&compiler));
        Ok(compiler)
    }
}

impl Compiler {
    fn new(settings: &EngineSettings, cache: Option<&CodeCache>, deadlines: bool) -> Result<Self, LoadError> {
        let reason = |error: wasmtime::Error| {
            LoadError::from(LoadProblem::Engine {
                reason: format!("{error:#}"),
            })
        };
        let mut config = config(cache, deadlines);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
        let engine = wasmtime::Engine::new(&config).or_else(|error| {
            warn!(
                instances = settings.instances_max,
                error = format!("{error:#}"),
                "no address space for a pool of instances; replacing a faulted one will be slower"
            );
            wasmtime::Engine::new(config.allocation_strategy(InstanceAllocationStrategy::OnDemand))
        });
        let engine = engine.map_err(reason)?;
        let mut linker = Linker::new(&engine);
        host::define(&mut linker).map_err(reason)?;
        let clock = if deadlines {
            let clock = Clock::start(&engine).map_err(|e| LoadProblem::Engine {
                reason: e.to_string(),
            })?;
            Some(Arc::new(clock))
        } else {
            None
        };
        Ok(Self {
            engine,
            linker,
            clock,
        })
    }
}

/// Settings that shape the code, hence also the key of the cache.
fn config(cache: Option<&CodeCache>, deadlines: bool) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(deadlines)
        .memory_reservation(RESERVATION_BYTES)
        .memory_guard_size(GUARD_BYTES)
        .memory_init_cow(true)
        .wasm_simd(true)
        // A batch that is processed again on another machine gives the same bytes.
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .cache(cache.map(|cache| cache.wasmtime.clone()));
    config
}

fn pool(settings: &EngineSettings) -> PoolingAllocationConfig {
    let instances = settings.instances_max.saturating_add(TRIAL_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .table_elements(TABLE_ENTRIES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        // The address space is there anyway; each stage's limit is kept by its limiter.
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(instances)
        .pagemap_scan(Enabled::Auto);
    pool
}
