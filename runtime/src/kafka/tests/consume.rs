use std::time::{Duration, Instant};

use strait_sdk::batch::Record;

use super::support::{Mock, answer, consumer, factory, mock, poll_until, record, soon};
use crate::kafka::{
    Consumer, GroupEvent, GroupMember, Position, Produce, Producer, ProducerFactory, TopicPartition,
};

/// One transaction with `count` records into each of the partitions.
fn fill(mock: &Mock, topic: &str, partitions: i32, count: u64) {
    let mut producer = factory(mock, &[topic]).open(soon()).unwrap();
    producer.begin().unwrap();
    for partition in 0..partitions {
        for n in 0..count {
            let value = format!("{partition}/{n}");
            let record = Produce {
                partition: Some(partition),
                ..record(value.as_bytes())
            };
            producer.produce(&record, soon()).unwrap();
        }
    }
    producer.flush(soon()).unwrap();
    producer.commit(soon()).unwrap();
    producer.discard();
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition,
    }
}

#[test]
fn records_come_in_order_and_merged_by_partition() {
    for strategy in ["cooperative-sticky", "range", "roundrobin"] {
        let mock = mock(&[("in", 3)]);
        fill(&mock, "in", 3, 500);
        let mut consumer = consumer(&mock, "g", &[("partition.assignment.strategy", strategy)]);
        consumer.subscribe(&["in"]).unwrap();
        let mut seen: Vec<Vec<i64>> = vec![Vec::new(); 3];
        poll_until(&mut consumer, 0, |polled| {
            let mut once: Vec<_> = polled.chunks.iter().map(|c| c.partition.clone()).collect();
            once.sort();
            once.dedup();
            assert_eq!(
                once.len(),
                polled.chunks.len(),
                "a partition has one chunk a poll"
            );
            for chunk in &polled.chunks {
                for record in &chunk.records {
                    let partition = chunk.partition.partition;
                    let expected = format!("{partition}/{}", record.offset());
                    assert_eq!(record.value(), Some(expected.as_bytes()));
                    seen[usize::try_from(partition).unwrap()].push(record.offset());
                }
            }
            (seen.iter().map(Vec::len).sum::<usize>() == 1500).then_some(())
        });
        for offsets in &seen {
            assert_eq!(*offsets, (0..500).collect::<Vec<i64>>());
        }
        assert_eq!(consumer.position(&at("in", 1)), Some(500), "{strategy}");
        consumer.close(Duration::from_secs(5));
    }
}

#[test]
fn a_record_carries_all_its_parts() {
    let mock = mock(&[("in", 1)]);
    let mut producer = factory(&mock, &["in"]).open(soon()).unwrap();
    producer.begin().unwrap();
    let headers: Vec<(&[u8], Option<&[u8]>)> = vec![
        (b"a", Some(b"1")),
        (b"none", None),
        (b"a", Some(b"")),
        (b"", Some(b"x")),
    ];
    let full = Produce {
        key: Some(b""),
        value: None,
        headers: &headers,
        timestamp_ms: Some(1_234),
        ..record(b"")
    };
    producer.produce(&full, soon()).unwrap();
    producer
        .produce(
            &Produce {
                value: Some(b""),
                ..record(b"")
            },
            soon(),
        )
        .unwrap();
    producer.commit(soon()).unwrap();
    producer.discard();

    let mut consumer = consumer(&mock, "g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    let mut number = 0;
    poll_until(&mut consumer, 0, |polled| {
        for record in polled.chunks.iter().flat_map(|c| &c.records) {
            if number == 0 {
                assert_eq!(
                    (record.key(), record.value()),
                    (Some(&b""[..]), None),
                    "empty key, tombstone"
                );
                assert_eq!(record.timestamp_ms(), 1_234);
                let got: Vec<_> = (0..record.header_count())
                    .map(|i| record.header(i).unwrap())
                    .collect();
                assert_eq!(got, headers);
                assert_eq!(record.header(4), None);
            } else {
                assert_eq!(
                    (record.key(), record.value()),
                    (None, Some(&b""[..])),
                    "null key, empty value"
                );
                assert_eq!((record.header_count(), record.header(0)), (0, None));
                assert!(record.timestamp_ms() > 1_600_000_000_000);
            }
            number += 1;
        }
        (number == 2).then_some(())
    });
    consumer.close(Duration::from_secs(5));
}

#[test]
fn a_poll_neither_waits_for_a_full_batch_nor_overfills_it() {
    let mock = mock(&[("in", 1)]);
    fill(&mock, "in", 1, 50);
    let mut consumer = consumer(&mock, "g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    poll_until(&mut consumer, 0, |polled| {
        polled
            .events
            .iter()
            .any(|e| matches!(e, GroupEvent::Assigned(_)))
            .then_some(())
    });
    let start = Instant::now();
    let first = consumer.poll(7, Duration::from_secs(10)).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "held on for {:?}",
        start.elapsed()
    );
    let count: usize = first.chunks.iter().map(|c| c.records.len()).sum();
    assert!((1..=7).contains(&count), "{count}");
    // Records keep the client alive, even past its close.
    consumer.close(Duration::from_secs(5));
    assert_eq!(first.chunks[0].records[0].value(), Some(&b"0/0"[..]));
}

