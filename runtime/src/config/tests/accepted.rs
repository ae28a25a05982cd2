//! What is accepted, and what the plan then says.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::{LEAST, accept, look};
use crate::config::Overrides;
use crate::plan::{
    Commit, Delivery, FailureLimit, HeaderStyle, InputTopics, Limits, ModuleSource, OnGap, PartitionBy,
    Provenance, Retry, Start, Then, Timeouts, TimestampFrom,
};

#[test]
fn the_least_gets_the_defaults_of_the_contract() {
    let plan = accept(LEAST, &Overrides::default());
    assert_eq!(plan.name.as_str(), "orders");
    assert_eq!(plan.cluster.bootstrap, "localhost:9092");
    assert_eq!(plan.input.topics, InputTopics::Named(vec!["orders".to_owned()]));
    assert_eq!(
        (plan.input.start, plan.input.on_gap),
        (Start::Earliest, OnGap::Stop)
    );
    let stage = &plan.stages[0];
    assert_eq!(&*stage.name, "wasm");
    assert!(matches!(&stage.module, ModuleSource::File(path) if path.ends_with("m.wasm")));
    assert_eq!(stage.settings, serde_json::json!({}));
    let limits = Limits {
        memory_bytes: 64 << 20,
        batch_deadline: Some(Duration::from_secs(5)),
        output_bytes: 16 << 20,
    };
    assert_eq!(stage.limits, limits);
    assert_eq!(
        (stage.batch.records.get(), stage.batch.bytes.get()),
        (1000, 4 << 20)
    );
    let output = &plan.outputs[0];
    assert_eq!(
        (output.partition, output.timestamp, &output.compression),
        (PartitionBy::Key, TimestampFrom::Input, &None)
    );
    let retry = Retry {
        attempts: 3,
        initial: Duration::from_millis(100),
        max: Duration::from_secs(5),
        factor: 2.0,
    };
    assert_eq!((plan.on_error.retry, &plan.on_error.then), (retry, &Then::Stop));
    let at_least = NonZeroU32::new(100).unwrap();
    assert_eq!(
        plan.on_error.limit,
        Some(FailureLimit {
            rate: 0.05,
            over: Duration::from_mins(1),
            at_least
        })
    );
    assert_eq!(plan.delivery, Delivery::ExactlyOnce);
    assert_eq!(plan.lanes, std::thread::available_parallelism().unwrap());
    let commit = Commit {
        interval: Duration::from_millis(100),
        idle: Duration::from_millis(10),
        records: NonZeroUsize::new(50_000).unwrap(),
        bytes: NonZeroUsize::new(32 << 20).unwrap(),
    };
    assert_eq!((plan.commit, plan.provenance), (commit, Provenance::None));
    assert_eq!(
        (plan.internal_topics.create, plan.internal_topics.replication),
        (true, None)
    );
    assert_eq!(plan.timeouts, Timeouts::default());
}

/// The example of the documentation, without what this version does not run.
const ALL: &str = "\
name: orders
kafka:
  bootstrap: localhost:9092
  properties: { client.id: me, socket.timeout.ms: 9000, fetch.min.bytes: 2 }
  consumer: { partition.assignment.strategy: cooperative-sticky, session.timeout.ms: 12000 }
  producer: { linger.ms: 20, transaction.timeout.ms: 20000, compression.codec: lz4 }
input:
  pattern: \"^orders\\\\.in\\\\..*\"
  start: latest
  on_gap: earliest
