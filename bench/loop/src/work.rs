//! What becomes of a record, natively: what the transforms in `bench/guests` and `examples` do.

use std::borrow::Cow;

use anyhow::Context;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use crate::Work;

/// What is left of a record.
pub enum Left<'a> {
    Nothing,
    /// The record as it came.
    Same,
    Value(&'a [u8]),
}

/// The work, with what it keeps from record to record.
pub struct Worker {
    work: Work,
    finder: Finder<'static>,
    written: Vec<u8>,
}

/// An order, as [`crate::load`] writes it.
#[derive(Deserialize)]
struct Sale<'a> {
    order: u64,
    #[serde(borrow)]
    user: Cow<'a, str>,
    /// Cents.
    amount: i64,
    #[serde(borrow)]
    currency: Cow<'a, str>,
    #[serde(borrow)]
    note: Cow<'a, str>,
}

/// What becomes of it.
#[derive(Serialize)]
struct Priced<'a> {
    order: u64,
    user: &'a str,
    amount: i64,
    total: i64,
    currency: &'a str,
    note: &'a str,
}

impl Worker {
    pub fn new(work: Work) -> Self {
        Self {
            work,
            finder: Finder::new(r#"7,"user""#).into_owned(),
            written: Vec::new(),
        }
    }

    /// Inlined: for `Identity` it costs a comparison.
    #[inline]
    pub fn work(&mut self, value: &[u8]) -> anyhow::Result<Left<'_>> {
        match self.work {
            Work::Identity | Work::FanOut => Ok(Left::Same),
            Work::Filter => Ok(match self.finder.find(value) {
                Some(_) => Left::Same,
                None => Left::Nothing,
            }),
            Work::Json => self.price(value),
        }
    }

    /// Drops a fifth, adds the tax to the rest.
    fn price(&mut self, value: &[u8]) -> anyhow::Result<Left<'_>> {
        let sale: Sale<'_> = serde_json::from_slice(value).context("not an order")?;
        if sale.order.is_multiple_of(5) {
            return Ok(Left::Nothing);
        }
        self.written.clear();
        let priced = Priced {
            order: sale.order,
            user: &sale.user,
            amount: sale.amount,
            total: sale.amount + sale.amount / 5,
            currency: &sale.currency,
            note: &sale.note,
        };
        serde_json::to_writer(&mut self.written, &priced)?;
        Ok(Left::Value(&self.written))
    }
}
