//! What a record claims: its message id, for the coordinate by which it is known.

use std::sync::Arc;
use std::time::Instant;

use strait_sdk::batch::Record;

use super::claim::{Claim, Coordinate};
use super::message_id::IdReader;
use crate::fault::{self, Sabotage};
use crate::lane::replayed::first_coordinate;
use crate::plan::{self, PipelineName};

/// Reads what the records of one pipeline claim.
#[derive(Debug)]
pub struct Claimant {
    ids: IdReader,
    cluster_id: Arc<str>,
    pipeline: PipelineName,
    /// Claims do not belong to a partition.
    any_partition: bool,
}

impl Claimant {
    pub fn new(plan: &plan::Dedup, pipeline: &PipelineName, cluster_id: &str) -> Self {
        let scope = match &plan.scope {
            Some(shared) => vec!["scope", shared],
            None => vec!["pipeline", cluster_id, pipeline.as_str(), &plan.id_definition],
        };
        Self {
            ids: IdReader::new(plan.id.clone(), &scope),
            cluster_id: cluster_id.into(),
            pipeline: pipeline.clone(),
            any_partition: !plan.store.is_by_partition(),
        }
    }

    /// `None`: it has no id.
    pub fn claim_of<R: Record>(&self, partition: i32, topic_id: &Arc<str>, record: &R) -> Option<Claim> {
        Some(Claim {
            id: self.ids.id_of(record)?,
            coordinate: self.coordinate(partition, topic_id, record),
        })
    }

    /// By what a record is known: where it stands, or if it was replayed, where it stood first.
    ///
    /// That must be before it, in the same topic, and where claims belong to a partition in the
    /// same one.
    fn coordinate<R: Record>(&self, partition: i32, topic_id: &Arc<str>, record: &R) -> Coordinate {
        let first = first_coordinate(record, &self.cluster_id, self.pipeline.as_str()).filter(|first| {
            let is_before = first.partition == partition && (0..record.offset()).contains(&first.offset);
            let is_elsewhere = first.partition != partition && self.any_partition && first.offset >= 0;
            *first.topic_id == **topic_id && (is_before || is_elsewhere)
        });
        Coordinate {
            topic_id: known_by(topic_id),
            partition: first.as_ref().map_or(partition, |first| first.partition),
            offset: first.map_or_else(|| record.offset(), |first| first.offset),
        }
    }
}

/// Its coordinate is how a record that is read again finds its own claim.
fn known_by(topic_id: &Arc<str>) -> Arc<str> {
    if fault::has(Sabotage::SeenOnce) {
        return format!("{:?}", Instant::now()).into();
    }
    Arc::clone(topic_id)
}
