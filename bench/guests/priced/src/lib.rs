//! Parses orders, drops a fifth, adds the tax and writes them again: the work that most transforms do.
//!
//! The loop and the peers do the same, byte for byte.

use std::borrow::Cow;

use strait_sdk::prelude::*;

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

#[derive(Serialize)]
struct Priced<'a> {
    order: u64,
    user: &'a str,
    amount: i64,
    total: i64,
    currency: &'a str,
    note: &'a str,
}

/// The transform.
struct Price;

impl Transform for Price {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let sale: Sale<'_> = record.json()?;
        if sale.order.is_multiple_of(5) {
            return Ok(());
        }
        out.emit(record.with_json(&Priced {
            order: sale.order,
            user: &sale.user,
            amount: sale.amount,
            total: sale.amount + sale.amount / 5,
            currency: &sale.currency,
            note: &sale.note,
        })?)
    }
}

strait_sdk::export!(Price);
