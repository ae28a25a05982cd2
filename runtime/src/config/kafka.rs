//! librdkafka's settings as users may give them.
//!
//! A key that a guarantee stands on is refused with its reason; a key whose value
//! Strait must know is lifted into the plan's timeouts; librdkafka itself judges the
//! rest, so that no list here can lag behind the library.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::document::{Kafka, Property};
use super::finding::{Code, Finding};
use super::layers::Places;
use super::place::KeyPath;
use super::wording::nearest;
use crate::plan::{Cluster, Timeouts};

/// Keys that nobody may set, in groups that share a reason.
pub const REFUSED: &[(&[&str], &str)] = &[
    (
        &["bootstrap.servers", "metadata.broker.list"],
        "`kafka.bootstrap` says it",
    ),
    (
        &["group.id"],
        "the pipeline's `name` is the group id, and committed offsets belong to it",
    ),
    (
        &["group.protocol", "group.protocol.type", "group.remote.assignor"],
        "lanes use the classic group protocol: under the new one, exceeding max.poll.interval.ms is fatal in this \
         librdkafka, and offsets sent with a transaction are refused after every change of the group",
    ),
    (
        &["group.instance.id"],
        "lanes would share it and fence each other",
    ),
    (
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
        ],
        "offsets are committed inside the transaction that holds the outputs; committed anywhere else, a crash loses \
         or doubles records",
    ),
    (
        &[
            "enable.auto.offset.store",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
        ],
        "a lane keeps its own positions: those that the client stores run ahead of what was processed",
    ),
    (
        &["auto.offset.reset"],
        "it is always `error`, so that no partition jumps silently; `input.start` and `input.on_gap` say where to go on",
    ),
    (
        &["isolation.level"],
        "it is read_committed: records of aborted transactions must not be read",
    ),
    (
        &["enable.partition.eof"],
        "lanes find the end of a partition by its positions",
    ),
    (
        &["consume.callback.max.messages"],
        "lanes consume in batches, without this callback",
    ),
    (
        &["transactional.id"],
        "it names a lane and fences its predecessor; Strait derives it from name, instance and lane",
    ),
    (
        &["enable.idempotence", "enable.gapless.guarantee"],
        "transactions need the idempotent producer, and handle a gap themselves",
    ),
    (
        &["acks", "request.required.acks"],
        "acks=all: a record that one broker acknowledged alone is lost with it, and its input offset stays committed",
    ),
    (
        &["max.in.flight", "max.in.flight.requests.per.connection"],
        "the idempotent producer keeps order with at most five requests in flight",
    ),
    (
        &["retries", "message.send.max.retries"],
        "a record is sent until its transaction times out; giving up earlier only aborts it",
    ),
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        "it must fit transaction.timeout.ms, which Strait derives it from; set that one",
    ),
    (
        &["message.max.bytes"],
        "Strait reads the limit of every output topic; another one here would refuse records that fit",
    ),
    (
        &["queue.buffering.backpressure.threshold"],
        "the idempotent producer needs it to be 1",
    ),
    (
        &["queuing.strategy", "msg_order_cmp"],
        "records of a partition keep their order",
    ),
    (
        &["partitioner", "partitioner_cb"],
        "keys go where Java's producer puts them (murmur2); `outputs.NAME.partition` offers the other ways",
    ),
    (
        &[
            "delivery.report.only.error",
            "produce.offset.report",
            "dr_cb",
            "dr_msg_cb",
        ],
        "a lane relies on reports for failures, and on no others",
    ),
    (
        &["plugin.library.paths", "interceptors"],
        "code loaded into the client can drop, change or send records outside the transaction; Strait's own interceptor \
         watches for requests whose outcome is unknown",
    ),
    (
        &[
            "api.version.request",
            "api.version.request.timeout.ms",
            "api.version.fallback.ms",
            "broker.version.fallback",
        ],
        "transactions need the request versions that the broker announces",
    ),
    (
        &["statistics.interval.ms", "enabled_events", "log.queue"],
        "Strait serves the client's events, and expects its own",
    ),
    (
        &[
            "error_cb",
            "throttle_cb",
            "stats_cb",
            "log_cb",
            "background_event_cb",
            "socket_cb",
            "connect_cb",
            "closesocket_cb",
            "open_cb",
            "resolve_cb",
            "consume_cb",
            "rebalance_cb",
            "offset_commit_cb",
            "opaque",
            "default_topic_conf",
            "ssl_engine_callback_data",
            "ssl.certificate.verify_cb",
            "oauthbearer_token_refresh_cb",
            "internal.termination.signal",
        ],
        "it is a pointer or a signal of the program, not a setting",
    ),
];

/// Why nobody may set this key.
pub fn refusal(key: &str) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|(keys, _)| keys.contains(&key))
        .map(|(_, reason)| *reason)
}

/// `librdkafka.txt` has one key a line, and `C`, `P` or `*` for the client that reads it.
const KNOWN: &str = include_str!("librdkafka.txt");

fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    KNOWN.lines().filter_map(|line| line.split_once(' '))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Both,
    Consumer,
    Producer,
}

