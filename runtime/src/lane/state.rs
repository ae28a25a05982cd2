//! The states of a lane, and which may follow which.
//!
//! ```text
//!              +---------+  assigned   +-----------+  positions known
//!   start ---> | Joining | ----------> | Restoring | -----------------+
//!              +---------+             +-----------+                  v
//!                   ^                        ^               +-----------+
//!                   |                        +-------------- |  Running  | <---+
//!                   |                          rebalance     +-----------+     |
//!                   |                                          |   |   |       |
//!                   |       +------------+   time, size, idle  |   |   |       |
//!                   |       | Committing | <-------------------+   |   |       |
//!                   |       +------------+ ------------------------|---|-------+
//!                   |          |  abort, unknown outcome           |   |       |
//!                   |          v                                   v   |       |
//!                   |       +------------+ <-----------------------+   |       |
//!                   |       | Rewinding  | ----------------------------|-------+
//!                   |       +------------+   new producer, resolved    |       |
//!                   |                                                  v       |
//!                   |       +-----------+   new module        +-----------+    |
//!                   +------ | (anywhere)|                     | Reloading | ---+
//!              lane restart +-----------+                     +-----------+
//!
//!   any of them --> Draining --> Stopped          any of them --> Failed
//! ```

use std::fmt;

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LaneState {
    /// In the group, without an assignment yet.
    Joining,
    /// Finding out where newly assigned partitions start.
    Restoring,
    Running,
    /// Ending a transaction.
    Committing,
    /// After an abort or an unknown outcome: back to what is committed.
    Rewinding,
    /// Changing modules between two transactions.
    Reloading,
    /// Finishing what it has; takes no more.
    Draining,
    Stopped,
    Failed,
}

impl LaneState {
    pub const ALL: [Self; 9] = [
        Self::Joining,
        Self::Restoring,
        Self::Running,
        Self::Committing,
        Self::Rewinding,
        Self::Reloading,
        Self::Draining,
        Self::Stopped,
        Self::Failed,
    ];

    /// As metrics and logs name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Restoring => "restoring",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::Rewinding => "rewinding",
            Self::Reloading => "reloading",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether `next` may follow. A state may always follow itself.
    pub fn may_become(self, next: Self) -> bool {
        use LaneState::{
            Committing, Draining, Failed, Joining, Reloading, Restoring, Rewinding, Running, Stopped,
        };
        if self == next {
            return true;
        }
        match (self, next) {
            (Stopped | Failed, _) => false,
            (_, Failed | Draining)
            | (Draining, Committing | Rewinding | Stopped)
            | (Joining, Restoring)
            | (Restoring, Running | Joining | Rewinding | Committing)
            | (Running, Committing | Rewinding | Restoring | Reloading | Joining)
            | (Committing, Running | Rewinding | Restoring)
            | (Rewinding, Running | Restoring | Joining)
            | (Reloading, Running | Rewinding) => true,
            _ => false,
        }
    }
}

impl fmt::Display for LaneState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::LaneState;

    #[test]
    fn nothing_follows_an_end() {
        for end in [LaneState::Stopped, LaneState::Failed] {
            for next in LaneState::ALL {
                assert_eq!(end.may_become(next), end == next, "{end} -> {next}");
            }
        }
    }

    #[test]
    fn a_lane_may_fail_or_drain_from_every_living_state() {
        for state in LaneState::ALL {
            let alive = !matches!(state, LaneState::Stopped | LaneState::Failed);
            assert_eq!(
                state.may_become(LaneState::Failed),
                alive || state == LaneState::Failed
            );
            assert_eq!(state.may_become(LaneState::Draining), alive);
        }
    }

    #[test]
    fn nothing_runs_before_its_positions_are_known() {
        assert!(!LaneState::Joining.may_become(LaneState::Running));
        assert!(!LaneState::Joining.may_become(LaneState::Committing));
    }
}
