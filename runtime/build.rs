//! Hands the version of wasmtime that the lock file pins to the build: the crate itself
//! does not export it, and `strait_build_info` reports it.

use std::path::Path;
use std::{env, fs};

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let lock = Path::new(&folder)
        .ancestors()
        .map(|ancestor| ancestor.join("Cargo.lock"))
        .find(|path| path.is_file());
    let version = lock.as_deref().and_then(|path| {
        println!("cargo::rerun-if-changed={}", path.display());
        locked_version(&fs::read_to_string(path).ok()?, "wasmtime")
    });
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-env=STRAIT_WASMTIME_VERSION={}",
        version.as_deref().unwrap_or("unknown")
    );
}

/// A lock file has `version = "..."` right after `name = "..."`.
fn locked_version(lock: &str, name: &str) -> Option<String> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted);
    let version = lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}