impl Scope {
    /// Which clients read a key. A key that is not listed is new, and for both.
    fn of(key: &str) -> Self {
        match known().find(|(name, _)| *name == key) {
            Some((_, "C")) => Self::Consumer,
            Some((_, "P")) => Self::Producer,
            _ => Self::Both,
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Both => "properties",
            Self::Consumer => "consumer",
            Self::Producer => "producer",
        }
    }
}

/// Everything under `kafka`, with the timeouts lifted out of the settings.
pub fn cluster(kafka: &Kafka, places: &Places, findings: &mut Vec<Finding>) -> (Cluster, Timeouts) {
    let mut cluster = Cluster {
        bootstrap: kafka.bootstrap.clone().unwrap_or_default(),
        ..Cluster::default()
    };
    let mut timeouts = Timeouts::default();
    let sections = [
        (Scope::Both, &kafka.properties),
        (Scope::Consumer, &kafka.consumer),
        (Scope::Producer, &kafka.producer),
    ];
    for (section, properties) in sections {
        for (key, value) in accepted(section, properties, places, findings) {
            if lift(key, value, &mut timeouts) {
                continue;
            }
            // What only one kind of client reads would make the other kind complain.
            let scope = if section == Scope::Both {
                Scope::of(key)
            } else {
                section
            };
            let list = match scope {
                Scope::Both => &mut cluster.properties,
                Scope::Consumer => &mut cluster.consumer_properties,
                Scope::Producer => &mut cluster.producer_properties,
            };
            list.retain(|(name, _)| name != key);
            list.push((key.to_owned(), value.to_owned()));
        }
    }
    (cluster, timeouts)
}

fn accepted<'a>(
    section: Scope,
    properties: &'a BTreeMap<String, Property>,
    places: &Places,
    findings: &mut Vec<Finding>,
) -> Vec<(&'a str, &'a str)> {
    let path = KeyPath::of("kafka").join(section.section());
    let mut accepted = Vec::new();
    for (key, Property(value)) in properties {
        match judge(section, key, value, &path.join(key), places) {
            Some(finding) => findings.push(finding),
            None => accepted.push((key.as_str(), value.as_str())),
        }
    }
    accepted
}

fn judge(section: Scope, key: &str, value: &str, path: &KeyPath, places: &Places) -> Option<Finding> {
    if let Some(reason) = refusal(key) {
        let what = format!("`{key}` is not yours to set: {reason}");
        return Some(places.error(Code::KafkaRefused, path, what, "remove it"));
    }
    let scope = Scope::of(key);
    if section != Scope::Both && scope != Scope::Both && scope != section {
        let what = format!("`{key}` is no setting of a {}", section.section());
        let remedy = format!("move it to `kafka.{}`", scope.section());
        return Some(places.error(Code::KafkaScope, path, what, remedy));
    }
    // Text with a zero byte cannot reach the library.
    if key.contains('\0') || value.contains('\0') {
        return Some(places.error(
            Code::KafkaValue,
            path,
            "the setting holds a zero byte",
            "remove it",
        ));
    }
    let error = ask(key, value)?;
    if error.starts_with("No such configuration property") {
        let names: Vec<&str> = known()
            .map(|(name, _)| name)
            .filter(|name| refusal(name).is_none())
            .collect();
        let remedy = match nearest(key, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "remove it, or take a name from librdkafka's list of settings".to_owned(),
        };
        return Some(places.error(
            Code::KafkaUnknown,
            path,
            format!("librdkafka has no setting `{key}`"),
            remedy,
        ));
    }
    let remedy = format!("write a value that librdkafka takes for `{key}`");
    let what = if secret(key) {
        "librdkafka refuses the value".to_owned()
    } else {
        format!("librdkafka refuses the value: {error}")
    };
    Some(places.error(Code::KafkaValue, path, what, remedy))
}

/// What librdkafka has against a setting.
fn ask(key: &str, value: &str) -> Option<String> {
    match ClientConfig::new().set(key, value).create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(_, reason, ..)) => Some(reason.trim_end_matches('.').to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn secret(key: &str) -> bool {
    ["password", "secret", "pem", "passphrase", "config", "ssl_"]
        .iter()
        .any(|part| key.contains(part))
}

/// Takes over a timeout that lanes must know. `judge` has seen that it is a number.
fn lift(key: &str, value: &str, timeouts: &mut Timeouts) -> bool {
    let target = match key {
        "transaction.timeout.ms" => &mut timeouts.transaction,
        "session.timeout.ms" => &mut timeouts.session,
        "heartbeat.interval.ms" => &mut timeouts.heartbeat,
        "max.poll.interval.ms" => &mut timeouts.max_poll_interval,
        "socket.timeout.ms" => &mut timeouts.socket,
        _ => return false,
    };
    // librdkafka reads hexadecimal too.
    let hexadecimal = value
        .strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    if let Some(ms) = value.trim().parse().ok().or(hexadecimal) {
        *target = Duration::from_millis(ms);
    }
    true
}

/// Where a lifted timeout was written.
pub fn timeout_path(key: &str, places: &Places) -> KeyPath {
    let path = |section: Scope| KeyPath::of("kafka").join(section.section()).join(key);
    let given = [Scope::Producer, Scope::Consumer, Scope::Both]
        .into_iter()
        .map(path)
        .find(|path| places.written(path));
    given.unwrap_or_else(|| path(Scope::Both))
}
