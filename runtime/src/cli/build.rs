//! `strait build PATH...`: the transforms that are crates.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::config::{self, OverrideArgs, Overrides, module};
use crate::dev::build;
use crate::plan::ModuleSource;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files, folders of them, and folders of crates
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    overrides: OverrideArgs,
}

/// Prints the path of each `.wasm` file that was asked for.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (crates, pipelines): (Vec<PathBuf>, Vec<PathBuf>) = args
        .paths
        .iter()
        .cloned()
        .partition(|path| path.join("Cargo.toml").is_file());
    let overrides = Overrides::from(args.overrides.clone());
    let mut wanted = BTreeSet::new();
    for folder in crates {
        wanted.insert(of_crate(&folder, &overrides.environment)?);
    }
    if !pipelines.is_empty() {
        match config::load(&pipelines, &overrides) {
            Ok(plans) => wanted.extend(plans.iter().flat_map(|plan| &plan.stages).filter_map(|stage| {
                match &stage.module {
                    ModuleSource::Crate { folder, artifact } => Some((folder.clone(), artifact.clone())),
                    ModuleSource::File(_) => None,
                }
            })),
            Err(findings) => {
                return Ok(super::invalid(&findings));
            }
        }
    }
    for (folder, artifact) in wanted {
        let mut progress = |line: &str| {
            let _closed = writeln!(std::io::stderr(), "{line}");
        };
        build::build(&folder, &artifact, &mut progress)?;
        writeln!(std::io::stdout(), "{}", artifact.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A folder and the file that building it makes.
fn of_crate(folder: &Path, environment: &BTreeMap<String, String>) -> Result<(PathBuf, PathBuf)> {
    match module::resolve("", folder, environment) {
        Ok(ModuleSource::Crate { artifact, .. }) => Ok((folder.to_owned(), artifact)),
        Ok(ModuleSource::File(path)) => anyhow::bail!("{} is no crate", path.display()),
        Err(problem) => anyhow::bail!("{}: {}", problem.what, problem.remedy),
    }
}
