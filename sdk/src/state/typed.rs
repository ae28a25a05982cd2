//! A store with values of one type.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Scan;
use super::store::{read_json, write_json};
use crate::{Output, Result};

/// Declares that all values of a store are of one type, kept as JSON.
///
/// ```
/// # use strait_sdk::prelude::*;
/// #[derive(Default, Serialize, Deserialize)]
/// struct Account { balance: i64, payments: u64 }
///
/// const ACCOUNTS: Typed<Account> = Typed::new("accounts");
///
/// # fn record(record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
/// let balance = ACCOUNTS.update(out, record.key().unwrap_or(b"nobody"), |account| {
///     account.balance += 5;
///     account.payments += 1;
///     account.balance
/// })?;
/// out.emit(record.with_json(&balance)?)
/// # }
/// ```
pub struct Typed<T> {
    name: &'static str,
    values: PhantomData<fn(T) -> T>,
}

impl<T> Typed<T> {
    /// The store that the pipeline gives this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            values: PhantomData,
        }
    }

    /// Removes what is stored under a key, if anything is.
    pub fn delete(&self, out: &mut Output<'_>, key: impl AsRef<[u8]>) -> Result<()> {
        out.store(self.name).delete(key)
    }
}

impl<T: Serialize> Typed<T> {
    /// Stores a value. It lasts as long as the pipeline says for this store, counted anew.
    pub fn put(&self, out: &mut Output<'_>, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        out.store(self.name).put_json(key, value)
    }

    /// Stores a value that lasts so long, whatever the pipeline says.
    pub fn put_for(
        &self,
        out: &mut Output<'_>,
        key: impl AsRef<[u8]>,
        value: &T,
        lasts: Duration,
    ) -> Result<()> {
        out.store(self.name).put_for(key, write_json(value)?, lasts)
    }
}

impl<T: DeserializeOwned> Typed<T> {
    /// What is stored under a key. What is there but of another type rejects the record.
    pub fn get(&self, out: &mut Output<'_>, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        out.store(self.name).get_json(key)
    }

    /// Entries whose keys begin with `prefix`, in the order of their bytes; with an empty one, all.
    pub fn scan<'o>(&self, out: &'o mut Output<'_>, prefix: impl AsRef<[u8]>) -> Result<TypedScan<'o, T>> {
        Ok(TypedScan {
            store: self.name,
            scan: out.store(self.name).scan(prefix)?,
            values: PhantomData,
        })
    }
}

impl<T: Default + Serialize + DeserializeOwned> Typed<T> {
    /// Changes the value under a key, or a default one if there is none, and stores it.
    pub fn update<R>(
        &self,
        out: &mut Output<'_>,
        key: impl AsRef<[u8]>,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let key = key.as_ref();
        let mut value = self.get(out, key)?.unwrap_or_default();
        let changed = change(&mut value);
        self.put(out, key, &value)?;
        Ok(changed)
    }
}

impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Typed<{}>({:?})", type_name::<T>(), self.name)
    }
}

/// Walks a [`Typed`] store: key and value, or why the value does not fit.
pub struct TypedScan<'o, T> {
    store: &'static str,
    scan: Scan<'o>,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for TypedScan<'_, T> {
    type Item = Result<(Vec<u8>, T)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.scan.next()?;
        let value = read_json(self.store, &key, &value);
        Some(value.map(|value| (key, value)))
    }
}

impl<T> fmt::Debug for TypedScan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.fmt(f)
    }
}
