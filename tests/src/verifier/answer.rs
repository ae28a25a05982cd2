//! What the judge answers, as types, and how they are read from its lines.

use anyhow::{Context, Result, bail};

/// A record as Kafka's Java consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    /// The value of the first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        value
            .as_ref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// The ends of one partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub partition: i32,
    pub start: i64,
    pub last_stable: i64,
    pub high: i64,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    pub partition: i32,
    /// Counted from 0, as [`strait::broker::Broker`] does.
    pub node: Option<usize>,
    pub in_sync: usize,
}

/// A transactional id that the coordinator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub id: String,
    /// Kafka's name of the state: `Ongoing`, `CompleteCommit` and so on.
    pub state: String,
}

/// What a consumer may see of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

pub(super) fn field(row: &[String], at: usize) -> Result<&str> {
    row.get(at)
        .map(String::as_str)
        .with_context(|| format!("field {at} of {row:?}"))
}

/// Kafka counts its nodes from 1, we from 0; `None` for none.
pub(super) fn node_index(id: &str) -> Result<Option<usize>> {
    Ok(usize::try_from(id.parse::<i32>()? - 1).ok())
}

/// Per partition in the order in which they were read.
pub(super) fn rows(lines: &[Vec<String>]) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = lines.iter().map(|row| record(row)).collect::<Result<_>>()?;
    rows.sort_by_key(|row| row.partition); // stable
    Ok(rows)
}

fn record(row: &[String]) -> Result<Row> {
    let nullable = |text: &str| (text != "~").then(|| unhex(text)).transpose();
    let header = |text: &String| {
        let (name, value) = text.split_once('=').context("a header")?;
        Ok((String::from_utf8(unhex(name)?)?, nullable(value)?))
    };
    Ok(Row {
        partition: field(row, 0)?.parse()?,
        offset: field(row, 1)?.parse()?,
        timestamp_ms: field(row, 2)?.parse()?,
        key: nullable(field(row, 3)?)?,
        value: nullable(field(row, 4)?)?,
        headers: row.iter().skip(5).map(header).collect::<Result<_>>()?,
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| DIGITS.get(usize::from(half))).collect()
}

pub(super) fn unhex(text: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).context("a hexadecimal digit");
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = pair else {
            bail!("half a byte in {text:.20}")
        };
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?)?);
    }
    Ok(bytes)
}
