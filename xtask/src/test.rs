//! Every check and every test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run::{cargo, root, shown, step};
use crate::tools;

/// Folders whose crates are transforms.
const TRANSFORMS: [&str; 2] = ["examples", "tests/guests"];

/// Tests that the inner loop leaves out.
const SLOW_TESTS: &str = "strait/slow-tests";

/// Ends with cargo test's own closing lines.
pub fn all(args: &[String]) -> Result<()> {
    tools::ensure()?;
    step("format");
    shown(cargo(&["fmt", "--all", "--check"]))?;
    step("lints");
    let mut clippy = cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        SLOW_TESTS,
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]);
    clippy.env("CARGO_TERM_COLOR", "auto");
    shown(clippy)?;
    transforms()?;
    step("tests");
    let mut test = cargo(&["test", "--locked"]);
    // Cargo would pass over `--package` beside `--workspace`.
    if !args
        .iter()
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
    {
        test.args(["--workspace", "--features", SLOW_TESTS]);
    }
    test.args(args);
    // The tests read back with Kafka's own Java clients, so their broker is run by Java, too.
    if std::env::var_os("KAFKA_HOME").is_none() {
        test.env("STRAIT_KAFKA", "maven");
    }
    shown(test)
}

/// Builds the transforms that the tests load, by the command that users have for it.
fn transforms() -> Result<()> {
    let crates = crates_in(&TRANSFORMS)?;
    if crates.is_empty() {
        return Ok(());
    }
    step("transforms");
    let mut build = cargo(&["run", "--package", "strait", "--locked", "--", "build"]);
    build.args(crates);
    shown(build)
}

fn crates_in(folders: &[&str]) -> Result<Vec<PathBuf>> {
    let mut crates = Vec::new();
    for folder in folders
        .iter()
        .map(|folder| root().join(folder))
        .filter(|folder| folder.is_dir())
    {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.join("Cargo.toml").is_file() {
                crates.push(path);
            }
        }
    }
    crates.sort();
    Ok(crates)
}
