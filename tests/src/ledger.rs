//! The account of a run: each expected output exactly once, nothing else, in order.
//!
//! It compares what must stand in the output topics with what Kafka's Java
//! consumer found there. A token names one expected output; the tests use what
//! passes through a transform unchanged, such as the key.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Result, bail};

use crate::verifier::Row;

/// One output that must be there, and the input record that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub token: Vec<u8>,
    pub input_partition: i32,
    pub input_offset: i64,
    /// Its place among those that come of the same record.
    pub part: u32,
    pub value: Content,
}

/// What must stand in an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Any,
    Is(Option<Vec<u8>>),
}

impl Expected {
    /// From the header that tells where an output came from, and the key that came with it:
    /// part `part` of the `parts` that the input record becomes.
    pub fn by_source(input: &Row, topic_id: &str, part: u32, parts: u32, pipeline: &str) -> Self {
        let (partition, offset) = (input.partition, input.offset);
        let source = format!("{topic_id}/{partition}/{offset}/{part}/{parts}/{pipeline}");
        Self {
            part,
            ..Self::with_token(input, token(&source, input))
        }
    }

    /// From the headers of the dead letter that the input record becomes.
    pub fn by_letter(input: &Row, topic_id: &str) -> Self {
        let source = format!("{topic_id}/{}/{}", input.partition, input.offset);
        Self::with_token(input, token(&source, input))
    }

    fn with_token(input: &Row, token: Vec<u8>) -> Self {
        Self {
            token,
            input_partition: input.partition,
            input_offset: input.offset,
            part: 1,
            value: Content::Any,
        }
    }

    /// With exactly this value.
    #[must_use]
    pub fn with_value(self, value: Option<Vec<u8>>) -> Self {
        let value = Content::Is(value);
        Self { value, ..self }
    }

    /// From an input record whose key is unique and passes through.
    pub fn by_key(input: &Row) -> Self {
        Self::with_token(input, input.key.clone().unwrap_or_default())
    }

    fn is_spoilt(&self, row: &Row) -> bool {
        matches!(&self.value, Content::Is(value) if *value != row.value)
    }

    /// Where it belongs among the outputs of its input partition.
    fn place(&self) -> (i64, u32) {
        (self.input_offset, self.part)
    }
}

/// What is wrong with one output topic. Empty lists: it balances.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub expected: usize,
    pub found: usize,
    pub missing: Vec<Expected>,
    /// Found more than once; one entry for each occurrence after the first.
    pub doubled: Vec<Row>,
    /// No input explains them.
    pub unexplained: Vec<Row>,
    /// Stand behind an output of a record that comes later in the same input partition, or of a
    /// later part of the same record.
    pub disordered: Vec<Row>,
    /// Hold another value than they must.
    pub spoilt: Vec<Row>,
}

impl Account {
    /// Compares the expected outputs of one topic with what was read from it.
    pub fn of(expected: &[Expected], rows: &[Row], token: impl Fn(&Row) -> Vec<u8>) -> Self {
        let mut account = Self {
            expected: expected.len(),
            found: rows.len(),
            ..Self::default()
        };
        let known: HashMap<&[u8], &Expected> = expected
            .iter()
            .map(|output| (output.token.as_slice(), output))
            .collect();
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut last: HashMap<(i32, i32), (i64, u32)> = HashMap::new();
        for row in rows {
            let token = token(row);
            let Some(output) = known.get(token.as_slice()) else {
                account.unexplained.push(row.clone());
                continue;
            };
            let times = seen.entry(token).or_default();
            *times += 1;
            if *times > 1 {
                account.doubled.push(row.clone());
                continue;
            }
            if output.is_spoilt(row) {
                account.spoilt.push(row.clone());
            }
            let place = output.place();
            let before = last
                .entry((output.input_partition, row.partition))
                .or_insert(place);
            if place < *before {
                account.disordered.push(row.clone());
            }
            *before = place.max(*before);
        }
        let absent = |output: &&Expected| !seen.contains_key(&output.token);
        account.missing = expected.iter().filter(absent).cloned().collect();
        account
    }

    /// Of outputs whose key is that of their input record.
    pub fn by_key(expected: &[Expected], rows: &[Row]) -> Self {
        Self::of(expected, rows, |row| row.key.clone().unwrap_or_default())
    }

    /// Of outputs that carry the header of [`Expected::by_source`].
    pub fn by_source(expected: &[Expected], rows: &[Row]) -> Self {
        Self::of(expected, rows, |row| {
            let header = row.header("strait-source").unwrap_or_default();
            // Format and cluster come first.
            let source = header.splitn(3, '/').nth(2).unwrap_or_default();
            token(source, row)
        })
    }

    /// Of dead letters.
    pub fn by_letter(expected: &[Expected], rows: &[Row]) -> Self {
        Self::of(expected, rows, |row| {
            let header = |name| row.header(name).unwrap_or_default();
            let (id, partition) = (header("strait-error-topic-id"), header("strait-error-partition"));
            token(
                &format!("{id}/{partition}/{}", header("strait-error-offset")),
                row,
            )
        })
    }

    pub fn balances(&self) -> bool {
        self.missing.is_empty()
            && self.doubled.is_empty()
            && self.unexplained.is_empty()
            && self.disordered.is_empty()
            && self.spoilt.is_empty()
    }

