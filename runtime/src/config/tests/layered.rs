//! Layers: the file, the environment, flags, and replacements in values.

use std::time::Duration;

use super::{Folder, LEAST, accept, environment, look, set};
use crate::config::{Code, Overrides, load};

#[test]
fn a_variable_overrides_the_file_and_a_flag_overrides_both() {
    let variable = ("STRAIT_PIPELINE_ORDERS__KAFKA__BOOTSTRAP", "variable:1");
    let mut overrides = environment(&[variable]);
    assert_eq!(accept(LEAST, &overrides).cluster.bootstrap, "variable:1");
    overrides.set = vec!["kafka.bootstrap=set:1".to_owned()];
    assert_eq!(accept(LEAST, &overrides).cluster.bootstrap, "set:1");
    overrides.bootstrap = Some("flag:1".to_owned());
    assert_eq!(accept(LEAST, &overrides).cluster.bootstrap, "flag:1");
}

#[test]
fn a_name_stands_in_capitals_with_underscores() {
    let text = LEAST.replace("name: orders", "name: my-orders.v2");
    let overrides = environment(&[
        ("STRAIT_PIPELINE_MY_ORDERS_V2__LANES", "3"),
        ("STRAIT_LANES", "9"),
    ]);
    assert_eq!(accept(&text, &overrides).lanes.get(), 3);
}

#[test]
fn variables_reach_every_kind_of_key() {
    let text = LEAST.replace(
        "{ module: m.wasm }",
        "{ module: m.wasm, settings: { maxAmount: 1 } }",
    ) + "  side-line: b\n";
    let prefix = "STRAIT_PIPELINE_ORDERS__";
    let variables = [
        ("KAFKA__PROPERTIES__CLIENT_ID", "7"),
        ("STAGES__0__WASM__SETTINGS__MAXAMOUNT", "20"),
        ("OUTPUTS__SIDE_LINE", "{topic: c, timestamp: now}"),
        ("INPUT__TOPICS", "[a, d]"),
        ("COMMIT__INTERVAL", "1s"),
        ("ON_ERROR__LIMIT", "none"),
    ];
    let named: Vec<_> = variables
        .iter()
        .map(|(name, value)| (format!("{prefix}{name}"), *value))
        .collect();
    let named: Vec<_> = named
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let plan = accept(&text, &environment(&named));
    assert_eq!(
        plan.cluster.properties,
        [("client.id".to_owned(), "7".to_owned())]
    );
    assert_eq!(plan.stages[0].settings, serde_json::json!({ "maxAmount": 20 }));
    assert_eq!(
        (plan.outputs[1].name.as_str(), plan.outputs[1].topic.as_str()),
        ("side-line", "c")
    );
    assert_eq!(plan.input.topics.subscription(), ["a", "d"]);
    assert_eq!(plan.commit.interval, Duration::from_secs(1));
    assert_eq!(plan.on_error.limit, None);
}

#[test]
fn flags_reach_items_of_lists_and_keys_with_dots() {
    let flags = [
        "stages.0.wasm.settings.minimum=20",
        "stages.0.wasm.batch.records=5",
        "kafka.consumer.session.timeout.ms=12000",
        "kafka.producer.\"linger.ms\"=7",
        "input={topics: [x]}",
        "name=renamed",
    ];
    let plan = accept(LEAST, &set(&flags));
    assert_eq!(plan.stages[0].settings, serde_json::json!({ "minimum": 20 }));
    assert_eq!(plan.stages[0].batch.records.get(), 5);
    assert_eq!(plan.timeouts.session, Duration::from_secs(12));
    assert_eq!(
        plan.cluster.producer_properties,
        [("linger.ms".to_owned(), "7".to_owned())]
    );
    assert_eq!(plan.input.topics.subscription(), ["x"]);
    assert_eq!(plan.name.as_str(), "renamed");
}

#[test]
fn a_required_key_may_come_from_a_flag() {
    let text = LEAST.replace("kafka: { bootstrap: \"localhost:9092\" }\n", "");
    let overrides = Overrides {
        bootstrap: Some("b:1".to_owned()),
        ..Overrides::default()
    };
    assert_eq!(accept(&text, &overrides).cluster.bootstrap, "b:1");
}

