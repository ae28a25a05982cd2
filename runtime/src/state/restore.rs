//! Brings the local copy of a partition's state up to its changelogs.
//!
//! It is read on from where the copy stands; or from the beginning, if there is none, or if it is
//! too old, or of a topic that is not there any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::local::{Batch, Folder, LocalError, Position, Ticket, Tree};
use super::owned::Whole;
use super::record::{self, Change, Entry, Mark};
use crate::kafka::changelog::{ChangelogReader, Written};
use crate::kafka::{Bounds, KafkaError, TopicPartition};
use crate::plan::PipelineName;
use crate::restore::{ReadError, Reads};

/// A tombstone is kept for a day after compaction has found it (`delete.retention.ms`). A copy that
/// stood still for longer than this may have missed one, and would keep what was deleted.
const AGE_MAX: Duration = Duration::from_hours(12);

/// What is stored at once.
const BATCH_BYTES: usize = 1 << 20;

/// Reads the state of one pipeline.
#[derive(Debug)]
pub struct StateReads {
    pub pipeline: PipelineName,
    /// Names of the stores, in their order.
    pub stores: Vec<String>,
    pub folder: Folder,
    pub tickets: Tickets,
}

/// Under which assignment each partition is read. Given when a restore is asked for, and not when it is
/// got round to: meanwhile the partition may be somebody else's.
pub type Tickets = Arc<Mutex<HashMap<TopicPartition, Ticket>>>;

/// What comes from the thread.
#[derive(Debug)]
pub enum Back {
    Whole(Whole),
    /// How far the changelogs reach, in the order of the stores.
    Reached(Vec<Position>),
}

/// Asks how far the changelogs reach.
#[derive(Debug, Clone, Copy)]
pub struct Measure;

impl Reads for StateReads {
    type Whole = Back;
    type Errand = Measure;

    const NAME: &'static str = "state-restore";

    fn read(
        &mut self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        topic_id: &Arc<str>,
        goes_on: &mut dyn FnMut(f64) -> Result<(), ReadError>,
    ) -> Result<Back, ReadError> {
        let read = self.read_stores(reader, partition, topic_id, goes_on);
        if matches!(read, Err(ReadError::Damaged(_))) {
            self.folder.condemn();
        }
        read.map(Back::Whole)
    }

    fn run(
        &mut self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        Measure: Measure,
    ) -> Result<Option<Back>, KafkaError> {
        let mut positions = Vec::new();
        for store in &self.stores {
            let changelog = self.changelog_of(store, partition);
            positions.push(Position {
                changelog_id: reader.describe(&changelog.topic)?.id.unwrap_or_default(),
                offset: reader.bounds(&changelog)?.end,
                at_ms: now_ms(),
            });
        }
        Ok(Some(Back::Reached(positions)))
    }
}

impl StateReads {
    fn read_stores(
        &self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        topic_id: &Arc<str>,
        goes_on: &mut dyn FnMut(f64) -> Result<(), ReadError>,
    ) -> Result<Whole, ReadError> {
        let Some(ticket) = self.ticket(partition) else {
            return Err(LocalError::NotOwner.into());
        };
        let mut whole = Whole {
            trees: Vec::new(),
            changelog_ids: Vec::new(),
            mark: None,
        };
        for (place, store) in self.stores.iter().enumerate() {
            let mut goes_on = |ratio| goes_on(overall(place, ratio, self.stores.len()));
            let (tree, id) = self.read_store(reader, partition, store, ticket, &mut goes_on)?;
            let mark = tree.mark()?;
            if let Some(mark) = &mark {
                belongs(mark, topic_id, partition, store).map_err(ReadError::Final)?;
                self.is_of_its_changelog(reader, mark, &id, partition, store)?;
            }
            let later = mark.filter(|mark| whole.mark.as_ref().is_none_or(|known| known.next < mark.next));
            whole.mark = later.or(whole.mark);
            whole.trees.push(tree);
            whole.changelog_ids.push(id);
        }
        Ok(whole)
    }

