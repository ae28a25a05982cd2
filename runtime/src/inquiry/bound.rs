//! Places in logs, as the command line names them. No I/O.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kafka::TopicPartition;

/// A place in one log, or in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// `topic:partition=offset`: of this partition alone.
    Offset { partition: TopicPartition, offset: i64 },
    /// At the first record that is not older. Milliseconds since the epoch.
    Time(i64),
}

/// Why a text is no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither topic:partition=offset, such as orders:0=1000, nor a time, such as 2026-01-31T12:00:00Z"
)]
pub struct NoBound(String);

impl FromStr for Bound {
    type Err = NoBound;

    fn from_str(text: &str) -> Result<Self, NoBound> {
        let wrong = || NoBound(text.to_owned());
        let Some((place, offset)) = text.rsplit_once('=') else {
            let time = humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?;
            return Ok(Self::Time(millis(time)));
        };
        let (topic, partition) = place.rsplit_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().ok().and_then(|n| i32::try_from(n).ok());
        let offset = offset.parse::<i64>().ok().filter(|offset| *offset >= 0);
        Ok(Self::Offset {
            partition: TopicPartition {
                topic: Some(topic)
                    .filter(|topic| !topic.is_empty())
                    .ok_or_else(wrong)?
                    .into(),
                partition: number(partition).ok_or_else(wrong)?,
            },
            offset: offset.ok_or_else(wrong)?,
        })
    }
}

/// The time that was `ago`, in milliseconds since the epoch.
pub fn time_ago(ago: Duration) -> i64 {
    millis(SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH))
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_times_are_read() {
        let partition = TopicPartition {
            topic: "a.b".into(),
            partition: 3,
        };
        assert_eq!(
            "a.b:3=17".parse(),
            Ok(Bound::Offset {
                partition,
                offset: 17
            })
        );
        assert_eq!("1970-01-01T00:00:02Z".parse(), Ok(Bound::Time(2000)));
        for bad in [
            "",
            "a:3",
            "a=3",
            ":0=1",
            "a:-1=1",
            "a:0=-1",
            "a:0=x",
            "yesterday",
            "a:99999999999=1",
        ] {
            assert!(bad.parse::<Bound>().is_err(), "{bad}");
        }
    }
}