#[test]
fn a_position_is_unknown_until_something_was_served() {
    let mock = mock(&[("in", 1)]);
    fill(&mock, "in", 1, 10);
    let mut consumer = consumer(&mock, "g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    assert!(consumer.member().is_none(), "not a member yet");
    let partition = at("in", 0);
    poll_until(&mut consumer, 4, |polled| {
        polled
            .events
            .iter()
            .any(|e| matches!(e, GroupEvent::Assigned(_)))
            .then_some(())
    });
    assert_eq!(consumer.position(&partition), None);
    assert!(consumer.member().unwrap().generation() >= 0);
    let read = |consumer: &mut super::support::Reader| {
        poll_until(consumer, 0, |p| {
            p.chunks
                .first()
                .map(|c| (c.records[0].offset(), c.records.last().unwrap().offset()))
        })
    };
    assert_eq!(read(&mut consumer), (4, 9));
    assert_eq!(consumer.position(&partition), Some(10));
    consumer
        .seek(
            &[Position {
                partition: partition.clone(),
                offset: 2,
            }],
            Duration::from_secs(5),
        )
        .unwrap();
    assert_eq!(consumer.position(&partition), None, "a seek forgets the position");
    assert_eq!(read(&mut consumer), (2, 9));
    assert_eq!(
        consumer.bounds(&partition, Duration::from_secs(5)).unwrap().end,
        10
    );
    consumer.close(Duration::from_secs(5));
}

#[test]
fn a_pause_holds_and_a_resume_goes_on_where_it_was() {
    let mock = mock(&[("in", 1)]);
    fill(&mock, "in", 1, 10);
    let mut consumer = consumer(&mock, "g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    poll_until(&mut consumer, 0, |polled| {
        polled
            .events
            .iter()
            .any(|e| matches!(e, GroupEvent::Assigned(_)))
            .then_some(())
    });
    let mut next = 0;
    while next < 5 {
        for chunk in consumer.poll(1, Duration::from_millis(200)).unwrap().chunks {
            assert_eq!(chunk.records[0].offset(), next);
            next += 1;
        }
    }
    consumer.pause(&[at("in", 0)]).unwrap();
    assert!(
        consumer
            .poll(10, Duration::from_millis(300))
            .unwrap()
            .chunks
            .is_empty()
    );
    consumer.resume(&[at("in", 0)]).unwrap();
    let first = poll_until(&mut consumer, 0, |p| {
        p.chunks.first().map(|c| c.records[0].offset())
    });
    assert_eq!(first, 5);
    consumer.close(Duration::from_secs(5));
}

#[test]
fn a_pause_does_not_outlive_its_assignment() {
    let mock = mock(&[("in", 1)]);
    fill(&mock, "in", 1, 10);
    let mut consumer = consumer(&mock, "g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    poll_until(&mut consumer, 0, |p| p.chunks.first().map(|_| ()));
    consumer.pause(&[at("in", 0)]).unwrap();
    consumer.unassign(&[at("in", 0)]).unwrap();
    let position = Position {
        partition: at("in", 0),
        offset: 0,
    };
    consumer.assign(&[position]).unwrap();
    let first = poll_until(&mut consumer, 0, |p| {
        p.chunks.first().map(|c| c.records[0].offset())
    });
    assert_eq!(first, 0);
    consumer.close(Duration::from_secs(5));
}

#[test]
fn commits_are_read_back_and_none_is_told_from_zero() {
    let mock = mock(&[("in", 2)]);
    let mut consumer = consumer(&mock, "g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    poll_until(&mut consumer, 0, |polled| {
        polled
            .events
            .iter()
            .any(|e| matches!(e, GroupEvent::Assigned(_)))
            .then_some(())
    });
    consumer
        .commit(&[Position {
            partition: at("in", 0),
            offset: 0,
        }])
        .unwrap();
    let committed = consumer
        .committed(&[at("in", 0), at("in", 1)], Duration::from_secs(10))
        .unwrap();
    assert_eq!(committed, [(at("in", 0), Some(0)), (at("in", 1), None)]);
    consumer.close(Duration::from_secs(5));
}