    /// An error that says what is wrong, if anything is.
    pub fn settle(&self, topic: &str) -> Result<()> {
        if !self.balances() {
            bail!("{topic} does not balance: {self}");
        }
        Ok(())
    }
}

/// A source alone could be right on a record that is not; so the key is part of it.
fn token(source: &str, row: &Row) -> Vec<u8> {
    let mut token = source.as_bytes().to_vec();
    token.push(b' ');
    token.extend_from_slice(row.key.as_deref().unwrap_or_default());
    token
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |row: &Row| format!("{} at {}:{}", row.key_text(), row.partition, row.offset);
        let first = |rows: &[Row]| rows.iter().take(5).map(place).collect::<Vec<_>>().join(", ");
        let source = |output: &Expected| {
            let token = String::from_utf8_lossy(&output.token).into_owned();
            format!("{token} from {}:{}", output.input_partition, output.input_offset)
        };
        let missing: Vec<String> = self.missing.iter().take(5).map(source).collect();
        write!(f, "{} expected, {} found", self.expected, self.found)?;
        write!(f, "; {} missing ({})", self.missing.len(), missing.join(", "))?;
        write!(f, "; {} doubled ({})", self.doubled.len(), first(&self.doubled))?;
        write!(
            f,
            "; {} unexplained ({})",
            self.unexplained.len(),
            first(&self.unexplained)
        )?;
        write!(
            f,
            "; {} out of order ({})",
            self.disordered.len(),
            first(&self.disordered)
        )?;
        write!(f, "; {} spoilt ({})", self.spoilt.len(), first(&self.spoilt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(partition: i32, offset: i64, key: &str) -> Row {
        Row {
            partition,
            offset,
            timestamp_ms: 0,
            key: Some(key.into()),
            value: None,
            headers: Vec::new(),
        }
    }

    fn expected() -> Vec<Expected> {
        [row(0, 0, "a"), row(0, 1, "b"), row(1, 0, "c")]
            .iter()
            .map(Expected::by_key)
            .collect()
    }

    #[test]
    fn balances_when_each_is_there_once_in_order() {
        let account = Account::by_key(&expected(), &[row(3, 0, "c"), row(3, 1, "a"), row(3, 2, "b")]);
        assert!(account.settle("out").is_ok(), "{account}");
    }

    #[test]
    fn sees_a_loss() {
        let account = Account::by_key(&expected(), &[row(0, 0, "a"), row(0, 2, "c")]);
        assert_eq!(
            account
                .missing
                .iter()
                .map(|m| m.token.as_slice())
                .collect::<Vec<_>>(),
            [b"b"]
        );
        assert!(account.settle("out").is_err());
    }

    #[test]
    fn sees_a_double_even_in_another_partition() {
        let rows = [row(0, 0, "a"), row(0, 1, "b"), row(0, 2, "c"), row(1, 0, "a")];
        let account = Account::by_key(&expected(), &rows);
        assert_eq!(account.doubled, [row(1, 0, "a")]);
        assert!(account.settle("out").is_err());
    }

    #[test]
    fn sees_what_no_input_explains() {
        let rows = [row(0, 0, "a"), row(0, 1, "b"), row(0, 2, "c"), row(0, 3, "x")];
        let account = Account::by_key(&expected(), &rows);
        assert_eq!(account.unexplained, [row(0, 3, "x")]);
        assert!(account.settle("out").is_err());
    }

    #[test]
    fn sees_a_swap_within_an_input_partition() {
        let account = Account::by_key(&expected(), &[row(0, 0, "b"), row(0, 1, "a"), row(0, 2, "c")]);
        assert_eq!(account.disordered, [row(0, 1, "a")]);
        assert!(account.settle("out").is_err());
    }

    /// Part `part` of two of the first record of partition 0, as it stands in an output.
    fn half(part: u32, offset: i64) -> Row {
        let source = format!("v1/cluster/t/0/0/{part}/2/p").into_bytes();
        Row {
            headers: vec![("strait-source".into(), Some(source))],
            ..row(0, offset, "a")
        }
    }

    #[test]
    fn sees_a_swap_of_two_parts_of_one_record() {
        let input = row(0, 0, "a");
        let expected = [1, 2].map(|part| Expected::by_source(&input, "t", part, 2, "p"));
        let account = Account::by_source(&expected, &[half(1, 0), half(2, 1)]);
        assert!(account.settle("out").is_ok(), "{account}");
        let account = Account::by_source(&expected, &[half(2, 0), half(1, 1)]);
        assert_eq!(account.disordered, [half(1, 1)]);
        assert!(account.settle("out").is_err());
    }

    #[test]
    fn sees_a_value_that_is_another() {
        let expected = [Expected::by_key(&row(0, 0, "a")).with_value(Some(b"v".to_vec()))];
        let with = |value: Option<&str>| Row {
            value: value.map(Into::into),
            ..row(0, 0, "a")
        };
        let account = Account::by_key(&expected, &[with(Some("v"))]);
        assert!(account.settle("out").is_ok(), "{account}");
        for other in [Some("w"), Some(""), None] {
            let account = Account::by_key(&expected, &[with(other)]);
            assert_eq!(account.spoilt, [with(other)]);
            assert!(account.settle("out").is_err());
        }
        let empty = [Expected::by_key(&row(0, 0, "a")).with_value(None)];
        assert!(Account::by_key(&empty, &[with(None)]).balances());
        assert!(!Account::by_key(&empty, &[with(Some(""))]).balances());
    }
}
