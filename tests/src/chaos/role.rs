//! Where to aim: the node that has a certain part in what a pipeline does.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::fixture::Fixture;
use crate::wait;

/// How long a part may be vacant after a node has gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// A part that some node plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    InputLeader,
    OutputLeader,
    TransactionCoordinator,
    GroupCoordinator,
    Controller,
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::GroupCoordinator,
        Self::TransactionCoordinator,
        Self::OutputLeader,
        Self::InputLeader,
        Self::Controller,
    ];

    /// The node that plays it for this pipeline now, counted from 0. Waits for one if the part
    /// is vacant.
    pub fn node(self, fixture: &Fixture) -> Result<usize> {
        wait::until("a node of that part", TAKEN_WITHIN, || {
            self.look(fixture).map(Some)
        })
    }

    fn look(self, fixture: &Fixture) -> Result<usize> {
        let judge = fixture.verifier();
        match self {
            Self::InputLeader => leader(fixture, "in"),
            Self::OutputLeader => leader(fixture, "out"),
            Self::GroupCoordinator => judge.group_coordinator(fixture.name()),
            Self::Controller => judge.controller(),
            Self::TransactionCoordinator => {
                let known = judge.transactions(&fixture.ids())?;
                let id = &known.first().context("a transactional id")?.id;
                judge.transaction_coordinator(id)
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InputLeader => "leader of an input partition",
            Self::OutputLeader => "leader of an output partition",
            Self::TransactionCoordinator => "transaction coordinator",
            Self::GroupCoordinator => "group coordinator",
            Self::Controller => "controller",
        })
    }
}

fn leader(fixture: &Fixture, short: &str) -> Result<usize> {
    let leaders = fixture.verifier().leaders(&fixture.topic(short))?;
    leaders.iter().find_map(|leader| leader.node).context("a leader")
}
