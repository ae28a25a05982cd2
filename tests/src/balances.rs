//! Payments, and the balances that the transform `balance` must make of them: held against a serial
//! count of what stands in the input.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::fixture::Fixture;
use crate::produce::Message;

pub const PARTITIONS: i32 = 3;
const ACCOUNTS: i32 = 12;

#[derive(Deserialize)]
struct Payment {
    amount: i64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Account {
    balance: i64,
    payments: u64,
}

/// Of [`PARTITIONS`], with the store that `balance` wants.
pub fn prepare(fixture: &mut Fixture) -> Result<()> {
    fixture.set("state", json!({ "balance": {} }))?;
    fixture.set_stage("settings", json!({ "overdraft": 1_000_000 }))
}

/// So many payments, from `first` on; an account stays in its partition.
pub fn payments(first: i32, count: i32) -> Vec<Message> {
    let payment = |n: i32| {
        let account = n % ACCOUNTS;
        let amount = i64::from(n) * 7 % 90 - 20;
        Message::new(format!("account-{account}"), format!(r#"{{"amount": {amount}}}"#))
            .to_partition(account % PARTITIONS)
    };
    (first..first + count).map(payment).collect()
}

/// Each payment has led to the balance that a serial count gives, once and in order.
pub fn check(fixture: &Fixture) -> Result<()> {
    let mut expected: BTreeMap<String, Vec<Account>> = BTreeMap::new();
    for row in fixture.read("in")? {
        let history = expected.entry(row.key_text()).or_default();
        let Payment { amount } = serde_json::from_str(&row.value_text())?;
        let (balance, payments) = history
            .last()
            .map_or((0, 0), |account| (account.balance, account.payments));
        history.push(Account {
            balance: balance + amount,
            payments: payments + 1,
        });
    }
    let mut found: BTreeMap<String, Vec<Account>> = BTreeMap::new();
    for row in fixture.read("out")? {
        let account = serde_json::from_str(&row.value_text())?;
        found.entry(row.key_text()).or_default().push(account);
    }
    ensure!(
        expected.len() == usize::try_from(ACCOUNTS)?,
        "not all accounts were used"
    );
    for (name, history) in &expected {
        let found = found.get(name).context("an account")?;
        let differs = history
            .iter()
            .zip(found)
            .position(|(expected, found)| expected != found);
        ensure!(
            differs.is_none() && history.len() == found.len(),
            "{name}: {} payments, {} balances, the first that differs: {differs:?}",
            history.len(),
            found.len()
        );
    }
    Ok(())
}
