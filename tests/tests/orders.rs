//! Orders as input, and what `examples/orders` must make of them, worked out anew
//! from what stands in the input topic.

use serde_json::{Value, json};
use strait_tests::ledger::Expected;
use strait_tests::produce::Message;
use strait_tests::verifier::Row;

/// Orders below it are filtered.
pub const MINIMUM: i64 = 20;

/// Order `number` of the stream: most are fine, some too small, some not JSON.
pub fn order(partition: i32, number: u64) -> Message {
    let key = format!("{partition}-{number}");
    let value = match number % 50 {
        7 => format!("{{\"id\": \"{key}\", \"amount\": "),
        n => {
            let amount = if n % 10 == 3 {
                MINIMUM - 1
            } else {
                MINIMUM + i64::try_from(n).unwrap_or(0)
            };
            json!({ "id": key, "customer": format!("c-{}", number % 7), "amount": amount }).to_string()
        }
    };
    Message::new(key, value).with_header("number", Some(number.to_string().as_bytes()))
}

/// What must become of each record of the input.
#[derive(Debug, Default)]
pub struct Fates {
    /// In the outputs `default` and `audit`.
    pub accepted: Vec<Expected>,
    /// In the dead letter topic.
    pub malformed: Vec<Expected>,
    pub filtered: usize,
}

impl Fates {
    pub fn of(input: &[Row]) -> Self {
        let mut fates = Self::default();
        for row in input {
            let parsed: Option<Value> = serde_json::from_slice(row.value.as_deref().unwrap_or_default()).ok();
            match parsed.and_then(|order| order.get("amount").and_then(Value::as_i64)) {
                None => fates.malformed.push(Expected::by_key(row)),
                Some(amount) if amount < MINIMUM => fates.filtered += 1,
                Some(_) => fates.accepted.push(Expected::by_key(row)),
            }
        }
        fates
    }
}
