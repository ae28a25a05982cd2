//! Guests written by hand, friendly and hostile, in the real engine.

mod calls;
mod code_cache;
mod loading;
mod pool;
mod state;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strait_sdk::batch;
use tempfile::TempDir;

use super::*;
use crate::plan::{BatchLimits, Limits, ModuleSource, WasmStage};

const IDENTITY: &str = include_str!("tests/identity.wat");
const PROCESS: &str = "(call $identity (local.get $in))";
const CONFIGURE: &str = "(call $return (i32.const 0) (i32.const -1) (i32.const -1))";
const EACH_RECORD: &str = "(; each record ;)";

/// The identity guest with some of its lines replaced.
fn guest(replacements: &[(&str, &str)]) -> String {
    let mut text = IDENTITY.to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "the guest has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// A module file, and the stage that names it.
struct Fixture {
    stage: WasmStage,
    folder: TempDir,
}

impl Fixture {
    fn new(text: &str) -> Self {
        Self::of_bytes(&wat::parse_str(text).unwrap())
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("guest.wasm");
        std::fs::write(&path, bytes).unwrap();
        Self {
            stage: stage(path),
            folder,
        }
    }

    fn load(&self) -> Result<Module, LoadProblem> {
        self.load_in(&engine())
    }

    fn load_in(&self, engine: &Engine) -> Result<Module, LoadProblem> {
        engine
            .load(&self.stage, &["default".to_owned()], &[])
            .map_err(|error| error.problem)
    }
}

fn stage(path: PathBuf) -> WasmStage {
    WasmStage {
        name: "wasm".into(),
        module: ModuleSource::File(path),
        sha256: None,
        settings: serde_json::json!({}),
        limits: Limits {
            memory_bytes: 1 << 20,
            batch_deadline: Some(Duration::from_secs(20)),
            output_bytes: 1 << 20,
        },
        batch: BatchLimits {
            records: NonZeroUsize::new(1000).unwrap(),
            bytes: NonZeroUsize::new(1 << 20).unwrap(),
        },
    }
}

fn settings() -> EngineSettings {
    EngineSettings {
        cache_dir: None,
        instances_max: 4,
        memory_bytes_max: 1 << 20,
    }
}

fn engine() -> Engine {
    Engine::new(&settings()).unwrap()
}

/// An instance of the identity guest with some of its lines replaced.
fn instance(replacements: &[(&str, &str)]) -> Instance {
    Fixture::new(&guest(replacements))
        .load()
        .unwrap()
        .instantiate(None)
        .unwrap()
}

struct Sample(i64, Vec<u8>);

impl batch::Record for Sample {
    fn offset(&self) -> i64 {
        self.0
    }
    fn timestamp_ms(&self) -> i64 {
        1_000
    }
    fn key(&self) -> Option<&[u8]> {
        None
    }
    fn value(&self) -> Option<&[u8]> {
        Some(&self.1)
    }
    fn header_count(&self) -> usize {
        0
    }
    fn header(&self, _index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        None
    }
}

fn samples(count: i64) -> Vec<Sample> {
    (0..count)
        .map(|offset| Sample(offset, format!("value {offset}").into_bytes()))
        .collect()
}

fn process(instance: &mut Instance, records: &[Sample]) -> Result<Processed, CallError> {
    let input = Input {
        topic: "in",
        partition: 0,
        records,
        stream_times_ms: &[],
    };
    instance.process(&input, Some(Duration::from_secs(20)))
}

/// The fault of a call that must not succeed.
fn fault(instance: &mut Instance) -> GuestFault {
    match process(instance, &samples(5)) {
        Err(CallError::Fault(fault)) => fault,
        other => panic!("no fault but {other:?}"),
    }
}

#[test]
fn modules_go_to_the_threads_of_lanes() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Module>();
    shareable::<Engine>();
    shareable::<Arc<LoadError>>();
}
