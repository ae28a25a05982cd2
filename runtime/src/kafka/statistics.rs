//! The little that is needed of librdkafka's statistics.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

/// High watermark and last stable offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub high: i64,
    pub last_stable: i64,
}

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow, default)]
    topics: BTreeMap<Cow<'a, str>, Topic<'a>>,
}

#[derive(Deserialize)]
struct Topic<'a> {
    #[serde(borrow)]
    #[serde(rename = "topic")]
    name: &'a str,
    partitions: BTreeMap<Cow<'a, str>, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    #[serde(rename = "partition")]
    number: i32,
    hi_offset: i64,
    ls_offset: i64,
}

/// Those of each partition that has them yet. Anything unexpected yields nothing:
/// they only inform.
pub fn watermarks(json: &str) -> Vec<Watermark<'_>> {
    let Ok(statistics) = serde_json::from_str::<Statistics<'_>>(json) else {
        tracing::debug!("the client's statistics are not as expected");
        return Vec::new();
    };
    let mut marks = Vec::new();
    for topic in statistics.topics.values() {
        for p in topic.partitions.values() {
            if p.number >= 0 && p.hi_offset >= 0 && p.ls_offset >= 0 {
                marks.push(Watermark {
                    topic: topic.name,
                    partition: p.number,
                    high: p.hi_offset,
                    last_stable: p.ls_offset,
                });
            }
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_watermarks_of_real_partitions_count() {
        let json = r#"{"name":"c","brokers":{"b:1/1":{"rtt":{"p99":3}}},"topics":{"orders":{"topic":"orders","age":1,
            "partitions":{"0":{"partition":0,"broker":1,"hi_offset":10,"ls_offset":7,"eof_offset":-1001},
            "1":{"partition":1,"hi_offset":-1001,"ls_offset":-1001},"-1":{"partition":-1,"hi_offset":5,"ls_offset":5}}}}}"#;
        let expected = Watermark {
            topic: "orders",
            partition: 0,
            high: 10,
            last_stable: 7,
        };
        assert_eq!(watermarks(json), [expected]);
        assert_eq!(watermarks("{}"), []);
        assert_eq!(watermarks("[1,"), []);
    }
}
