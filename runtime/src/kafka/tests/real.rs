use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use super::support::{answer, cluster, consumer, factory, poll_until, record, soon};
use crate::broker::{Broker, BrokerSettings};
use crate::kafka::admin::{Admin, NewTopic};
use crate::kafka::changelog::{ChangelogReader, Written};
use crate::kafka::transaction::LibrdProducer;
use crate::kafka::{
    Bounds, Consumer, Flaw, GroupEvent, KafkaError, Position, Produce, ProduceError, Producer,
    ProducerFactory, TopicPartition, TransactionError, control_topic,
};

const WAIT: Duration = Duration::from_secs(20);

/// One broker for these tests. It ends by itself when this process has.
fn bootstrap() -> &'static str {
    static BROKER: OnceLock<(String, Broker)> = OnceLock::new();
    let start = || {
        let mut silent = |_: &str| {};
        let broker = Broker::start(BrokerSettings::new(&mut silent)).unwrap();
        (broker.bootstrap(), broker)
    };
    &BROKER.get_or_init(start).0
}

fn create(admin: &Admin, name: &str, partitions: i32, config: &[(&str, &str)]) {
    let topic = NewTopic {
        name: name.into(),
        partitions,
        replication: 1,
        config: config.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    };
    assert!(admin.create_topic(&topic, WAIT).unwrap());
    assert!(!admin.create_topic(&topic, WAIT).unwrap(), "there already");
}

fn admin() -> Admin {
    Admin::open(&cluster(bootstrap()), "test-admin").unwrap()
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition,
    }
}

fn produce(producer: &mut LibrdProducer, partition: i32, key: &str, value: Option<&str>) {
    let record = Produce {
        partition: Some(partition),
        key: Some(key.as_bytes()),
        value: value.map(str::as_bytes),
        ..record(b"")
    };
    producer.produce(&record, soon()).unwrap();
}

#[test]
fn the_cluster_answers_what_a_preflight_asks() {
    let admin = admin();
    create(&admin, "described", 3, &[("max.message.bytes", "5000")]);
    assert!(!admin.cluster_id(WAIT).unwrap().is_empty());
    assert_eq!(admin.node_count(WAIT).unwrap(), 1);
    let topics = admin.topics(WAIT).unwrap();
    assert!(
        topics.iter().any(|t| t.name == "described" && t.partitions == 3),
        "{topics:?}"
    );
    let described = admin
        .describe(&["missing", "described", "described"], WAIT)
        .unwrap();
    assert_eq!(described[0].as_ref().unwrap_err().name, "UNKNOWN_TOPIC_OR_PART");
    let topic = described[1].as_ref().unwrap();
    assert_eq!((topic.name.as_str(), topic.partitions), ("described", 3));
    assert_eq!(topic.id.as_ref().unwrap().len(), 22, "{topic:?}");
    assert_eq!(described[1], described[2]);
    assert_eq!(admin.max_message_bytes(&["described"], WAIT).unwrap(), [5000]);
    let committed = admin
        .group("nobody")
        .unwrap()
        .committed(&[at("described", 1)], WAIT)
        .unwrap();
    assert_eq!(committed, [(at("described", 1), None)]);
}

#[test]
fn a_control_topic_is_its_latest_committed_values() {
    let admin = admin();
    create(&admin, "control", 1, &[("cleanup.policy", "compact")]);
    let mut producer = factory(bootstrap(), &["control"]).open(soon()).unwrap();
    let bounds = || admin.bounds(&at("control", 0), WAIT).unwrap();
    producer.begin().unwrap();
    produce(&mut producer, 0, "a", Some("1"));
    produce(&mut producer, 0, "b", Some("2"));
    produce(&mut producer, 0, "a", Some("3"));
    produce(&mut producer, 0, "c", Some("4"));
    producer.flush(soon()).unwrap();
    assert_eq!(
        bounds(),
        Bounds { start: 0, end: 0 },
        "an open transaction is not stable"
    );
    producer.commit(soon()).unwrap();
    producer.begin().unwrap();
    produce(&mut producer, 0, "c", None);
    producer.flush(soon()).unwrap();
    producer.commit(soon()).unwrap();
    producer.begin().unwrap();
    produce(&mut producer, 0, "a", Some("aborted"));
    producer.flush(soon()).unwrap();
    producer.abort(soon()).unwrap();
    let deadline = soon();
    while bounds().end < 9 {
        assert!(Instant::now() < deadline, "{:?}", bounds());
    }
    let read = control_topic::read(&cluster(bootstrap()), "test-control", "control", WAIT).unwrap();
    let expected = [("a", "3"), ("b", "2")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(read, BTreeMap::from(expected));
    let missing = control_topic::read(&cluster(bootstrap()), "test-control", "no-such", WAIT);
    assert_eq!(missing.unwrap_err().name, "UNKNOWN_TOPIC_OR_PART");
}

#[test]
fn a_changelog_is_read_to_where_its_transactions_ended_and_cut_off_by_time() {
    create(&admin(), "changes", 2, &[("retention.ms", "-1")]);
    let changes = TopicPartition {
        topic: "changes".into(),
        partition: 1,
    };
    let mut producer = factory(bootstrap(), &["changes"]).open(soon()).unwrap();
    let mut commit = |value: &str, timestamp_ms: i64, commits: bool| {
        producer.begin().unwrap();
        let written = Produce {
            partition: Some(1),
            timestamp_ms: Some(timestamp_ms),
            key: Some(b"k"),
            ..record(value.as_bytes())
        };
        producer.produce(&written, soon()).unwrap();
        producer.flush(soon()).unwrap();
        let ended = if commits {
            producer.commit(soon())
        } else {
            producer.abort(soon())
        };
        ended.unwrap();
    };
    commit("a", 1000, true);
    commit("b", 2000, false);
    commit("c", 3000, true);
    commit("d", 2500, true);
    let mut reader = ChangelogReader::open(&cluster(bootstrap()), "test-changes").unwrap();
    assert_eq!(reader.describe("changes").unwrap().partitions, 2);
    let read = |reader: &mut ChangelogReader| {
        let mut values = Vec::new();
        let mut take = |written: Written<'_>| {
            values.push(String::from_utf8(written.value.unwrap().to_vec()).unwrap());
            Ok(())
        };
        let bounds = reader.bounds(&changes).unwrap();
        let mut goes_on = |_| Ok::<(), KafkaError>(());
        reader.read(&changes, bounds, &mut goes_on, &mut take).unwrap();
        values
    };
    // The second time, from the same reader.
    assert_eq!(read(&mut reader), ["a", "c", "d"]);
    assert_eq!(read(&mut reader), ["a", "c", "d"]);
    reader.trim(&changes, 2800).unwrap();
    assert_eq!(read(&mut reader), ["c", "d"]);
    reader.trim(&changes, 9000).unwrap();
    assert_eq!(read(&mut reader), ["c", "d"], "the last stays");
}

