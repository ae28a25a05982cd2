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
    /// In its own partition that must be before it; and where claims belong to a partition it
    /// must be that one.
    fn coordinate<R: Record>(&self, partition: i32, topic_id: &Arc<str>, record: &R) -> Coordinate {
        let first = first_coordinate(record, &self.cluster_id, self.pipeline.as_str());
        let first = first.filter(|first| {
            let is_same_topic = *first.topic_id == **topic_id;
            if is_same_topic && first.partition == partition {
                return (0..record.offset()).contains(&first.offset);
            }
            self.any_partition && first.offset >= 0 && (is_same_topic || is_topic_id(&first.topic_id))
        });
        let Some(first) = first else {
            return Coordinate {
                topic_id: known_by(topic_id),
                partition,
                offset: record.offset(),
            };
        };
        Coordinate {
            topic_id: known_by(&Arc::from(&*first.topic_id)),
            partition: first.partition,
            offset: first.offset,
        }
    }
}

/// As Kafka writes them. Whoever may write to an input chooses what stands in a header, and stores
/// hold it.
fn is_topic_id(text: &str) -> bool {
    const LEN: usize = 22;
    text.len() == LEN
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Its coordinate is how a record that is read again finds its own claim.
fn known_by(topic_id: &Arc<str>) -> Arc<str> {
    if fault::has(Sabotage::SeenOnce) {
        return format!("{:?}", Instant::now()).into();
    }
    Arc::clone(topic_id)
}
