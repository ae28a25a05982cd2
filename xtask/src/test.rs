//! Every check and every test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::{cargo, root, shown, step};
use crate::tools;

/// Folders whose crates are transforms.
const TRANSFORMS: [&str; 2] = ["examples", "tests/guests"];

/// Tests that the inner loop leaves out, and the faults that tests switch on.
const ALL_TESTS: &str = "strait/slow-tests,strait/fault-injection";

/// What needs no broker of its own, and what each of these is built with. All but the small SDK are
/// built for the whole workspace: then all have the same features, and nothing is compiled twice.
const LIBRARY_TARGETS: [&[&str]; 3] = [
    &[
        "--workspace",
        "--lib",
        "--bins",
        "--examples",
        "--features",
        ALL_TESTS,
    ],
    &["--package", "strait-sdk", "--test", "*"],
    &["--workspace", "--doc", "--features", ALL_TESTS],
];

/// The tests that drive the binary.
const WHOLE_TARGETS: [&str; 7] = [
    "--workspace",
    "--test",
    "chaos",
    "--test",
    "main",
    "--features",
    ALL_TESTS,
];

/// Most tests of the libraries wait for librdkafka's timeouts, so many of them run at once.
const LIBRARY_THREADS: &str = "8";

/// Those of the whole wait for sessions to end and processes to start, beside one Kafka that they share.
/// The scenarios, which strike it, run one by one whatever this says.
const WHOLE_THREADS: &str = "4";

/// Ends with cargo test's own closing lines.
pub fn all(args: &[String]) -> Result<()> {
    tools::ensure_for_tests()?;
    step("format");
    shown(cargo(&["fmt", "--all", "--check"]))?;
    step("lints");
    let mut clippy = cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        ALL_TESTS,
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]);
    clippy.env("CARGO_TERM_COLOR", "auto");
    shown(clippy)?;
    transforms()?;
    if !args.is_empty() {
        step("tests");
        return shown(test(&what_is_asked_for(args)));
    }
    step("tests of the libraries");
    for target in LIBRARY_TARGETS {
        shown(on_threads(test(target), LIBRARY_THREADS))?;
    }
    step("tests of the whole");
    shown(on_threads(test(&WHOLE_TARGETS), WHOLE_THREADS))
}

/// So many tests at once, unless somebody has said how many.
fn on_threads(mut test: Command, threads: &str) -> Command {
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        test.env("RUST_TEST_THREADS", threads);
    }
    test
}

/// All packages, unless some are named, and then without the feature that they may not know.
fn what_is_asked_for(args: &[String]) -> Vec<&str> {
    let names_packages = args
        .iter()
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let all: &[&str] = if names_packages {
        &[]
    } else {
        &["--workspace", "--features", ALL_TESTS]
    };
    all.iter()
        .copied()
        .chain(args.iter().map(String::as_str))
        .collect()
}

fn test(args: &[&str]) -> Command {
    let mut test = cargo(&["test", "--locked"]);
    test.args(args);
    // The tests read back with Kafka's own Java clients, so their broker is run by Java, too.
    if std::env::var_os("KAFKA_HOME").is_none() {
        test.env("STRAIT_KAFKA", "maven");
    }
    test
}

/// Builds the transforms that the tests load, by the command that users have for it.
fn transforms() -> Result<()> {
    let crates = crates_in(&TRANSFORMS)?;
    if crates.is_empty() {
        return Ok(());
    }
    step("transforms");
    let mut build = cargo(&["run", "--bin", "strait", "--locked", "--", "build"]);
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
