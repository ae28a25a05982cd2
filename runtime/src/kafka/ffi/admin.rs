//! Describing topics, ids included, which the crate `rdkafka` does not wrap.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::client::Client;
use super::conf::c_string;
use super::error::{of_code, of_object, text};
use super::request::Request;
use crate::kafka::{KafkaError, codes};

/// What the broker knows of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// The topic's id, as Kafka prints it; `None` if the broker knows none.
    pub id: Option<String>,
    pub partitions: i32,
}

/// Each name once, please: the library refuses doubles.
pub fn describe_topics(
    client: &Client,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<Described, KafkaError>>, KafkaError> {
    let names: Vec<CString> = names
        .iter()
        .map(|name| c_string(name))
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let request = Request::new(
        client,
        rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        timeout,
    )?;
    // SAFETY: live client, options and queue, C strings that live for the call; what is
    // created here is destroyed here.
    unsafe {
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        rd::rd_kafka_DescribeTopics(client.raw(), topics, request.options(), request.queue());
        rd::rd_kafka_TopicCollection_destroy(topics);
    }
    let event = request.answer()?;
    // SAFETY: live event; the array has `count` entries, owned by the event.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.raw());
        if result.is_null() {
            return Err(of_code(codes::LOCAL_FAIL, "the answer describes no topics"));
        }
        let mut count = 0;
        let array = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok((0..count).map(|i| describe(*array.add(i))).collect())
    }
}

/// # Safety
/// `topic` is a live description.
unsafe fn describe(topic: *const rd::rd_kafka_TopicDescription_t) -> Result<Described, KafkaError> {
    // SAFETY: by contract; all that is read belongs to the description.
    unsafe {
        of_object(rd::rd_kafka_TopicDescription_error(topic))?;
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let known = !id.is_null()
            && (rd::rd_kafka_Uuid_most_significant_bits(id) != 0
                || rd::rd_kafka_Uuid_least_significant_bits(id) != 0);
        let mut partitions = 0;
        rd::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        Ok(Described {
            name: text(rd::rd_kafka_TopicDescription_name(topic)),
            id: known.then(|| as_kafka_prints(&text(rd::rd_kafka_Uuid_base64str(id)))),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        })
    }
}

/// The library writes a UUID in plain base64, Kafka in the alphabet for URLs.
fn as_kafka_prints(base64: &str) -> String {
    base64.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::as_kafka_prints;

    #[test]
    fn a_topic_id_is_written_as_kafka_writes_it() {
        assert_eq!(
            as_kafka_prints("zfBRT5HvRze1xjkzwqV/Yw"),
            "zfBRT5HvRze1xjkzwqV_Yw"
        );
        assert_eq!(as_kafka_prints("ab+d/f=="), "ab-d_f");
    }
}
