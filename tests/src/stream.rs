//! What flows through a pipeline under test, and what must become of each record.

use crate::produce::Message;
use crate::verifier::Row;

/// A kind of load: records, the guest that they pass through, and their fates.
#[derive(Clone, Copy)]
pub struct Stream {
    pub guest: &'static str,
    /// Record `number` of the stream, which goes to that partition.
    pub make: fn(i32, u64) -> Message,
    pub per_second: u32,
    /// All topics that are written: `out`, and any of `dlq` and names of further outputs.
    pub topics: &'static [&'static str],
    pub fate: fn(&Row) -> Vec<Due>,
}

/// One output that must come of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Part `part` of `parts`, as the header `strait-source` counts them.
    Output {
        topic: &'static str,
        part: u32,
        parts: u32,
    },
    /// In the dead letter topic.
    Letter,
}

impl Due {
    /// The only output of a record.
    pub const fn only(topic: &'static str) -> Self {
        Self::Output {
            topic,
            part: 1,
            parts: 1,
        }
    }
}
