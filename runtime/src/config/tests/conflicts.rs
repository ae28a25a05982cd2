//! What a user reads about values that are fine alone: topics that meet, timeouts that
//! do not fit, settings that are not theirs, modules that are not there.

use super::findings::{Changed, hold};

const CHANGED: &[Changed] = &[
    (
        "topics and a pattern",
        &[("{ topics: [orders] }", r#"{ topics: [orders], pattern: "^o$" }"#)],
        &["p.yaml:3:37: input.pattern: `topics` and `pattern` exclude each other; keep one of the two"],
    ),
    (
        "no topics",
        &[("{ topics: [orders] }", "{ start: latest }")],
        &[
            r#"p.yaml:3:1: input: no topics are named; write `topics: [orders]`, or `pattern: "^orders\\.in\\..*"`"#,
        ],
    ),
    (
        "an input that is an output",
        &[("topics: [orders]", "topics: [orders, orders, orders.clean]")],
        &[
            "p.yaml:3:27: input.topics.1: the topic `orders` stands here twice; keep one of the two",
            "p.yaml:7:12: outputs.default: the output topic `orders.clean` is also an input: the pipeline would read what it writes; name another topic",
        ],
    ),
    (
        "an input that is the dead letter topic",
        &[("", "on_error: { then: dead_letter, dead_letter: orders }\n")],
        &[
            "p.yaml:8:45: on_error.dead_letter: the dead letter topic `orders` is also an input: the pipeline would read what it writes; name another topic",
        ],
    ),
    (
        "a pattern that matches what is written",
        &[("{ topics: [orders] }", r#"{ pattern: "^.*" }"#)],
        &[
            r#"p.yaml:3:19: input.pattern: the pattern also matches the output topic `orders.clean`, the internal topic `__strait.orders.control`; narrow the pattern, such as "^orders\\.in\\..*", or name the topics"#,
        ],
    ),
    (
        "dead letters without a topic",
        &[("", "on_error: { then: dead_letter }\n")],
        &[
            "p.yaml:8:19: on_error.then: `then: dead_letter` needs a topic, and `dead_letter` names none; write `dead_letter: TOPIC` beside it",
        ],
    ),
    (
        "dead letters among good records",
        &[("", "on_error: { then: dead_letter, dead_letter: orders.clean }\n")],
        &[
            "p.yaml:8:45: warning: on_error.dead_letter: the dead letter topic `orders.clean` is also the output topic; give dead letters a topic of their own",
        ],
    ),
    (
        "one output that is not default",
        &[("default: orders.clean", "clean: orders.clean")],
        &[
            "p.yaml:6:1: outputs: there is one output and it is not `default`, which `emit` writes to; call it `default`; only a transform that writes to several named outputs needs none",
        ],
    ),
    (
        "a module that is not there",
        &[("m.wasm", "wrong.wasm")],
        &[
            "p.yaml:5:21: stages.0.wasm.module: the module wrong.wasm does not exist; build it, or correct the path, which is relative to the pipeline file",
        ],
    ),
    (
        "a folder without a crate",
        &[("m.wasm", ".")],
        &[
            "p.yaml:5:21: stages.0.wasm.module: the folder . has no readable Cargo.toml: No such file or directory (os error 2); name a crate's folder, or a .wasm file",
        ],
    ),
    (
        "a pin that does not hold",
        &[(
            "{ module: m.wasm }",
            "{ module: m.wasm, sha256: 0000000000000000000000000000000000000000000000000000000000000000 }",
        )],
        &[
            "p.yaml:5:37: stages.0.wasm.sha256: m.wasm has another SHA-256; write 93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476 if this file is the one that you mean",
        ],
    ),
    (
        "a pin that is none",
        &[("{ module: m.wasm }", "{ module: m.wasm, sha256: abc }")],
        &[
            "p.yaml:5:37: stages.0.wasm.sha256: this is no SHA-256; write its 64 hexadecimal digits, as `sha256sum` prints them",
        ],
    ),
    (
        "a stage that is nothing, two things, or unknown",
        &[(
            "  - wasm: { module: m.wasm }",
            "  - {}
  - { wasm: { module: m.wasm }, dedup: { id: key } }
  - wasn: {}
  -",
        )],
        &[
            "p.yaml:5:5: stages.0: exactly one of `dedup`, `wasm` is expected here, and 0 are given; write one of them",
            "p.yaml:6:5: stages.1: exactly one of `dedup`, `wasm` is expected here, and 2 are given; keep one",
            "p.yaml:7:5: stages.2.wasn: the key `wasn` is not known here; did you mean `wasm`?",
            "p.yaml:8:4: stages.3: the item is empty; write a value behind the `-`, or remove it",
        ],
    ),
    (
        "state of topics that nobody names",
        &[
            ("input: { topics: [orders] }", "input: { pattern: '^in.*' }"),
            (
                "outputs:",
                "state: { a: { ttl: 1h } }
outputs:",
            ),
        ],
        &[
            "p.yaml:6:1: state: a store has a topic for each input topic, and a pattern names none; write `input.topics`",
        ],
    ),
    (
        "dedup is checked all the same",
        &[(
            "stages:",
            r#"stages:
  - dedup: { id: "body:x", store: { redis: {} }, window: 1 }"#,
        )],
        &[
            "p.yaml:5:18: stages.0.dedup.id: `body:x` names no message id; write key, value, header:NAME or json:/POINTER",
            "p.yaml:5:37: stages.0.dedup.store.redis.url: the key `url` is missing; write `url:` and text",
            "p.yaml:5:58: stages.0.dedup.window: `1` is no duration; write a number with its unit: ms, s, m, h or d, such as 100ms",
        ],
    ),
    (
        "delivery that dedup and state cannot have",
        &[(
            "",
            "delivery: at_least_once
state: { a: { ttl: 30d } }
",
        )],
        &["p.yaml:9:1: state: keyed state needs exactly_once; write `delivery: exactly_once`, or remove it"],
    ),
    (
        "at most once loses more with dedup",
        &[(
            "stages:",
            "delivery: at_most_once
stages:
  - dedup: { id: key, store: memory }",
        )],
        &[
            "p.yaml:6:5: stages.0.dedup: dedup under at_most_once would drop records that were never delivered; write `delivery: exactly_once`, or remove it",
        ],
    ),
    (
        "dedup in the wrong place, twice, or with words that do not go together",
        &[(
            "  - wasm: { module: m.wasm }",
            "  - wasm: { module: m.wasm }
  - dedup: { id: key, store: memory, scope: shop }
  - dedup: { id: key, store: memory, on_missing_id: dead_letter }",
        )],
        &[
            "p.yaml:6:5: stages.1.dedup: it comes behind a transform; write it before all `wasm` stages",
            "p.yaml:6:45: stages.1.dedup.scope: the store `memory` is not shared with other pipelines; remove it, or use redis or sql",
            "p.yaml:7:5: stages.2.dedup: there is another `dedup` before it; keep one",
        ],
    ),
    (
        "stores that cannot be found",
        &[(
            "stages:",
            r#"stages:
  - dedup: { id: key, store: { redis: { url: "cache:6379" } } }"#,
        )],
        &[
            "p.yaml:5:46: stages.0.dedup.store.redis.url: this is no address: it begins neither with redis:// nor with rediss://; write redis://HOST:PORT, or rediss:// with TLS",
        ],
    ),
    (
        "a changelog of topics that nobody names",
        &[
            (
                "input: { topics: [orders] }",
                r#"input: { pattern: "^orders\\.in" }"#,
            ),
            (
                "stages:",
                "stages:
  - dedup: { id: key }",
            ),
        ],
        &[
            "p.yaml:5:5: stages.0.dedup.store: the store `changelog` has a topic for each input topic, and a pattern names none; write `input.topics`, or use redis or sql",
        ],
    ),
    (
        "dead letters that nobody takes",
        &[(
            "stages:",
            "stages:
  - dedup: { id: key, store: memory, on_missing_id: dead_letter }",
        )],
        &[
            "p.yaml:5:53: stages.0.dedup.on_missing_id: `dead_letter` needs a topic for dead letters; write `on_error: { then: dead_letter, dead_letter: TOPIC }`",
        ],
    ),
    (
        "settings that are refused",
        &[(
            r#"kafka: { bootstrap: "localhost:9092" }"#,
            r#"kafka:
  bootstrap: "localhost:9092"
  properties: { acks: 1, plugin.library.paths: /x.so }
  consumer: { isolation.level: read_uncommitted, group.protocol: consumer }
  producer: { transactional.id: a }"#,
        )],
        &[
            "p.yaml:4:23: kafka.properties.acks: `acks` is not yours to set: acks=all: a record that one broker acknowledged alone is lost with it, and its input offset stays committed; remove it",
            "p.yaml:4:48: kafka.properties.plugin.library.paths: `plugin.library.paths` is not yours to set: code loaded into the client can drop, change or send records outside the transaction; Strait's own interceptor watches for requests whose outcome is unknown; remove it",
            "p.yaml:5:32: kafka.consumer.isolation.level: `isolation.level` is not yours to set: it is read_committed: records of aborted transactions must not be read; remove it",
            "p.yaml:5:66: kafka.consumer.group.protocol: `group.protocol` is not yours to set: lanes use the classic group protocol: under the new one, exceeding max.poll.interval.ms is fatal in this librdkafka, and offsets sent with a transaction are refused after every change of the group; remove it",
            "p.yaml:6:33: kafka.producer.transactional.id: `transactional.id` is not yours to set: it names a lane and fences its predecessor; Strait derives it from name, instance and lane; remove it",
        ],
    ),
    (
        "settings that do not exist",
        &[(
            r#"kafka: { bootstrap: "localhost:9092" }"#,
            r#"kafka:
  bootstrap: "localhost:9092"
  properties: { soket.timeout.ms: 5, completely.different: 1 }
  producer: { fetch.min.bytes: 1, linger.ms: long }
  consumer: { linger.ms: 5 }"#,
        )],
        &[
            "p.yaml:4:35: kafka.properties.soket.timeout.ms: librdkafka has no setting `soket.timeout.ms`; did you mean `socket.timeout.ms`?",
            "p.yaml:4:60: kafka.properties.completely.different: librdkafka has no setting `completely.different`; remove it, or take a name from librdkafka's list of settings",
            "p.yaml:5:32: kafka.producer.fetch.min.bytes: `fetch.min.bytes` is no setting of a producer; move it to `kafka.consumer`",
            r#"p.yaml:5:46: kafka.producer.linger.ms: librdkafka refuses the value: Invalid value for configuration property "queue.buffering.max.ms"; write a value that librdkafka takes for `linger.ms`"#,
            "p.yaml:6:26: kafka.consumer.linger.ms: `linger.ms` is no setting of a consumer; move it to `kafka.producer`",
        ],
    ),
    (
        "a request that outlives its transaction",
        &[(
            "localhost:9092\" }",
            "localhost:9092\", properties: { socket.timeout.ms: 30001 } }",
        )],
        &[
            "p.yaml:2:72: kafka.properties.socket.timeout.ms: socket.timeout.ms (30001ms) is more than transaction.timeout.ms (30s): a lost request would be noticed after its transaction is gone; write at most 30000",
        ],
    ),
    (
        "timeouts that do not fit",
        &[(
            r#"kafka: { bootstrap: "localhost:9092" }"#,
            r#"kafka:
  bootstrap: "localhost:9092"
  properties: { socket.timeout.ms: 60000 }
  producer: { transaction.timeout.ms: 60000 }
  consumer: { session.timeout.ms: 6000, heartbeat.interval.ms: 3000, max.poll.interval.ms: 5000 }"#,
        )],
        &[
            "p.yaml:5:39: kafka.producer.transaction.timeout.ms: transaction.timeout.ms (1m) is out of range: a shorter one aborts work that only waits for a broker, a longer one lets a dead process hold up its successors; write 20000 to 30000",
            "p.yaml:6:35: kafka.consumer.session.timeout.ms: session.timeout.ms (6s) is less than three times heartbeat.interval.ms (3s): one late heartbeat would end the session; write at least 9000",
            "p.yaml:6:92: kafka.consumer.max.poll.interval.ms: max.poll.interval.ms (5s) is less than two transaction timeouts and the batch deadlines (125s), and no less than the session: a lane that waits for a commit would be thrown out of its group; write at least 125000",
        ],
    ),
    (
        "deadlines that fill a transaction",
        &[(
            "{ module: m.wasm }",
            "{ module: m.wasm, limits: { batch_deadline: 10s } }",
        )],
        &[
            "p.yaml:5:55: stages.0.wasm.limits.batch_deadline: the batch deadlines of all stages take 10s together, and must stay below a third of transaction.timeout.ms (10s); write less than 10s",
        ],
    ),
    (
        "deadlines that fill it together",
        &[(
            "  - wasm: { module: m.wasm }",
            "  - wasm: { module: m.wasm }
  - wasm: { module: m.wasm }",
        )],
        &[
            "p.yaml:6:5: stages.1.wasm.limits.batch_deadline: the batch deadlines of all stages take 10s together, and must stay below a third of transaction.timeout.ms (10s); shorten the deadlines of the 2 stages to less than 10s together",
        ],
    ),
    (
        "memory that holds no batch",
        &[(
            "{ module: m.wasm }",
            "{ module: m.wasm, limits: { memory: 16MiB } }",
        )],
        &[
            "p.yaml:5:47: stages.0.wasm.limits.memory: a batch (`batch.bytes`) and its result (`limits.output_bytes`) do not fit into it together; write more than 20MiB, or lower the other two",
        ],
    ),
    (
        "an interval that fills a transaction",
        &[("", "commit: { interval: 15s, idle: 20s }\n")],
        &[
            "p.yaml:8:21: commit.interval: an interval of 15s leaves a transaction too little of its timeout (30s); write at most 10s; 100ms is the default",
            "p.yaml:8:32: commit.idle: `idle` (20s) is more than `interval` (15s); write at most 15s",
        ],
    ),
    (
        "pauses that shrink",
        &[("", "on_error: { retry: { initial: 10s } }\n")],
        &[
            "p.yaml:8:13: on_error.retry.max: the longest pause (5s) is less than the first (10s); write at least 10s",
        ],
    ),
];

#[test]
fn every_conflict_is_reported_with_its_place_and_a_remedy() {
    hold(CHANGED);
}
