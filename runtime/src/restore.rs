//! Brings back what others have written into changelogs, on a thread of its own: partition after
//! partition, while the lane goes on with those that it has.
//!
//! What is read is up to a [`Reads`]; this is the thread, its queue, and how it goes on when a
//! broker is away. The thread keeps clients only while it has something to do.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use crate::kafka::changelog::ChangelogReader;
use crate::kafka::{KafkaError, TopicPartition};
use crate::plan::Cluster;

/// Distance of two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// The thread ended before its lane did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that reads changelogs is gone")]
pub struct Gone;

/// Why a partition cannot go on with what came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRestored {
    /// A lane that is started afresh has another thread.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// It stops the pipeline.
    #[error("{0}")]
    Final(String),
}

/// What a changelog is read into.
pub trait Reads: Send + 'static {
    /// What comes back for a partition.
    type Whole: Send + 'static;
    /// What else can be asked of the thread.
    type Errand: Send + 'static;

    /// The thread's name.
    const NAME: &'static str;

    /// Reads all that is committed now for an input partition of this topic id. `goes_on` is told how
    /// much of it is read, from 0 to 1, and ends the reading with an error.
    fn read(
        &mut self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        topic_id: &Arc<str>,
        goes_on: &mut dyn FnMut(f64) -> Result<(), ReadError>,
    ) -> Result<Self::Whole, ReadError>;

    /// Does something else, once. What it says is handed over as what was read is.
    fn run(
        &mut self,
        reader: &mut ChangelogReader,
        partition: &TopicPartition,
        errand: Self::Errand,
    ) -> Result<Option<Self::Whole>, KafkaError>;
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// Another try may help.
    Kafka(KafkaError),
    /// None does: it stops the pipeline.
    Final(String),
    /// The same, of the place that it is read into.
    Damaged(String),
    /// The partition went elsewhere.
    NotWanted,
}

impl From<KafkaError> for ReadError {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

/// Where things come back from.
pub trait Restores<W, E>: fmt::Debug {
    /// Reads all that is committed now for this input partition of this topic id.
    fn begin(&mut self, partition: &TopicPartition, topic_id: &Arc<str>);

    /// What is whole now, each once.
    fn finished(&mut self) -> Result<Vec<Restored<W>>, Gone>;

    /// Nobody waits for this partition any more.
    fn forget(&mut self, partition: &TopicPartition);

    /// Something to be done for a partition.
    fn errand(&mut self, partition: &TopicPartition, errand: E);
}

/// What came back for one partition. The error is not mended by another try.
#[derive(Debug)]
pub struct Restored<W> {
    pub partition: TopicPartition,
    pub topic_id: Arc<str>,
    pub whole: Result<W, String>,
}

/// Told how much of a partition is back, from 0 to 1; `None` when nobody waits any more.
pub type Progress = Arc<dyn Fn(&TopicPartition, Option<f64>) + Send + Sync>;

enum Job<E> {
    Restore(Restore),
    Errand(TopicPartition, E),
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
pub struct Restorer<R: Reads> {
    jobs: Option<mpsc::Sender<Job<R::Errand>>>,
    done: mpsc::Receiver<(u64, Restored<R::Whole>)>,
    wanted: Wanted,
    progress: Progress,
    jobs_begun: u64,
}

impl<R: Reads> fmt::Debug for Restorer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restorer").finish_non_exhaustive()
    }
}

