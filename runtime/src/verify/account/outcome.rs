//! What became of the inputs, and what was read and does not count.

use serde::Serialize;

use crate::verify::source::Foreign;

/// What became of the inputs in scope that nothing speaks against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// All records of the input in scope that could be read.
    pub inputs: u64,
    /// Those that are proven.
    pub exactly_once: u64,
    /// Proven ones with outputs, and how many these are.
    pub emitted: u64,
    pub outputs: u64,
    pub filtered: u64,
    pub dead_letters: u64,
    pub skipped: u64,
    /// Dropped by `dedup`.
    pub repeated: u64,
    /// Offsets that could not be proven and were taken for filtered, as asked.
    pub assumed: u64,
    /// Outputs of inputs that are gone: known by their coordinates alone.
    pub by_coordinate: u64,
}

/// Records of the outputs that the proof is not about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Outputs of inputs outside the range that was asked for.
    pub outside_range: u64,
    /// Outputs of inputs that were committed while the proof was under way.
    pub committed_since: u64,
    /// Without the header that tells the source.
    pub untraced: u64,
    /// With one that this version cannot read.
    pub unreadable: u64,
    pub other_cluster: u64,
    pub other_pipeline: u64,
    /// Of topics that are not the input: others, or deleted and made again.
    pub other_topic: u64,
}

impl Ignored {
    pub(super) const fn count(&mut self, foreign: Foreign) {
        let count = match foreign {
            Foreign::Untraced => &mut self.untraced,
            Foreign::Unreadable => &mut self.unreadable,
            Foreign::OtherCluster => &mut self.other_cluster,
            Foreign::OtherPipeline => &mut self.other_pipeline,
            Foreign::OtherTopic => &mut self.other_topic,
        };
        *count += 1;
    }
}
