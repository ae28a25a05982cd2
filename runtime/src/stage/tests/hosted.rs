//! The stages over the real host.

use std::path::Path;

use super::*;
use crate::guest::{Engine, EngineSettings, Module};
use crate::plan::{ModuleSource, Pipeline};

const IDENTITY: &str = include_str!("../../guest/tests/identity.wat");

fn load(folder: &Path, plan: &mut Pipeline) -> Vec<Module> {
    let path = folder.join("identity.wasm");
    std::fs::write(&path, wat::parse_str(IDENTITY).unwrap()).unwrap();
    let settings = EngineSettings {
        cache_dir: None,
        instances_max: 4,
        memory_bytes_max: 64 << 20,
    };
    let engine = Engine::new(&settings).unwrap();
    for stage in &mut plan.stages {
        stage.module = ModuleSource::File(path.clone());
        stage.settings = serde_json::json!({});
        stage.limits.memory_bytes = 64 << 20;
    }
    let load = |(index, stage)| engine.load(stage, &output_names(plan, index), &[]).unwrap();
    plan.stages.iter().enumerate().map(load).collect()
}

#[test]
fn identity_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = fake::plan(2, limits(7, 1 << 20));
    let modules = load(folder.path(), &mut plan);
    let mut stages = Stages::new(&plan, &modules, None).unwrap();
    let records = fake::records(&vec![Act::pass(); 20]);
    for _ in 0..3 {
        let outcome = stages.run(&partition(), &records, AMPLE);
        assert_eq!((outcome.decided, outcome.filtered), (20, 0));
        assert!(outcome.failures.is_empty() && outcome.stopped.is_none());
        let mut origin = 0;
        let visited: Result<(), ()> = stages.emissions(&outcome, &records, &mut |emission| {
            assert_eq!(
                (emission.origin, emission.stage, emission.output.0),
                (origin, 1, 0)
            );
            assert_eq!(emission.value, Some(records[origin].value.as_slice()));
            assert_eq!(emission.key, records[origin].key.as_deref());
            assert_eq!(emission.headers.len(), 2);
            origin += 1;
            Ok(())
        });
        assert_eq!((visited, origin), (Ok(()), 20));
        stages.release(outcome);
        stages.reset();
    }
}