#[test]
fn a_mistake_in_an_override_names_the_variable_or_the_flag() {
    let mut overrides = set(&[
        "lanes=many",
        "comit.interval=1s",
        "nothing",
        "stages.4.wasm.module=x",
        "outputs.default={",
        "x..y=1",
    ]);
    overrides.environment = environment(&[
        ("STRAIT_PIPELINE_ORDERS__DELIVERY", "twice"),
        ("STRAIT_PIPELINE_ORDERS__KAFKA__PRODUCER__ACKS", "1"),
        ("STRAIT_PIPELINE_ORDERS__COMMIT____IDLE", "1"),
        ("STRAIT_PIPELINE_OTHER__LANES", "1"),
        ("STRAIT_PORT_9600_TCP", "tcp://10.0.0.1:9600"),
    ])
    .environment;
    let (pipeline, findings) = look(LEAST, &overrides);
    assert!(pipeline.is_none());
    let expected = [
        "STRAIT_PIPELINE_ORDERS__COMMIT____IDLE: commit: the name of the key has an empty part; write KEY__KEY, with two \
         underscores between keys",
        "STRAIT_PIPELINE_ORDERS__DELIVERY: delivery: `twice` is not known here; write exactly_once, at_least_once or at_most_once",
        "STRAIT_PIPELINE_ORDERS__KAFKA__PRODUCER__ACKS: kafka.producer.acks: `acks` is not yours to set: acks=all: a record that one broker \
         acknowledged alone is lost with it, and its input offset stays committed; remove it",
        "STRAIT_PIPELINE_OTHER__LANES: warning: no pipeline that was loaded has this name, so the variable has no effect; \
         write STRAIT_PIPELINE_<NAME>__KEY with the name in capitals, and `-` and `.` as `_`",
        "--set nothing: the flag names no key and value; write `--set key=value`, such as `--set commit.interval=50ms`",
        "--set x..y: the flag names no key and value; write `--set key=value`, such as `--set commit.interval=50ms`",
        "--set stages.4.wasm.module: stages.4.wasm.module: the list has 1 items, and `4` is none of them; count items from 0; the number \
         behind the last one adds one",
        "--set outputs.default: outputs.default: this is not YAML: while parsing a node, did not find expected node content; write a YAML \
         value, such as 5s, [a, b] or {key: value}",
        "--set lanes: lanes: a whole number is expected, and this is text; write a whole number from 1 to 256",
        "--set comit.interval: comit: the key `comit` is not known here; did you mean `commit`?",
    ];
    let found: Vec<_> = findings.lines().collect();
    assert_eq!(found, expected);
}

#[test]
fn values_are_replaced_from_variables_and_files() {
    let folder = Folder::new();
    folder.write("password", "p\"w: # 1\n");
    let text = "\
name: \"${env:NAME}-eu\"
kafka: { bootstrap: \"${env:HOST}:9092\", properties: { sasl.username: \"$${env:X}\", sasl.password: \"${file:password}\" } }
input:
  topics:
    - ${env:TOPIC}
stages:
  - wasm: { module: m.wasm, settings: { a: \"${env:NUMBER}\", b: plain } }
outputs: { default: out }
lanes: \"${env:NUMBER}\"
";
    folder.write("p.yaml", text);
    let overrides = environment(&[
        ("NAME", "orders"),
        ("HOST", "h"),
        ("TOPIC", "123"),
        ("NUMBER", "4"),
    ]);
    let (report, findings) = folder.report(&overrides);
    assert_eq!(findings, "");
    let plan = &report.pipelines[0].pipeline;
    assert_eq!(
        (
            plan.name.as_str(),
            plan.cluster.bootstrap.as_str(),
            plan.lanes.get()
        ),
        ("orders-eu", "h:9092", 4)
    );
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        plan.cluster.properties,
        [
            own("sasl.password", "p\"w: # 1"),
            own("sasl.username", "${env:X}")
        ]
    );
    assert_eq!(plan.input.topics.subscription(), ["123"]);
    assert_eq!(
        plan.stages[0].settings,
        serde_json::json!({ "a": "4", "b": "plain" })
    );
}

#[test]
fn a_secret_value_is_not_repeated() {
    let overrides = set(&[
        "kafka.properties.sasl.mechanism=hunter2",
        "kafka.properties.ssl.ca.pem=hunter2",
        "lanes=hunter2",
    ]);
    let (_, findings) = look(LEAST, &overrides);
    let secret: Vec<_> = findings
        .lines()
        .filter(|line| line.contains(".pem") && line.contains("hunter2"))
        .collect();
    assert_eq!(secret, Vec::<&str>::new(), "{findings}");
}

#[test]
fn folders_and_several_files() {
    let folder = Folder::new();
    folder.write("b.yaml", LEAST);
    folder.write("a.yml", &LEAST.replace("name: orders", "name: first"));
    folder.write("strait.yaml", "http: 127.0.0.1:1\n");
    folder.write("notes.txt", "{{{");
    let here = vec![folder.root.path().to_owned()];
    let twice = vec![folder.root.path().join("b.yaml"), folder.root.path().to_owned()];
    let names = |paths: &[_]| -> Vec<String> {
        load(paths, &Overrides::default())
            .unwrap()
            .iter()
            .map(|plan| plan.name.to_string())
            .collect()
    };
    assert_eq!(names(&here), ["first", "orders"]);
    assert_eq!(names(&twice), ["orders", "first"]);

    folder.write("c.yaml", LEAST);
    let findings = load(&here, &Overrides::default()).unwrap_err();
    assert_eq!(
        findings.iter().map(|finding| finding.code).collect::<Vec<_>>(),
        [Code::NameTaken]
    );

    let empty = tempfile::tempdir().unwrap();
    let nowhere = vec![empty.path().to_owned(), empty.path().join("no.yaml")];
    let findings = load(&nowhere, &Overrides::default()).unwrap_err();
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::FolderEmpty, Code::FileMissing]);
}
