//! The judge: Kafka's own Java clients behind a pipe (`verifier/Verifier.java`).
//!
//! Requests of several tests run side by side. A request fails, never hangs: an
//! answer that does not come within [`PATIENCE`] is an error.

mod answer;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use answer::{Ends, Isolation, Leader, Row, Transaction};
use answer::{field, hex, node_index, rows, unhex};

const PATIENCE: Duration = Duration::from_secs(90);

enum Line {
    Row(Vec<String>),
    Done(Result<(), String>),
}

type Waiting = Arc<Mutex<HashMap<u64, Sender<Line>>>>;

/// The Java process, and who waits for its answers.
pub struct Verifier {
    child: Child,
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Verifier {
    /// Starts it; `command` runs Java with Kafka's jars and `Verifier.java`.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the verifier")?;
        let stdin = child.stdin.take().context("the verifier's input")?;
        let stdout = child.stdout.take().context("the verifier's output")?;
        let waiting = Waiting::default();
        let readers = Arc::clone(&waiting);
        thread::Builder::new().name("verifier".into()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                dispatch(&line, &readers);
            }
            locked(&readers).clear(); // whoever still waits learns that nobody will answer
        })?;
        let verifier = Self {
            child,
            stdin: Mutex::new(stdin),
            waiting,
            next: AtomicU64::new(1),
        };
        verifier
            .ask("ping", &[])
            .context("the verifier does not answer")?;
        Ok(verifier)
    }

    fn ask(&self, command: &str, arguments: &[&str]) -> Result<Vec<Vec<String>>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        locked(&self.waiting).insert(id, sender);
        let mut request = format!("{id}\t{command}");
        for argument in arguments {
            request.push('\t');
            request.push_str(argument);
        }
        request.push('\n');
        let sent = locked(&self.stdin).write_all(request.as_bytes());
        let answer = sent
            .context("the verifier is gone")
            .and_then(|()| collect(&receiver));
        locked(&self.waiting).remove(&id);
        answer.with_context(|| format!("verifier: {command} {}", arguments.join(" ")))
    }

    /// Has the process killed when this test process ends, in whatever way.
    pub fn guard(&self, pid: u32) -> Result<()> {
        self.ask("guard", &[&pid.to_string()]).map(drop)
    }

    /// To be called once the process is reaped.
    pub fn unguard(&self, pid: u32) -> Result<()> {
        self.ask("unguard", &[&pid.to_string()]).map(drop)
    }

    /// `settings` are topic settings such as `cleanup.policy=compact`.
    pub fn create_topic(&self, topic: &str, partitions: i32, settings: &[&str]) -> Result<()> {
        let count = partitions.to_string();
        let arguments: Vec<&str> = [topic, &count]
            .into_iter()
            .chain(settings.iter().copied())
            .collect();
        self.ask("create", &arguments).map(drop)
    }

    pub fn grow_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.ask("grow", &[topic, &partitions.to_string()]).map(drop)
    }

    /// Deletes the records before `offset` in every partition.
    pub fn truncate_topic(&self, topic: &str, offset: i64) -> Result<()> {
        self.ask("truncate", &[topic, &offset.to_string()]).map(drop)
    }

    pub fn ends(&self, topic: &str) -> Result<Vec<Ends>> {
        let rows = self.ask("ends", &[topic])?;
        let parse = |row: &Vec<String>| {
            let number = |at: usize| field(row, at)?.parse::<i64>().context("a number");
            Ok(Ends {
                partition: field(row, 0)?.parse()?,
                start: number(1)?,
                last_stable: number(2)?,
                high: number(3)?,
            })
        };
        rows.iter().map(parse).collect()
    }

    /// Everything up to the end as it is now, per partition in offset order.
    pub fn read(&self, topic: &str, isolation: Isolation) -> Result<Vec<Row>> {
        let level = match isolation {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        };
        rows(&self.ask("dump", &[topic, level])?)
    }

    /// Sends the keys through Java's producer and tells the partition each one went to.
    pub fn partitions_by_java(&self, topic: &str, keys: &[Vec<u8>]) -> Result<HashMap<Vec<u8>, i32>> {
        let keys: Vec<String> = keys.iter().map(|key| hex(key)).collect();
        let arguments: Vec<&str> = [topic]
            .into_iter()
            .chain(keys.iter().map(String::as_str))
            .collect();
        let parse = |row: &Vec<String>| Ok((unhex(field(row, 0)?)?, field(row, 1)?.parse()?));
        self.ask("send", &arguments)?.iter().map(parse).collect()
    }

    /// Sends one record with this timestamp through Java's producer.
    pub fn send_dated(&self, topic: &str, timestamp_ms: i64) -> Result<()> {
        self.ask("send-dated", &[topic, &timestamp_ms.to_string()])
            .map(drop)
    }

    /// Stable offsets of the group by topic and partition.
    pub fn committed(&self, group: &str) -> Result<HashMap<(String, i32), i64>> {
        self.offsets_of("committed", group)
    }

    /// The same, whatever an open transaction may make of them.
    pub fn committed_so_far(&self, group: &str) -> Result<HashMap<(String, i32), i64>> {
        self.offsets_of("committed-so-far", group)
    }

    fn offsets_of(&self, command: &str, group: &str) -> Result<HashMap<(String, i32), i64>> {
        let parse = |row: &Vec<String>| {
            Ok((
                (field(row, 0)?.to_owned(), field(row, 1)?.parse()?),
                field(row, 2)?.parse()?,
            ))
        };
        self.ask(command, &[group])?.iter().map(parse).collect()
    }

    /// Commits `offset` for every partition of the topic. The group must be empty.
    pub fn commit(&self, group: &str, topic: &str, offset: i64) -> Result<()> {
        self.ask("commit", &[group, topic, &offset.to_string()]).map(drop)
    }

    /// Deletes the group's offsets on the topic, as their expiry does.
    pub fn forget_offsets(&self, group: &str, topic: &str) -> Result<()> {
        self.ask("forget", &[group, topic]).map(drop)
    }

    /// How many partitions each member of the group holds.
    pub fn members(&self, group: &str) -> Result<Vec<usize>> {
        let parse = |row: &Vec<String>| field(row, 3)?.parse().context("a count");
        self.ask("members", &[group])?.iter().map(parse).collect()
    }

    /// How the group shares out its partitions, such as `range`.
    pub fn assignor(&self, group: &str) -> Result<String> {
        let rows = self.ask("assignor", &[group])?;
        Ok(field(rows.first().context("an assignor")?, 0)?.to_owned())
    }

    pub fn transactions(&self, id_prefix: &str) -> Result<Vec<Transaction>> {
        let parse = |row: &Vec<String>| {
            Ok(Transaction {
                id: field(row, 0)?.to_owned(),
                state: field(row, 1)?.to_owned(),
            })
        };
        self.ask("transactions", &[id_prefix])?
            .iter()
            .map(parse)
            .collect()
    }

    /// How long the ongoing transactions of such ids are open, as their coordinators tell.
    pub fn transaction_ages(&self, id_prefix: &str) -> Result<Vec<(String, Duration)>> {
        let parse = |row: &Vec<String>| {
            // The clocks of the node and of the judge are the same, but for a moment.
            let age_ms = field(row, 1)?.parse::<i64>()?.max(0).unsigned_abs();
            Ok((field(row, 0)?.to_owned(), Duration::from_millis(age_ms)))
        };
        self.ask("ages", &[id_prefix])?.iter().map(parse).collect()
    }

    /// The topic's UUID, as Kafka writes it.
    pub fn topic_id(&self, topic: &str) -> Result<String> {
        let rows = self.ask("id", &[topic])?;
        Ok(field(rows.first().context("a topic id")?, 0)?.to_owned())
    }

    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.ask("delete", &[topic]).map(drop)
    }

    /// Changes topic settings such as `min.insync.replicas=3`.
    pub fn configure_topic(&self, topic: &str, settings: &[&str]) -> Result<()> {
        let arguments: Vec<&str> = [topic].into_iter().chain(settings.iter().copied()).collect();
        self.ask("configure", &arguments).map(drop)
    }

    /// Who leads each partition of the topic.
    pub fn leaders(&self, topic: &str) -> Result<Vec<Leader>> {
        let parse = |row: &Vec<String>| {
            Ok(Leader {
                partition: field(row, 0)?.parse()?,
                node: node_index(field(row, 1)?)?,
                in_sync: field(row, 2)?.parse()?,
            })
        };
        self.ask("leaders", &[topic])?.iter().map(parse).collect()
    }

    /// How many partitions of the whole cluster have a replica that is not in sync.
    pub fn lagging_replicas(&self) -> Result<usize> {
        Ok(self.ask("lagging", &[])?.len())
    }

    /// The node that coordinates the group.
    pub fn group_coordinator(&self, group: &str) -> Result<usize> {
        self.node("coordinator", &["group", group])
    }

    /// The node that coordinates the transactions of an id.
    pub fn transaction_coordinator(&self, id: &str) -> Result<usize> {
        self.node("coordinator", &["transaction", id])
    }

    /// The node that leads the controllers.
    pub fn controller(&self) -> Result<usize> {
        self.node("controller", &[])
    }

    fn node(&self, command: &str, arguments: &[&str]) -> Result<usize> {
        let rows = self.ask(command, arguments)?;
        node_index(field(rows.first().context("a node")?, 0)?)?.context("no node does")
    }

    /// Takes a right on a `topic`, `group` or `transactional_id` from everybody.
    pub fn deny(&self, kind: &str, name: &str, operation: &str) -> Result<()> {
        self.ask("deny", &[kind, name, operation]).map(drop)
    }

    /// Gives back what [`Verifier::deny`] took.
    pub fn grant(&self, kind: &str, name: &str) -> Result<()> {
        self.ask("grant", &[kind, name]).map(drop)
    }

    /// Takes over a transactional id, as another process does that was given the same one.
    pub fn hijack(&self, transactional_id: &str) -> Result<()> {
        self.ask("hijack", &[transactional_id]).map(drop)
    }

    /// Starts a `read_committed` consumer that reads the topic while it is written.
    pub fn follow(&self, topic: &str) -> Result<()> {
        self.ask("follow", &[topic]).map(drop)
    }

    /// How many records the consumer of [`Verifier::follow`] has read by now.
    pub fn followed_so_far(&self, topic: &str) -> Result<usize> {
        let rows = self.ask("followed-so-far", &[topic])?;
        field(rows.first().context("a count")?, 0)?
            .parse()
            .context("a count")
    }

    /// What the consumer of [`Verifier::follow`] has read, up to the end as it is now.
    pub fn followed(&self, topic: &str) -> Result<Vec<Row>> {
        rows(&self.ask("followed", &[topic])?)
    }

    /// Ends the consumer of [`Verifier::follow`], if there is one.
    pub fn unfollow(&self, topic: &str) -> Result<()> {
        self.ask("unfollow", &[topic]).map(drop)
    }

    /// How many transactions are open in the topic's log.
    pub fn open_transactions(&self, topic: &str) -> Result<usize> {
        Ok(self.ask("open", &[topic])?.len())
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        drop(killed); // best effort: it may be gone already
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn dispatch(line: &str, waiting: &Waiting) {
    let mut fields = line.split('\t');
    let Some(id) = fields.next().and_then(|id| id.parse().ok()) else {
        return;
    };
    let line = match fields.next() {
        Some("row") => Line::Row(fields.map(str::to_owned).collect()),
        Some("ok") => Line::Done(Ok(())),
        _ => Line::Done(Err(fields.collect::<Vec<_>>().join(" "))),
    };
    if let Some(sender) = locked(waiting).get(&id) {
        drop(sender.send(line)); // fails only if the asker gave up
    }
}

fn collect(receiver: &Receiver<Line>) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    loop {
        match receiver.recv_timeout(PATIENCE).context("no answer")? {
            Line::Row(row) => rows.push(row),
            Line::Done(Ok(())) => return Ok(rows),
            Line::Done(Err(reason)) => bail!(reason),
        }
    }
}
