//! Reading one partition of a changelog, and cutting off what nobody needs any more. Writing is
//! part of a lane's transaction and not done here.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use strait_sdk::batch::Record;

use super::admin::Admin;
use super::ends::LogEnds;
use super::ffi::admin::{Described, describe_topics};
use super::ffi::consume::ConsumerClient;
use super::ffi::error::of_code;
use super::reading::{Stretch, read_to_ends};
use super::settings::inquiry_conf;
use super::{Bounds, KafkaError, TopicPartition, codes};
use crate::plan::Cluster;

const ANSWER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Clients of a changelog's reader.
pub struct ChangelogReader {
    cluster: Cluster,
    client_id: String,
    ends: LogEnds,
    client: Rc<ConsumerClient>,
}

/// A record of a changelog.
pub struct Written<'a> {
    pub offset: i64,
    pub key: &'a [u8],
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
}

impl ChangelogReader {
    pub fn open(cluster: &Cluster, client_id: &str) -> Result<Self, KafkaError> {
        Ok(Self {
            ends: LogEnds::open(cluster, client_id)?,
            client: Rc::new(ConsumerClient::new(inquiry_conf(cluster, client_id, client_id)?)?),
            cluster: cluster.clone(),
            client_id: client_id.to_owned(),
        })
    }

    /// Where it begins and ends now. The end is the high watermark.
    pub fn bounds(&mut self, partition: &TopicPartition) -> Result<Bounds, KafkaError> {
        self.ends.bounds(partition, ANSWER)
    }

    /// Hands over the records within these bounds that are committed. `goes_on` is told how much of it is
    /// read, from 0 to 1. An error of either ends the reading.
    ///
    /// It reads up to the end and not just to the last stable offset: a transaction whose
    /// offsets are stable already may still wait for its marker here. One that was never decided is
    /// waited for, too; it ends with its timeout at the latest.
    pub fn read<E: From<KafkaError>>(
        &mut self,
        partition: &TopicPartition,
        bounds: Bounds,
        goes_on: &mut dyn FnMut(f64) -> Result<(), E>,
        take: &mut dyn FnMut(Written<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (number, length) = (partition.partition, (bounds.end - bounds.start).max(1));
        let mut asked = |positions: &BTreeMap<i32, i64>| {
            let position = positions.get(&number).copied().unwrap_or(bounds.end);
            goes_on(ratio(position - bounds.start, length))?;
            Ok(POLL)
        };
        let stretch = Stretch {
            partition: number,
            start: bounds.start,
            end: bounds.end,
        };
        read_to_ends(&self.client, &partition.topic, &[stretch], &mut asked, |record| {
            take(Written {
                offset: record.offset(),
                key: record.key().unwrap_or_default(),
                value: record.value(),
            })
        })
    }

    /// The id of a changelog, and how many partitions it has.
    pub fn describe(&self, topic: &str) -> Result<Described, KafkaError> {
        let described = describe_topics(self.client.client(), &[topic], ANSWER)?;
        let missing = || Err(of_code(codes::UNKNOWN_TOPIC_OR_PART, topic));
        described.into_iter().next().unwrap_or_else(missing)
    }

    /// Says so if the changelog has fewer partitions than this one of its input needs.
    pub fn has_no_place_for(&self, input: &TopicPartition, changelog: &TopicPartition) -> Option<String> {
        let partitions = self.describe(&changelog.topic).ok()?.partitions;
        (partitions <= changelog.partition).then(|| {
            format!(
                "{input} has no place in {}, which has {partitions} partitions",
                changelog.topic
            )
        })
    }

    /// Deletes the records before the first that is not older than this.
    pub fn trim(&mut self, partition: &TopicPartition, before_ms: i64) -> Result<(), KafkaError> {
        let first = self
            .ends
            .offsets_at(std::slice::from_ref(partition), before_ms, ANSWER)?;
        let Some(Some(offset)) = first.first() else {
            return Ok(());
        };
        let admin = Admin::open(&self.cluster, &self.client_id)?;
        admin.delete_before(partition, *offset, ANSWER)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(done: i64, length: i64) -> f64 {
    done as f64 / length as f64
}