#[test]
fn an_offset_outside_the_log_is_a_gap_and_a_seek_goes_on() {
    for strategy in ["cooperative-sticky", "range"] {
        let mock = mock(&[("in", 2)]);
        fill(&mock, "in", 2, 10);
        let mut consumer = consumer(&mock, "g", &[("partition.assignment.strategy", strategy)]);
        consumer.subscribe(&["in"]).unwrap();
        let gaps = &mut Vec::new();
        poll_until(&mut consumer, 1_000, |polled| {
            gaps.extend(polled.events.iter().filter_map(|e| match e {
                GroupEvent::Gap { partition } => Some(partition.clone()),
                _ => None,
            }));
            (gaps.len() >= 2).then_some(())
        });
        assert_eq!(consumer.position(&at("in", 0)), None, "{strategy}");
        let back: Vec<_> = gaps
            .iter()
            .map(|p| Position {
                partition: p.clone(),
                offset: 3,
            })
            .collect();
        consumer.seek(&back, Duration::from_secs(10)).unwrap();
        let mut firsts = Vec::new();
        poll_until(&mut consumer, 0, |p| {
            firsts.extend(
                p.chunks
                    .iter()
                    .map(|c| (c.partition.partition, c.records[0].offset())),
            );
            (firsts.len() >= 2).then_some(())
        });
        firsts.sort_unstable();
        assert_eq!(firsts, [(0, 3), (1, 3)], "{strategy}");
        consumer.close(Duration::from_secs(5));
    }
}

#[test]
fn a_second_member_takes_over_its_share() {
    for strategy in ["cooperative-sticky", "range"] {
        let mock = mock(&[("in", 4)]);
        let strategy = [("partition.assignment.strategy", strategy)];
        let mut first = consumer(&mock, "g", &strategy);
        first.subscribe(&["in"]).unwrap();
        poll_until(&mut first, 0, |p| {
            p.events
                .iter()
                .any(|e| matches!(e, GroupEvent::Assigned(_)))
                .then_some(())
        });
        let mut second = consumer(&mock, "g", &strategy);
        second.subscribe(&["in"]).unwrap();
        let (mut own, mut other) = (4_usize, 0_usize);
        let deadline = soon();
        while own != 2 || other != 2 {
            assert!(Instant::now() < deadline, "{own} and {other}");
            for (consumer, count) in [(&mut first, &mut own), (&mut second, &mut other)] {
                for event in consumer.poll(10, Duration::from_millis(50)).unwrap().events {
                    answer(consumer, &event, 0);
                    match event {
                        GroupEvent::Assigned(p) => *count += p.len(),
                        GroupEvent::Revoked { partitions, lost } => {
                            assert!(!lost);
                            *count -= partitions.len();
                        }
                        _ => {}
                    }
                }
            }
        }
        second.close(Duration::from_secs(10));
        first.close(Duration::from_secs(10));
    }
}

/// Keys in hexadecimal and the partition of six that Kafka's Java client 4.3.1 chose
/// (`BuiltInPartitioner.partitionForKey`).
const JAVA: &str = include_str!("java_partitions.txt");

#[test]
fn keys_go_where_javas_partitioner_sends_them() {
    let mock = mock(&[("in", 6)]);
    let unhex = |text: &str| -> Vec<u8> {
        let digits = if text == "-" { "" } else { text };
        (0..digits.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
            .collect()
    };
    let expected: Vec<(Vec<u8>, i32)> = JAVA
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(key, partition)| (unhex(key), partition.parse().unwrap()))
        .collect();
    let mut producer = factory(&mock, &["in"]).open(soon()).unwrap();
    producer.begin().unwrap();
    for (key, _) in &expected {
        let record = Produce {
            partition: None,
            key: Some(key),
            ..record(b"")
        };
        producer.produce(&record, soon()).unwrap();
    }
    producer.commit(soon()).unwrap();
    producer.discard();

    let mut consumer = consumer(&mock, "g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    let mut got = Vec::new();
    poll_until(&mut consumer, 0, |polled| {
        for chunk in &polled.chunks {
            let partition = chunk.partition.partition;
            got.extend(
                chunk
                    .records
                    .iter()
                    .map(|r| (r.key().unwrap().to_vec(), partition)),
            );
        }
        (got.len() == expected.len()).then_some(())
    });
    let sorted = |mut list: Vec<(Vec<u8>, i32)>| {
        list.sort();
        list
    };
    assert!(
        expected.iter().any(|(key, _)| key.is_empty()),
        "an empty key is a key"
    );
    assert_eq!(sorted(got), sorted(expected));
    consumer.close(Duration::from_secs(5));
}
