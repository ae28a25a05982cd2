//! How often what passed.

use std::collections::BTreeMap;
use std::fmt;

use super::frame::Api;

/// What passed: requests that reached a node, replies that reached a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    apis: BTreeMap<Api, ApiCounts>,
    /// `EndTxn` requests that ask to commit, repeated ones included.
    pub commits: u64,
    /// `EndTxn` requests that ask to abort, repeated ones included.
    pub aborts: u64,
    /// Successful replies to the former.
    pub committed: u64,
    /// Successful replies to the latter.
    pub aborted: u64,
    /// Frames of watched APIs that could not be read. A test that counts on the others
    /// must see none.
    pub undecoded: u64,
}

/// What passed of one API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiCounts {
    pub requests: u64,
    pub replies: u64,
    /// Error codes in replies, success (0) included; one for each partition, where the
    /// API speaks of partitions.
    pub codes: BTreeMap<i16, u64>,
}

impl Counts {
    pub fn of(&self, api: Api) -> ApiCounts {
        self.apis.get(&api).cloned().unwrap_or_default()
    }

    pub fn requests(&self, api: Api) -> u64 {
        self.of(api).requests
    }

    pub fn replies(&self, api: Api) -> u64 {
        self.of(api).replies
    }

    /// How often the error code came in replies of the API.
    pub fn code(&self, api: Api, code: i16) -> u64 {
        self.of(api).codes.get(&code).copied().unwrap_or_default()
    }

    /// What was counted after `earlier` was, which is of the same owners.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub)
    }

    #[must_use]
    pub(super) fn plus(&self, other: &Self) -> Self {
        self.combine(other, u64::saturating_add)
    }

    fn combine(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        let mut apis = self.apis.clone();
        for (api, theirs) in &other.apis {
            let ours = apis.entry(*api).or_default();
            ours.requests = with(ours.requests, theirs.requests);
            ours.replies = with(ours.replies, theirs.replies);
            for (code, count) in &theirs.codes {
                let count_here = ours.codes.entry(*code).or_default();
                *count_here = with(*count_here, *count);
            }
            ours.codes.retain(|_, count| *count > 0);
        }
        apis.retain(|_, counts| *counts != ApiCounts::default());
        Self {
            apis,
            commits: with(self.commits, other.commits),
            aborts: with(self.aborts, other.aborts),
            committed: with(self.committed, other.committed),
            aborted: with(self.aborted, other.aborted),
            undecoded: with(self.undecoded, other.undecoded),
        }
    }

    pub(super) fn count_request(&mut self, api: Api, committed: Option<bool>) {
        self.apis.entry(api).or_default().requests += 1;
        match committed {
            Some(true) => self.commits += 1,
            Some(false) => self.aborts += 1,
            None => {}
        }
    }

    pub(super) fn count_reply(&mut self, api: Api, committed: Option<bool>, codes: &[i16]) {
        let counts = self.apis.entry(api).or_default();
        counts.replies += 1;
        for code in codes {
            *counts.codes.entry(*code).or_default() += 1;
        }
        match (committed, codes) {
            (Some(true), [0]) => self.committed += 1,
            (Some(false), [0]) => self.aborted += 1,
            _ => {}
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "commits {}/{}, aborts {}/{}, undecoded {}",
            self.committed, self.commits, self.aborted, self.aborts, self.undecoded
        )?;
        for (api, counts) in &self.apis {
            write!(f, "; {api} {}/{}", counts.replies, counts.requests)?;
            for (code, count) in counts.codes.iter().filter(|(code, _)| **code != 0) {
                write!(f, " error {code} x{count}")?;
            }
        }
        Ok(())
    }
}
