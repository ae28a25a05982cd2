//! The load of a scenario: a pipeline, input that keeps coming, and the processes that
//! work it off.

mod ending;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::Run;
use super::progress::Mark;
use crate::binary::{self, Build};
use crate::cluster::Cluster;
use crate::fixture::Fixture;
use crate::oracle::Book;
use crate::orders::{MINIMUM, ORDERS};
use crate::produce::Steady;
use crate::strait::Strait;
use crate::stream::Stream;
use crate::wait;

pub const PARTITIONS: i32 = 6;
const LANES: u64 = 2;

/// How long it may take until all partitions move on after any fault, on a busy machine.
pub const PROGRESS_WITHIN: Duration = Duration::from_mins(1);

/// How long a SIGTERM may take.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A fed pipeline and its processes.
pub struct Load {
    /// First, since they show their logs when they are dropped, which lie in the fixture's folder.
    processes: Vec<Strait>,
    pub fixture: Fixture,
    /// What the oracle goes by.
    pub book: Book,
    stream: Stream,
    build: Build,
    sabotage: Option<&'static str>,
    /// Of each process.
    lanes: u64,
    input: Option<Steady>,
    sent: u64,
    lanes_started: u64,
    /// Each process is given an instance name.
    names_processes: bool,
    /// Frames that no proxy could read before this load began.
    undecoded_before: u64,
    /// Topics that a concurrent reader follows.
    followed: Vec<&'static str>,
}

impl Load {
    /// Orders, with everything that can become of them.
    pub fn of(run: &Run, cluster: Arc<Cluster>) -> Result<Self> {
        let mut load = Self::with(run, cluster, ORDERS)?;
        load.fixture
            .set_stage("settings", json!({ "minimum": MINIMUM }))?;
        Ok(load)
    }

    /// Any stream, with provenance, two lanes a process, short sessions; with dead letters if
    /// the stream has some.
    pub fn with(run: &Run, cluster: Arc<Cluster>, stream: Stream) -> Result<Self> {
        let mut fixture = Fixture::on(cluster, run.name(), PARTITIONS, stream.guest)?;
        fixture.keep_logs(binary::kept_folder("chaos")?.join(run.name()))?;
        for topic in stream.topics {
            match *topic {
                "out" => {}
                "dlq" => fixture.dead_letter()?,
                other => {
                    fixture.create_topic(other, PARTITIONS)?;
                    let full = fixture.topic(other);
                    fixture.set(&format!("outputs.{other}"), json!(full))?;
                }
            }
        }
        fixture.set("lanes", json!(LANES))?;
        fixture.set("provenance", json!("headers"))?;
        fixture.set_session(Duration::from_secs(3))?;
        let (build, sabotage) = run.build();
        Ok(Self {
            undecoded_before: fixture.cluster().wire().counts().undecoded,
            fixture,
            book: Book::of(&stream),
            stream,
            build,
            sabotage,
            lanes: LANES,
            input: None,
            sent: 0,
            processes: Vec::new(),
            lanes_started: 0,
            names_processes: true,
            followed: Vec::new(),
        })
    }

    /// Another number of lanes for each process.
    pub fn set_lanes(&mut self, lanes: u64) -> Result<()> {
        self.lanes = lanes;
        self.fixture.set("lanes", json!(lanes))
    }

    /// Input begins to flow, and readers begin to follow the outputs.
    pub fn feed(&mut self) -> Result<()> {
        self.follow()?;
        self.feed_at(self.stream.per_second)
    }

    /// Readers begin to follow the outputs.
    pub fn follow(&mut self) -> Result<()> {
        for topic in self.stream.topics {
            self.fixture.verifier().follow(&self.fixture.topic(topic))?;
            self.followed.push(topic);
        }
        Ok(())
    }

    /// From the next [`Load::feed_at`] on, records are made like this.
    pub fn make_by(&mut self, make: fn(i32, u64) -> crate::produce::Message) {
        self.stream.make = make;
    }

    /// So many records came into the input in another way.
    pub fn count_sent(&mut self, records: u64) {
        self.sent += records;
    }

    /// So many records were deleted from the input.
    pub fn forget_sent(&mut self, records: u64) {
        self.sent = self.sent.saturating_sub(records);
    }

    /// Input flows at this rate from now on; readers do not follow unless they do already.
    pub fn feed_at(&mut self, per_second: u32) -> Result<()> {
        self.stop_input()?;
        let first = self.sent;
        let by_number = self.stream.make;
        let make = move |partition, number| by_number(partition, first + number);
        let topic = self.fixture.topic("in");
        let partitions = i32::try_from(self.fixture.verifier().ends(&topic)?.len())?;
        let steady = Steady::start(self.fixture.bootstrap(), &topic, partitions, per_second, make)?;
        self.input = Some(steady);
        Ok(())
    }

    /// Ends the input; all of it is acknowledged.
    pub fn stop_input(&mut self) -> Result<()> {
        if let Some(input) = self.input.take() {
            self.sent += input.stop().context("the input")?;
        }
        Ok(())
    }

    /// Ends the input; gives the number of records so far.
    pub fn finish_input(&mut self) -> Result<u64> {
        self.stop_input()?;
        Ok(self.sent)
    }

    pub fn input(&self) -> Result<&Steady> {
        self.input.as_ref().context("input flows")
    }

