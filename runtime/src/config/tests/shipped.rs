//! What is in the repository to copy from: the pipelines load, the documentation names
//! every key.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::schema::{alternatives, pipeline};
use crate::config::{Overrides, kafka, load};
use crate::plan::{Delivery, HeaderStyle, InputTopics, ModuleSource, Pipeline, Provenance, Then};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn shipped() -> Vec<Pipeline> {
    load(&[repository().join("pipelines")], &Overrides::default())
        .unwrap_or_else(|findings| panic!("{findings}"))
}

#[test]
fn every_pipeline_loads() {
    let plans = shipped();
    let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
    let expected = [
        ("audit", "audit"),
        ("balance", "balance"),
        ("identity", "identity"),
        ("orders", "orders"),
        ("payments", "identity"),
        ("per-minute", "per_minute"),
        ("router", "router"),
    ];
    assert_eq!(names, expected.map(|(name, _)| name));
    for (plan, (_, module)) in plans.iter().zip(expected) {
        let ModuleSource::Crate { artifact, .. } = &plan.stages[0].module else {
            panic!("{} is a crate", plan.name)
        };
        let ending = format!("wasm32-unknown-unknown/guest/{module}.wasm");
        assert!(artifact.ends_with(&ending), "{}", artifact.display());
        assert_eq!(plan.delivery, Delivery::ExactlyOnce);
    }
}

#[test]
fn orders_is_what_the_demo_runs() {
    let plans = shipped();
    let orders = plans.iter().find(|plan| plan.name.as_str() == "orders").unwrap();
    assert_eq!(orders.input.topics, InputTopics::Named(vec!["orders".to_owned()]));
    let outputs: Vec<_> = orders
        .outputs
        .iter()
        .map(|output| (&*output.name, &*output.topic))
        .collect();
    assert_eq!(outputs, [("default", "orders.clean"), ("audit", "orders.audit")]);
    let dead_letter = Then::DeadLetter {
        topic: "orders.dlq".to_owned(),
        style: HeaderStyle::Strait,
    };
    assert_eq!(orders.on_error.then, dead_letter);
    assert_eq!((orders.lanes.get(), orders.provenance), (2, Provenance::None));
    assert_eq!(orders.stages[0].settings, serde_json::json!({ "minimum": 20 }));
}

/// Every key that the schema knows, by its own name.
fn keys(schema: &Value, found: &mut Vec<String>) {
    for form in alternatives(schema) {
        for (name, property) in form
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            found.push(name.clone());
            keys(property, found);
        }
        for below in ["items", "additionalProperties"] {
            form.get(below).into_iter().for_each(|schema| keys(schema, found));
        }
    }
}

#[test]
fn the_documentation_names_every_key_and_every_refused_setting() {
    let text = std::fs::read_to_string(repository().join("docs/pipeline.md")).unwrap();
    let mut found = Vec::new();
    keys(pipeline(), &mut found);
    assert!(found.len() > 60, "{}", found.len());
    let missing: Vec<_> = found
        .iter()
        .filter(|key| !text.contains(&format!("`{key}`")))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
    let settings = kafka::REFUSED.iter().flat_map(|(keys, _)| keys.iter());
    let told = |key: &&&str| text.contains(&format!("`{key}`")) || key.ends_with("_cb");
    let missing: Vec<_> = settings.filter(|key| !told(key)).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

#[test]
fn the_example_of_the_documentation_loads() {
    let text = std::fs::read_to_string(repository().join("docs/pipeline.md")).unwrap();
    let example = text
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let example = example.replace("transforms/orders.wasm", "m.wasm");
    assert_eq!(super::accept(&example, &Overrides::default()).outputs.len(), 2);
}
