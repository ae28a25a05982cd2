//! What a guest call costs: `cargo bench -p strait --bench guest [-- MODULE.wasm ...]`.
//!
//! Measures the whole way of a batch through an instance (encode into guest memory, call,
//! validate, walk the result, release) for 1,000 records of about 200 bytes; each figure is
//! CPU time, the least of nine rounds. Modules that are named must accept the settings `{}`.

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strait::guest::{Engine, EngineSettings, Input, Instance, Module};
use strait::plan::{BatchLimits, Limits, ModuleSource, WasmStage};
use strait_sdk::batch::{Entry, Field, Record};

const IDENTITY: &str = include_str!("../src/guest/tests/identity.wat");
const RECORDS: u16 = 1000;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(60);
const IDLE: Duration = Duration::from_secs(3);

struct Sample {
    offset: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Record for Sample {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn timestamp_ms(&self) -> i64 {
        1_700_000_000_000
    }
    fn key(&self) -> Option<&[u8]> {
        Some(&self.key)
    }
    fn value(&self) -> Option<&[u8]> {
        Some(&self.value)
    }
    fn header_count(&self) -> usize {
        1
    }
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        (index == 0).then_some((b"trace-id", Some(b"0123456789abcdef")))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let identity = folder.path().join("identity.wasm");
    std::fs::write(&identity, wat::parse_str(IDENTITY)?)?;
    let named = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let modules: Vec<PathBuf> = std::iter::once(identity)
        .chain(named.map(PathBuf::from))
        .collect();
    let cache = folder.path().join("cache");
    for module in &modules {
        for deadline in [Some(Duration::from_secs(5)), None] {
            measure(module, deadline, &cache)?;
        }
    }
    Ok(())
}

fn measure(path: &Path, deadline: Option<Duration>, cache: &Path) -> Result<(), Box<dyn Error>> {
    let stage = stage(path, deadline);
    println!("{}, batch_deadline {deadline:?}", path.display());
    let (_, compiled_ms) = load(&stage, cache)?;
    let (module, cached_ms) = load(&stage, cache)?;
    println!("  load: {compiled_ms:.1} ms compiled, {cached_ms:.1} ms from the cache");

    let records = samples();
    let mut instance = module.instantiate(None)?;
    let batch = least(|| pass(&mut instance, &records))?;
    println!("  warm instance: {:.1} ns a record", per_record(batch));
    let fresh = least(|| pass(&mut module.instantiate(None)?, &records))?;
    println!(
        "  fresh instance for each batch: {:.1} ns a record",
        per_record(fresh)
    );
    let start = least(|| module.instantiate(None).map(drop).map_err(Into::into))?;
    println!("  instantiate and drop: {:.1} us", start.as_secs_f64() * 1e6);

    let before = cpu_ticks()?;
    std::thread::sleep(IDLE);
    println!(
        "  CPU while idle for {IDLE:?}: {} of 300 ticks",
        cpu_ticks()? - before
    );
    Ok(())
}

fn load(stage: &WasmStage, cache: &Path) -> Result<(Module, f64), Box<dyn Error>> {
    let cache_dir = Some(cache.to_owned());
    let settings = EngineSettings {
        cache_dir,
        instances_max: 4,
        memory_bytes_max: 64 << 20,
    };
    let engine = Engine::new(&settings)?;
    let began = Instant::now();
    let module = engine.load(stage, &["default".to_owned()], &[])?;
    Ok((module, began.elapsed().as_secs_f64() * 1e3))
}

/// The way of a batch; the walk reads what an encoder of the output would read.
fn pass(instance: &mut Instance, records: &[Sample]) -> Result<(), Box<dyn Error>> {
    let input = Input {
        topic: "orders",
        partition: 3,
        records,
        stream_times_ms: &[],
    };
    let processed = instance.process(&input, Some(Duration::from_secs(5)))?;
    let mut bytes = 0;
    for entry in instance.view(&processed)?.entries() {
        if let Entry::Emit(emit) = entry {
            bytes += match emit.value {
                Field::Bytes(value) => value.len(),
                Field::Inherit => records
                    .get(emit.origin as usize)
                    .map_or(0, |record| record.value.len()),
                Field::Null => 0,
            };
        }
    }
    std::hint::black_box(bytes);
    Ok(instance.release(processed)?)
}

/// CPU time of one run of `body`, in the best round.
fn least(mut body: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let (began, before, mut runs) = (Instant::now(), thread_time()?, 0);
        while began.elapsed() < ROUND {
            body()?;
            runs += 1;
        }
        best = best.min(thread_time()?.saturating_sub(before) / runs);
    }
    Ok(best)
}

/// How long this thread has run so far: on a busy machine, less than the time that passed.
fn thread_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

fn per_record(batch: Duration) -> f64 {
    batch.as_secs_f64() * 1e9 / f64::from(RECORDS)
}

/// What this process has used so far, in hundredths of a second.
fn cpu_ticks() -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields
        .skip(11)
        .take(2)
        .map(|field| Ok(field.parse::<u64>()?))
        .sum()
}

fn samples() -> Vec<Sample> {
    let sample = |offset: i64| Sample {
        offset,
        key: format!("key-{offset:012}").into_bytes(),
        value: format!("{{\"id\":{offset:08},\"text\":\"{}\"}}", "x".repeat(160)).into_bytes(),
    };
    (0..i64::from(RECORDS)).map(sample).collect()
}

fn stage(path: &Path, deadline: Option<Duration>) -> WasmStage {
    let (memory_bytes, output_bytes) = (64 << 20, 16 << 20);
    WasmStage {
        name: "wasm".into(),
        module: ModuleSource::File(path.to_owned()),
        sha256: None,
        settings: serde_json::json!({}),
        limits: Limits {
            memory_bytes,
            batch_deadline: deadline,
            output_bytes,
        },
        batch: BatchLimits {
            records: NonZeroUsize::MAX,
            bytes: NonZeroUsize::MAX,
        },
    }
}
