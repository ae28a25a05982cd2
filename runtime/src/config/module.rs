//! Which file a stage's `module` means.
//!
//! Of a crate, the file that building it will make: it need not exist yet.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::finding::Code;
use crate::plan::ModuleSource;

/// Cargo profile that modules are built with, and so the folder that they land in.
pub const GUEST_PROFILE: &str = "guest";
/// Target that modules are built for.
pub const GUEST_TARGET: &str = "wasm32-unknown-unknown";

const MANIFEST: &str = "Cargo.toml";
const MODULE_BYTES_MAX: u64 = 1 << 30;

/// Why a module cannot be what was written.
pub struct Problem {
    pub code: Code,
    pub what: String,
    pub remedy: String,
}

impl Problem {
    fn missing(what: String, remedy: &str) -> Self {
        Self {
            code: Code::ModuleMissing,
            what,
            remedy: remedy.to_owned(),
        }
    }
}

/// `module` is relative to `folder`, where the pipeline file is.
pub fn resolve(
    module: &str,
    folder: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<ModuleSource, Problem> {
    let path = folder.join(module);
    let shown = path.display();
    if path.is_dir() {
        let remedy = "name a crate's folder, or a .wasm file";
        let manifest = std::fs::read_to_string(path.join(MANIFEST)).map_err(|error| {
            Problem::missing(
                format!("the folder {shown} has no readable {MANIFEST}: {error}"),
                remedy,
            )
        })?;
        let Some(name) = library(&manifest) else {
            return Err(Problem::missing(
                format!("{shown}/{MANIFEST} names no package"),
                remedy,
            ));
        };
        let target = target_folder(&path, environment);
        let artifact = target
            .join(GUEST_TARGET)
            .join(GUEST_PROFILE)
            .join(format!("{name}.wasm"));
        return Ok(ModuleSource::Crate {
            folder: path,
            artifact,
        });
    }
    if !path.exists() {
        let remedy = if path.extension() == Some(OsStr::new("wasm")) {
            "build it, or correct the path, which is relative to the pipeline file"
        } else {
            "name a .wasm file or a crate's folder, relative to the pipeline file"
        };
        return Err(Problem::missing(
            format!("the module {shown} does not exist"),
            remedy,
        ));
    }
    if !begins_as_wasm(&path) {
        let (what, remedy) = (
            format!("{shown} is no WebAssembly module"),
            "name a compiled .wasm file, or a crate's folder",
        );
        return Err(Problem {
            code: Code::ModuleRefused,
            what,
            remedy: remedy.to_owned(),
        });
    }
    Ok(ModuleSource::File(path))
}

/// Whether a file has the digest that pins it.
pub fn pinned(path: &Path, sha256: &str) -> Result<(), Problem> {
    let digest = std::fs::read(path).map(|bytes| format!("{:x}", Sha256::digest(bytes)));
    match digest {
        Ok(digest) if digest.eq_ignore_ascii_case(sha256) => Ok(()),
        Ok(digest) => Err(Problem {
            code: Code::ModuleRefused,
            what: format!("{} has another SHA-256", path.display()),
            remedy: format!("write {digest} if this file is the one that you mean"),
        }),
        Err(error) => Err(Problem::missing(
            format!("{} cannot be read: {error}", path.display()),
            "make it readable",
        )),
    }
}

fn begins_as_wasm(path: &Path) -> bool {
    let mut magic = [0; 4];
    let fits = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= MODULE_BYTES_MAX);
    fits && File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == *b"\0asm"
}

/// The name of the file that cargo makes of a library: `[lib] name`, else the package's.
fn library(manifest: &str) -> Option<String> {
    let name = |wanted: &str| {
        let mut section = "";
        manifest.lines().map(str::trim).find_map(|line| {
            if let Some(header) = line.strip_prefix('[') {
                section = header.split(']').next().unwrap_or_default().trim();
                return None;
            }
            let (key, value) = line.split_once('=')?;
            let named = section == wanted && key.trim() == "name";
            let value = value.split('#').next().unwrap_or_default().trim();
            named.then(|| value.trim_matches(['"', '\'']).replace('-', "_"))
        })
    };
    name("lib")
        .or_else(|| name("package"))
        .filter(|name| !name.is_empty())
}

/// Where cargo puts what it builds of the crate in `folder`.
pub fn target_folder(folder: &Path, environment: &BTreeMap<String, String>) -> PathBuf {
    if let Some(told) = environment
        .get("CARGO_TARGET_DIR")
        .filter(|told| !told.is_empty())
    {
        return std::path::absolute(told).unwrap_or_else(|_| told.into());
    }
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let is_root = |folder: &&Path| {
        let manifest = std::fs::read_to_string(folder.join(MANIFEST)).unwrap_or_default();
        manifest.lines().any(|line| line.trim() == "[workspace]")
    };
    folder.ancestors().find(is_root).unwrap_or(&folder).join("target")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_named_as_cargo_names_it() {
        assert_eq!(
            library("[package]\nname = \"my-orders\" # x\n").as_deref(),
            Some("my_orders")
        );
        assert_eq!(
            library("[package]\nname='a'\n[lib]\nname = \"b\"\n").as_deref(),
            Some("b")
        );
        assert_eq!(library("[workspace]\nname = \"a\"\n"), None);
    }

    #[test]
    fn a_crate_in_a_workspace_builds_into_the_target_of_the_workspace() {
        let root = tempfile::tempdir().unwrap();
        let member = root.path().join("examples/orders");
        std::fs::create_dir_all(&member).unwrap();
        std::fs::write(root.path().join(MANIFEST), "[workspace]\nmembers = []\n").unwrap();
        std::fs::write(member.join(MANIFEST), "[package]\nname = \"orders\"\n").unwrap();
        let none = BTreeMap::new();
        let Ok(ModuleSource::Crate { artifact, .. }) = resolve("examples/orders", root.path(), &none) else {
            panic!("a crate");
        };
        let expected = std::fs::canonicalize(root.path())
            .unwrap()
            .join("target/wasm32-unknown-unknown/guest/orders.wasm");
        assert_eq!(artifact, expected);
        let told = BTreeMap::from([("CARGO_TARGET_DIR".to_owned(), "/elsewhere".to_owned())]);
        assert_eq!(target_folder(&member, &told), Path::new("/elsewhere"));
    }
}
