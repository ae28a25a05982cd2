//! What a user reads about each mistake: one case a mistake, or a group of them in one
//! file, since all are reported at once. Those between keys are in `conflicts`.

use super::{LEAST, look};
use crate::config::Overrides;

/// Name, the whole file, and the findings.
const WHOLE: &[(&str, &str, &[&str])] = &[
    (
        "an empty file",
        "",
        &[
            "p.yaml:1:1: the file holds no pipeline; write a map of keys that begins with `name:`; `strait schema` prints all of them",
        ],
    ),
    (
        "only a comment",
        "# nothing\n",
        &[
            "p.yaml:1:1: the file holds no pipeline; write a map of keys that begins with `name:`; `strait schema` prints all of them",
        ],
    ),
    (
        "no map",
        "- a
- b
",
        &[
            "p.yaml:1:1: the file holds no pipeline; write a map of keys that begins with `name:`; `strait schema` prints all of them",
        ],
    ),
    (
        "a tab",
        "name: orders
kafka:
	bootstrap: b
",
        &[
            "p.yaml:3:2: this is not YAML: tabs disallowed within this context (block indentation); indent with spaces: YAML does not allow tabs",
        ],
    ),
    (
        "an open bracket",
        "name: [orders
kafka: {}
",
        &[
            "p.yaml:2:6: this is not YAML: illegal placement of ':' indicator; mend it here or just above: indent the keys of one map alike, close every quote and bracket, and quote text that holds `: ` or ` #`",
        ],
    ),
    (
        "an open quote",
        r#"name: "orders
"#,
        &[
            "p.yaml:1:7: this is not YAML: while scanning a quoted scalar, found unexpected end of stream; mend it here or just above: indent the keys of one map alike, close every quote and bracket, and quote text that holds `: ` or ` #`",
        ],
    ),
    (
        "nothing but a name",
        "name: orders\n",
        &[
            "p.yaml:1:1: input: the key `input` is missing; write `input: { topics: [orders] }`",
            r#"p.yaml:1:1: kafka: the key `kafka` is missing; write `kafka: { bootstrap: "localhost:9092" }`"#,
            "p.yaml:1:1: outputs: the key `outputs` is missing; write `outputs: { default: TOPIC }`",
            "p.yaml:1:1: stages: the key `stages` is missing; write `stages: [{ wasm: { module: FILE } }]`",
        ],
    ),
];

