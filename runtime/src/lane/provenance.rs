//! The header `strait-source`: which input record an output came from.
//!
//! The format is text and stays as it is; a new one gets another first field:
//!
//! ```text
//! 1/<cluster id>/<topic id>/<partition>/<offset>/<part>/<parts>/<pipeline>
//! 1/MkU3OEVBNTcwNTJENDM2Qg/q3xMSJ2uQ0mHkVcQ1p9FWA/3/1234/1/2/orders
//! ```
//!
//! The output is part `part`, from 1, of the `parts` that its input record became. In the
//! three names `%` and `/` are written as `%25` and `%2F`; everything that Kafka itself puts
//! there passes unchanged. Invariant: what [`Source::write`] writes, [`Source::parse`] reads
//! back to the same value.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The header's name.
pub const HEADER: &str = "strait-source";

/// Where an output came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source<'a> {
    pub cluster_id: Cow<'a, str>,
    /// The UUID in Kafka's own text form: a topic created again is another topic.
    pub topic_id: Cow<'a, str>,
    pub partition: i32,
    pub offset: i64,
    /// From 1 to `parts`.
    pub part: u32,
    pub parts: u32,
    pub pipeline: Cow<'a, str>,
}

/// Why a header is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("{HEADER} has format {0:?}; this version reads format 1")]
    Format(String),
    #[error("{HEADER} is not 1/cluster/topic id/partition/offset/part/parts/pipeline: {0}")]
    Field(&'static str),
}

impl<'a> Source<'a> {
    /// Appends the header's value.
    pub fn write(&self, into: &mut String) {
        // Writing to a String cannot fail.
        write!(into, "{self}").ok();
    }

    /// Reads a header's value.
    pub fn parse(value: &'a [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(value).map_err(|_| Unreadable::Field("not UTF-8"))?;
        let mut fields = text.split('/');
        let format = fields.next().unwrap_or_default();
        if format != "1" {
            return Err(Unreadable::Format(format.chars().take(16).collect()));
        }
        let mut field = |name: &'static str| fields.next().ok_or(Unreadable::Field(name));
        let source = Self {
            cluster_id: unescape(field("cluster")?)?,
            topic_id: unescape(field("topic id")?)?,
            partition: number(field("partition")?, "partition")?,
            offset: number(field("offset")?, "offset")?,
            part: number(field("part")?, "part")?,
            parts: number(field("parts")?, "parts")?,
            pipeline: unescape(field("pipeline")?)?,
        };
        if fields.next().is_some() {
            return Err(Unreadable::Field("something follows the pipeline"));
        }
        if source.part == 0 || source.part > source.parts {
            return Err(Unreadable::Field("part is not among parts"));
        }
        Ok(source)
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "1/{}/{}/{}/{}/{}/{}/{}",
            escape(&self.cluster_id),
            escape(&self.topic_id),
            self.partition,
            self.offset,
            self.part,
            self.parts,
            escape(&self.pipeline),
        )
    }
}

fn number<T: std::str::FromStr>(text: &str, name: &'static str) -> Result<T, Unreadable> {
    text.parse().map_err(|_| Unreadable::Field(name))
}

fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['%', '/']) {
        Cow::Owned(name.replace('%', "%25").replace('/', "%2F"))
    } else {
        Cow::Borrowed(name)
    }
}

fn unescape(name: &str) -> Result<Cow<'_, str>, Unreadable> {
    if !name.contains('%') {
        return Ok(Cow::Borrowed(name));
    }
    let mut parts = name.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(rest) = part.strip_prefix("25") {
            plain.push('%');
            plain.push_str(rest);
        } else if let Some(rest) = part.strip_prefix("2F") {
            plain.push('/');
            plain.push_str(rest);
        } else {
            return Err(Unreadable::Field("an escape other than %25 and %2F"));
        }
    }
    Ok(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> Source<'static> {
        Source {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
            topic_id: "q3xMSJ2uQ0mHkVcQ1p9FWA".into(),
            partition: 3,
            offset: 1234,
            part: 1,
            parts: 2,
            pipeline: "orders".into(),
        }
    }

    #[test]
    fn is_written_as_documented() {
        let mut text = String::new();
        source().write(&mut text);
        assert_eq!(
            text,
            "1/MkU3OEVBNTcwNTJENDM2Qg/q3xMSJ2uQ0mHkVcQ1p9FWA/3/1234/1/2/orders"
        );
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        for bad in [
            "",
            "2/a/b/0/0/1/1/p",
            "1",
            "1/a/b/0/0/1/1",
            "1/a/b/0/0/1/1/p/q",
            "1/a/b/x/0/1/1/p",
            "1/a/b/0/0/0/1/p",
            "1/a/b/0/0/2/1/p",
            "1/a%/b/0/0/1/1/p",
            "1/a%2f/b/0/0/1/1/p",
            "1/a/b/99999999999/0/1/1/p",
        ] {
            assert!(Source::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Source::parse(b"1/a\xff/b/0/0/1/1/p").is_err());
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(
            names in prop::array::uniform3("[a-zA-Z0-9%/ ä_-]{0,12}"),
            partition: i32, offset: i64, part in 1_u32..=9, more in 0_u32..u32::MAX - 9,
        ) {
            let [cluster, topic, pipeline] = names;
            let source = Source {
                cluster_id: cluster.into(), topic_id: topic.into(), pipeline: pipeline.into(),
                partition, offset, part, parts: part + more,
            };
            let text = source.to_string();
            prop_assert_eq!(Source::parse(text.as_bytes()), Ok(source));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            Source::parse(&bytes).ok();
        }
    }
}
