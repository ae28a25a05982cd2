//! Builds what is measured, as it is shipped, and measures it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{cargo, command, root, shown, step};
use crate::tools;

/// Transforms that are measured.
const TRANSFORMS: [&str; 5] = [
    "bench/guests/fan-out",
    "bench/guests/priced",
    "examples/balance",
    "examples/filter-bytes",
    "examples/identity",
];

/// What the command line asks for; the rest goes to the suite.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    compare: Option<String>,
    rest: Vec<String>,
}

/// Ends with the tables.
pub fn run(args: &[String]) -> Result<()> {
    let asked = Asked::parse(args)?;
    tools::ensure_for_tests()?;
    step("building what is measured");
    shown(cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "strait",
        "--package",
        "strait-bench",
        "--package",
        "strait-bench-loop",
    ]))?;
    let release = target().join("release");
    let modules = transforms(&release.join("strait"))?;
    let streams = streams()?;
    let other = asked.compare.as_deref().map(other).transpose()?;
    step("measuring");
    let mut suite = Command::new(release.join("strait-bench"));
    suite
        .current_dir(root())
        .arg("--strait")
        .arg(release.join("strait"))
        .arg("--native")
        .arg(release.join("strait-bench-loop"))
        .arg("--modules")
        .arg(modules)
        .arg("--streams")
        .arg(streams)
        .args(other.map(|other| format!("--other={other}")))
        .args(&asked.rest);
    if std::env::var_os("KAFKA_HOME").is_none() {
        suite.env("STRAIT_KAFKA", "maven");
    }
    shown(suite)
}

fn target() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(folder)
}

/// Builds them, and says where they are.
fn transforms(strait: &Path) -> Result<PathBuf> {
    step("transforms");
    let output = command(strait, &["build"])
        .args(TRANSFORMS)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("running `strait build`")?;
    ensure!(
        output.status.success(),
        "`strait build` failed ({})",
        output.status
    );
    let printed = String::from_utf8(output.stdout)?;
    let module = Path::new(printed.lines().next().context("`strait build` printed nothing")?);
    let folder = module.parent().context("a module lies in a folder")?;
    Ok(root().join(folder))
}

/// Builds the peer; its class path.
fn streams() -> Result<String> {
    step("Kafka Streams");
    let folder = target().join("bench").join("streams");
    let mut maven = command(
        "mvn",
        &["--quiet", "--batch-mode", "--file", "bench/streams/pom.xml"],
    );
    maven.arg(format!("-DbuildFolder={}", folder.display())).args([
        "compile",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
    ]);
    shown(maven)?;
    let (classes, jars) = (folder.join("classes"), folder.join("dependency").join("*"));
    Ok(format!("{}:{}", classes.display(), jars.display()))
}

/// Builds another revision; `NAME=PATH` for the suite.
fn other(revision: &str) -> Result<String> {
    step(&format!("building {revision}"));
    let folder = target().join("bench").join("compare");
    let (tree, output) = (folder.join("tree"), folder.join("target"));
    let worktree = |words: &[&str], more: &[&str]| {
        let mut git = command("git", &["worktree"]);
        git.args(words).arg(&tree).args(more);
        shown(git)
    };
    if tree.exists() {
        worktree(&["remove", "--force"], &[])?;
    }
    worktree(&["add", "--detach"], &[revision])?;
    let mut build = cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "strait",
        "--bin",
        "strait",
    ]);
    build.current_dir(&tree).arg("--target-dir").arg(&output);
    shown(build)?;
    worktree(&["remove", "--force"], &[])?;
    let program = output.join("release").join("strait");
    Ok(format!("{revision}={}", program.display()))
}

impl Asked {
    fn parse(args: &[String]) -> Result<Self> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (option, value) = match arg.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            if option != "--compare" {
                asked.rest.push(arg.clone());
                continue;
            }
            let Some(revision) = value.or_else(|| args.next().cloned()) else {
                bail!("--compare needs a revision, such as HEAD~1");
            };
            asked.compare = Some(revision);
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Asked::parse(&args)
    }

    #[test]
    fn what_it_does_not_know_is_the_suites() {
        let asked = parse("dedup --compare HEAD~1 --rounds 3").unwrap();
        assert_eq!(asked.compare.as_deref(), Some("HEAD~1"));
        assert_eq!(asked.rest, ["dedup", "--rounds", "3"]);
        assert_eq!(parse("--compare=abc").unwrap().compare.as_deref(), Some("abc"));
        assert!(parse("--compare").is_err());
    }
}