/// Name, what is replaced in the least file (nothing: what is appended), and the findings.
pub type Changed = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const CHANGED: &[Changed] = &[
    (
        "two documents",
        &[(
            "",
            "---
name: other
",
        )],
        &[
            "p.yaml:8:1: a second document begins here, and a file holds one; move it to a file of its own, or remove the `---`",
        ],
    ),
    (
        "anchors, aliases, tags and merge keys",
        &[(
            "",
            "on_error: &a { then: !!str skip }
commit: *a
state: { <<: {} }
",
        )],
        &[
            "p.yaml:8:11: on_error: anchors (`&name`) are not supported; remove the anchor",
            "p.yaml:8:22: on_error.then: tags (`!!str`) are not supported; remove the tag; put text that looks like a number in quotes",
            "p.yaml:9:9: commit: aliases (`*name`) are not supported; write the value out",
            "p.yaml:10:10: state: a key must be a plain word; maps, lists and merge keys (`<<`) cannot be keys; write `name: value`",
        ],
    ),
    (
        "a key twice",
        &[(
            "",
            "lanes: 1
lanes: 2
",
        )],
        &["p.yaml:9:1: lanes: the key stands here a second time; keep one of the two"],
    ),
    (
        "unknown keys, and where they belong",
        &[(
            "",
            "on_eror: {}
records: 5
wat: 1
",
        )],
        &[
            "p.yaml:8:1: on_eror: the key `on_eror` is not known here; did you mean `on_error`?",
            "p.yaml:9:1: records: the key `records` is not known here; it belongs under `commit`",
            "p.yaml:10:1: wat: the key `wat` is not known here; remove it; known here are commit, delivery, input, internal_topics, kafka, lanes, name, on_error, outputs, provenance, stages, state",
        ],
    ),
    (
        "wrong types",
        &[
            ("name: orders", "name: 17"),
            ("{ topics: [orders] }", "orders"),
            ("{ module: m.wasm }", "[m.wasm]"),
            ("default: orders.clean", "default: [orders.clean]"),
        ],
        &[
            r#"p.yaml:1:7: name: text is expected, and this is a number; write "17", in quotes"#,
            "p.yaml:3:8: input: a map is expected, and this is text; write `input: { topics: [orders] }`",
            "p.yaml:5:11: stages.0.wasm: a map is expected, and this is a list; write `wasm:` and below it, indented, batch, limits, module, settings, sha256",
            "p.yaml:7:12: outputs.default: text or a map is expected, and this is a list; write `default: orders.clean`",
        ],
    ),
    (
        "numbers",
        &[(
            "",
            "lanes: two
on_error: { retry: { attempts: -1, factor: fast } }
commit: { records: 0 }
",
        )],
        &[
            "p.yaml:8:8: lanes: a whole number is expected, and this is text; write a whole number from 1 to 256",
            "p.yaml:9:32: on_error.retry.attempts: -1 is out of range; write a whole number from 0 to 1000",
            "p.yaml:9:44: on_error.retry.factor: a number is expected, and this is text; write a number from 1 to 100",
            "p.yaml:10:20: commit.records: 0 is out of range; write a whole number from 1 to 10000000",
        ],
    ),
    (
        "more than there may be",
        &[("", "lanes: 257\non_error: { retry: { factor: 101 } }\n")],
        &[
            "p.yaml:8:8: lanes: 257 is out of range; write a whole number from 1 to 256",
            "p.yaml:9:30: on_error.retry.factor: 101 is out of range; write a number from 1 to 100",
        ],
    ),
    (
        "durations and sizes",
        &[(
            "",
            "commit: { interval: 100, idle: soon, bytes: lots }
on_error: { limit: { rate: 5, over: 0s } }
",
        )],
        &[
            "p.yaml:8:21: commit.interval: `100` is no duration; write a number with its unit: ms, s, m, h or d, such as 100ms",
            "p.yaml:8:32: commit.idle: `soon` is no duration; write a number with its unit: ms, s, m, h or d, such as 100ms",
            "p.yaml:8:45: commit.bytes: `lots` is no size; write bytes with their unit: KiB, MiB or GiB, such as 64MiB",
            "p.yaml:9:28: on_error.limit.rate: `5` is no percentage; write a number and a percent sign, such as 5%",
            "p.yaml:9:37: on_error.limit.over: the duration is zero; write a number with its unit: ms, s, m, h or d, such as 100ms",
        ],
    ),
    (
        "closed lists",
        &[(
            "",
            "delivery: exactly-once
provenance: header
internal_topics: maybe
on_error: { then: drop, limit: off }
",
        )],
        &[
            "p.yaml:8:11: delivery: `exactly-once` is not known here; did you mean exactly_once? Known are exactly_once, at_least_once, at_most_once",
            "p.yaml:9:13: provenance: `header` is not known here; did you mean headers? Known are none, headers",
            "p.yaml:10:18: internal_topics: `maybe` is not known here; write create or require, or a map",
            "p.yaml:11:19: on_error.then: `drop` is not known here; write stop, skip or dead_letter",
            "p.yaml:11:32: on_error.limit: `off` is not known here; write none, or a map",
        ],
    ),
    (
        "bad names",
        &[
            ("name: orders", r#"name: "my orders""#),
            ("topics: [orders]", r#"topics: ["a b", __strait.orders.control]"#),
            ("default: orders.clean", "de.fault: orders/clean"),
        ],
        &[
            "p.yaml:1:7: name: `my orders` is no pipeline name; write 1 to 128 characters out of a-z, A-Z, 0-9, '.', '_' and '-'",
            "p.yaml:3:19: input.topics.0: `a b` is no topic name; write 1 to 249 characters out of a-z, A-Z, 0-9, '.', '_' and '-'",
            "p.yaml:3:26: input.topics.1: the topic `__strait.orders.control` is internal; name a topic of your own",
            "p.yaml:7:3: outputs.de.fault: `de.fault` is no name; write 1 to 64 characters out of a-z, A-Z, 0-9, '_' and '-'",
            "p.yaml:7:13: outputs.de.fault: `orders/clean` is no topic name; write 1 to 249 characters out of a-z, A-Z, 0-9, '.', '_' and '-'",
        ],
    ),
    (
        "a pattern without its beginning",
        &[("{ topics: [orders] }", r#"{ pattern: "orders.*" }"#)],
        &[
            "p.yaml:3:19: input.pattern: a pattern begins with `^`; write ^orders.*, or use `topics` for plain names",
        ],
    ),
    (
        "a pattern that is no pattern",
        &[("{ topics: [orders] }", r#"{ pattern: "^orders(" }"#)],
        &[
            r#"p.yaml:3:19: input.pattern: this is no regular expression: unclosed group; mend it, such as "^orders\\.in\\..*""#,
        ],
    ),
    (
        "a pattern of another dialect",
        &[("{ topics: [orders] }", r#"{ pattern: "^orders\\d+$" }"#)],
        &[
            r"p.yaml:3:19: input.pattern: `\d` is not part of POSIX extended regular expressions, which Kafka clients in C use; write classes such as [0-9] and groups such as (a|b)",
        ],
    ),
    (
        "replacements that cannot be made",
        &[(
            "",
            r#"lanes: ${env:NOWHERE}
commit: { interval: "${file:no.txt}", idle: "${HOME}", bytes: "${env:X" }
"#,
        )],
        &[
            "p.yaml:8:8: lanes: the environment variable NOWHERE is not set; set NOWHERE, or write the value",
            "p.yaml:9:21: commit.interval: the file no.txt cannot be read: No such file or directory (os error 2); create it, or correct the path, which is relative to the pipeline file",
            "p.yaml:9:45: commit.idle: `${HOME}` names neither a variable nor a file; write `${env:NAME}` or `${file:PATH}`, or `$${` for a literal `${`",
            "p.yaml:9:63: commit.bytes: `${` is not closed; write `}`, or `$${` for a literal `${`",
        ],
    ),
    (
        "nothing where something must be",
        &[
            (r#"bootstrap: "localhost:9092""#, "bootstrap: "),
            ("topics: [orders]", "topics: []"),
            ("default: orders.clean", "default:"),
        ],
        &[
            "p.yaml:2:19: kafka.bootstrap: the key `bootstrap` is missing; write `bootstrap: localhost:9092`",
            "p.yaml:3:18: input.topics: the list is empty; write `topics: [orders]`",
            "p.yaml:7:10: outputs.default.topic: the key `topic` is missing; write `topic: orders.clean`",
        ],
    ),
];

fn hold_whole(name: &str, text: &str, expected: &[&str]) {
    let (pipeline, findings) = look(text, &Overrides::default());
    assert_eq!(
        findings.lines().collect::<Vec<_>>(),
        expected,
        "{name}, in\n{text}"
    );
    let warnings_only = expected.iter().all(|line| line.contains(": warning: "));
    assert_eq!(pipeline.is_some(), warnings_only, "{name}");
}

pub fn hold(cases: &[Changed]) {
    for (name, changes, expected) in cases {
        let text = changes.iter().fold(LEAST.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{name}: {from}");
            if from.is_empty() {
                text + to
            } else {
                text.replace(from, to)
            }
        });
        hold_whole(name, &text, expected);
    }
}

#[test]
fn a_file_that_is_no_pipeline_says_so() {
    for (name, text, expected) in WHOLE {
        hold_whole(name, text, expected);
    }
}

#[test]
fn every_mistake_is_reported_with_its_place_and_a_remedy() {
    hold(CHANGED);
}
