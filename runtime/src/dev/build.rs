//! Transforms that are crates: from the folder to the `.wasm` file.
//!
//! All are built with a profile `guest`. A workspace that defines one, as Strait's own
//! does, is built with what it says; any other crate gets ours, so a transform's author
//! has nothing to copy. What cargo says goes to standard error as it comes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// Target that transforms are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Profile that they are built with.
pub const PROFILE: &str = "guest";

const MANIFEST: &str = "Cargo.toml";
/// Fast code in a small file; a panic ends the call, which the host expects.
const SETTINGS: [&str; 5] = [
    "profile.guest.inherits='release'",
    "profile.guest.lto='fat'",
    "profile.guest.codegen-units=1",
    "profile.guest.panic='abort'",
    "target.wasm32-unknown-unknown.rustflags=['-Ctarget-feature=+simd128']",
];

/// Why a transform could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{} is no crate: it has no Cargo.toml", .0.display())]
    NoManifest(PathBuf),
    #[error(
        "cargo cannot be run ({0}): building a transform takes Rust; install it with rustup, \
         or name a compiled .wasm file as the module"
    )]
    NoCargo(std::io::Error),
    #[error(
        "the target {TARGET} is missing and could not be added: {0}; add it with `rustup target add {TARGET}`"
    )]
    NoTarget(String),
    #[error("the transform in {} does not compile; what cargo says stands above", .0.display())]
    Failed(PathBuf),
    #[error(
        "building {} made no {}: give its Cargo.toml `[lib]` with `crate-type = [\"cdylib\"]`",
        folder.display(), artifact.display()
    )]
    NoArtifact { folder: PathBuf, artifact: PathBuf },
}

/// Builds the crate in `folder`. `artifact` is where the pipeline expects the result:
/// `TARGET_DIR/wasm32-unknown-unknown/guest/NAME.wasm`. Tells whether it is another file
/// than before.
pub fn build(folder: &Path, artifact: &Path, progress: &mut dyn FnMut(&str)) -> Result<bool, BuildError> {
    let manifest = folder.join(MANIFEST);
    if !manifest.is_file() {
        return Err(BuildError::NoManifest(folder.to_owned()));
    }
    // Cargo runs in the crate's folder, where a relative path would mean something else.
    let artifact = &std::path::absolute(artifact).unwrap_or_else(|_| artifact.to_owned());
    ensure_target(folder, progress)?;
    let before = modified(artifact);
    progress(&format!("building the transform in {}", folder.display()));
    let mut cargo = tool("cargo", folder);
    cargo.args(["build", "--lib", "--profile", PROFILE, "--target", TARGET]);
    if let Some(target_folder) = artifact.ancestors().nth(3) {
        cargo.arg("--target-dir").arg(target_folder);
    }
    if !defines_profile(folder) {
        cargo.args(SETTINGS.iter().flat_map(|setting| ["--config", setting]));
    }
    let status = cargo.status().map_err(BuildError::NoCargo)?;
    if !status.success() {
        return Err(BuildError::Failed(folder.to_owned()));
    }
    match modified(artifact) {
        None => Err(BuildError::NoArtifact {
            folder: folder.to_owned(),
            artifact: artifact.to_owned(),
        }),
        after => Ok(after != before),
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|file| file.modified()).ok()
}

/// Runs in the crate's folder, whose toolchain and cargo settings count.
fn tool(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    // Meant for programs of this machine, not for WebAssembly.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    // What an outer cargo says about the crate that it runs would look like changed settings.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The toolchain may be another one in each folder, and rustup may be told to add nothing by itself.
fn ensure_target(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    let mut print = tool("rustc", folder);
    print.args(["--print", "target-libdir", "--target", TARGET]);
    let printed = print.output().map_err(BuildError::NoCargo)?;
    let libraries = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
    if printed.status.success() && Path::new(&libraries).is_dir() {
        return Ok(());
    }
    progress(&format!("adding the target {TARGET} to the Rust toolchain"));
    let added = tool("rustup", folder).args(["target", "add", TARGET]).output();
    match added {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(BuildError::NoTarget(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
        Err(error) => Err(BuildError::NoTarget(format!("rustup cannot be run: {error}"))),
    }
}

/// Whether the manifest of the crate, or of a workspace above it, has the profile.
fn defines_profile(folder: &Path) -> bool {
    let header = format!("[profile.{PROFILE}]");
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder
        .ancestors()
        .filter_map(|above| std::fs::read_to_string(above.join(MANIFEST)).ok())
        .any(|manifest| {
            manifest
                .lines()
                .any(|line| line.split('#').next().unwrap_or_default().trim() == header)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "#[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> i32 { 42 }\n";

    fn package(lib: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "[package]\nname = \"tiny-guest\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
                        [workspace]\n";
        std::fs::write(folder.path().join(MANIFEST), manifest).unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/lib.rs"), lib).unwrap();
        folder
    }

    fn artifact(folder: &Path) -> PathBuf {
        folder
            .join("elsewhere")
            .join(TARGET)
            .join(PROFILE)
            .join("tiny_guest.wasm")
    }

    #[test]
    fn a_crate_of_its_own_is_built_with_our_settings() {
        let folder = package(LIB);
        let artifact = artifact(folder.path());
        assert!(build(folder.path(), &artifact, &mut |_| {}).unwrap());
        assert!(std::fs::read(&artifact).unwrap().starts_with(b"\0asm"));
        assert!(
            !build(folder.path(), &artifact, &mut |_| {}).unwrap(),
            "nothing changed"
        );
    }

    #[test]
    fn what_does_not_compile_is_an_error() {
        let folder = package("fn broken( {}");
        let error = build(folder.path(), &artifact(folder.path()), &mut |_| {}).unwrap_err();
        assert!(matches!(error, BuildError::Failed(_)), "{error}");
    }

    #[test]
    fn a_folder_without_a_manifest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = build(folder.path(), &artifact(folder.path()), &mut |_| {}).unwrap_err();
        assert!(matches!(error, BuildError::NoManifest(_)), "{error}");
    }

    #[test]
    fn a_profile_of_the_workspace_is_found() {
        let folder = package(LIB);
        assert!(!defines_profile(folder.path()));
        let manifest = folder.path().join(MANIFEST);
        let text = std::fs::read_to_string(&manifest).unwrap();
        std::fs::write(
            &manifest,
            text + "[profile.guest] # ours\ninherits = \"release\"\n",
        )
        .unwrap();
        assert!(defines_profile(&folder.path().join("src")));
    }
}
