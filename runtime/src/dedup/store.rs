//! Where claims are held.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::claim::{Claim, Verdict};
use super::memory::MemoryClaims;
use super::redis::RedisClaims;
use super::sql::SqlClaims;
use crate::plan::{ClaimStore, Dedup, RedisAddress, SqlAddress};

/// The store does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {store} that holds the message ids does not answer: {why}")]
pub struct StoreAway {
    pub store: &'static str,
    pub why: String,
}

/// One lane's access to a store.
pub trait Claims: fmt::Debug {
    /// One verdict for each claim, in their order; of several claims on one id, those that come
    /// later are repeats of the first. After an error some may be held all the same, which does no
    /// harm: who claims again finds its own.
    fn claim(&mut self, claims: &[Claim], now: Instant) -> Result<Vec<Verdict>, StoreAway>;

    /// How many ids are held in this process.
    fn ids_held(&self) -> usize;
}

/// Claims that others share, so that they outlive the transaction in which they were made, and the
/// process.
pub trait Release {
    /// Takes back those that are held by their own coordinates; says how many.
    fn release(&mut self, claims: &[Claim]) -> Result<u64, StoreAway>;
}

/// What the lanes of one pipeline share of their store.
#[derive(Debug, Clone)]
pub enum Stores {
    Memory(Arc<Mutex<MemoryClaims>>),
    /// Each lane has the claims of its partitions: of all together at most so many.
    Changelog {
        ids: NonZeroUsize,
    },
    /// Each lane has a connection of its own.
    Redis {
        address: RedisAddress,
        prefix: String,
        window_ms: i64,
    },
    Sql {
        address: SqlAddress,
        window_ms: i64,
    },
}

impl Stores {
    pub fn new(plan: &Dedup) -> Self {
        match plan.store {
            ClaimStore::Memory { ids } => {
                let claims = MemoryClaims::new(ids, plan.window);
                Self::Memory(Arc::new(Mutex::new(claims)))
            }
            ClaimStore::Changelog { ids } => Self::Changelog { ids },
            ClaimStore::Redis {
                ref address,
                ref prefix,
            } => Self::Redis {
                address: address.clone(),
                prefix: prefix.clone(),
                window_ms: plan.window_ms(),
            },
            ClaimStore::Sql { ref address } => Self::Sql {
                address: address.clone(),
                window_ms: plan.window_ms(),
            },
        }
    }
}

/// For whoever takes claims back; `None` where none outlives its transaction and the process.
pub fn release(plan: &Dedup) -> Result<Option<Box<dyn Release>>, StoreAway> {
    Ok(match Stores::new(plan) {
        Stores::Memory(_) | Stores::Changelog { .. } => None,
        Stores::Redis {
            address,
            prefix,
            window_ms,
        } => Some(Box::new(RedisClaims::new(address.client(), prefix, window_ms))),
        Stores::Sql { address, window_ms } => {
            let claims = SqlClaims::new(address, window_ms).map_err(|error| StoreAway {
                store: "database",
                why: error.to_string(),
            })?;
            Some(Box::new(claims))
        }
    })
}

impl Claims for Arc<Mutex<MemoryClaims>> {
    fn claim(&mut self, claims: &[Claim], now: Instant) -> Result<Vec<Verdict>, StoreAway> {
        let mut held = self.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(claims.iter().map(|claim| held.claim(claim, now)).collect())
    }

    fn ids_held(&self) -> usize {
        self.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
