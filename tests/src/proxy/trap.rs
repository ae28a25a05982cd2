//! Traps for single requests, and what is caught in them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::sync::{Notify, mpsc};

use super::frame::{Api, Request};
use super::replay;
use super::wire::Wire;

/// What is done to the request that is caught, and to its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The node does not get it. Either its connection is reset, or requests behind it
    /// overtake it until [`Caught::release`].
    HoldRequest { cut: bool },
    /// The node does not get it, and the client is refused with this error code, in the order
    /// in which it asked. If there are partitions in the request, that goes for each of them.
    Answer(i16),
    /// The node gets it, and its connection is reset when the reply comes.
    CutBeforeReply,
    /// The reply, and what is behind it on its connection, goes on so much later.
    DelayReply(Duration),
    /// The reply, and what is behind it on its connection, waits for [`Caught::release`].
    /// So a process can be stopped after it sent and before it knows.
    HoldReply,
}

/// Catches one request.
#[derive(Debug, Clone)]
pub struct Trap {
    api: Api,
    owner: String,
    commits: bool,
    skip: usize,
    action: Action,
}

impl Trap {
    /// For the next request of that API whose transactional id, or client id where it
    /// has none, begins with `owner`.
    pub fn new(api: Api, owner: &str, action: Action) -> Self {
        Self {
            api,
            owner: owner.to_owned(),
            commits: false,
            skip: 0,
            action,
        }
    }

    /// Only `EndTxn` that commits.
    #[must_use]
    pub fn commits(self) -> Self {
        Self {
            commits: true,
            ..self
        }
    }

    /// Lets so many pass that it could catch.
    #[must_use]
    pub fn skip(self, count: usize) -> Self {
        Self { skip: count, ..self }
    }

    /// What to do with the request; `None`: it is not caught.
    pub(super) fn spring(&mut self, request: &Request) -> Option<Action> {
        let fits = request.decoded
            && request.api == self.api
            && request.owner.starts_with(&self.owner)
            && (!self.commits || request.committed == Some(true));
        if !fits {
            return None;
        }
        if let Some(rest) = self.skip.checked_sub(1) {
            self.skip = rest;
            return None;
        }
        Some(self.action)
    }
}

/// A trap that waits. Dropping it takes it away.
pub struct Trapped {
    pub(super) wire: Arc<Wire>,
    pub(super) number: u64,
    pub(super) trap: Trap,
    pub(super) caught: Receiver<Caught>,
}

impl Trapped {
    /// Waits for a catch: the request is held or refused, or has just been sent to the node.
    pub fn wait(&self, limit: Duration) -> Result<Caught> {
        match self.caught.recv_timeout(limit) {
            Ok(caught) => Ok(caught),
            Err(RecvTimeoutError::Timeout) => bail!(
                "nothing was caught within {limit:?} by {:?}; last seen:\n{}",
                self.trap,
                self.wire.recent(&self.trap.owner).join("\n")
            ),
            Err(RecvTimeoutError::Disconnected) => bail!("its connection ended while it was sent"),
        }
    }
}

impl Drop for Trapped {
    fn drop(&mut self) {
        self.wire.disarm(self.number);
    }
}

/// A request that was caught. Dropping it lets a held reply go, and forgets a held request.
pub struct Caught {
    pub(super) request: Arc<Request>,
    pub(super) frame: Vec<u8>,
    pub(super) node: SocketAddr,
    pub(super) action: Action,
    pub(super) fate: Arc<Fate>,
    pub(super) back: mpsc::Sender<Late>,
}

/// A held request on its way back into its connection.
pub(super) struct Late {
    pub frame: Vec<u8>,
    pub request: Arc<Request>,
    pub fate: Arc<Fate>,
}

impl Caught {
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// To which it was sent: the direct address.
    pub fn node(&self) -> SocketAddr {
        self.node
    }

    /// Sends a copy to `node` on a connection of its own, as a network does that kept
    /// it: the late replay. Gives the error code of the reply; of several, the first that is not
    /// success.
    pub fn deliver(&self, node: SocketAddr, limit: Duration) -> Result<i16> {
        replay::send(&self.request, &self.frame, node, limit)
            .with_context(|| format!("deliver a late {} to {node}", self.request.api))
    }

    /// Lets what is held go on in its own connection.
    pub fn release(&self) -> Result<()> {
        match self.action {
            Action::HoldRequest { .. } => {
                let late = Late {
                    frame: self.frame.clone(),
                    request: Arc::clone(&self.request),
                    fate: Arc::clone(&self.fate),
                };
                let sent = self.back.try_send(late);
                sent.map_err(|_| anyhow!("the connection of the held {} has ended", self.request.api))
            }
            Action::HoldReply => {
                self.fate.released.notify_one();
                Ok(())
            }
            Action::Answer(_) | Action::CutBeforeReply | Action::DelayReply(_) => Ok(()),
        }
    }

    /// Waits until the node has answered, whether the client learns it or not; or until the
    /// client has been refused in its name. Gives the error code, as [`Caught::deliver`] does.
    pub fn wait_reply(&self, limit: Duration) -> Result<i16> {
        let reply = self.fate.reply.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .fate
            .answered
            .wait_timeout_while(reply, limit, |reply| reply.is_none());
        let (reply, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let codes = reply.as_ref().with_context(|| {
            format!(
                "{} did not answer {} within {limit:?}",
                self.node, self.request.api
            )
        })?;
        ensure!(!codes.is_empty(), "the reply to {} is not read", self.request.api);
        Ok(verdict(codes))
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        if self.action == Action::HoldReply {
            self.fate.released.notify_one();
        }
    }
}

impl fmt::Debug for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caught")
            .field("request", &self.request)
            .field("node", &self.node)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

/// The first that is not success.
pub(super) fn verdict(codes: &[i16]) -> i16 {
    codes.iter().copied().find(|code| *code != 0).unwrap_or_default()
}

/// What becomes of a caught request.
#[derive(Default)]
pub(super) struct Fate {
    /// The error codes of the reply; none, if it could not be read.
    reply: Mutex<Option<Vec<i16>>>,
    answered: Condvar,
    pub released: Notify,
}

impl Fate {
    pub fn answer(&self, codes: Vec<i16>) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(codes);
        self.answered.notify_all();
    }
}
