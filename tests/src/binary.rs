//! The programs under test, built once per test process: `strait`, a `strait` with
//! fault switches, and the guests.
//!
//! All are built in the target directory that the tests themselves were built in,
//! so no dependency is compiled twice. Cargo keeps one `target/debug/strait` for
//! both feature sets, so each is put aside under its own name; a build that runs
//! meanwhile does not touch it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};

const WASM: &str = "wasm32-unknown-unknown";
/// The features of crate `strait` that these tests are built with, so that it is not compiled once more.
/// One of them compiles the fault switches in.
const FAULTY_FEATURES: &str = "strait/fault-injection,strait/slow-tests";
/// Everything that the tests run inside the runtime.
const GUESTS: [&str; 9] = [
    "audit",
    "balance",
    "hostile",
    "identity",
    "importer",
    "malformed",
    "orders",
    "per-minute",
    "router",
];

/// One build at a time: they share cargo's lock anyway, and `target/debug/strait`.
static BUILDING: Mutex<()> = Mutex::new(());

/// Which `strait` to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As users get it.
    Plain,
    /// With the fault switches that no release build contains.
    Faulty,
}

/// The path of the program.
pub fn strait(build: Build) -> Result<&'static Path> {
    static PLAIN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    static FAULTY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let (cell, name, features) = match build {
        Build::Plain => (&PLAIN, "strait", None),
        Build::Faulty => (&FAULTY, "strait-faulty", Some(FAULTY_FEATURES)),
    };
    once(cell, || build_strait(name, features))
}

/// The folder with the compiled guests, `NAME.wasm` each.
pub fn guest(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = once(&FOLDER, build_guests)?;
    let path = folder.join(format!("{}.wasm", name.replace('-', "_")));
    ensure!(path.is_file(), "there is no guest {}", path.display());
    Ok(path)
}

/// A folder for what may be kept from one test run to the next, such as compiled modules.
pub fn kept_folder(name: &str) -> Result<PathBuf> {
    let folder = target_folder()?.join("strait-tests").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn once(cell: &OnceLock<Result<PathBuf, String>>, build: impl FnOnce() -> Result<PathBuf>) -> Result<&Path> {
    let _turn = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    match cell.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(reason) => Err(anyhow!("{reason}")),
    }
}

fn build_strait(name: &str, features: Option<&str>) -> Result<PathBuf> {
    // Of the whole workspace, as the tests are: a package alone has its dependencies with fewer features,
    // and they would be compiled again.
    let mut arguments = vec!["build", "--workspace", "--bin", "strait"];
    if let Some(features) = features {
        arguments.extend(["--features", features]);
    }
    cargo(&arguments)?;
    let built = target_folder()?.join("debug").join("strait");
    let aside = kept_folder("bin")?.join(name);
    // A link would do until cargo writes through it; a copy surely stays as it is.
    let fresh = aside.with_extension("new");
    fs::copy(&built, &fresh).with_context(|| format!("copy {}", built.display()))?;
    fs::rename(&fresh, &aside)?;
    Ok(aside)
}

fn build_guests() -> Result<PathBuf> {
    let mut arguments = vec!["build", "--profile", "guest", "--target", WASM];
    for guest in GUESTS {
        arguments.extend(["--package", guest]);
    }
    cargo(&arguments)?;
    Ok(target_folder()?.join(WASM).join("guest"))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("--quiet")
        .arg("--target-dir")
        .arg(target_folder()?);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    // What cargo tells a test about itself would look like changed settings to a build.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text == "RUST_RECURSION_COUNT"
        {
            command.env_remove(&name);
        }
    }
    let output = command.output().context("run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {}: {said}", arguments.join(" "));
    Ok(())
}

/// `target`, of which this test program stands in `debug/deps`.
pub fn target_folder() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program
        .ancestors()
        .nth(3)
        .context("a test program stands in target/debug/deps")?;
    Ok(folder.to_path_buf())
}
