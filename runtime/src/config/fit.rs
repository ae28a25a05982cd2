//! Whether values that are fine alone fit together.
//!
//! The bounds keep a lane from waiting for itself: guests must leave a transaction
//! the time to end, and a transaction must leave the group the time to notice that
//! its lane lives. See `docs/pipeline.md`, "Timeouts".

use std::time::Duration;

use super::finding::{Code, Finding};
use super::kafka::timeout_path;
use super::layers::Places;
use super::place::KeyPath;
use super::units::Span;
use crate::plan::{Commit, Delivery, OnError, Timeouts, WasmStage};

const TRANSACTION_MIN: Duration = Duration::from_secs(20);
const TRANSACTION_MAX: Duration = Duration::from_secs(30);

/// What the checks look at, and where its values stand.
pub struct Fit<'a> {
    pub timeouts: &'a Timeouts,
    pub stages: &'a [(KeyPath, WasmStage)],
    pub commit: &'a Commit,
    pub on_error: &'a OnError,
    pub delivery: Delivery,
    pub places: &'a Places,
}

impl Fit<'_> {
    pub fn check(&self, findings: &mut Vec<Finding>) {
        self.group(findings);
        self.transaction(findings);
        self.deadlines(findings);
        self.commit(findings);
        self.memory(findings);
        self.retry(findings);
    }

    fn timeout(&self, key: &str, what: String, remedy: String) -> Finding {
        self.places
            .error(Code::TimeoutFit, &timeout_path(key, self.places), what, remedy)
    }

    fn deadline_sum(&self) -> Duration {
        self.stages
            .iter()
            .filter_map(|(_, stage)| stage.limits.batch_deadline)
            .sum()
    }

    fn group(&self, findings: &mut Vec<Finding>) {
        let Timeouts {
            session,
            heartbeat,
            max_poll_interval,
            transaction,
            ..
        } = *self.timeouts;
        if session < heartbeat * 3 {
            let what = format!(
                "session.timeout.ms ({}) is less than three times heartbeat.interval.ms ({}): one late heartbeat would \
                 end the session",
                Span(session),
                Span(heartbeat)
            );
            let remedy = format!("write at least {}", (heartbeat * 3).as_millis());
            findings.push(self.timeout("session.timeout.ms", what, remedy));
        }
        let held = transaction * 2 + self.deadline_sum();
        let least = held.max(session);
        if max_poll_interval < least {
            let what = format!(
                "max.poll.interval.ms ({}) is less than two transaction timeouts and the batch deadlines ({}), and no \
                 less than the session: a lane that waits for a commit would be thrown out of its group",
                Span(max_poll_interval),
                Span(held)
            );
            findings.push(self.timeout(
                "max.poll.interval.ms",
                what,
                format!("write at least {}", least.as_millis()),
            ));
        }
    }

    fn transaction(&self, findings: &mut Vec<Finding>) {
        let Timeouts {
            transaction, socket, ..
        } = *self.timeouts;
        if transaction < TRANSACTION_MIN || transaction > TRANSACTION_MAX {
            let what = format!(
                "transaction.timeout.ms ({}) is out of range: a shorter one aborts work that only waits for a broker, a \
                 longer one lets a dead process hold up its successors",
                Span(transaction)
            );
            let (min, max) = (TRANSACTION_MIN.as_millis(), TRANSACTION_MAX.as_millis());
            findings.push(self.timeout("transaction.timeout.ms", what, format!("write {min} to {max}")));
        }
        if socket > transaction {
            let what = format!(
                "socket.timeout.ms ({}) is more than transaction.timeout.ms ({}): a lost request would be noticed after \
                 its transaction is gone",
                Span(socket),
                Span(transaction)
            );
            findings.push(self.timeout(
                "socket.timeout.ms",
                what,
                format!("write at most {}", transaction.as_millis()),
            ));
        }
    }

    /// Guest time in one transaction stays below a third of its timeout.
    fn deadlines(&self, findings: &mut Vec<Finding>) {
        let (sum, max) = (self.deadline_sum(), self.timeouts.guest_time_max());
        let Some((path, _)) = self
            .stages
            .iter()
            .max_by_key(|(_, stage)| stage.limits.batch_deadline)
        else {
            return;
        };
        if self.delivery == Delivery::ExactlyOnce && sum >= max {
            let what = format!(
                "the batch deadlines of all stages take {} together, and must stay below a third of \
                 transaction.timeout.ms ({})",
                Span(sum),
                Span(max)
            );
            let (path, count) = (path.join("limits").join("batch_deadline"), self.stages.len());
            let remedy = if count == 1 {
                format!("write less than {}", Span(max))
            } else {
                format!(
                    "shorten the deadlines of the {count} stages to less than {} together",
                    Span(max)
                )
            };
            findings.push(self.places.error(Code::TimeoutFit, &path, what, remedy));
        }
    }

    fn commit(&self, findings: &mut Vec<Finding>) {
        let Commit { interval, idle, .. } = *self.commit;
        let third = self.timeouts.transaction / 3;
        if interval > third {
            let what = format!(
                "an interval of {} leaves a transaction too little of its timeout ({})",
                Span(interval),
                Span(self.timeouts.transaction)
            );
            let remedy = format!("write at most {}; 100ms is the default", Span(third));
            findings.push(
                self.places
                    .error(Code::TimeoutFit, &KeyPath::of("commit.interval"), what, remedy),
            );
        }
        if idle > interval {
            let what = format!(
                "`idle` ({}) is more than `interval` ({})",
                Span(idle),
                Span(interval)
            );
            let remedy = format!("write at most {}", Span(interval));
            findings.push(
                self.places
                    .error(Code::TimeoutFit, &KeyPath::of("commit.idle"), what, remedy),
            );
        }
    }

    /// A batch, its result and the module itself must find room in the memory.
    fn memory(&self, findings: &mut Vec<Finding>) {
        const PAGE: usize = 64 << 10;
        const MEMORY_MAX: usize = 4 << 30;
        for (path, stage) in self.stages {
            let (memory, limits) = (path.join("limits").join("memory"), &stage.limits);
            let held = stage.batch.bytes.get().saturating_add(limits.output_bytes);
            if limits.memory_bytes < PAGE || limits.memory_bytes > MEMORY_MAX {
                let what = "WebAssembly has from one page of memory to 4GiB";
                findings.push(self.places.error(
                    Code::MemoryFit,
                    &memory,
                    what,
                    "write 64KiB to 4GiB, such as 64MiB",
                ));
            } else if held >= limits.memory_bytes {
                let what = "a batch (`batch.bytes`) and its result (`limits.output_bytes`) do not fit into it together";
                let remedy = format!(
                    "write more than {}, or lower the other two",
                    super::units::Size(held)
                );
                findings.push(self.places.error(Code::MemoryFit, &memory, what, remedy));
            }
        }
    }

    fn retry(&self, findings: &mut Vec<Finding>) {
        let retry = &self.on_error.retry;
        if retry.initial > retry.max {
            let what = format!(
                "the longest pause ({}) is less than the first ({})",
                Span(retry.max),
                Span(retry.initial)
            );
            let remedy = format!("write at least {}", Span(retry.initial));
            findings.push(self.places.error(
                Code::ValueRange,
                &KeyPath::of("on_error.retry.max"),
                what,
                remedy,
            ));
        }
    }
}
