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

/// The value of the cleaned order: no order here names a currency.
pub fn cleaned(row: &Row) -> Option<Vec<u8>> {
    let order = parsed(row)?;
    let (id, amount) = (order.get("id")?, order.get("amount")?);
    let customer = order
        .get("customer")
        .map(|customer| format!(",\"customer\":{customer}"));
    let customer = customer.unwrap_or_default();
    Some(format!(r#"{{"id":{id},"amount":{amount},"currency":"EUR"{customer}}}"#).into_bytes())
}

/// The value of the note on it; `topic` is that of the input.
pub fn audited(row: &Row, topic: &str) -> Option<Vec<u8>> {
    let order = parsed(row)?;
    let (id, amount) = (order.get("id")?, order.get("amount")?);
    let Row {
        partition, offset, ..
    } = row;
    Some(
        format!(
            r#"{{"id":{id},"amount":{amount},"topic":"{topic}","partition":{partition},"offset":{offset}}}"#
        )
        .into_bytes(),
    )
}

fn parsed(row: &Row) -> Option<Value> {
    serde_json::from_slice(row.value.as_deref()?).ok()
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
        match parsed(row).and_then(|order| order.get("amount").and_then(Value::as_i64)) {
            None => Self::Malformed,
            Some(amount) if amount < MINIMUM => Self::Filtered,
            Some(_) => Self::Accepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_example() {
        let row = |value: &str| Row {
            partition: 3,
            offset: 9,
            timestamp_ms: 0,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        };
        let text = |value: Option<Vec<u8>>| value.map(|value| String::from_utf8(value).unwrap());
        let order = row(r#"{"amount": 21, "customer": "c-1", "id": "0-1"}"#);
        let clean = r#"{"id":"0-1","amount":21,"currency":"EUR","customer":"c-1"}"#;
        assert_eq!(text(cleaned(&order)).unwrap(), clean);
        let note = r#"{"id":"0-1","amount":21,"topic":"t","partition":3,"offset":9}"#;
        assert_eq!(text(audited(&order, "t")).unwrap(), note);
        let nobodys = r#"{"id":"a","amount":20,"currency":"EUR"}"#;
        assert_eq!(
            text(cleaned(&row(r#"{"id": "a", "amount": 20}"#))).unwrap(),
            nobodys
        );
        assert_eq!(cleaned(&row("{")), None);
    }
}
