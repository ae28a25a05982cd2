//! Keyed state: what it needs of the rest of the file.

use super::document::{self, Document};
use super::finding::{Code, Finding};
use super::layers::Places;
use super::place::KeyPath;
use super::units::TOPIC_NAME_MAX;
use crate::plan::{InputTopics, PipelineName, Store};

/// The stores of the pipeline.
pub fn stores(
    document: &Document,
    name: Option<&PipelineName>,
    inputs: Option<&InputTopics>,
    places: &Places,
    findings: &mut Vec<Finding>,
) -> Vec<Store> {
    let path = KeyPath::of("state");
    if !document.state.is_empty() {
        check(document, inputs, &path, places, findings);
    }
    let stores = document.state.iter().map(|(store, settings)| {
        let path = path.join(store.as_str());
        check_topics(store, name, inputs, &path, places, findings);
        Store {
            name: store.clone(),
            ttl: settings.ttl.map(|ttl| ttl.0),
        }
    });
    stores.collect()
}

fn check(
    document: &Document,
    inputs: Option<&InputTopics>,
    path: &KeyPath,
    places: &Places,
    findings: &mut Vec<Finding>,
) {
    if document.delivery != document::Delivery::ExactlyOnce {
        let what = "keyed state needs exactly_once";
        let remedy = "write `delivery: exactly_once`, or remove it";
        findings.push(places.error(Code::DeliveryRule, path, what, remedy));
    }
    if matches!(inputs, Some(InputTopics::Pattern(_))) {
        let what = "a store has a topic for each input topic, and a pattern names none";
        findings.push(places.error(Code::StateRule, path, what, "write `input.topics`"));
    }
}

fn check_topics(
    store: &str,
    name: Option<&PipelineName>,
    inputs: Option<&InputTopics>,
    path: &KeyPath,
    places: &Places,
    findings: &mut Vec<Finding>,
) {
    let (Some(name), Some(InputTopics::Named(inputs))) = (name, inputs) else {
        return;
    };
    for input in inputs {
        let len = name.state_topic(store, input).len();
        if len > TOPIC_NAME_MAX {
            let what = format!(
                "its topic for {input} would have a name of {len} characters, and Kafka takes {TOPIC_NAME_MAX}"
            );
            let remedy = "give the pipeline or the store a shorter name";
            findings.push(places.error(Code::StateRule, path, what, remedy));
        }
    }
}
