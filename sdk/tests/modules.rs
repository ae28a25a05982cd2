//! Compiled transforms export and import what the contract says, no more and no less.
//!
//! The test compiles them, with the profile and the flags that the documents give.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef};

const GUESTS: [&str; 10] = [
    "orders",
    "identity",
    "filter-bytes",
    "router",
    "balance",
    "per-minute",
    "audit",
    "hostile",
    "malformed",
    "importer",
];

const FUNCTIONS: [&str; 7] = [
    "cabi_realloc",
    "strait:transform/guest@1.0.0#describe",
    "strait:transform/guest@1.0.0#configure",
    "strait:transform/guest@1.0.0#process",
    "cabi_post_strait:transform/guest@1.0.0#describe",
    "cabi_post_strait:transform/guest@1.0.0#configure",
    "cabi_post_strait:transform/guest@1.0.0#process",
];

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // A folder of its own: the one that cargo uses now may be locked.
    let target = root.join("target/guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--profile", "guest"]);
    cargo
        .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target);
    cargo.args(GUESTS.iter().flat_map(|guest| ["-p", guest]));
    cargo.env("RUSTFLAGS", "-C target-feature=+simd128");
    assert!(
        cargo.status().unwrap().success(),
        "see above; is the target installed?"
    );
    target.join("wasm32-unknown-unknown/guest")
}

/// Names of exports by kind, and imports as `module name`.
#[derive(Default)]
struct Interface {
    functions: BTreeSet<String>,
    memories: BTreeSet<String>,
    imports: BTreeSet<String>,
    /// How imports are called.
    signatures: BTreeMap<String, String>,
}

fn interface(module: &[u8]) -> Interface {
    let mut found = Interface::default();
    let mut types = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.unwrap();
                    let name = export.name.to_owned();
                    match export.kind {
                        ExternalKind::Func => drop(found.functions.insert(name)),
                        ExternalKind::Memory => drop(found.memories.insert(name)),
                        // `__data_end` and `__heap_base`, which the linker adds.
                        ExternalKind::Global => {}
                        other => panic!("{name} is a {other:?}"),
                    }
                }
            }
            Payload::TypeSection(section) => {
                types.extend(section.into_iter_err_on_gc_types().map(Result::unwrap));
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.unwrap();
                    let TypeRef::Func(called) = import.ty else {
                        panic!("{} is no function", import.name)
                    };
                    let called: &FuncType = &types[called as usize];
                    let called = format!("{:?} -> {:?}", called.params(), called.results());
                    found.signatures.insert(import.name.to_owned(), called);
                    found.imports.insert(format!("{} {}", import.module, import.name));
                }
            }
            _ => {}
        }
    }
    found
}

/// What the canonical ABI makes of the imports.
const SIGNATURES: [(&str, &str); 4] = [
    ("log", "[I32, I32, I32] -> []"),
    ("state-get", "[I32, I32, I32, I64, I32] -> []"),
    ("state-scan", "[I32, I32, I32, I32, I32, I64, I32] -> []"),
    ("wall_clock", "[] -> [I64]"),
];

#[test]
fn modules_export_and_import_the_contract_and_no_more() {
    let folder = build();
    let log = "strait:transform/host@1.0.0 log";
    let get = "strait:transform/host@1.0.0 state-get";
    let scan = "strait:transform/host@1.0.0 state-scan";
    for guest in GUESTS {
        let module = fs::read(folder.join(guest.replace('-', "_")).with_extension("wasm")).unwrap();
        let Interface {
            functions,
            memories,
            imports,
            signatures,
        } = interface(&module);
        assert_eq!(functions, BTreeSet::from(FUNCTIONS.map(str::to_owned)), "{guest}");
        assert_eq!(memories, BTreeSet::from(["memory".to_owned()]), "{guest}");
        for (name, called) in signatures {
            let expected = SIGNATURES.iter().find(|(expected, _)| *expected == name);
            assert_eq!(
                expected.map(|(_, called)| *called),
                Some(called.as_str()),
                "{guest}: {name}"
            );
        }
        let expected: &[&str] = match guest {
            "malformed" => &[],
            "importer" => &["env wall_clock", log],
            "balance" | "audit" => &[log, get],
            "per-minute" => &[log, get, scan],
            // Who keeps no state asks for none, so that any host can load it.
            _ => &[log],
        };
        assert_eq!(
            imports,
            expected.iter().map(|&name| name.to_owned()).collect(),
            "{guest}"
        );
    }
}
