//! Claims that others have written, brought back on a thread of their own, partition after
//! partition, while the lane goes on with those that it has.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use super::table::Table;
use crate::kafka::changelog::ChangelogReader;
use crate::kafka::{KafkaError, TopicPartition};
use crate::plan::{Cluster, PipelineName};

/// An error that another try does not mend.
const UNREADABLE: &str = "UNREADABLE";

/// Distance of two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Where claims come back from.
pub trait Restores: fmt::Debug {
    /// Reads all that is committed now for this input partition of this topic id.
    fn begin(&mut self, partition: &TopicPartition, topic_id: &Arc<str>);

    /// What is whole now, each once.
    fn finished(&mut self) -> Vec<Restored>;

    /// Nobody waits for this partition any more.
    fn forget(&mut self, partition: &TopicPartition);

    /// What was written for this partition before this time of its records is needed no more.
    fn trim(&mut self, partition: &TopicPartition, before_ms: i64);
}

/// The claims of one partition. The error is not mended by another try.
#[derive(Debug)]
pub struct Restored {
    pub partition: TopicPartition,
    pub topic_id: Arc<str>,
    pub table: Result<Table, String>,
}

/// Told how much of a partition's claims is back, from 0 to 1; `None` when nobody waits any more.
pub type Progress = Arc<dyn Fn(&TopicPartition, Option<f64>) + Send + Sync>;

enum Job {
    Restore(Restore),
    Trim(TopicPartition, i64),
}

struct Restore {
    partition: TopicPartition,
    topic_id: Arc<str>,
    /// A partition that went and came back is read again: another owner may have written meanwhile.
    number: u64,
}

/// The job that is waited for, of each partition.
type Wanted = Arc<Mutex<HashMap<TopicPartition, u64>>>;

/// Reads changelogs for one lane.
pub struct Restorer {
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<(u64, Restored)>,
    wanted: Wanted,
    progress: Progress,
    jobs_begun: u64,
}

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restorer").finish_non_exhaustive()
    }
}

impl Restorer {
    pub fn start(
        cluster: Cluster,
        pipeline: PipelineName,
        window_ms: i64,
        progress: Progress,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let (outbox, done) = mpsc::channel();
        let wanted = Wanted::default();
        let (wanted_there, progress_there) = (Arc::clone(&wanted), Arc::clone(&progress));
        std::thread::Builder::new()
            .name("claims-restore".to_owned())
            .spawn(move || {
                let reading = Reading {
                    cluster,
                    pipeline,
                    window_ms,
                    wanted: wanted_there,
                    progress: progress_there,
                    reader: None,
                };
                reading.run(&inbox, &outbox);
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            wanted,
            progress,
            jobs_begun: 0,
        })
    }

    fn send(&self, job: Job) {
        // The thread ends with this end of the channel and not before.
        if let Some(jobs) = &self.jobs {
            jobs.send(job).ok();
        }
    }
}

impl Restores for Restorer {
    fn begin(&mut self, partition: &TopicPartition, topic_id: &Arc<str>) {
        self.jobs_begun += 1;
        lock(&self.wanted).insert(partition.clone(), self.jobs_begun);
        (self.progress)(partition, Some(0.0));
        self.send(Job::Restore(Restore {
            partition: partition.clone(),
            topic_id: Arc::clone(topic_id),
            number: self.jobs_begun,
        }));
    }

    fn finished(&mut self) -> Vec<Restored> {
        let wanted = lock(&self.wanted);
        let done = self.done.try_iter();
        let waited_for = done.filter(|(number, restored)| wanted.get(&restored.partition) == Some(number));
        waited_for.map(|(_, restored)| restored).collect()
    }

    fn forget(&mut self, partition: &TopicPartition) {
        if lock(&self.wanted).remove(partition).is_some() {
            (self.progress)(partition, None);
        }
    }

    fn trim(&mut self, partition: &TopicPartition, before_ms: i64) {
        self.send(Job::Trim(partition.clone(), before_ms));
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        self.jobs = None;
        let wanted: Vec<TopicPartition> = lock(&self.wanted)
            .drain()
            .map(|(partition, _)| partition)
            .collect();
        for partition in wanted {
            (self.progress)(&partition, None);
        }
    }
}

fn lock(wanted: &Wanted) -> MutexGuard<'_, HashMap<TopicPartition, u64>> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_wanted(wanted: &Wanted, job: &Restore) -> bool {
    lock(wanted).get(&job.partition) == Some(&job.number)
}

