//! Sending offsets to a transaction, on a thread that may be left behind.
//!
//! The call may not come back (librdkafka 5456, 5511): while it looks for the group's
//! coordinator, a node that leaves the cluster can take the search with it, and neither the
//! call's own timeout nor the coordinator's return ends it. So it is made on a thread of its
//! own, which is left behind with the whole producer when it has taken longer than any healthy
//! call does. It comes back, fenced, with the next change of a connection: brokers close idle
//! ones.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::consumer::LibrdMember;
use super::ffi::consume::GroupMetadata;
use super::ffi::error::of_code;
use super::ffi::list::List;
use super::hurry::Hurry;
use super::producer::Shared;
use super::transaction::{SLICE, until_verdict};
use super::{KafkaError, Position, TransactionError, codes};

/// The library looks at the end of its time only between two tries, half a second apart; what it
/// says by itself spares the producer.
const SEND_OFFSETS_OVER: Duration = Duration::from_secs(1);
/// What the answer of the offsets' thread may take beyond its deadline.
const ANSWER: Duration = Duration::from_millis(250);

/// The thread that sends offsets, and may be stuck in it for ever.
#[derive(Debug)]
pub(super) struct OffsetsThread {
    jobs: mpsc::Sender<Job>,
    answers: mpsc::Receiver<Result<(), TransactionError>>,
}

#[derive(Debug)]
struct Job {
    offsets: List,
    member: Arc<GroupMetadata>,
    deadline: Instant,
}

impl OffsetsThread {
    pub fn start(shared: Arc<Shared>, alive: Arc<()>) -> Result<Self, KafkaError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (outbox, answers) = mpsc::channel();
        let thread = std::thread::Builder::new().name("kafka-offsets".to_owned());
        thread
            .spawn(move || {
                for job in inbox {
                    // Not in slices: the library turns the end of one into an abort.
                    let call = |time| shared.client.send_offsets(&job.offsets, &job.member, time);
                    let unhurried = Hurry::default();
                    if outbox
                        .send(until_verdict(job.deadline, &unhurried, Duration::MAX, call))
                        .is_err()
                    {
                        return;
                    }
                }
                drop(alive);
            })
            .map_err(|error| {
                of_code(
                    codes::LOCAL_FAIL,
                    &format!("no thread to send offsets on: {error}"),
                )
            })?;
        Ok(Self { jobs, answers })
    }

    /// `bound` is what a healthy call stays below. The outer error: the thread did not come back in time.
    pub fn send(
        &self,
        positions: &[Position],
        member: &LibrdMember,
        deadline: Instant,
        bound: Duration,
        hurry: &Hurry,
    ) -> Result<Result<(), TransactionError>, KafkaError> {
        let offsets = List::of_positions(positions)?;
        let started = Instant::now();
        let given_up = started + bound;
        let job = Job {
            offsets,
            member: Arc::clone(&member.0),
            deadline: deadline.min(given_up),
        };
        let lost = || {
            of_code(
                codes::LOCAL_TIMED_OUT,
                "sending offsets to the transaction did not come back",
            )
        };
        self.jobs.send(job).map_err(|_| lost())?;
        let until = deadline.min(given_up + SEND_OFFSETS_OVER);
        loop {
            let until = hurry.brought_forward(until, started) + ANSWER;
            let wait = until.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(wait.min(SLICE)) {
                Err(RecvTimeoutError::Timeout) if wait > SLICE => {}
                answer => return answer.map_err(|_| lost()),
            }
        }
    }
}
