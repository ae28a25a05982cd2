//! Where a partition is read next: starting, seeking, and what the library makes of both.

use std::time::{Duration, Instant};

use super::{Assigned, LibrdConsumer};
use crate::kafka::ffi::error::{CallFailed, of_code};
use crate::kafka::ffi::list::List;
use crate::kafka::{KafkaError, Position, TopicPartition, codes};

/// A seek that must wait for its partition to start is tried again this often.
const SEEK_AGAIN: Duration = Duration::from_millis(20);
/// How long the lane's thread may stand still to mend a position after a fetch error.
const MEND_MAX: Duration = Duration::from_millis(500);

impl LibrdConsumer {
    /// A partition begins at this position, or goes on there.
    pub(super) fn start(&mut self, position: &Position) {
        // Nothing was handed over since, so whatever the library reports is an echo.
        let untrue = self.library_position(&position.partition);
        let paused = self
            .assigned
            .get(&position.partition)
            .is_some_and(|state| state.paused);
        let state = Assigned {
            next: position.offset,
            paused,
            untrue,
        };
        self.assigned.insert(position.partition.clone(), state);
    }

    pub(super) fn library_position(&self, partition: &TopicPartition) -> Option<i64> {
        let list = List::of_partitions(std::slice::from_ref(partition)).ok()?;
        self.client.position(&list).ok()?;
        list.first()
            .filter(|(offset, code)| *offset >= 0 && *code == codes::NO_ERROR)
            .map(|(offset, _)| offset)
    }

    /// The partitions that still have to be moved, and why the first of them was not.
    fn seek_once(
        &self,
        positions: &[Position],
        timeout: Duration,
    ) -> Result<Vec<(Position, KafkaError)>, KafkaError> {
        let list = List::of_positions(positions)?;
        match self.client.seek(&list, timeout) {
            Ok(())
            | Err(CallFailed {
                error:
                    KafkaError {
                        code: codes::LOCAL_TIMED_OUT,
                        ..
                    },
                ..
            }) => {}
            Err(failed) => return Err(failed.error),
        }
        let outcomes = positions.iter().zip(list.elements());
        Ok(outcomes
            .filter(|(_, element)| element.code != codes::NO_ERROR)
            .map(|(position, element)| {
                (
                    position.clone(),
                    of_code(element.code, &position.partition.to_string()),
                )
            })
            .collect())
    }

    /// Partitions whose fetcher gave up (after a gap, say) take no seek: they are taken
    /// out of the assignment and put back in.
    fn restart(&mut self, positions: &[Position]) -> Result<(), KafkaError> {
        if positions.is_empty() {
            return Ok(());
        }
        if self.client.is_cooperative() {
            let list = List::of_positions(positions)?;
            self.client.incremental_unassign(&list)?;
            return self.client.incremental_assign(&list);
        }
        for position in positions {
            self.start(position);
        }
        let all = self.assigned.iter();
        let all = all.map(|(partition, state)| Position {
            partition: partition.clone(),
            offset: state.next,
        });
        self.client
            .assign(Some(&List::of_positions(&all.collect::<Vec<_>>())?))?;
        let paused = self.assigned.iter().filter(|(_, state)| state.paused);
        let paused: Vec<_> = paused.map(|(partition, _)| partition.clone()).collect();
        if paused.is_empty() {
            Ok(())
        } else {
            self.client.pause(&List::of_partitions(&paused)?)
        }
    }

    pub(super) fn move_to(&mut self, positions: &[Position], timeout: Duration) -> Result<(), KafkaError> {
        let deadline = Instant::now() + timeout;
        // First of all: a restart of one partition assigns all of them anew, at what is noted.
        for position in positions
            .iter()
            .filter(|p| self.assigned.contains_key(&p.partition))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.start(&position);
        }
        let mut rest: Vec<Position> = positions.to_vec();
        let mut restarted = false;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let failed = self.seek_once(&rest, left)?;
            let Some((_, why)) = failed.first() else { break };
            let waits = |code| {
                matches!(
                    code,
                    codes::LOCAL_STATE | codes::LOCAL_PREVIOUS_IN_PROGRESS | codes::LOCAL_IN_PROGRESS
                )
            };
            if left.is_zero() || failed.iter().any(|(_, e)| !waits(e.code)) {
                return Err(why.clone());
            }
            if !std::mem::replace(&mut restarted, true) {
                let stopped = failed.iter().filter(|(position, error)| {
                    error.code == codes::LOCAL_STATE && self.assigned.contains_key(&position.partition)
                });
                let stopped: Vec<_> = stopped.map(|(position, _)| position.clone()).collect();
                self.restart(&stopped)?;
            }
            rest = failed.into_iter().map(|(position, _)| position).collect();
            std::thread::sleep(SEEK_AGAIN.min(left));
        }
        for position in positions {
            if self.assigned.contains_key(&position.partition) {
                self.start(position);
            }
        }
        Ok(())
    }

    /// Makes the library's position true again, for a pause would save the wrong one.
    pub(super) fn mend(&mut self, partition: &TopicPartition) {
        let Some(state) = self.assigned.get(partition).filter(|s| s.untrue.is_some()) else {
            return;
        };
        let back = Position {
            partition: partition.clone(),
            offset: state.next,
        };
        if let Err(error) = self.move_to(&[back], MEND_MAX) {
            tracing::debug!(%partition, %error, "the position stays unknown for now");
        }
    }
}
