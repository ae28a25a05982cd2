//! Cleans orders: the transform to read first.
//!
//! For each record of the input topic there are four ends:
//!
//! - its value is no order: [`Record::json`] rejects this record alone, and the pipeline's
//!   `on_error` says what becomes of it;
//! - the order is below `minimum`: returning without emitting filters it;
//! - the currency is no currency: [`Error::reject`] with a reason that a person can act on;
//! - all is well: the cleaned order goes to the output `default`, and a note to `audit`. Which
//!   topics these are is the pipeline's business.
//!
//! Build it with
//!
//! ```sh
//! RUSTFLAGS="-C target-feature=+simd128" cargo build --profile guest --target wasm32-unknown-unknown -p orders
//! ```

use strait_sdk::prelude::*;

/// `settings` of the pipeline. Unknown ones are mistakes, and are reported before any record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Orders below this amount are dropped.
    minimum: i64,
}

/// An order. What else its JSON holds is dropped by reading and writing it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: String,
    /// In the currency's smallest unit.
    amount: i64,
    #[serde(default = "euro")]
    currency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<String>,
}

fn euro() -> String {
    "EUR".to_owned()
}

/// What the audit trail keeps of an order.
#[derive(Serialize)]
struct Audit<'a> {
    id: &'a str,
    amount: i64,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

/// The transform. What it holds must be no more than a cache: the runtime starts a fresh
/// instance whenever a transaction is aborted.
pub struct Orders {
    minimum: i64,
}

impl Transform for Orders {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            minimum: settings.minimum,
        })
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let mut order: Order = record.json()?;
        if order.amount < self.minimum {
            return Ok(());
        }
        clean_currency(&mut order.currency)?;
        let audit = Audit {
            id: &order.id,
            amount: order.amount,
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
        };
        // Key, headers and timestamp stay as they are; only the value is new.
        out.emit(record.with_json(&order)?)?;
        out.to("audit").emit(record.with_json(&audit)?)
    }
}

fn clean_currency(currency: &mut String) -> Result<()> {
    *currency = currency.trim().to_ascii_uppercase();
    if currency.len() == 3 && currency.bytes().all(|letter| letter.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(Error::reject(format_args!(
        "{currency:?} is no currency; it has three letters, as in EUR"
    )))
}

strait_sdk::export!(Orders);

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::testing::{Ran, Sample, Tester};

    fn run(values: &[&str]) -> Ran {
        let mut orders = Tester::<Orders>::from_json(r#"{"minimum": 20}"#)
            .unwrap()
            .outputs(["default", "audit"]);
        orders
            .run(
                values
                    .iter()
                    .map(|value| Sample::value(*value).key("customer-1").offset(7)),
            )
            .unwrap()
    }

    #[test]
    fn an_order_is_cleaned_and_audited() {
        let ran = run(&[r#"{"id": "a", "amount": 20, "currency": " usd", "note": "x"}"#]);
        let clean = ran.to("default");
        assert_eq!(clean[0].text(), r#"{"id":"a","amount":20,"currency":"USD"}"#);
        assert_eq!(clean[0].key.as_deref(), Some(b"customer-1".as_slice()));
        let audit = ran.to("audit");
        assert_eq!(
            audit[0].text(),
            r#"{"id":"a","amount":20,"topic":"test","partition":0,"offset":7}"#
        );
    }

    #[test]
    fn small_orders_are_dropped() {
        let ran = run(&[r#"{"id": "a", "amount": 19}"#, r#"{"id": "b", "amount": 20}"#]);
        assert_eq!(ran.filtered(), [0]);
        assert_eq!(ran.to("default")[0].json::<Order>().unwrap().currency, "EUR");
    }

    #[test]
    fn what_is_no_order_fails_alone() {
        let ran = run(&[
            "{",
            r#"{"id": "a", "amount": 20, "currency": "dollars"}"#,
            r#"{"id": "b", "amount": 20}"#,
        ]);
        let failed: Vec<_> = ran.rejects().iter().map(|failed| failed.record).collect();
        assert_eq!(failed, [0, 1]);
        assert!(ran.rejects()[1].reason.contains("is no currency"));
        assert_eq!(ran.to("default").len(), 1);
    }

    #[test]
    fn settings_are_checked() {
        assert!(Tester::<Orders>::from_json("{}").unwrap_err().contains("minimum"));
        assert!(Tester::<Orders>::from_json(r#"{"minimum": 1, "maximum": 2}"#).is_err());
    }
}
