//! Leaving the group, so that the others need not wait for the session to end.

use std::time::{Duration, Instant};

use super::LibrdConsumer;
use crate::kafka::{Consumer, GroupEvent, KafkaError, Position};

/// A change of the group may go on for this long: a heartbeat, and a bit.
const SETTLE: Duration = Duration::from_millis(3500);
/// Left for leaving itself.
const FAREWELL: Duration = Duration::from_millis(1500);
/// librdkafka's "end of the log".
const LOG_END: i64 = -1;

impl LibrdConsumer {
    /// Leaves the group, answering the revoke that this causes. Also sends the leave
    /// request, so that the others need not wait for the session to end.
    pub(super) fn leave(&mut self, deadline: Instant) -> Result<(), KafkaError> {
        self.settle(deadline)?;
        self.client.unsubscribe()?;
        self.client.start_closing()?;
        while !self.client.is_closed() && Instant::now() < deadline {
            self.answer_farewell()?;
        }
        Ok(())
    }

    /// While a join is under way, the broker answers nothing else on that connection: a leave
    /// request would be lost with it, and the others would wait for the session to end. A
    /// member that joined lately may be in that, until the slowest of the others has had its
    /// heartbeat.
    fn settle(&mut self, deadline: Instant) -> Result<(), KafkaError> {
        let until = deadline.checked_sub(FAREWELL).unwrap_or(deadline);
        while self.changed.is_some_and(|at| at.elapsed() < SETTLE) && Instant::now() < until {
            self.answer_farewell()?;
        }
        Ok(())
    }

    fn answer_farewell(&mut self) -> Result<(), KafkaError> {
        for event in self.poll(1000, Duration::from_millis(50))?.events {
            match event {
                GroupEvent::Revoked { partitions, .. } => self.unassign(&partitions)?,
                GroupEvent::Assigned(partitions) => {
                    let parked = |partition| Position {
                        partition,
                        offset: LOG_END,
                    };
                    self.assign(&partitions.into_iter().map(parked).collect::<Vec<_>>())?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
