//! From a letter to the record that it was, on its way back. No I/O.

use std::collections::HashMap;

use strait_sdk::batch::Record;

use super::ledger::Outgoing;
use super::letter::Letter;
use crate::lane::provenance::Source;
use crate::lane::replayed::{self, REPLAYED, REPLAYS};

/// A topic that records may be put back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    /// Index among the producer's topics.
    pub index: usize,
    pub topic_id: String,
    pub partitions: i32,
}

/// Where records go, and how.
#[derive(Debug, Clone)]
pub struct PutBack {
    pub cluster_id: String,
    pub pipeline: String,
    /// The inputs as they are now, by name.
    pub inputs: HashMap<String, Target>,
    /// All go there, instead of to the topics that they came from.
    pub to: Option<Target>,
    /// A record that was replayed so often stays where it is.
    pub replays_max: u32,
    /// They are dated now, and not as they were.
    pub redate: bool,
}

impl PutBack {
    /// Where a letter's record goes, or why it cannot.
    pub fn target(&self, letter: &Letter) -> Result<&Target, String> {
        let name = &letter.told.topic;
        let target = self.to.as_ref().or_else(|| self.inputs.get(name));
        target.ok_or_else(|| format!("{name} is no input of the pipeline any more; name a topic with --to"))
    }

    /// The record as it was. `own`: how many headers of `record` are its own.
    pub fn outgoing<R: Record + ?Sized>(
        &self,
        letter: &Letter,
        record: &R,
        own: usize,
    ) -> Result<Outgoing, String> {
        let target = self.target(letter)?;
        let replays = replayed::replays(record);
        if replays >= self.replays_max {
            return Err(format!(
                "it was replayed {replays} times and failed again; mend what it fails of, then raise --max-replays"
            ));
        }
        let headers = (0..own).filter_map(|index| record.header(index));
        let headers = headers.filter(|(name, _)| !replayed::is_ours(name));
        let mut headers: Vec<_> = headers
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
            .collect();
        let first = self.first_coordinate(letter, record).into_bytes();
        let count = (replays + 1).to_string().into_bytes();
        headers.push((REPLAYED.into(), Some(first)));
        headers.push((REPLAYS.into(), Some(count)));
        let timestamp_ms = letter.told.timestamp_ms.unwrap_or(letter.timestamp_ms);
        let goes_home = target.name == letter.told.topic && letter.told.partition < target.partitions;
        Ok(Outgoing {
            topic: target.index,
            name: target.name.clone(),
            partition: goes_home.then_some(letter.told.partition),
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers,
            timestamp_ms: Some(timestamp_ms).filter(|ms| *ms >= 0 && !self.redate),
        })
    }

    /// Where it stood when it failed first: what it says itself if it was replayed before.
    fn first_coordinate<R: Record + ?Sized>(&self, letter: &Letter, record: &R) -> String {
        if let Some(first) = replayed::first_coordinate(record, &self.cluster_id, &self.pipeline) {
            return first.to_string();
        }
        let now = || {
            self.inputs
                .get(&letter.told.topic)
                .map(|input| input.topic_id.as_str())
        };
        let topic_id = letter.told.topic_id.as_deref().or_else(now).unwrap_or_default();
        let source = Source {
            cluster_id: self.cluster_id.as_str().into(),
            topic_id: topic_id.into(),
            partition: letter.told.partition,
            offset: letter.told.offset,
            part: 1,
            parts: 1,
            pipeline: self.pipeline.as_str().into(),
        };
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::selection::tests::letter;

    type Headers = Vec<(&'static str, &'static str)>;

    struct Rec(Headers);

    impl Record for Rec {
        fn offset(&self) -> i64 {
            5
        }
        fn timestamp_ms(&self) -> i64 {
            1005
        }
        fn key(&self) -> Option<&[u8]> {
            Some(b"k")
        }
        fn value(&self) -> Option<&[u8]> {
            None
        }
        fn header_count(&self) -> usize {
            self.0.len()
        }
        fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
            let (name, value) = self.0.get(index)?;
            Some((name.as_bytes(), Some(value.as_bytes())))
        }
    }

    fn put_back() -> PutBack {
        let input = Target {
            name: "in".to_owned(),
            index: 2,
            topic_id: "id".to_owned(),
            partitions: 1,
        };
        PutBack {
            cluster_id: "cluster".to_owned(),
            pipeline: "orders".to_owned(),
            inputs: [("in".to_owned(), input)].into(),
            to: None,
            replays_max: 3,
            redate: false,
        }
    }

    fn headers(outgoing: &Outgoing) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = outgoing.headers.iter();
        headers
            .map(|(name, value)| format!("{}={}", text(name), text(value.as_ref().unwrap())))
            .collect()
    }

    #[test]
    fn a_record_goes_home_as_it_was_and_says_where_it_stood() {
        let record = Rec(vec![("h", "1"), ("strait-error-topic", "in")]);
        let out = put_back().outgoing(&letter(0, 5), &record, 1).unwrap();
        assert_eq!(
            (out.topic, out.partition, out.timestamp_ms),
            (2, Some(0), Some(1005))
        );
        assert_eq!(
            (out.key.as_deref(), out.value.as_deref()),
            (Some(b"k".as_slice()), None)
        );
        let expected = [
            "h=1",
            "strait-replayed=1/cluster/id/0/105/1/1/orders",
            "strait-replays=1",
        ];
        assert_eq!(headers(&out), expected);
    }

    #[test]
    fn the_first_coordinate_stays_and_the_count_goes_on() {
        let first = "1/cluster/id/0/7/1/1/orders";
        let record = Rec(vec![
            ("strait-replayed", first),
            ("strait-replays", "2"),
            ("h", "1"),
        ]);
        let out = put_back().outgoing(&letter(0, 5), &record, 3).unwrap();
        assert_eq!(
            headers(&out),
            ["h=1", &format!("strait-replayed={first}"), "strait-replays=3"]
        );
        let often = Rec(vec![("strait-replayed", first), ("strait-replays", "3")]);
        assert!(put_back().outgoing(&letter(0, 5), &often, 2).is_err());
        // What another pipeline says of it is not true here.
        let others = Rec(vec![("strait-replayed", "1/cluster/id/0/7/1/1/others")]);
        let out = put_back().outgoing(&letter(0, 5), &others, 1).unwrap();
        assert_eq!(headers(&out)[0], "strait-replayed=1/cluster/id/0/105/1/1/orders");
    }

    #[test]
    fn elsewhere_it_goes_by_its_key() {
        let mut put_back = put_back();
        let mut gone = letter(0, 5);
        gone.told.topic = "gone".to_owned();
        assert!(put_back.target(&gone).unwrap_err().contains("--to"));
        put_back.to = Some(Target {
            name: "repair".to_owned(),
            index: 0,
            topic_id: "other".to_owned(),
            partitions: 9,
        });
        put_back.redate = true;
        let out = put_back.outgoing(&gone, &Rec(Vec::new()), 0).unwrap();
        assert_eq!((out.topic, out.partition, out.timestamp_ms), (0, None, None));
    }

    #[test]
    fn an_input_with_less_partitions_than_it_had_takes_it_by_its_key() {
        let mut elsewhere = letter(0, 5);
        elsewhere.told.partition = 4;
        let out = put_back().outgoing(&elsewhere, &Rec(Vec::new()), 0).unwrap();
        assert_eq!(out.partition, None);
    }
}
