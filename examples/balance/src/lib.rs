//! Keeps the balance of each account: the transform to read first about keyed state.
//!
//! ```yaml
//! settings: { overdraft: 0 }      # how far below zero an account may go
//! state: { balance: { ttl: 365d } }
//! outputs: { default: balances }
//! ```
//!
//! A record is a payment to or from an account, whose name is the record's key, for state belongs
//! to a partition and records of one key share one. The new balance goes to `default`. It is
//! stored in the transaction that holds this output, so each payment counts exactly once. A payment
//! that goes too far below zero is rejected, which takes back what it stored.

use strait_sdk::prelude::*;

/// `settings` of the pipeline.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How far below zero an account may go.
    #[serde(default)]
    overdraft: i64,
}

/// A payment, in the currency's smallest unit; below zero it is taken from the account.
#[derive(Deserialize)]
struct Payment {
    amount: i64,
}

/// What is kept of an account, and emitted.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: i64,
    payments: u64,
}

const ACCOUNTS: Typed<Account> = Typed::new("balance");

/// The transform.
pub struct Balance {
    overdraft: i64,
}

impl Transform for Balance {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            overdraft: settings.overdraft,
        })
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let Some(name) = record.key() else {
            return Err(Error::reject("the key must name the account"));
        };
        let payment: Payment = record.json()?;
        let account = ACCOUNTS.update(out, name, |account| account.take(&payment))??;
        if account.balance < self.overdraft.saturating_neg() {
            let reason = format_args!("the account would stand at {}", account.balance);
            return Err(Error::reject(reason));
        }
        out.emit(record.with_json(&account)?)
    }
}

impl Account {
    fn take(&mut self, payment: &Payment) -> Result<Self> {
        let balance = self.balance.checked_add(payment.amount);
        let balance = balance.ok_or_else(|| Error::reject("the balance would be too large to count"))?;
        let payments = self.payments.saturating_add(1);
        *self = Self { balance, payments };
        Ok(Self { balance, payments })
    }
}

strait_sdk::export!(Balance);

#[cfg(test)]
mod tests {
    use super::*;
    use strait_sdk::testing::{Ran, Sample, Tester};

    fn balance() -> Tester<Balance> {
        Tester::<Balance>::from_json(r#"{"overdraft": 100}"#)
            .unwrap()
            .stores(["balance"])
    }

    fn pay(account: &str, amount: i64) -> Sample {
        Sample::value(format!(r#"{{"amount": {amount}}}"#)).key(account)
    }

    fn balances(ran: &Ran) -> Vec<i64> {
        let account = |text: &str| serde_json::from_str::<Account>(text).unwrap();
        let emitted = ran.emitted().iter();
        emitted.map(|emitted| account(&emitted.text()).balance).collect()
    }

    #[test]
    fn each_account_has_its_balance() {
        let ran = balance().run([pay("a", 50), pay("b", 7), pay("a", -20)]).unwrap();
        assert_eq!(balances(&ran), [50, 7, 30]);
        assert_eq!(ran.emitted()[2].text(), r#"{"balance":30,"payments":2}"#);
    }

    #[test]
    fn a_payment_that_goes_too_far_leaves_no_trace() {
        let mut balance = balance();
        let ran = balance
            .run([pay("a", 50), pay("a", -151), pay("a", -150)])
            .unwrap();
        assert_eq!(balances(&ran), [50, -100]);
        assert_eq!(ran.rejects()[0].reason, "the account would stand at -101");
        let stored = balance.stored_at("balance", "a").unwrap();
        assert_eq!(
            stored.json(),
            Ok(Account {
                balance: -100,
                payments: 2
            })
        );
    }

    #[test]
    fn what_cannot_be_counted_is_rejected() {
        let samples = [
            pay("a", i64::MAX),
            pay("a", 1),
            Sample::value(r#"{"amount": 1}"#),
            pay("", 1),
            Sample::value("{}").key("a"),
        ];
        let ran = balance().run(samples).unwrap();
        let failed: Vec<_> = ran.rejects().iter().map(|failed| failed.record).collect();
        assert_eq!(failed, [1, 2, 3, 4]);
    }

    #[test]
    fn balances_outlast_the_instance() {
        let mut balance = balance().batch_records(1);
        balance.run([pay("a", 5)]).unwrap();
        balance.restart(Settings::default()).unwrap();
        assert_eq!(balances(&balance.run([pay("a", 5)]).unwrap()), [10]);
    }

    #[test]
    fn a_pipeline_without_the_store_is_told_what_to_write() {
        let mut balance = Tester::<Balance>::from_json("{}").unwrap();
        let error = balance.run([pay("a", 5)]).unwrap_err();
        assert!(error.contains("state: { balance:"), "{error}");
    }
}