stages:
  - wasm:
      module: m.wasm
      sha256: null
      settings: { minimum: 20, deep: { list: [1, 2.5, true, ~, \"3\", 4x] } }
      limits: { memory: 128MiB, batch_deadline: none, output_bytes: 16777216 }
      batch: { records: 10, bytes: 1MiB }
  - wasm: { module: m.wasm, limits: { batch_deadline: 6s } }
outputs:
  audit: orders.audit
  default: { topic: orders.clean, partition: explicit, timestamp: now, compression: zstd }
on_error:
  retry: { attempts: 0, initial: 1s, max: 1m, factor: 1.5 }
  then: dead_letter
  dead_letter: orders.dlq
  header_style: spring
  limit: none
delivery: at_least_once
lanes: 2
commit: { interval: 50ms, idle: 5ms, records: 7, bytes: 1KiB }
provenance: headers
internal_topics: { mode: require, replication: 3 }
";

#[test]
fn every_key_reaches_the_plan() {
    let plan = accept(ALL, &Overrides::default());
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(plan.cluster.properties, [own("client.id", "me")]);
    let consumer = [
        own("fetch.min.bytes", "2"),
        own("partition.assignment.strategy", "cooperative-sticky"),
    ];
    assert_eq!(plan.cluster.consumer_properties, consumer);
    assert_eq!(
        plan.cluster.producer_properties,
        [own("compression.codec", "lz4"), own("linger.ms", "20")]
    );
    let seconds = Duration::from_secs;
    let timeouts = Timeouts {
        transaction: seconds(20),
        session: seconds(12),
        socket: seconds(9),
        ..Timeouts::default()
    };
    assert_eq!(plan.timeouts, timeouts);
    assert_eq!(
        plan.input.topics,
        InputTopics::Pattern("^orders\\.in\\..*".to_owned())
    );
    assert_eq!(
        (plan.input.start, plan.input.on_gap),
        (Start::Latest, OnGap::Earliest)
    );
    assert_eq!(
        plan.stages.iter().map(|stage| &*stage.name).collect::<Vec<_>>(),
        ["wasm", "wasm-2"]
    );
    let settings = serde_json::json!({ "minimum": 20, "deep": { "list": [1, 2.5, true, null, "3", "4x"] } });
    assert_eq!(plan.stages[0].settings, settings);
    assert_eq!(plan.stages[0].limits.batch_deadline, None);
    assert_eq!(plan.stages[0].limits.memory_bytes, 128 << 20);
    assert_eq!(plan.stages[0].limits.output_bytes, 16 << 20);
    assert_eq!(plan.stages[0].batch.records.get(), 10);
    assert_eq!(
        plan.outputs
            .iter()
            .map(|output| &*output.name)
            .collect::<Vec<_>>(),
        ["default", "audit"]
    );
    let default = &plan.outputs[0];
    assert_eq!(
        (default.partition, default.timestamp),
        (PartitionBy::Explicit, TimestampFrom::Now)
    );
    assert_eq!(
        (default.topic.as_str(), default.compression.as_deref()),
        ("orders.clean", Some("zstd"))
    );
    assert_eq!(plan.on_error.retry.attempts, 0);
    assert_eq!(plan.on_error.retry.max, seconds(60));
    assert_eq!(
        plan.on_error.then,
        Then::DeadLetter {
            topic: "orders.dlq".to_owned(),
            style: HeaderStyle::Spring
        }
    );
    assert_eq!(plan.on_error.limit, None);
    assert_eq!(
        (plan.delivery, plan.lanes.get(), plan.provenance),
        (Delivery::AtLeastOnce, 2, Provenance::Headers)
    );
    assert_eq!(
        (plan.commit.interval, plan.commit.records.get()),
        (Duration::from_millis(50), 7)
    );
    assert_eq!(
        (plan.internal_topics.create, plan.internal_topics.replication),
        (false, Some(3))
    );
}

#[test]
fn part_of_a_map_keeps_the_defaults_of_the_rest() {
    let text = format!(
        "{LEAST}commit: {{ interval: 200ms }}\non_error: {{ limit: {{ rate: 1% }}, retry: {{ factor: 3 }} }}\n"
    );
    let plan = accept(&text, &Overrides::default());
    assert_eq!(
        (plan.commit.interval, plan.commit.idle),
        (Duration::from_millis(200), Duration::from_millis(10))
    );
    let limit = plan.on_error.limit.unwrap();
    assert_eq!(
        (limit.rate, limit.over, limit.at_least.get()),
        (0.01, Duration::from_mins(1), 100)
    );
    assert_eq!(
        (plan.on_error.retry.factor, plan.on_error.retry.attempts),
        (3.0, 3)
    );
}

#[test]
fn only_named_outputs_will_do_if_there_are_several() {
    let text = LEAST.replace(
        "  default: orders.clean",
        "  big: orders.big\n  small: orders.small",
    );
    assert_eq!(accept(&text, &Overrides::default()).outputs.len(), 2);
}

/// Every key that users are promised, those that a later version runs included.
const PROMISED: &str = r#"name: orders
kafka:
  bootstrap: localhost:9092
  properties: {}
input:
  topics: [orders]
  start: earliest
  on_gap: stop
stages:
  - dedup:
      id: "header:message-id"
      window: 24h
      store: changelog
      mode: drop
      on_missing_id: pass
      on_store_error: stop
      scope: null
  - wasm:
      module: m.wasm
      sha256: null
      settings: { minimum: 20 }
      limits: { memory: 64MiB, batch_deadline: 5s, output_bytes: 16MiB }
      batch: { records: 1000, bytes: 4MiB }
state:
  balance: { ttl: 30d }
outputs:
  default: orders.clean
  audit: orders.audit
on_error:
  retry: { attempts: 3, initial: 100ms, max: 5s, factor: 2 }
  then: dead_letter
  dead_letter: orders.dlq
  header_style: strait
  limit: { rate: 5%, over: 1m, at_least: 100, then: stop }
delivery: exactly_once
lanes: 2
commit: { interval: 100ms, idle: 10ms, records: 50000, bytes: 32MiB }
provenance: none
internal_topics: create
"#;

#[test]
fn every_promised_key_is_read() {
    let (_, findings) = look(PROMISED, &Overrides::default());
    assert_eq!(findings, "");
}
