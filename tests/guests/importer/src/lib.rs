//! A guest that imports what no host gives it: `wall_clock` of the module `env`. Loading it
//! fails, with a message that names the import.
#![cfg_attr(
    target_arch = "wasm32",
    allow(unsafe_code, reason = "an import is declared by hand")
)]

use strait_sdk::prelude::*;

#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "env")]
unsafe extern "C" {
    safe fn wall_clock() -> i64;
}

#[cfg(not(target_arch = "wasm32"))]
fn wall_clock() -> i64 {
    0
}

/// The transform.
pub struct Importer;

impl Transform for Importer {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.emit(record.with_timestamp(wall_clock()))
    }
}

strait_sdk::export!(Importer);
