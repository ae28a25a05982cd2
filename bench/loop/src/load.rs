//! Filling a topic.
#![allow(unsafe_code, reason = "the same calls as the loop's")]

use std::ffi::CString;
use std::fmt::Write;
use std::ptr;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::bindings as rd;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use crate::Load;
use crate::raw::{COPY, Conf, Kind, Value, argument, check_code, memory, produce};

/// So many keys, as many users.
const KEYS: u64 = 100_000;

pub fn load(load: &Load) -> anyhow::Result<()> {
    create(&load.bootstrap, &load.topic, load.partitions)?;
    let producer = Conf::new(
        &[
            ("bootstrap.servers", &load.bootstrap),
            ("enable.idempotence", "true"),
            ("linger.ms", "20"),
            ("delivery.report.only.error", "true"),
            ("partitioner", "murmur2_random"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "131072"),
        ],
        &load.properties,
    )?
    .with_delivery_events()
    .open(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
    let name = CString::new(load.topic.as_str())?;
    let (mut key, mut value) = (String::new(), String::new());
    // SAFETY: live handles, freed once at the end; key and value are copied.
    unsafe {
        let topic = rd::rd_kafka_topic_new(producer, name.as_ptr(), ptr::null_mut());
        for number in load.first..load.first + load.records {
            fill(number, load.value_bytes, &mut key, &mut value)?;
            let mut arguments = vec![
                argument(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: topic }),
                argument(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: COPY }),
                argument(
                    Kind::RD_KAFKA_VTYPE_KEY,
                    memory(key.as_mut_ptr().cast(), key.len()),
                ),
                argument(
                    Kind::RD_KAFKA_VTYPE_VALUE,
                    memory(value.as_mut_ptr().cast(), value.len()),
                ),
            ];
            if load.ids {
                let headers = header("message-id", &number.to_string())?;
                arguments.push(argument(Kind::RD_KAFKA_VTYPE_HEADERS, Value { headers }));
            }
            produce(producer, &arguments)?;
        }
        check_code("flush", rd::rd_kafka_flush(producer, 120_000))?;
        rd::rd_kafka_topic_destroy(topic);
        rd::rd_kafka_destroy(producer);
    }
    Ok(())
}

/// Headers with one. They go to the record that is produced with them.
fn header(name: &str, value: &str) -> anyhow::Result<*mut rd::rd_kafka_headers_t> {
    // SAFETY: a new list; name and value are copied, with their lengths.
    unsafe {
        let headers = rd::rd_kafka_headers_new(1);
        let added = rd::rd_kafka_header_add(
            headers,
            name.as_ptr().cast(),
            name.len().try_into()?,
            value.as_ptr().cast(),
            value.len().try_into()?,
        );
        check_code("header", added)?;
        Ok(headers)
    }
}

/// An order, as a shop might send it; amounts in cents.
fn fill(number: u64, bytes: usize, key: &mut String, value: &mut String) -> std::fmt::Result {
    // Multiplying by an odd constant scatters the keys without a generator's cost.
    let user = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
    key.clear();
    write!(key, "user-{user:06}")?;
    value.clear();
    write!(
        value,
        r#"{{"order":{number},"user":"user-{user:06}","amount":{},"currency":"EUR","note":""#,
        number % 99_700
    )?;
    while value.len() + 2 < bytes {
        value.push(char::from(
            b'a' + u8::try_from((number + value.len() as u64) % 26).unwrap_or_default(),
        ));
    }
    value.push_str("\"}");
    Ok(())
}

/// Creates a topic unless it is there.
pub fn create(bootstrap: &str, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let created = runtime.block_on(admin.create_topics([&new], &options))?;
    match created.into_iter().next().context("no answer")? {
        Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
        Err((topic, code)) => Err(anyhow::anyhow!("{topic}: {code}")),
    }
}
