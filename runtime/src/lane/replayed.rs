//! The headers of a record that was put back into its input: where it stood when it failed
//! first, and how often it was put back.
//!
//! ```text
//! strait-replayed   as strait-source writes it, part 1 of 1
//! strait-replays    a number
//! ```
//!
//! Whoever may write to an input may claim a coordinate with such a header. So only one that
//! names this cluster and this pipeline counts: another pipeline that reads the same input has
//! passed the record when it came first, and a repeat is what it is there.

use strait_sdk::batch::Record;

use super::provenance::Source;

/// Tells the coordinate at which the record stood when it failed first.
pub const REPLAYED: &str = "strait-replayed";

/// Tells how often it was put back.
pub const REPLAYS: &str = "strait-replays";

/// Where a record of this pipeline stood first. The last header counts, as everywhere.
pub fn first_coordinate<'r, R: Record + ?Sized>(
    record: &'r R,
    cluster_id: &str,
    pipeline: &str,
) -> Option<Source<'r>> {
    let (_, value) = last(record, REPLAYED)?;
    let source = Source::parse(value?).ok()?;
    (source.cluster_id == cluster_id && source.pipeline == pipeline).then_some(source)
}

/// How often it says that it was put back.
pub fn replays<R: Record + ?Sized>(record: &R) -> u32 {
    let text = last(record, REPLAYS).and_then(|(_, value)| std::str::from_utf8(value?).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether a header of that name is one of these.
pub fn is_ours(name: &[u8]) -> bool {
    name == REPLAYED.as_bytes() || name == REPLAYS.as_bytes()
}

fn last<'r, R: Record + ?Sized>(record: &'r R, name: &str) -> Option<(&'r [u8], Option<&'r [u8]>)> {
    let headers = (0..record.header_count()).rev();
    headers
        .filter_map(|index| record.header(index))
        .find(|(found, _)| *found == name.as_bytes())
}
