//! Loads the modules of pipelines whose files are valid. What is wrong with a module is a
//! finding at the place that names it, like any other mistake in the file.

use std::path::Path;

use crate::config::{Checked, Code, Finding, Findings, KeyPath};
use crate::guest::{Engine, EngineSettings, LoadError, LoadProblem, Module};
use crate::plan::Pipeline;
use crate::stage::output_names;

/// Spare instances: a replaced one may still hold its slot for a moment.
const SPARE_INSTANCES: u32 = 8;

/// A pipeline with its modules, ready to run.
pub struct Loaded {
    pub plan: Pipeline,
    /// In the order of the stages.
    pub modules: Vec<Module>,
}

/// Sizes an engine for these pipelines.
pub fn engine_settings<'a>(
    plans: impl Iterator<Item = &'a Pipeline> + Clone,
    cache_dir: &Path,
) -> EngineSettings {
    let instances: usize = plans
        .clone()
        .map(|plan| plan.lanes.get() * plan.stages.len())
        .sum();
    let memory = plans
        .flat_map(|plan| &plan.stages)
        .map(|stage| stage.limits.memory_bytes)
        .max();
    EngineSettings {
        cache_dir: Some(cache_dir.to_owned()),
        instances_max: u32::try_from(instances)
            .unwrap_or(u32::MAX)
            .saturating_add(SPARE_INSTANCES),
        memory_bytes_max: memory.unwrap_or(0),
    }
}

/// Loads every module of every pipeline, or says all that is wrong with them.
pub fn load(engine: &Engine, pipelines: Vec<Checked>) -> Result<Vec<Loaded>, Findings> {
    let mut findings = Findings::default();
    let mut loaded = Vec::new();
    for checked in pipelines {
        match load_one(engine, &checked) {
            Ok(modules) => loaded.push(Loaded {
                plan: checked.pipeline,
                modules,
            }),
            Err(found) => findings.extend(found),
        }
    }
    if findings.is_empty() {
        Ok(loaded)
    } else {
        Err(findings)
    }
}

/// As [`load`], for pipelines that were changed since they were checked: the first mistake.
pub fn load_unplaced(engine: &Engine, plans: Vec<Pipeline>) -> Result<Vec<Loaded>, LoadError> {
    let load = |plan: Pipeline| {
        let stages = plan.stages.iter().enumerate();
        let modules: Result<Vec<Module>, LoadError> = stages
            .map(|(index, stage)| engine.load(stage, &output_names(&plan, index), &plan.stores))
            .collect();
        modules.map(|modules| Loaded { plan, modules })
    };
    plans.into_iter().map(load).collect()
}

/// What is wrong with the modules of one pipeline.
pub fn check(engine: &Engine, checked: &Checked) -> Vec<Finding> {
    load_one(engine, checked).err().unwrap_or_default()
}

fn load_one(engine: &Engine, checked: &Checked) -> Result<Vec<Module>, Vec<Finding>> {
    let (mut modules, mut findings) = (Vec::new(), Vec::new());
    for (index, stage) in checked.pipeline.stages.iter().enumerate() {
        let plan = &checked.pipeline;
        match engine.load(stage, &output_names(plan, index), &plan.stores) {
            Ok(module) => modules.push(module),
            Err(error) => findings.push(finding(checked, index, &error)),
        }
    }
    if findings.is_empty() {
        Ok(modules)
    } else {
        Err(findings)
    }
}

/// A valid pipeline has wasm stages alone, so a stage's index is its place in the file.
fn finding(checked: &Checked, index: usize, error: &LoadError) -> Finding {
    let key = |name: &str| KeyPath::of("stages").join(index).join("wasm").join(name);
    let (code, key) = match &error.problem {
        LoadProblem::Read { .. } => (Code::ModuleMissing, key("module")),
        LoadProblem::Pinned { .. } => (Code::ModuleRefused, key("sha256")),
        LoadProblem::Configure { .. } => (Code::ModuleRefused, key("settings")),
        LoadProblem::MemoryMinimum { .. } | LoadProblem::MemoryLimit { .. } => {
            (Code::ModuleRefused, key("limits").join("memory"))
        }
        _ => (Code::ModuleRefused, key("module")),
    };
    checked
        .places
        .error(code, &key, error.problem.to_string(), error.remedy())
}
