//! What all proxies of a cluster have in common: the counts of what passed, and the
//! traps.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::counts::Counts;
use super::frame::{Api, Request};
use super::trap::{Action, Caught, Trap, Trapped};

/// More owners than any cluster of tests has. What further ones do counts for nobody.
const OWNERS_LIMIT: usize = 4096;
/// How many frames are remembered.
const RECENT_LIMIT: usize = 2000;

/// Sees every frame. An *owner* is a transactional id, or a client id where a request
/// has none; a prefix selects some, and the empty one all.
pub struct Wire {
    started: Instant,
    seen: Mutex<Seen>,
    counted: Condvar,
}

#[derive(Default)]
struct Seen {
    owners: HashMap<String, Counts>,
    recent: VecDeque<Passed>,
    traps: Vec<Armed>,
    traps_set: u64,
}

struct Armed {
    number: u64,
    trap: Trap,
    caught: mpsc::SyncSender<Caught>,
}

/// A frame of a transaction, or one that failed.
struct Passed {
    after: Duration,
    node: SocketAddr,
    request: Arc<Request>,
    what: What,
}

/// What became of a frame.
pub(super) enum What {
    Sent,
    Held,
    /// The client is answered in the node's name.
    Refused,
    Replied(Vec<i16>),
    ReplyCut(Vec<i16>),
}

impl Wire {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            seen: Mutex::default(),
            counted: Condvar::new(),
        })
    }

    /// Of everybody.
    pub fn counts(&self) -> Counts {
        self.counts_of("")
    }

    /// Of the owners with this prefix.
    pub fn counts_of(&self, prefix: &str) -> Counts {
        self.lock().counts_of(prefix)
    }

    /// Waits until the counts of the owners with this prefix are as `reached` wants, and
    /// gives them.
    pub fn wait(
        &self,
        prefix: &str,
        what: &str,
        limit: Duration,
        reached: impl Fn(&Counts) -> bool,
    ) -> Result<Counts> {
        let end = Instant::now() + limit;
        let mut seen = self.lock();
        loop {
            let counts = seen.counts_of(prefix);
            if reached(&counts) {
                return Ok(counts);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{what}: not seen on the wire within {limit:?}: {counts}");
            }
            let waited = self.counted.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sets a trap, which catches one request at most. Of several that fit, the one
    /// that was set first catches.
    pub fn trap(self: &Arc<Self>, trap: Trap) -> Trapped {
        let (sender, caught) = mpsc::sync_channel(1);
        let mut seen = self.lock();
        seen.traps_set += 1;
        let number = seen.traps_set;
        seen.traps.push(Armed {
            number,
            trap: trap.clone(),
            caught: sender,
        });
        Trapped {
            wire: Arc::clone(self),
            number,
            trap,
            caught,
        }
    }

    /// The last frames of transactions that passed, for whoever wonders about a failure.
    pub fn recent(&self, prefix: &str) -> Vec<String> {
        let seen = self.lock();
        let of_owner = |passed: &&Passed| passed.request.owner.starts_with(prefix);
        seen.recent
            .iter()
            .filter(of_owner)
            .map(Passed::to_string)
            .collect()
    }

    pub(super) fn disarm(&self, number: u64) {
        self.lock().traps.retain(|armed| armed.number != number);
    }

    /// Whether a trap springs, and where to put what is caught.
    pub(super) fn spring(&self, request: &Request) -> Option<(Action, mpsc::SyncSender<Caught>)> {
        let mut seen = self.lock();
        let mut sprung = seen.traps.iter_mut().enumerate();
        let (place, action) = sprung.find_map(|(place, armed)| Some((place, armed.trap.spring(request)?)))?;
        Some((action, seen.traps.remove(place).caught))
    }

    pub(super) fn note(&self, node: SocketAddr, request: &Arc<Request>, what: What) {
        let mut seen = self.lock();
        match &what {
            What::Sent => {
                let counts = seen.counts_mut(&request.owner);
                counts.count_request(request.api, request.committed);
                counts.undecoded += u64::from(!request.decoded);
            }
            What::Replied(codes) => {
                let counts = seen.counts_mut(&request.owner);
                counts.count_reply(request.api, request.committed, codes);
                // If the request could not be read, that was counted already.
                let unread = request.decoded && request.api.is_watched() && codes.is_empty();
                counts.undecoded += u64::from(unread);
            }
            What::Held | What::Refused | What::ReplyCut(_) => {}
        }
        let passed = Passed {
            after: self.started.elapsed(),
            node,
            request: Arc::clone(request),
            what,
        };
        if passed.is_worth_remembering() {
            if seen.recent.len() == RECENT_LIMIT {
                seen.recent.pop_front();
            }
            seen.recent.push_back(passed);
        }
        self.counted.notify_all();
    }

    /// A frame without a readable head.
    pub(super) fn note_undecoded(&self) {
        self.lock().counts_mut("").undecoded += 1;
        self.counted.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn counts_of(&self, prefix: &str) -> Counts {
        let of_prefix = self.owners.iter().filter(|(owner, _)| owner.starts_with(prefix));
        of_prefix.fold(Counts::default(), |sum, (_, counts)| sum.plus(counts))
    }

    fn counts_mut(&mut self, owner: &str) -> &mut Counts {
        let known = self.owners.contains_key(owner) || self.owners.len() < OWNERS_LIMIT;
        self.owners
            .entry(if known { owner } else { "" }.to_owned())
            .or_default()
    }
}

impl Passed {
    /// Produce requests that go well would drive everything else out.
    fn is_worth_remembering(&self) -> bool {
        let failed = match &self.what {
            What::Sent => false,
            What::Held | What::Refused | What::ReplyCut(_) => true,
            What::Replied(codes) => codes.iter().any(|code| *code != 0),
        };
        failed || (self.request.api.is_watched() && self.request.api != Api::PRODUCE)
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request {
            api,
            version,
            correlation,
            owner,
            committed,
            ..
        } = &*self.request;
        let seconds = self.after.as_secs_f64();
        write!(
            f,
            "{seconds:9.3} {} {owner} {api} v{version} #{correlation}",
            self.node
        )?;
        match committed {
            Some(true) => f.write_str(" commit")?,
            Some(false) => f.write_str(" abort")?,
            None => {}
        }
        match &self.what {
            What::Sent => f.write_str(" sent"),
            What::Held => f.write_str(" held"),
            What::Refused => f.write_str(" refused"),
            What::Replied(codes) => write!(f, " replied {codes:?}"),
            What::ReplyCut(codes) => write!(f, " reply cut {codes:?}"),
        }
    }
}
