//! What comes in: records into the backlogs, and news of the group.

use std::time::{Duration, Instant};

use crate::kafka::{Consumer, GroupEvent, Producer, ProducerFactory};
use crate::plan::Delivery;
use crate::stage::GuestFactory;

use super::commit_policy::Due;
use super::control::Interrupt;
use super::directory::Directory;
use super::partitions::Standing;
use super::{IDLE_WAIT_MAX, Lane};

/// Records kept undecided, but for those of partitions that a retry holds up, which are
/// not fetched meanwhile.
const POLL_RECORDS_MAX: usize = 10_000;

/// Nothing more is taken beyond this many bytes. What one poll takes is bounded by the
/// client's own queue.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// With undecided records at hand, the group is served this often.
const SERVE_INTERVAL: Duration = Duration::from_millis(500);

impl<C, F, D, G> Lane<C, F, D, G>
where
    C: Consumer,
    F: ProducerFactory,
    F::Producer: Producer<Member = C::Member>,
    D: Directory,
    G: GuestFactory + Clone,
{
    /// Polls: without waiting if there is work at hand, else until something is due.
    pub(super) fn take(&mut self, ready: bool, due: Option<Due>, now: Instant) -> Result<(), Interrupt> {
        let not_held = || {
            self.partitions
                .iter()
                .filter(|p| p.held_until.is_none() && !p.restoring.any())
        };
        let records: usize = not_held().map(|p| p.backlog.len()).sum();
        let bytes: usize = not_held().map(|p| p.backlog.bytes()).sum();
        let room = if bytes < BACKLOG_BYTES_MAX {
            POLL_RECORDS_MAX.saturating_sub(records)
        } else {
            0
        };
        if room == 0 && ready && now.duration_since(self.last_poll) < SERVE_INTERVAL {
            return Ok(());
        }
        let timeout = if ready {
            Duration::ZERO
        } else {
            self.wait(due, now)
        };
        self.last_poll = now;
        let polled = self
            .consumer
            .poll(room.max(1), timeout)
            .map_err(|error| Interrupt::Lane(format!("cannot poll: {error}")))?;
        // Before the events: a rewind among them must find these records, and drop them.
        for chunk in polled.chunks {
            if let Some(partition) = self.partitions.get_mut(&chunk.partition)
                && partition.standing != Standing::Resolving
            {
                partition.backlog.extend(chunk.records, partition.next);
            }
        }
        self.serve(polled.events)?;
        if self.plan.delivery == Delivery::AtMostOnce {
            self.commit_what_was_polled()
        } else {
            Ok(())
        }
    }

    fn wait(&self, due: Option<Due>, now: Instant) -> Duration {
        let held = self.partitions.iter().filter_map(|p| p.held_until).min();
        let due = match due {
            Some(Due::At(at)) => Some(at),
            Some(Due::Now) => Some(now),
            None => None,
        };
        let until = [held, due].into_iter().flatten().filter(|at| *at > now).min();
        until.map_or(IDLE_WAIT_MAX, |at| at.duration_since(now).min(IDLE_WAIT_MAX))
    }

    /// Serves all events, whatever one of them ends in: none comes a second time.
    pub(super) fn serve(&mut self, events: Vec<GroupEvent>) -> Result<(), Interrupt> {
        let mut result = Ok(());
        for event in events {
            let served = self.serve_event(event);
            result = result.and(served);
        }
        result
    }

    fn serve_event(&mut self, event: GroupEvent) -> Result<(), Interrupt> {
        match event {
            GroupEvent::Assigned(partitions) => return self.assigned(&partitions),
            GroupEvent::Revoked { partitions, lost } => return self.revoked(&partitions, lost),
            GroupEvent::Gap { partition } => {
                if let Some(known) = self.partitions.get_mut(&partition) {
                    known.gap = true;
                }
            }
            GroupEvent::Watermarks {
                partition,
                high,
                last_stable,
            } => {
                if let Some(known) = self.partitions.get_mut(&partition) {
                    known.last_stable = Some(last_stable);
                    self.report.last_stable_offset_lag(&partition, high - last_stable);
                    self.report.lag(known);
                }
            }
            GroupEvent::Trouble(error) if error.fatal => {
                return Err(Interrupt::Lane(format!(
                    "the consumer is of no more use: {error}"
                )));
            }
            GroupEvent::Trouble(error) => self.report.trouble(&error),
        }
        Ok(())
    }
}
