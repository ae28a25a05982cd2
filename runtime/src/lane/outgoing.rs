//! From what a stage emits to what is produced: topic, partition, timestamp, headers, size.

use std::sync::Arc;

use strait_sdk::batch::Record;

use crate::kafka::{Header, TopicPartition, wire_bytes};
use crate::lane::dead_letter::DeadLetter;
use crate::lane::provenance::{HEADER, Source};
use crate::plan::{Output, PartitionBy, Pipeline, Provenance, TimestampFrom};
use crate::stage::{Emission, Failure, FailureKind, Refusal};

/// Left free below the least `max.message.bytes`: overheads that the quick check does not count.
const ROOM_FOR_HEADERS_BYTES: usize = 16 * 1024;

/// The header `strait-source`, generously.
const STAMP_BYTES: usize = 1024;

/// What an output topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Its `max.message.bytes`.
    pub message_bytes_max: usize,
    pub partitions: i32,
}

impl Capacity {
    pub fn new(message_bytes_max: usize, partitions: i32) -> Self {
        Self {
            message_bytes_max,
            partitions,
        }
    }
}

/// Checks emissions against their topics before anything is produced.
pub struct Screen<'a> {
    plan: &'a Pipeline,
    capacities: &'a [Capacity],
    input: &'a TopicPartition,
}

impl<'a> Screen<'a> {
    /// `capacities` in the order of [`Pipeline::produced_topics`].
    pub fn new(plan: &'a Pipeline, capacities: &'a [Capacity], input: &'a TopicPartition) -> Self {
        Self {
            plan,
            capacities,
            input,
        }
    }

    /// Emissions of at most this size need no check: every topic takes them. 0 where the
    /// transform must name partitions, so that each is looked at.
    pub fn bytes_max(&self) -> usize {
        if self
            .plan
            .outputs
            .iter()
            .any(|output| output.partition == PartitionBy::Explicit)
        {
            return 0;
        }
        let least = self
            .capacities
            .iter()
            .map(|capacity| capacity.message_bytes_max)
            .min();
        least.unwrap_or(usize::MAX).saturating_sub(ROOM_FOR_HEADERS_BYTES)
    }

    /// Whether the topic can take it.
    pub fn check(&self, emission: &Emission<'_>) -> Result<(), Refusal> {
        let index = emission.output.0;
        let (Some(output), Some(capacity)) = (self.plan.outputs.get(index), self.capacities.get(index))
        else {
            return Ok(());
        };
        let stamp = if self.plan.provenance == Provenance::Headers {
            STAMP_BYTES
        } else {
            0
        };
        let size = wire_bytes(emission.key, emission.value, emission.headers) + stamp;
        if size > capacity.message_bytes_max {
            let limit = capacity.message_bytes_max;
            let reason = format!(
                "{size} bytes for {}, whose max.message.bytes is {limit}",
                output.topic
            );
            return Err(Refusal {
                kind: FailureKind::TooLarge,
                reason,
            });
        }
        let partition = partition_of(output, emission, self.input.partition);
        match partition {
            None if output.partition == PartitionBy::Explicit => {
                let reason = format!(
                    "output {} is `partition: explicit`, and no partition is named",
                    output.name
                );
                Err(Refusal {
                    kind: FailureKind::Output,
                    reason,
                })
            }
            Some(number) if number < 0 || number >= capacity.partitions => {
                let reason = format!("{} has no partition {number}", output.topic);
                Err(Refusal {
                    kind: FailureKind::Output,
                    reason,
                })
            }
            _ => Ok(()),
        }
    }
}

/// A partition that the transform names wins; else the output's policy. `None`: by the key.
pub fn partition_of(output: &Output, emission: &Emission<'_>, input_partition: i32) -> Option<i32> {
    emission.partition.or(match output.partition {
        PartitionBy::Input => Some(input_partition),
        PartitionBy::Key | PartitionBy::Explicit => None,
    })
}

/// `None`: now.
pub fn timestamp_of<R: Record>(output: &Output, emission: &Emission<'_>, record: &R) -> Option<i64> {
    let inherited = match output.timestamp {
        TimestampFrom::Input => Some(record.timestamp_ms()).filter(|timestamp| *timestamp >= 0),
        TimestampFrom::Now => None,
    };
    emission.timestamp_ms.or(inherited)
}

/// Writes the header `strait-source`, if the pipeline wants it.
pub struct Stamp<'a> {
    source: Source<'a>,
    text: String,
}

impl<'a> Stamp<'a> {
    /// `None` if the pipeline does not want provenance.
    pub fn new(plan: &'a Pipeline, cluster_id: &'a str, topic_id: &'a str, partition: i32) -> Option<Self> {
        if plan.provenance == Provenance::None {
            return None;
        }
        let source = Source {
            cluster_id: cluster_id.into(),
            topic_id: topic_id.into(),
            partition,
            offset: 0,
            part: 1,
            parts: 1,
            pipeline: plan.name.as_str().into(),
        };
        Some(Self {
            source,
            text: String::new(),
        })
    }

    /// The header's value for this emission.
    pub fn of(&mut self, emission: &Emission<'_>, offset: i64) -> &[u8] {
        self.source.offset = offset;
        self.source.part = emission.part;
        self.source.parts = emission.parts;
        self.text.clear();
        self.source.write(&mut self.text);
        self.text.as_bytes()
    }
}

/// The emission's headers, and one more where the pipeline adds it.
pub enum Headers<'a> {
    Own(&'a [Header<'a>]),
    Stamped(Vec<Header<'a>>),
}

impl<'a> Headers<'a> {
    pub fn new(own: &'a [Header<'a>], stamp: Option<&'a [u8]>) -> Self {
        match stamp {
            None => Self::Own(own),
            Some(stamp) => {
                let inherited = own.iter().copied().filter(|(name, _)| *name != HEADER.as_bytes());
                Self::Stamped(inherited.chain([(HEADER.as_bytes(), Some(stamp))]).collect())
            }
        }
    }

    pub fn as_slice(&self) -> &[Header<'a>] {
        match self {
            Self::Own(own) => own,
            Self::Stamped(stamped) => stamped,
        }
    }
}

/// A failed record, as its dead letter tells of it.
pub fn letter<'a, R: Record>(
    plan: &'a Pipeline,
    lane: usize,
    input: &'a TopicPartition,
    topic_id: &'a Arc<str>,
    record: &R,
    failure: &'a Failure,
) -> DeadLetter<'a> {
    DeadLetter {
        kind: failure.kind,
        reason: &failure.reason,
        stage: &failure.stage,
        module_sha256: &failure.module_sha256,
        attempts: failure.attempts,
        topic: &input.topic,
        topic_id,
        partition: input.partition,
        offset: record.offset(),
        timestamp_ms: record.timestamp_ms(),
        pipeline: plan.name.as_str(),
        lane,
    }
}