    /// Whether what was read is all that there was: a changelog that was made again holds what has changed
    /// since.
    fn is_of_its_changelog(
        &self,
        reader: &mut ChangelogReader,
        mark: &Mark,
        id: &str,
        partition: &TopicPartition,
        store: &str,
    ) -> Result<(), ReadError> {
        if *mark.changelog_id == *id {
            return Ok(());
        }
        // A node may not have heard of the new one yet.
        let changelog = self.changelog_of(store, partition);
        let again = reader.describe(&changelog.topic)?.id.unwrap_or_default();
        if again == id {
            return Err(ReadError::Final(made_again(partition)));
        }
        let message = format!("nodes disagree on the id of {}: {id} or {again}", changelog.topic);
        Err(KafkaError::own("TOPIC_UNCONFIRMED", &message, true).into())
    }

    fn changelog_of(&self, store: &str, partition: &TopicPartition) -> TopicPartition {
        TopicPartition {
            topic: self.pipeline.state_topic(store, &partition.topic).into(),
            partition: partition.partition,
        }
    }

    fn read_store(
        &self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        store: &str,
        ticket: Ticket,
        goes_on: &mut dyn FnMut(f64) -> Result<(), ReadError>,
    ) -> Result<(Tree, String), ReadError> {
        let changelog = self.changelog_of(store, partition);
        let tree = self.folder.tree(store, partition, ticket)?;
        let id = reader.describe(&changelog.topic)?.id.unwrap_or_default();
        let bounds = reader
            .bounds(&changelog)
            .map_err(|error| grown(reader, partition, &changelog).map_or(error.into(), ReadError::Final))?;
        let position = tree.position()?;
        let mut stretch = bounds;
        if let Some(position) = position.filter(|position| is_of_use(position, &id, bounds)) {
            stretch.start = position.offset;
        } else {
            tree.clear()?;
        }
        let began = Instant::now();
        let mut filling = Filling::new(&tree, &id);
        reader.read(&changelog, stretch, goes_on, &mut |written| {
            filling.take(&changelog, &written)
        })?;
        let bytes = filling.finish(bounds.end)?;
        report(partition, store, stretch, bytes, began.elapsed());
        Ok((tree, id))
    }

    fn ticket(&self, partition: &TopicPartition) -> Option<Ticket> {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.get(partition).copied()
    }
}

/// Whether a copy can be read on from there.
fn is_of_use(position: &Position, changelog_id: &str, bounds: Bounds) -> bool {
    let age_ms = now_ms().saturating_sub(position.at_ms);
    let is_fresh = u128::try_from(age_ms).is_ok_and(|age_ms| age_ms < AGE_MAX.as_millis());
    is_fresh
        && position.changelog_id == changelog_id
        && (bounds.start..=bounds.end).contains(&position.offset)
}

/// Refuses the state of a topic that was deleted and made again.
fn belongs(mark: &Mark, topic_id: &str, partition: &TopicPartition, store: &str) -> Result<(), String> {
    if *mark.topic_id == *topic_id {
        return Ok(());
    }
    Err(format!(
        "the store {store} holds the state of another topic with the name {}: it was deleted and made again. Delete \
         the changelogs of this pipeline to begin without state, or run it under another name",
        partition.topic
    ))
}

/// Why the state of a partition is not whole any more.
pub fn made_again(id: &TopicPartition) -> String {
    format!(
        "the changelog of {id} was deleted and made again: it holds only what has changed since. Stop all processes of \
         this pipeline, and say where it shall count from: strait offsets reset --state clear"
    )
}

fn grown(reader: &ChangelogReader, partition: &TopicPartition, changelog: &TopicPartition) -> Option<String> {
    let missing = reader.has_no_place_for(partition, changelog)?;
    Some(format!(
        "{missing}: the input has grown, so a key may now arrive in another partition than the one that holds its \
         state. Run the pipeline under another name to count from the beginning; or, to go on with what there is, \
         give the changelog as many partitions (kafka-topics --alter)"
    ))
}

