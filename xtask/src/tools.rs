//! What the build and the tests need beside cargo, and how it comes onto the machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::run::{self, command, shown, step, works};

const WASM: &str = "wasm32-unknown-unknown";

/// A program, what needs it, and the packages that bring it.
struct Need {
    program: &'static str,
    args: &'static [&'static str],
    purpose: &'static str,
    debian: &'static str,
}

const NEEDS: [Need; 5] = [
    Need {
        program: "cc",
        args: &["--version"],
        purpose: "builds librdkafka",
        debian: "gcc libc6-dev",
    },
    Need {
        program: "c++",
        args: &["--version"],
        purpose: "builds librdkafka",
        debian: "g++",
    },
    Need {
        program: "make",
        args: &["--version"],
        purpose: "builds librdkafka",
        debian: "make",
    },
    Need {
        // The compiler: one test tool is a single Java source file.
        program: "javac",
        args: &["-version"],
        purpose: "runs Kafka",
        debian: "openjdk-17-jdk-headless",
    },
    Need {
        program: "mvn",
        args: &["--version"],
        purpose: "resolves Kafka's jars",
        debian: "maven",
    },
];

/// Servers that hold message ids in tests. They are started by the tests, on ports and in folders of
/// their own.
const SERVERS: [Need; 3] = [
    Need {
        program: "redis-server",
        args: &["--version"],
        purpose: "holds message ids in tests",
        debian: "redis-server",
    },
    Need {
        program: "pg_lsclusters",
        args: &["--help"],
        purpose: "comes with PostgreSQL, which holds message ids in tests",
        debian: "postgresql",
    },
    Need {
        program: "aria_chk",
        args: &["--version"],
        purpose: "comes with MariaDB, which holds message ids in tests",
        debian: "mariadb-server",
    },
];

/// Installs what is missing, or says what to install.
pub fn ensure() -> Result<()> {
    ensure_all(&NEEDS)?;
    rust_parts()
}

/// And what only the tests need.
pub fn ensure_for_tests() -> Result<()> {
    ensure()?;
    ensure_all(&SERVERS)
}

fn ensure_all(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs
        .iter()
        .filter(|need| !works(need.program, need.args))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
}

/// And what only the scenarios need: clocks that jump.
pub fn ensure_chaos() -> Result<()> {
    ensure_for_tests()?;
    if has_faketime() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() || !is_root() {
        bail!(
            "install libfaketime and start again, or the scenarios with clocks that jump are not run.
  Debian, \
             Ubuntu: sudo apt-get install {FAKETIME}"
        );
    }
    step(&format!("installing {FAKETIME}: it makes clocks jump"));
    shown(apt(&["update", "--quiet"]))?;
    shown(apt(&[
        "install",
        "--quiet",
        "--yes",
        "--no-install-recommends",
        FAKETIME,
    ]))?;
    ensure!(has_faketime(), "{FAKETIME} is not found after its installation");
    Ok(())
}

const FAKETIME: &str = "libfaketime";

/// A library, which no program stands for: where Debian puts it.
fn has_faketime() -> bool {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten();
    let library = |folder: std::path::PathBuf| folder.join("faketime").join("libfaketimeMT.so.1");
    folders.flatten().any(|entry| library(entry.path()).is_file())
}

fn install(missing: &[&Need]) -> Result<()> {
    for need in missing {
        step(&format!("{} is missing; it {}", need.program, need.purpose));
    }
    let debian: Vec<&str> = missing.iter().flat_map(|need| need.debian.split(' ')).collect();
    if !Path::new("/usr/bin/apt-get").exists() || !is_root() {
        bail!(
            "install what is missing and start again.
  Debian, Ubuntu: sudo apt-get install {}
  \
             macOS: xcode-select --install; brew install openjdk@17 maven redis postgresql mariadb",
            debian.join(" "),
        );
    }
    step(&format!("installing {}", debian.join(" ")));
    shown(apt(&["update", "--quiet"]))?;
    let mut install = apt(&["install", "--quiet", "--yes", "--no-install-recommends"]);
    install.args(&debian);
    shown(install)?;
    for need in missing {
        ensure!(
            works(need.program, need.args),
            "{} still does not work after its installation",
            need.program
        );
    }
    Ok(())
}

fn apt(args: &[&str]) -> Command {
    let mut apt = command("apt-get", args);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The parts of the pinned toolchain; rustup may be told not to add them by itself.
fn rust_parts() -> Result<()> {
    for component in ["fmt", "clippy"] {
        if !run::cargo(&[component, "--version"])
            .output()
            .is_ok_and(|output| output.status.success())
        {
            step(&format!("adding {component} to the toolchain"));
            let name = if component == "fmt" { "rustfmt" } else { component };
            rustup(&["component", "add", name])?;
        }
    }
    if !has_wasm_target() {
        step(&format!("adding the target {WASM} to the toolchain"));
        rustup(&["target", "add", WASM])?;
    }
    Ok(())
}

fn has_wasm_target() -> bool {
    let printed = command("rustc", &["--print", "target-libdir", "--target", WASM]).output();
    printed.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn rustup(args: &[&str]) -> Result<()> {
    ensure!(
        works("rustup", &["--version"]),
        "there is no rustup to run `rustup {}`; add it to the toolchain in the way of your distribution",
        args.join(" ")
    );
    shown(command("rustup", args))
}
