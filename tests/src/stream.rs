//! What flows through a pipeline under test, and what must become of each record.

use crate::orders;
use crate::produce::Message;
use crate::verifier::Row;

/// A kind of load: records, the guest that they pass through, and their fates.
#[derive(Clone, Copy)]
pub struct Stream {
    pub guest: &'static str,
    /// Record `number` of the stream, which goes to that partition.
    pub make: fn(i32, u64) -> Message,
    pub per_second: u32,
    /// All topics that are written: `out`, and any of `dlq` and names of further outputs.
    pub topics: &'static [&'static str],
    pub fate: fn(&Row) -> Vec<Due>,
}

/// One output that must come of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Part `part` of `parts`, as the header `strait-source` counts them.
    Output {
        topic: &'static str,
        part: u32,
        parts: u32,
    },
    /// In the dead letter topic.
    Letter,
}

impl Due {
    /// The only output of a record.
    pub const fn only(topic: &'static str) -> Self {
        Self::Output {
            topic,
            part: 1,
            parts: 1,
        }
    }
}

/// The value of what a guest makes of a record; `input` is the record's topic.
pub fn value(guest: &str, input: &str, row: &Row, due: Due) -> Option<Vec<u8>> {
    match (guest, due) {
        // A letter holds what its record held.
        (_, Due::Letter) => row.value.clone(),
        ("orders", Due::Output { topic: "audit", .. }) => orders::audited(row, input),
        ("orders", _) => orders::cleaned(row),
        ("hostile", _) => told(row),
        _ => row.value.clone(),
    }
}

/// What the hostile guest makes of a value that tells it what to do.
fn told(row: &Row) -> Option<Vec<u8>> {
    let text = row.value_text();
    let bytes = text.strip_prefix("big:").and_then(|bytes| bytes.parse().ok());
    bytes.map_or_else(|| row.value.clone(), |bytes| Some(vec![b'x'; bytes]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guest_makes_its_own_value() {
        let row = |value: &str| Row {
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        };
        let of = |guest, text, due| {
            let value = value(guest, "in", &row(text), due);
            String::from_utf8(value.unwrap()).unwrap()
        };
        let order = r#"{"id": "a", "amount": 20}"#;
        assert!(of("orders", order, Due::only("out")).ends_with(r#""currency":"EUR"}"#));
        assert!(of("orders", order, Due::only("audit")).contains(r#""topic":"in""#));
        assert_eq!(of("orders", "{", Due::Letter), "{");
        assert_eq!(of("identity", order, Due::only("out")), order);
        assert_eq!(of("hostile", "many:3", Due::only("out")), "many:3");
        assert_eq!(of("hostile", "big:3", Due::only("out")), "xxx");
        assert_eq!(of("hostile", "big:3", Due::Letter), "big:3");
    }
}
