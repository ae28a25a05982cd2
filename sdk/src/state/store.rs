//! A store, as an author has it in hand.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::raw::author_key;
use super::{Raw, Scan, key};
use crate::output::Output;
use crate::{Error, Result};

/// A store of keyed state: see [`Output::store`].
///
/// Each partition of the input has entries of its own. Reading sees what was written before, by
/// this record too; a record that fails takes back what it wrote. Keys are bytes of any kind, but
/// for the empty one, which rejects the record.
#[derive(Debug)]
pub struct Store<'o, 'a> {
    out: &'o mut Output<'a>,
    name: &'o str,
}

impl<'o, 'a> Store<'o, 'a> {
    pub(crate) fn new(out: &'o mut Output<'a>, name: &'o str) -> Self {
        Self { out, name }
    }

    fn raw(&mut self) -> Result<Raw<'_, 'a>> {
        Raw::open(self.out, self.name)
    }

    /// What is stored under a key; `None` if nothing is, or nothing any more.
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let key = author_key(key.as_ref())?;
        Ok(self.raw()?.get(&key).map(Cow::into_owned))
    }

    /// The same, read as JSON. What does not fit rejects the record.
    pub fn get_json<T: DeserializeOwned>(&mut self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let key = author_key(key.as_ref())?;
        let name = self.name;
        let raw = self.raw()?;
        let stored = raw.get(&key);
        stored.map(|value| read_json(name, &key, &value)).transpose()
    }

    /// Stores a value. It lasts as long as the pipeline says for this store, counted anew.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.write(key.as_ref(), value.as_ref(), None)
    }

    /// Stores a value that lasts so long, whatever the pipeline says.
    pub fn put_for(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, lasts: Duration) -> Result<()> {
        let ttl_ms = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
        self.write(key.as_ref(), value.as_ref(), Some(ttl_ms))
    }

    /// Stores a value that is written as JSON.
    pub fn put_json<T: Serialize + ?Sized>(&mut self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        self.put(key, write_json(value)?)
    }

    /// Removes what is stored under a key, if anything is.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        let key = author_key(key.as_ref())?;
        self.raw()?.delete(&key)
    }

    /// Entries whose keys begin with `prefix`, in the order of their bytes; with an empty one, all.
    pub fn scan(self, prefix: impl AsRef<[u8]>) -> Result<Scan<'o>> {
        let prefix = key::stored(prefix.as_ref()).into_owned();
        Ok(Scan::new(Raw::open(self.out, self.name)?.scan(prefix, &[])))
    }

    fn write(&mut self, key: &[u8], value: &[u8], ttl_ms: Option<i64>) -> Result<()> {
        let key = author_key(key)?;
        self.raw()?.put(&key, value, ttl_ms)
    }
}

pub(crate) fn write_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::reject(format_args!("the new state cannot be written as JSON: {error}")))
}

pub(crate) fn read_json<T: DeserializeOwned>(store: &str, key: &[u8], value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| {
        let key = String::from_utf8_lossy(key);
        Error::reject(format_args!(
            "what the state store {store:?} has under {key:?} does not fit the transform: {error}"
        ))
    })
}
