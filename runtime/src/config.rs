//! Configuration: pipeline files and process settings, validated before anything runs.
//!
//! A parse that keeps spans reads each file and holds it against the JSON Schema
//! (`yaml`, `interpolate`, `grammar`); figment merges the layers, defaults below file
//! below environment below flags (`overrides`, `layers`); then come the checks that
//! look at several keys (`assemble`, with `kafka`, `topics`, `fit` and `module`).
//!
//! Invariants: no text makes any of it panic; every mistake is reported, each with
//! its place, its key and what to write; a [`Pipeline`] leaves this module only if
//! none of them was an error.

mod assemble;
mod dedup;
pub mod document;
pub mod finding;
mod fit;
mod grammar;
mod interpolate;
pub mod kafka;
mod layers;
pub mod module;
pub mod overrides;
pub mod place;
pub mod process;
pub mod schema;
mod state;
mod topics;
pub mod units;
mod wording;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use finding::{Code, Finding, Findings, Severity};
pub use layers::Places;
pub use overrides::{OverrideArgs, Overrides};
pub use place::{KeyPath, Origin};
pub use process::ProcessSettings;

use crate::plan::Pipeline;

/// File of the process settings, which is no pipeline.
pub const PROCESS_FILE: &str = "strait.yaml";

/// A pipeline, and where its values stand, for checks that come later.
#[derive(Debug, Clone)]
pub struct Checked {
    pub pipeline: Pipeline,
    pub places: Places,
}

/// Everything that looking at some files and folders gave.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Those without an error.
    pub pipelines: Vec<Checked>,
    pub findings: Findings,
}

/// Loads every pipeline in these files and folders, or says all that is wrong.
/// Warnings are logged.
pub fn load(paths: &[PathBuf], overrides: &Overrides) -> Result<Vec<Pipeline>, Findings> {
    let Report { pipelines, findings } = report(paths, overrides);
    if findings.has_errors() {
        return Err(findings);
    }
    for finding in findings.iter() {
        tracing::warn!(code = finding.code.as_str(), "{finding}");
    }
    Ok(pipelines.into_iter().map(|checked| checked.pipeline).collect())
}

/// Looks at every pipeline in these files and folders.
pub fn report(paths: &[PathBuf], overrides: &Overrides) -> Report {
    let (mut report, mut findings, mut names) = (Report::default(), Vec::new(), Vec::new());
    let files = files(paths, &mut findings);
    let count = files.len();
    for file in files {
        let Some(text) = text(&file, &mut findings) else {
            continue;
        };
        let Some(read) = layers::read(&text, &file, overrides, &mut findings) else {
            continue;
        };
        names.extend(read.name);
        let places = read.places;
        let before = findings.len();
        let clean = !findings.iter().any(|finding| is_error_of(finding, &file));
        let pipeline = assemble::pipeline(&read.document, &places, &overrides.environment, &mut findings);
        let clean = clean
            && findings
                .iter()
                .skip(before)
                .all(|finding| finding.severity == Severity::Warning);
        let Some(pipeline) = pipeline.filter(|_| clean) else {
            continue;
        };
        if let Some(other) = report
            .pipelines
            .iter()
            .find(|other| other.pipeline.name == pipeline.name)
        {
            let what = format!(
                "{} has the same name, and so the same group",
                other.places.file().display()
            );
            findings.push(places.error(
                Code::NameTaken,
                &KeyPath::of("name"),
                what,
                "give each pipeline its own name",
            ));
            continue;
        }
        report.pipelines.push(Checked { pipeline, places });
    }
    // A file that cannot be read may hold the name that a variable means.
    if names.len() == count {
        findings.extend(overrides.unused(&names));
    }
    report.findings = findings.into_iter().collect();
    report.findings.sort();
    report
}

/// Overrides count for every file, so theirs do too.
fn is_error_of(finding: &Finding, file: &Path) -> bool {
    finding.severity == Severity::Error
        && match &finding.origin {
            Origin::File { file: origin, .. } => **origin == *file,
            Origin::Variable(_) | Origin::Flag(_) => true,
        }
}

/// The files that are meant: those named, and in folders all that end in `.yaml` or
/// `.yml`, by name, but for the process settings.
fn files(paths: &[PathBuf], findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        match folder(path) {
            Ok(inside) if inside.is_empty() => {
                let what = "the folder holds no pipeline files";
                let remedy = "name a folder with .yaml files, or a file";
                findings.push(whole(path, Code::FolderEmpty, what, remedy));
            }
            Ok(inside) => files.extend(inside),
            Err(error) => {
                let what = format!("the folder cannot be read: {error}");
                findings.push(whole(path, Code::FileUnreadable, what, "make it readable"));
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(std::fs::canonicalize(file).unwrap_or_else(|_| file.clone())));
    files
}

fn folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| {
        let yaml = file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        yaml && file.file_name().is_some_and(|name| name != PROCESS_FILE) && file.is_file()
    });
    files.sort();
    Ok(files)
}

fn whole(path: &Path, code: Code, what: impl Into<String>, remedy: &str) -> Finding {
    Places::new(path).error(code, &KeyPath::root(), what, remedy)
}

fn text(file: &Path, findings: &mut Vec<Finding>) -> Option<String> {
    let read = std::fs::metadata(file).and_then(|metadata| {
        if metadata.len() > yaml::TEXT_BYTES_MAX as u64 {
            return Err(std::io::Error::other(format!(
                "it has more than {} bytes",
                yaml::TEXT_BYTES_MAX
            )));
        }
        std::fs::read_to_string(file)
    });
    match read {
        Ok(text) => Some(text),
        Err(error) => {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            findings.push(if missing {
                whole(
                    file,
                    Code::FileMissing,
                    "the file does not exist",
                    "name a pipeline file, or a folder of them",
                )
            } else {
                let what = format!("the file cannot be read: {error}");
                whole(file, Code::FileUnreadable, what, "make it readable text in UTF-8")
            });
            None
        }
    }
}