    /// The scenario does not look at these topics while it runs, because it hurts them.
    pub fn unfollow(&mut self) -> Result<()> {
        for topic in self.followed.drain(..) {
            self.fixture.verifier().unfollow(&self.fixture.topic(topic))?;
        }
        Ok(())
    }

    /// The same for one of them.
    pub fn unfollow_topic(&mut self, topic: &str) -> Result<()> {
        self.fixture.verifier().unfollow(&self.fixture.topic(topic))?;
        self.followed.retain(|other| *other != topic);
        Ok(())
    }

    /// `strait run` on the pipeline.
    pub fn command(&self) -> Result<Command> {
        let mut command = self.fixture.command(self.build, "run")?;
        command.env("STRAIT_LOG", "info");
        if let Some(sabotage) = self.sabotage {
            command.env("STRAIT_FAULT", sabotage);
        }
        Ok(command)
    }

    /// The same, of the build that has switches for faults, at `point`.
    pub fn command_with_fail_point(&self, point: &str) -> Result<Command> {
        let mut command = self.fixture.command(Build::Faulty, "run")?;
        command.env("STRAIT_LOG", "info").env("STRAIT_FAIL_POINT", point);
        Ok(command)
    }

    /// Starts one more process; gives its number, from 0.
    pub fn start(&mut self) -> Result<usize> {
        let command = self.command()?;
        self.start_command(command)
    }

    pub fn start_command(&mut self, command: Command) -> Result<usize> {
        let number = self.processes.len();
        let strait = self.spawn(command, number)?;
        self.processes.push(strait);
        Ok(number)
    }

    /// Starts a process in the place of one that has ended.
    pub fn restart(&mut self, process: usize) -> Result<()> {
        let command = self.command()?;
        self.restart_as(process, command)
    }

    pub fn restart_as(&mut self, process: usize, command: Command) -> Result<()> {
        let strait = self.spawn(command, process)?;
        *self.process(process)? = strait;
        Ok(())
    }

    /// Whoever starts in the place of another takes over its transactional ids.
    fn spawn(&mut self, mut command: Command, number: usize) -> Result<Strait> {
        self.lanes_started += self.lanes;
        let has_name = command.get_args().any(|argument| argument == "--instance");
        if self.names_processes && !has_name {
            command.arg("--instance").arg(instance(number));
        }
        self.fixture.start_command(command)
    }

    /// Processes started from now on find a name by themselves, in their data folder.
    pub fn leave_names(&mut self) {
        self.names_processes = false;
    }

    /// What the transactional ids of one process begin with.
    pub fn ids_of(&self, process: usize) -> String {
        format!("{}{}.", self.fixture.ids(), instance(process))
    }

    pub fn process(&mut self, process: usize) -> Result<&mut Strait> {
        self.processes
            .get_mut(process)
            .context("a process of that number")
    }

    /// How many processes were started, running or not.
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Input flows, so many processes run, and every partition moves.
    pub fn begin(run: &Run, processes: usize) -> Result<Self> {
        let mut load = run.load()?;
        load.begin_with(processes)?;
        Ok(load)
    }

    /// As [`Load::begin`], of a load that was changed before.
    pub fn begin_with(&mut self, processes: usize) -> Result<()> {
        self.feed()?;
        for _ in 0..processes {
            self.start()?;
        }
        for process in &mut self.processes {
            process.wait_ready()?;
        }
        self.wait_moving(PROGRESS_WITHIN)
    }

    /// Waits until every partition has been committed, and then once more.
    pub fn wait_moving(&self, limit: Duration) -> Result<()> {
        let began = Instant::now();
        wait::until_true("a committed offset of every partition", limit, || {
            Ok(i32::try_from(self.mark()?.committed.len())? >= PARTITIONS)
        })?;
        self.mark()?
            .passed(&self.fixture, limit.saturating_sub(began.elapsed()))?;
        Ok(())
    }

    /// Where the committed offsets stand now.
    pub fn mark(&self) -> Result<Mark> {
        Mark::set(&self.fixture)
    }

    /// Where they stand once nothing has been committed for some time.
    pub fn mark_standing_still(&self) -> Result<Mark> {
        let mut last = self.mark()?;
        wait::until("the committed offsets to stand still", PROGRESS_WITHIN, || {
            let now = self.mark()?;
            if now.committed != last.committed {
                last = now;
            }
            Ok((last.at.elapsed() > Duration::from_secs(4)).then(|| last.clone()))
        })
    }

    /// Where they stand after a fault that struck at `at`, or ended then.
    pub fn mark_since(&self, at: Instant) -> Result<Mark> {
        Mark::since(&self.fixture, at)
    }

    /// Waits until every partition has moved on after a fault that struck at `at`, or ended then;
    /// the limit counts from then on.
    pub fn await_back(&self, run: &mut Run, at: Instant, limit: Duration) -> Result<()> {
        let mark = self.mark_since(at)?;
        self.await_progress(run, &mark, limit.saturating_sub(at.elapsed()))
    }

    /// Waits until every partition has moved beyond the mark, and notes how long it took.
    pub fn await_progress(&self, run: &mut Run, since: &Mark, limit: Duration) -> Result<()> {
        let took = since.passed(&self.fixture, limit)?;
        run.progressed(took);
        Ok(())
    }
}

fn instance(process: usize) -> String {
    format!("p{process}")
}

impl Drop for Load {
    #[allow(clippy::print_stdout, reason = "libtest shows it only if the test fails")]
    fn drop(&mut self) {
        if let Err(error) = self.unfollow() {
            println!("{error:#}");
        }
    }
}
