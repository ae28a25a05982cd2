//! Orders as input, and what `examples/orders` must make of them, worked out anew
//! from what stands in the input topic.

use crate::produce::Message;
use crate::stream::{Due, Stream};
use crate::verifier::Row;
use serde_json::{Value, json};

/// Orders below it are filtered.
pub const MINIMUM: i64 = 20;

/// The usual load.
pub const ORDERS: Stream = Stream {
    guest: "orders",
    make: order,
    per_second: 400,
    topics: &["out", "audit", "dlq"],
    fate: |row| match Fate::of(row) {
        Fate::Accepted => {
            let part = |topic, part| Due::Output {
                topic,
                part,
                parts: 2,
            };
            vec![part("out", 1), part("audit", 2)]
        }
        Fate::Filtered => Vec::new(),
        Fate::Malformed => vec![Due::Letter],
    },
};

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

/// What must become of one record of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// In the outputs `default` and `audit`.
    Accepted,
    Filtered,
    /// In the dead letter topic.
    Malformed,
}

impl Fate {
    pub fn of(row: &Row) -> Self {
        let parsed: Option<Value> = serde_json::from_slice(row.value.as_deref().unwrap_or_default()).ok();
        match parsed.and_then(|order| order.get("amount").and_then(Value::as_i64)) {
            None => Self::Malformed,
            Some(amount) if amount < MINIMUM => Self::Filtered,
            Some(_) => Self::Accepted,
        }
    }
}
