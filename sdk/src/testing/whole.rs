//! A transform's own loop over a batch, for the tests of this crate.

use crate::Batch;
use crate::prelude::*;

/// Passes record after record. One that says `"Whole"` makes the call refuse all of a batch in the end,
/// unless it stands alone: then what was written before must be taken back.
pub(crate) fn refuse_whole(
    batch: &Batch<'_>,
    out: &mut Output<'_>,
    mut record: impl FnMut(&Record<'_>, &mut Output<'_>) -> Result<()>,
) -> Result<()> {
    let mut whole = false;
    for input in batch {
        out.attempt(&input, |out| record(&input, out))?;
        whole |= input
            .value()
            .is_some_and(|value| value.windows(7).any(|part| part == b"\"Whole\""));
    }
    if whole && batch.len() > 1 {
        return Err(Error::reject("the whole batch"));
    }
    Ok(())
}