/// Copies until `records` are committed, aborting every third transaction.
fn copy(input: &str, output: &str, group: &str, records: usize) {
    let mut producer = factory(bootstrap(), &[output]).open(soon()).unwrap();
    let mut consumer = consumer(bootstrap(), group, &[]);
    consumer.subscribe(&[input]).unwrap();
    let mut committed: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let (mut done, mut round) = (0, 0);
    let deadline = Instant::now() + Duration::from_mins(1);
    while done < records {
        assert!(Instant::now() < deadline, "{done} of {records}");
        let polled = consumer.poll(700, Duration::from_millis(50)).unwrap();
        for event in &polled.events {
            answer(&mut consumer, event, 0);
            if let GroupEvent::Assigned(partitions) = event {
                committed.extend(partitions.iter().map(|p| (p.clone(), 0)));
            }
        }
        if polled.chunks.is_empty() {
            continue;
        }
        producer.begin().unwrap();
        let mut next = BTreeMap::new();
        for chunk in &polled.chunks {
            for r in &chunk.records {
                let headers: Vec<_> = (0..r.header_count()).map(|i| r.header(i).unwrap()).collect();
                let record = Produce {
                    partition: Some(chunk.partition.partition),
                    key: r.key(),
                    value: r.value(),
                    headers: &headers,
                    timestamp_ms: Some(r.timestamp_ms()),
                    ..record(b"")
                };
                producer.produce(&record, soon()).unwrap();
                next.insert(chunk.partition.clone(), r.offset() + 1);
            }
        }
        round += 1;
        if round % 3 == 0 {
            producer.abort(soon()).unwrap();
            let back = next.keys().map(|p| Position {
                partition: p.clone(),
                offset: committed[p],
            });
            consumer.seek(&back.collect::<Vec<_>>(), WAIT).unwrap();
            continue;
        }
        producer.flush(soon()).unwrap();
        let positions: Vec<_> = next
            .iter()
            .map(|(p, offset)| Position {
                partition: p.clone(),
                offset: *offset,
            })
            .collect();
        producer
            .send_offsets(&positions, &consumer.member().unwrap(), soon())
            .unwrap();
        producer.commit(soon()).unwrap();
        committed.extend(next);
        done += polled.chunks.iter().map(|c| c.records.len()).sum::<usize>();
    }
    assert_eq!(producer.suspicion(), None);
    consumer.close(WAIT);
}

