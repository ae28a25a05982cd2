//! The whole path from text to plan or findings, as a user meets it.

mod accepted;
mod conflicts;
mod findings;
mod layered;
mod robust;
mod schemas;
mod shipped;

use std::path::PathBuf;

use super::{Overrides, Report, report};
use crate::plan::Pipeline;

/// The least that runs.
pub const LEAST: &str = "\
name: orders
kafka: { bootstrap: \"localhost:9092\" }
input: { topics: [orders] }
stages:
  - wasm: { module: m.wasm }
outputs:
  default: orders.clean
";

/// A folder with a module, and pipeline files put beside it.
pub struct Folder {
    pub root: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("m.wasm"), b"\0asm\x01\0\0\0").unwrap();
        Self { root }
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// What loading everything in it gives; paths in messages are relative to it.
    pub fn report(&self, overrides: &Overrides) -> (Report, String) {
        let report = report(&[self.root.path().to_owned()], overrides);
        let prefix = format!("{}/", self.root.path().display());
        let text = report.findings.render(false).replace(&prefix, "");
        (report, text)
    }
}

/// What one file gives.
pub fn look(text: &str, overrides: &Overrides) -> (Option<Pipeline>, String) {
    let folder = Folder::new();
    folder.write("p.yaml", text);
    let (mut report, findings) = folder.report(overrides);
    (report.pipelines.pop().map(|checked| checked.pipeline), findings)
}

/// The pipeline of a file without a mistake.
pub fn accept(text: &str, overrides: &Overrides) -> Pipeline {
    let (pipeline, findings) = look(text, overrides);
    assert_eq!(findings, "", "in\n{text}");
    pipeline.unwrap()
}

pub fn set(flags: &[&str]) -> Overrides {
    Overrides {
        set: flags.iter().map(ToString::to_string).collect(),
        ..Overrides::default()
    }
}

pub fn environment(variables: &[(&str, &str)]) -> Overrides {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Overrides {
        environment,
        ..Overrides::default()
    }
}