/// Stores what is read, a batch at a time.
struct Filling<'a> {
    tree: &'a Tree,
    changelog_id: &'a str,
    changes: Vec<(Vec<u8>, Option<Entry>)>,
    mark: Option<Mark>,
    /// Behind the last record.
    next: i64,
    pending_bytes: usize,
    bytes: usize,
}

impl<'a> Filling<'a> {
    fn new(tree: &'a Tree, changelog_id: &'a str) -> Self {
        Self {
            tree,
            changelog_id,
            changes: Vec::new(),
            mark: None,
            next: 0,
            pending_bytes: 0,
            bytes: 0,
        }
    }

    fn take(&mut self, changelog: &TopicPartition, written: &Written<'_>) -> Result<(), ReadError> {
        let change = record::read(written.key, written.value)
            .map_err(|error| ReadError::Final(format!("{changelog}: {error}")))?;
        match change {
            Change::Put(key, entry) => self.changes.push((key.to_vec(), Some(entry))),
            Change::Delete(key) => self.changes.push((key.to_vec(), None)),
            Change::Mark(mark) => self.mark = Some(mark),
        }
        let bytes = written.key.len() + written.value.map_or(0, <[u8]>::len);
        self.next = written.offset + 1;
        self.bytes += bytes;
        self.pending_bytes += bytes;
        if self.pending_bytes >= BATCH_BYTES {
            self.store(self.next)?;
        }
        Ok(())
    }

    /// Gives how many bytes were read.
    fn finish(mut self, end: i64) -> Result<usize, LocalError> {
        self.store(end)?;
        Ok(self.bytes)
    }

    fn store(&mut self, offset: i64) -> Result<(), LocalError> {
        let position = Position {
            changelog_id: self.changelog_id.to_owned(),
            offset,
            at_ms: now_ms(),
        };
        let changes = self.changes.iter();
        let batch = Batch {
            changes: changes
                .map(|(key, entry)| (key.as_slice(), entry.as_ref()))
                .collect(),
            mark: self.mark.as_ref(),
            position: Some(&position),
        };
        self.tree.apply(&batch)?;
        self.changes.clear();
        self.pending_bytes = 0;
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(partition: &TopicPartition, store: &str, stretch: Bounds, bytes: usize, took: Duration) {
    let megabytes = bytes as f64 / 1e6;
    let seconds = took.as_secs_f64();
    tracing::info!(
        %partition,
        store,
        from = stretch.start,
        to = stretch.end,
        megabytes = format!("{megabytes:.1}"),
        seconds = format!("{seconds:.2}"),
        megabytes_per_second = format!("{:.1}", megabytes / seconds.max(1e-3)),
        "state restored"
    );
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn overall(place: usize, ratio: f64, stores: usize) -> f64 {
    (place as f64 + ratio) / stores.max(1) as f64
}

/// A folder that fails stops the pipeline; where the partition went elsewhere, nobody waits any more.
impl From<LocalError> for ReadError {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Failed(_) => Self::Damaged(error.to_string()),
            LocalError::NotOwner => Self::NotWanted,
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_on_from_if_it_is_of_this_changelog_and_of_a_believable_age() {
        let bounds = Bounds { start: 10, end: 20 };
        let is_of_use = |changelog_id: &str, offset, age: i64| {
            let position = Position {
                changelog_id: changelog_id.to_owned(),
                offset,
                at_ms: now_ms() - age * 3_600_000,
            };
            is_of_use(&position, "id", bounds)
        };
        assert!(is_of_use("id", 10, 0) && is_of_use("id", 20, 11));
        assert!(!is_of_use("id", 15, 13), "a tombstone may be gone");
        assert!(
            !is_of_use("id", 15, -1),
            "the clock was set back: nobody knows how old it is"
        );
        assert!(!is_of_use("another", 15, 0));
        assert!(!is_of_use("id", 9, 0) && !is_of_use("id", 21, 0));
    }
}
