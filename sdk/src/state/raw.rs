//! One store, by keys as they are stored. Handles for authors and event time stand on it.

use std::borrow::Cow;

use super::overlay::Slot;
use super::scan::Cursor;
use super::{expires_at_ms, host};
use crate::output::Output;
use crate::{Error, Result};

/// A store at the time of the record at hand.
#[derive(Debug)]
pub(crate) struct Raw<'o, 'a> {
    out: &'o mut Output<'a>,
    store: u16,
    ttl_ms: Option<i64>,
    time_ms: i64,
}

impl<'o, 'a> Raw<'o, 'a> {
    /// An error ends the pipeline: the store is not declared, or no record is at hand.
    pub(crate) fn open(out: &'o mut Output<'a>, name: &str) -> Result<Self> {
        let stores = out.declared();
        let place = stores.iter().position(|store| store.name == name);
        let declared = place.and_then(|place| Some((u16::try_from(place).ok()?, stores.get(place)?.ttl_ms)));
        let Some((store, ttl_ms)) = declared else {
            return Err(out.unknown_store(name));
        };
        let Some(time_ms) = out.time_ms() else {
            let what = format_args!("it uses the state store {name:?} outside of `Output::attempt`");
            return Err(out.wrong(what));
        };
        Ok(Self {
            out,
            store,
            ttl_ms,
            time_ms,
        })
    }

    pub(crate) fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// The same, for one call that takes it.
    pub(crate) fn reborrow(&mut self) -> Raw<'_, 'a> {
        Raw {
            out: self.out,
            ..*self
        }
    }

    /// What was written last, if it is still there. What this call wrote is not copied.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self.out.overlay().get(self.store, key) {
            Some(written) => written.at(self.time_ms).map(Cow::Borrowed),
            None => host::get(self.store, key, self.time_ms).map(Cow::Owned),
        }
    }

    /// The same for an entry that never expires. The runtime is asked once in a call.
    pub(crate) fn get_once(&mut self, key: &[u8]) -> Option<&[u8]> {
        if self.out.overlay().get(self.store, key).is_none() {
            let value = host::get(self.store, key, self.time_ms);
            self.out.overlay_mut().remember(self.store, key, value);
        }
        self.out.overlay().get(self.store, key)?.at(self.time_ms)
    }

    /// `ttl_ms` is how long it lasts; `None`: as the store says.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], ttl_ms: Option<i64>) -> Result<()> {
        self.out
            .build(|builder| builder.state_put(self.store, key, value, ttl_ms))?;
        let slot = Slot {
            value: Some(value.to_vec()),
            expires_at_ms: expires_at_ms(self.time_ms, ttl_ms.or(self.ttl_ms)),
        };
        self.out.overlay_mut().set(self.store, key, slot);
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.out.build(|builder| builder.state_delete(self.store, key))?;
        let slot = Slot {
            value: None,
            expires_at_ms: i64::MAX,
        };
        self.out.overlay_mut().set(self.store, key, slot);
        Ok(())
    }

    /// Entries whose keys begin with `prefix` and are greater than `after`, in their order.
    pub(crate) fn scan(self, prefix: Vec<u8>, after: &[u8]) -> Cursor<'o> {
        let Self {
            out, store, time_ms, ..
        } = self;
        let (overlay, failure) = out.overlay_and_failure();
        Cursor::new(overlay, failure, store, time_ms, prefix, after)
    }
}

/// An author's key as it is stored.
pub(crate) fn author_key(key: &[u8]) -> Result<Cow<'_, [u8]>> {
    if key.is_empty() {
        return Err(Error::reject("a key of a state store must not be empty"));
    }
    Ok(super::key::stored(key))
}