impl<R: Reads> Restorer<R> {
    pub fn start(cluster: Cluster, client_id: String, reads: R, progress: Progress) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let (outbox, done) = mpsc::channel();
        let wanted = Wanted::default();
        let (wanted_there, progress_there) = (Arc::clone(&wanted), Arc::clone(&progress));
        std::thread::Builder::new()
            .name(R::NAME.to_owned())
            .spawn(move || {
                let reading = Reading {
                    cluster,
                    client_id,
                    reads,
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

    fn send(&self, job: Job<R::Errand>) {
        // The thread ends with this end of the channel and not before.
        if let Some(jobs) = &self.jobs {
            jobs.send(job).ok();
        }
    }
}

impl<R: Reads> Restores<R::Whole, R::Errand> for Restorer<R> {
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

    fn finished(&mut self) -> Result<Vec<Restored<R::Whole>>, Gone> {
        let mut finished = Vec::new();
        loop {
            match self.done.try_recv() {
                Ok((number, restored)) => {
                    if lock(&self.wanted).get(&restored.partition) == Some(&number) {
                        finished.push(restored);
                    }
                }
                Err(mpsc::TryRecvError::Empty) => return Ok(finished),
                Err(mpsc::TryRecvError::Disconnected) => return Err(Gone),
            }
        }
    }

    fn forget(&mut self, partition: &TopicPartition) {
        if lock(&self.wanted).remove(partition).is_some() {
            (self.progress)(partition, None);
        }
    }

    fn errand(&mut self, partition: &TopicPartition, errand: R::Errand) {
        self.send(Job::Errand(partition.clone(), errand));
    }
}

impl<R: Reads> Drop for Restorer<R> {
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
struct Reading<R> {
    cluster: Cluster,
    client_id: String,
    reads: R,
    wanted: Wanted,
    progress: Progress,
    /// While there is something to do: a client keeps connections and threads.
    reader: Option<ChangelogReader>,
}

impl<R: Reads> Reading<R> {
    fn run(
        mut self,
        inbox: &mpsc::Receiver<Job<R::Errand>>,
        outbox: &mpsc::Sender<(u64, Restored<R::Whole>)>,
    ) {
        while let Ok(first) = inbox.recv() {
            for job in std::iter::once(first).chain(inbox.try_iter()) {
                let done = match job {
                    Job::Restore(job) => self.restore(job),
                    Job::Errand(partition, errand) => self.errand(partition, errand),
                };
                if let Some(done) = done {
                    outbox.send(done).ok();
                }
            }
            self.reader = None;
        }
    }

    /// Tries until it is done, or nobody wants it any more (`None`).
    fn restore(&mut self, job: Restore) -> Option<(u64, Restored<R::Whole>)> {
        while is_wanted(&self.wanted, &job) {
            let whole = match self.read(&job) {
                Ok(whole) => {
                    (self.progress)(&job.partition, Some(1.0));
                    Ok(whole)
                }
                Err(ReadError::Final(reason) | ReadError::Damaged(reason)) => Err(reason),
                Err(ReadError::NotWanted) => return None,
                Err(ReadError::Kafka(error)) => {
                    tracing::warn!(partition = %job.partition, %error, "its changelog cannot be read yet");
                    // It may have lost its way (see `LogEnds`).
                    self.reader = None;
                    std::thread::sleep(AGAIN);
                    continue;
                }
            };
            let restored = Restored {
                partition: job.partition,
                topic_id: job.topic_id,
                whole,
            };
            return Some((job.number, restored));
        }
        None
    }

    fn read(&mut self, job: &Restore) -> Result<R::Whole, ReadError> {
        let (wanted, progress) = (Arc::clone(&self.wanted), Arc::clone(&self.progress));
        let mut goes_on = |ratio| {
            if !is_wanted(&wanted, job) {
                return Err(ReadError::NotWanted);
            }
            progress(&job.partition, Some(ratio));
            Ok(())
        };
        let mut reader = self.reader()?;
        let read = self
            .reads
            .read(&mut reader, &job.partition, &job.topic_id, &mut goes_on);
        self.reader = Some(reader);
        read
    }

    /// The answer belongs to the job that the partition is at.
    fn errand(&mut self, partition: TopicPartition, errand: R::Errand) -> Option<(u64, Restored<R::Whole>)> {
        let number = lock(&self.wanted).get(&partition).copied()?;
        let done = self.reader().and_then(|mut reader| {
            let done = self.reads.run(&mut reader, &partition, errand);
            self.reader = Some(reader);
            done
        });
        match done {
            Ok(whole) => {
                let restored = Restored {
                    partition,
                    topic_id: Arc::from(""),
                    whole: Ok(whole?),
                };
                Some((number, restored))
            }
            Err(error) => {
                tracing::warn!(%partition, %error, "its changelog cannot be looked after: a restart takes longer");
                None
            }
        }
    }

    fn reader(&mut self) -> Result<ChangelogReader, KafkaError> {
        match self.reader.take() {
            Some(reader) => Ok(reader),
            None => ChangelogReader::open(&self.cluster, &self.client_id),
        }
    }
}