/// The thread.
struct Reading {
    cluster: Cluster,
    pipeline: PipelineName,
    window_ms: i64,
    wanted: Wanted,
    progress: Progress,
    /// While there is something to do: a client keeps connections and threads.
    reader: Option<ChangelogReader>,
}

impl Reading {
    fn run(mut self, inbox: &mpsc::Receiver<Job>, outbox: &mpsc::Sender<(u64, Restored)>) {
        while let Ok(first) = inbox.recv() {
            for job in std::iter::once(first).chain(inbox.try_iter()) {
                match job {
                    Job::Restore(job) => {
                        if let Some(table) = self.restore(&job) {
                            let restored = Restored {
                                partition: job.partition,
                                topic_id: job.topic_id,
                                table,
                            };
                            outbox.send((job.number, restored)).ok();
                        }
                    }
                    Job::Trim(partition, before_ms) => self.trim(&partition, before_ms),
                }
            }
            self.reader = None;
        }
    }

    /// Tries until it is done, or nobody wants it any more (`None`).
    fn restore(&mut self, job: &Restore) -> Option<Result<Table, String>> {
        let partition = &job.partition;
        while is_wanted(&self.wanted, job) {
            match self.read(job) {
                Ok(table) => {
                    (self.progress)(partition, Some(1.0));
                    tracing::info!(%partition, claims = table.len(), "message ids restored");
                    return Some(Ok(table));
                }
                Err(error) if error.name == UNREADABLE => return Some(Err(format!("{partition}: {error}"))),
                Err(_) if !is_wanted(&self.wanted, job) => return None,
                Err(error) => {
                    if let Some(grown) = self.has_grown(partition) {
                        return Some(Err(grown));
                    }
                    tracing::warn!(%partition, %error, "message ids cannot be read yet");
                    // It may have lost its way (see `LogEnds`).
                    self.reader = None;
                    std::thread::sleep(AGAIN);
                }
            }
        }
        None
    }

    fn read(&mut self, job: &Restore) -> Result<Table, KafkaError> {
        let changelog = self.changelog_of(&job.partition);
        let (wanted, progress) = (Arc::clone(&self.wanted), Arc::clone(&self.progress));
        let mut table = Table::new(self.window_ms);
        let mut goes_on = |ratio| {
            if !is_wanted(&wanted, job) {
                return Err(KafkaError::own(
                    "NOT_WANTED",
                    "the partition went elsewhere",
                    true,
                ));
            }
            progress(&job.partition, Some(ratio));
            Ok(())
        };
        self.reader()?.read(&changelog, &mut goes_on, &mut |written| {
            if written.key != job.topic_id.as_bytes() {
                return Ok(());
            }
            table
                .restore(written.value)
                .map_err(|error| KafkaError::own(UNREADABLE, &error.to_string(), false))
        })?;
        Ok(table)
    }

    /// Whether the input has more partitions than the changelog, and what to do about it.
    fn has_grown(&mut self, partition: &TopicPartition) -> Option<String> {
        let changelog = self.changelog_of(partition);
        let partitions = self.reader().ok()?.partitions(&changelog.topic).ok()?;
        (partitions <= partition.partition).then(|| {
            format!(
                "{partition} has no place in {}, which has {partitions} partitions: the input has grown, so an id may \
                 now arrive in another partition than before and its repeats would pass. To accept that for one \
                 window, give the changelog as many partitions (kafka-topics --alter)",
                changelog.topic
            )
        })
    }

    fn trim(&mut self, partition: &TopicPartition, before_ms: i64) {
        let changelog = self.changelog_of(partition);
        let trimmed = self
            .reader()
            .and_then(|reader| reader.trim(&changelog, before_ms));
        if let Err(error) = trimmed {
            tracing::warn!(partition = %changelog, %error, "old message ids cannot be deleted: a restart takes longer");
        }
    }

    fn changelog_of(&self, partition: &TopicPartition) -> TopicPartition {
        TopicPartition {
            topic: self.pipeline.claims_topic(&partition.topic).into(),
            partition: partition.partition,
        }
    }

    fn reader(&mut self) -> Result<&mut ChangelogReader, KafkaError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => ChangelogReader::open(&self.cluster, &format!("{}.claims", self.pipeline))?,
        };
        Ok(self.reader.insert(reader))
    }
}
