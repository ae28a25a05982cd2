//! Claims that others have written, brought back.

use std::sync::Arc;

use super::table::Table;
use crate::kafka::changelog::ChangelogReader;
use crate::kafka::{KafkaError, TopicPartition};
use crate::plan::PipelineName;
use crate::restore::{ReadError, Reads};

/// Reads claims of one pipeline.
#[derive(Debug)]
pub struct ClaimReads {
    pub pipeline: PipelineName,
    pub window_ms: i64,
}

/// What was written for a partition before this time of its records is needed no more.
#[derive(Debug, Clone, Copy)]
pub struct Trim {
    pub before_ms: i64,
}

impl Reads for ClaimReads {
    type Whole = Table;
    type Errand = Trim;

    const NAME: &'static str = "claims-restore";

    fn read(
        &mut self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        topic_id: &Arc<str>,
        goes_on: &mut dyn FnMut(f64) -> Result<(), ReadError>,
    ) -> Result<Table, ReadError> {
        let changelog = self.changelog_of(partition);
        let mut table = Table::new(self.window_ms);
        let bounds = reader.bounds(&changelog).map_err(ReadError::from);
        let read = bounds.and_then(|bounds| {
            reader.read(&changelog, bounds, goes_on, &mut |written| {
                if written.key != topic_id.as_bytes() {
                    return Ok(());
                }
                table
                    .restore(written.value.unwrap_or_default())
                    .map_err(|error| ReadError::Final(format!("{changelog}: {error}")))
            })
        });
        match read {
            Ok(()) => {
                tracing::info!(%partition, claims = table.len(), "message ids restored");
                Ok(table)
            }
            Err(ReadError::Kafka(error)) => {
                Err(has_grown(reader, partition, &changelog).map_or(error.into(), ReadError::Final))
            }
            Err(other) => Err(other),
        }
    }

    fn run(
        &mut self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        Trim { before_ms }: Trim,
    ) -> Result<Option<Table>, KafkaError> {
        reader.trim(&self.changelog_of(partition), before_ms)?;
        Ok(None)
    }
}

impl ClaimReads {
    fn changelog_of(&self, partition: &TopicPartition) -> TopicPartition {
        TopicPartition {
            topic: self.pipeline.claims_topic(&partition.topic).into(),
            partition: partition.partition,
        }
    }
}

/// Whether the input has more partitions than the changelog, and what to do about it.
fn has_grown(
    reader: &ChangelogReader,
    partition: &TopicPartition,
    changelog: &TopicPartition,
) -> Option<String> {
    let missing = reader.has_no_place_for(partition, changelog)?;
    Some(format!(
        "{missing}: the input has grown, so an id may now arrive in another partition than before and its repeats \
         would pass. To accept that for one window, give the changelog as many partitions (kafka-topics --alter)"
    ))
}
