//! Whether the topics of a pipeline keep apart: an input that can match something
//! that the pipeline writes would feed on itself.

use std::collections::BTreeMap;

use super::document::Input;
use super::finding::{Code, Finding};
use super::layers::Places;
use super::place::KeyPath;
use super::units::{CLUSTER_TOPICS, INTERNAL_PREFIX};
use crate::plan::{InputTopics, PipelineName};

/// A topic that the pipeline writes, and the key that says so.
pub struct Written {
    pub topic: String,
    pub path: KeyPath,
    pub role: String,
}

/// The input, unless it is wrong.
pub fn input(input: &Input, places: &Places, findings: &mut Vec<Finding>) -> Option<InputTopics> {
    let path = KeyPath::of("input");
    match (&input.topics, &input.pattern) {
        (Some(topics), None) => {
            for (index, topic) in topics.iter().enumerate() {
                if topics.iter().take(index).any(|earlier| earlier == topic) {
                    let (path, what) = (
                        path.join("topics").join(index),
                        format!("the topic `{topic}` stands here twice"),
                    );
                    findings.push(places.error(Code::ValueRepeated, &path, what, "keep one of the two"));
                }
            }
            Some(InputTopics::Named(
                topics.iter().map(|topic| topic.0.clone()).collect(),
            ))
        }
        (None, Some(pattern)) => Some(InputTopics::Pattern(pattern.clone())),
        (Some(_), Some(_)) => {
            let what = "`topics` and `pattern` exclude each other";
            findings.push(places.error(
                Code::ValueChoice,
                &path.join("pattern"),
                what,
                "keep one of the two",
            ));
            None
        }
        (None, None) => {
            if !["topics", "pattern"]
                .iter()
                .any(|key| places.written(&path.join(key)))
            {
                let remedy = "write `topics: [orders]`, or `pattern: \"^orders\\\\.in\\\\..*\"`";
                findings.push(places.error(Code::KeyMissing, &path, "no topics are named", remedy));
            }
            None
        }
    }
}

/// Reports every written topic that the input can match.
pub fn keep_apart(
    input: &InputTopics,
    name: Option<&PipelineName>,
    written: &[Written],
    places: &Places,
    findings: &mut Vec<Finding>,
) {
    match input {
        InputTopics::Named(topics) => {
            for Written { topic, path, role } in written {
                if topics.contains(topic) {
                    let what = format!(
                        "the {role} `{topic}` is also an input: the pipeline would read what it writes"
                    );
                    findings.push(places.error(Code::TopicLoop, path, what, "name another topic"));
                }
            }
        }
        InputTopics::Pattern(pattern) => keep_pattern_apart(pattern, name, written, places, findings),
    }
    shared(written, places, findings);
}

fn keep_pattern_apart(
    pattern: &str,
    name: Option<&PipelineName>,
    written: &[Written],
    places: &Places,
    findings: &mut Vec<Finding>,
) {
    let Ok(regex) = regex::Regex::new(pattern) else {
        return;
    };
    // Without a name, the control topic of any pipeline stands for one's own.
    let control = name.map_or_else(|| "__strait.NAME.control".to_owned(), PipelineName::control_topic);
    let internal = [control, INTERNAL_PREFIX.to_owned()]
        .into_iter()
        .chain(CLUSTER_TOPICS.map(str::to_owned));
    let internal = internal.filter(|topic| regex.is_match(topic)).take(1);
    let internal = internal.map(|topic| ("internal topic".to_owned(), topic));
    let own = written
        .iter()
        .map(|written| (written.role.clone(), written.topic.clone()));
    let matched: Vec<String> = own
        .chain(internal)
        .filter(|(_, topic)| regex.is_match(topic))
        .map(|(role, topic)| format!("{role} `{topic}`"))
        .collect();
    if !matched.is_empty() {
        let what = format!("the pattern also matches the {}", matched.join(", the "));
        let remedy = "narrow the pattern, such as \"^orders\\\\.in\\\\..*\", or name the topics";
        findings.push(places.error(Code::TopicLoop, &KeyPath::of("input.pattern"), what, remedy));
    }
}

/// A dead letter among good records is legal, and seldom meant.
fn shared(written: &[Written], places: &Places, findings: &mut Vec<Finding>) {
    let mut owners: BTreeMap<&str, &Written> = BTreeMap::new();
    for one in written {
        match owners.get(one.topic.as_str()) {
            Some(other) if one.role == "dead letter topic" => {
                let what = format!("the {} `{}` is also the {}", one.role, one.topic, other.role);
                let finding = places.error(
                    Code::TopicShared,
                    &one.path,
                    what,
                    "give dead letters a topic of their own",
                );
                findings.push(finding.warning());
            }
            Some(_) => {}
            None => {
                owners.insert(&one.topic, one);
            }
        }
    }
}