#[test]
fn a_copy_with_aborts_holds_each_record_once_and_in_order() {
    const EACH: i64 = 3000;
    let admin = admin();
    create(&admin, "copy-in", 3, &[]);
    create(&admin, "copy-out", 3, &[]);
    let mut producer = factory(bootstrap(), &["copy-in"]).open(soon()).unwrap();
    producer.begin().unwrap();
    for n in 0..EACH {
        for partition in 0..3 {
            let value = (n % 10 != 0).then(|| n.to_string());
            produce(
                &mut producer,
                partition,
                &format!("{partition}/{n}"),
                value.as_deref(),
            );
        }
    }
    producer.flush(soon()).unwrap();
    producer.commit(soon()).unwrap();
    producer.discard();
    copy(
        "copy-in",
        "copy-out",
        "copy-group",
        3 * usize::try_from(EACH).unwrap(),
    );

    let mut reader = consumer(bootstrap(), "copy-check", &[]);
    reader.subscribe(&["copy-out"]).unwrap();
    let mut next = [0_i64; 3];
    poll_until(&mut reader, 0, |polled| {
        for chunk in &polled.chunks {
            let partition = chunk.partition.partition;
            let next = &mut next[usize::try_from(partition).unwrap()];
            for r in &chunk.records {
                let value = (*next % 10 != 0).then(|| next.to_string());
                assert_eq!(r.key(), Some(format!("{partition}/{next}").as_bytes()));
                assert_eq!(r.value(), value.as_ref().map(String::as_bytes), "tombstones stay");
                *next += 1;
            }
        }
        (next == [EACH; 3]).then_some(())
    });
    // Nothing but control records can follow, and the position passes them.
    let mut ends = Vec::new();
    for partition in 0..3 {
        ends.push(admin.bounds(&at("copy-out", partition), WAIT).unwrap().end);
    }
    poll_until(&mut reader, 0, |polled| {
        assert!(polled.chunks.is_empty(), "a record too many");
        Some(())
    });
    let deadline = soon();
    while (0..3).any(|p| reader.position(&at("copy-out", p)) != Some(ends[usize::try_from(p).unwrap()])) {
        assert!(Instant::now() < deadline, "the position stays before {ends:?}");
        assert!(
            reader
                .poll(10, Duration::from_millis(20))
                .unwrap()
                .chunks
                .is_empty()
        );
    }
    reader.close(WAIT);
    let partitions: Vec<_> = (0..3).map(|p| at("copy-in", p)).collect();
    let committed = admin
        .group("copy-group")
        .unwrap()
        .committed(&partitions, WAIT)
        .unwrap();
    assert_eq!(
        committed,
        partitions
            .into_iter()
            .map(|p| (p, Some(EACH)))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_second_producer_with_the_id_fences_the_first() {
    create(&admin(), "fenced", 1, &[]);
    let factory = factory(bootstrap(), &["fenced"]);
    let factory =
        crate::kafka::transaction::LibrdProducerFactory::new(factory.settings().clone(), "one-id".into());
    let mut first = factory.open(soon()).unwrap();
    first.begin().unwrap();
    produce(&mut first, 0, "k", Some("lost"));
    first.flush(soon()).unwrap();
    let mut second = factory.open(soon()).unwrap();
    let verdict = first.commit(soon()).unwrap_err();
    assert!(
        matches!(verdict, TransactionError::Fatal { fenced: true, .. }),
        "{verdict}"
    );
    second.begin().unwrap();
    produce(&mut second, 0, "k", Some("kept"));
    second.commit(soon()).unwrap();
}

#[test]
fn a_record_too_large_is_refused_before_it_is_sent() {
    create(&admin(), "small", 1, &[("max.message.bytes", "2000")]);
    let mut settings = factory(bootstrap(), &["small"]).settings().clone();
    settings.topics[0].max_message_bytes = 2000;
    let factory = crate::kafka::transaction::LibrdProducerFactory::new(settings, "small-id".into());
    let mut producer = factory.open(soon()).unwrap();
    producer.begin().unwrap();
    let refused = producer.produce(&record(&[0; 2000]), soon()).unwrap_err();
    assert!(
        matches!(refused, ProduceError::TooLarge { limit: 2000, .. }),
        "{refused}"
    );
    // What passes the check always passes the broker.
    let mut most = 2000;
    while producer.produce(&record(&vec![0; most]), soon()).is_err() {
        most -= 1;
    }
    let no_such = producer
        .produce(
            &Produce {
                partition: Some(7),
                ..record(b"")
            },
            soon(),
        )
        .unwrap_err();
    assert!(
        matches!(no_such, ProduceError::NoSuchPartition { partition: 7, .. }),
        "{no_such}"
    );
    producer.flush(soon()).unwrap();
    producer.commit(soon()).unwrap();
    assert!(producer.failed_deliveries().is_empty());

    // A broker that takes less than was known refuses: the origin says which record.
    let mut settings = factory.settings().clone();
    settings.topics[0].max_message_bytes = 1_000_000;
    let factory = crate::kafka::transaction::LibrdProducerFactory::new(settings, "small-id".into());
    let mut producer = factory.open(soon()).unwrap();
    producer.begin().unwrap();
    producer
        .produce(
            &Produce {
                origin: 42,
                ..record(&[0; 5000])
            },
            soon(),
        )
        .unwrap();
    producer.flush(soon()).unwrap();
    let failed = producer.failed_deliveries();
    assert_eq!(
        failed
            .iter()
            .map(|f| (f.origin, f.topic, f.flaw))
            .collect::<Vec<_>>(),
        [(42, 0, Some(Flaw::TooLarge))]
    );
    assert!(
        failed[0].error.message.ends_with(", in small"),
        "{}",
        failed[0].error
    );
    assert!(matches!(
        producer.commit(soon()).unwrap_err(),
        TransactionError::Abortable(_)
    ));
    producer.abort(soon()).unwrap();
    assert!(producer.suspicion().is_some(), "its sequence has a gap");
}
