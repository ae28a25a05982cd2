//! Sends every record to three outputs, unchanged.

use strait_sdk::prelude::*;

/// The transform.
struct FanOut;

impl Transform for FanOut {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        out.emit(record)?;
        out.to("second").emit(record)?;
        out.to("third").emit(record)
    }
}

strait_sdk::export!(FanOut);
