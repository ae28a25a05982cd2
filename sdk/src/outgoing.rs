//! A record on its way out.

use std::borrow::Cow;

use serde::Serialize;

use crate::batch::{BuildError, Builder, Field, NewEmit};
use crate::{Error, Record, Result};

/// A record to emit: an input record with changes, or one that is all new.
///
/// ```
/// # use strait_sdk::Outgoing;
/// let new = Outgoing::new().with_key("customer-7").with_value("hello").with_header("lang", "en");
/// ```
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// The record that parts are kept from.
    source: Option<&'a Record<'a>>,
    key: Part<'a>,
    value: Part<'a>,
    headers: Option<Vec<(Data<'a>, Data<'a>)>>,
    timestamp_ms: Option<i64>,
    partition: Option<i32>,
}

#[derive(Debug, Clone)]
enum Part<'a> {
    Kept,
    New(Data<'a>),
}

/// Bytes or null. Strings, slices, arrays, vectors, and options of these turn into it.
#[derive(Debug, Clone)]
pub enum Data<'a> {
    Null,
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl<'a> Outgoing<'a> {
    /// A record without key, value and headers.
    pub fn new() -> Self {
        Self {
            source: None,
            key: Part::New(Data::Null),
            value: Part::New(Data::Null),
            headers: Some(Vec::new()),
            timestamp_ms: None,
            partition: None,
        }
    }

    #[inline]
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Data<'a>>) -> Self {
        self.key = Part::New(key.into());
        self
    }

    #[inline]
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Data<'a>>) -> Self {
        self.value = Part::New(value.into());
        self
    }

    /// A value that is written as JSON.
    #[inline]
    pub fn with_json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        let json = serde_json::to_vec(value).map_err(|error| {
            Error::reject(format_args!("the new value cannot be written as JSON: {error}"))
        })?;
        Ok(self.with_value(json))
    }

    /// One more header, behind those that are there. Kafka allows several of one name.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Data<'a>>, value: impl Into<Data<'a>>) -> Self {
        self.own_headers().push((name.into(), value.into()));
        self
    }

    /// Takes the headers of this name away.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.own_headers()
            .retain(|(have, _)| have.as_bytes() != Some(name.as_bytes()));
        self
    }

    /// These headers and no others.
    #[must_use]
    pub fn with_headers<N, V>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Data<'a>>,
        V: Into<Data<'a>>,
    {
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        self.headers = Some(headers.collect());
        self
    }

    /// Milliseconds since the epoch. Unless it is set, the output's configuration decides.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// A partition of the output topic. Unless it is set, the output's configuration decides.
    #[must_use]
    pub fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The headers as a list to change, with those of the source if it still had them.
    fn own_headers(&mut self) -> &mut Vec<(Data<'a>, Data<'a>)> {
        let source = self.source;
        self.headers.get_or_insert_with(|| {
            let kept = source.map(Record::headers);
            let kept = kept
                .iter()
                .flatten()
                .map(|(name, value)| (Data::from(name), Data::from(value)));
            kept.collect()
        })
    }

    /// Writes it. What is kept of the builder's own record is inherited, what is kept of
    /// another record is copied.
    #[inline]
    pub(crate) fn write(&self, output: u16, builder: &mut Builder) -> Result<(), BuildError> {
        let elsewhere = self.source.filter(|source| source.index() != builder.origin());
        let emit = NewEmit {
            output,
            key: self.key.field(elsewhere, Record::key),
            value: self.value.field(elsewhere, Record::value),
            timestamp_ms: self.timestamp_ms,
            partition: self.partition,
        };
        match (&self.headers, elsewhere) {
            (Some(own), _) => {
                let own = own
                    .iter()
                    .map(|(name, value)| (name.as_bytes().unwrap_or_default(), value.as_bytes()));
                builder.emit_with_headers(&emit, own)
            }
            (None, Some(source)) => builder.emit_with_headers(&emit, &source.headers()),
            (None, None) => builder.emit(&emit),
        }
    }
}

impl Default for Outgoing<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Passes the record through.
impl<'a> From<&'a Record<'a>> for Outgoing<'a> {
    #[inline]
    fn from(record: &'a Record<'a>) -> Self {
        Self {
            source: Some(record),
            key: Part::Kept,
            value: Part::Kept,
            headers: None,
            timestamp_ms: None,
            partition: None,
        }
    }
}

impl<'a> Part<'a> {
    #[inline]
    fn field<'s>(
        &'s self,
        elsewhere: Option<&'s Record<'a>>,
        get: fn(&Record<'a>) -> Option<&'a [u8]>,
    ) -> Field<'s> {
        let bytes = match (self, elsewhere) {
            (Part::Kept, None) => return Field::Inherit,
            (Part::Kept, Some(source)) => get(source),
            (Part::New(data), _) => data.as_bytes(),
        };
        bytes.map_or(Field::Null, Field::Bytes)
    }
}

impl Data<'_> {
    /// `None` is null.
    #[inline]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Null => None,
            Self::Borrowed(bytes) => Some(bytes),
            Self::Owned(bytes) => Some(bytes),
        }
    }
}

impl<'a, T: Into<Data<'a>>> From<Option<T>> for Data<'a> {
    fn from(data: Option<T>) -> Self {
        data.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<Cow<'a, [u8]>> for Data<'a> {
    fn from(data: Cow<'a, [u8]>) -> Self {
        match data {
            Cow::Borrowed(bytes) => Self::Borrowed(bytes),
            Cow::Owned(bytes) => Self::Owned(bytes),
        }
    }
}

impl<const N: usize> From<[u8; N]> for Data<'_> {
    fn from(data: [u8; N]) -> Self {
        Self::Owned(data.to_vec())
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Data<'a> {
    #[inline]
    fn from(data: &'a [u8; N]) -> Self {
        Self::Borrowed(data)
    }
}

macro_rules! data_from {
    ($($from:ty => |$name:ident| $data:expr),+ $(,)?) => {
        $(impl<'a> From<$from> for Data<'a> {
            #[inline]
            fn from($name: $from) -> Self {
                $data
            }
        })+
    };
}

data_from! {
    &'a [u8] => |data| Self::Borrowed(data),
    &'a str => |data| Self::Borrowed(data.as_bytes()),
    &'a String => |data| Self::Borrowed(data.as_bytes()),
    &'a Vec<u8> => |data| Self::Borrowed(data),
    Vec<u8> => |data| Self::Owned(data),
    String => |data| Self::Owned(data.into_bytes()),
}
