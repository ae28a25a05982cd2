//! The layers of one pipeline, merged: defaults, file, environment, flags.
//!
//! Each layer has passed the parse that keeps spans before figment merges it. The
//! trees stay, so that every later check can say where a value stands.

use std::path::Path;
use std::sync::Arc;

use figment::Figment;
use figment::providers::Serialized;
use serde_json::Value;

use super::document::Document;
use super::finding::{Code, Finding};
use super::grammar;
use super::interpolate::{self, Sources};
use super::overrides::Overrides;
use super::place::{KeyPath, Origin};
use super::schema;
use super::yaml::{self, Node, Tree};

/// Where the values of one pipeline stand.
#[derive(Debug, Clone)]
pub struct Places {
    file: Arc<Path>,
    /// The file first; each later one overrides.
    layers: Vec<Node>,
}

impl Places {
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.into(),
            layers: Vec::new(),
        }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where the value at `path` stands, or else what it would stand in.
    pub fn origin(&self, path: &KeyPath) -> Origin {
        let found = self.layers.iter().rev().find_map(|layer| layer.place(path));
        match (found, path.parent()) {
            (Some(origin), _) => origin.clone(),
            (None, Some(parent)) => self.origin(&parent),
            (None, None) => Origin::start(&self.file),
        }
    }

    /// Whether any layer says something here, be it broken.
    pub fn written(&self, path: &KeyPath) -> bool {
        self.layers
            .iter()
            .any(|layer| layer.find(path).is_some_and(|node| !node.is_null()))
    }

    /// An error at the value under `path`.
    pub fn error(
        &self,
        code: Code,
        path: &KeyPath,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::error(code, &self.origin(path), path, what, remedy)
    }
}

/// A document and where its values stand. Broken values are left out of it.
pub struct Read {
    pub document: Document,
    pub places: Places,
    /// The name in the file, which is what variables go by.
    pub name: Option<String>,
}

/// Reads the text of one file and puts the overrides on it.
pub fn read(text: &str, file: &Path, overrides: &Overrides, findings: &mut Vec<Finding>) -> Option<Read> {
    let mut places = Places::new(file);
    let (root, mistakes) = yaml::parse(text, &places.file);
    let clean = mistakes.is_empty();
    findings.extend(mistakes);
    let Some(mut root) = root.filter(|root| matches!(root.tree, Tree::Map(_))) else {
        if clean {
            let remedy = "write a map of keys that begins with `name:`; `strait schema` prints all of them";
            findings.push(places.error(
                Code::YamlEmpty,
                &KeyPath::root(),
                "the file holds no pipeline",
                remedy,
            ));
        }
        return None;
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let sources = Sources {
        environment: &overrides.environment,
        folder,
    };
    interpolate::apply(&mut root, &KeyPath::root(), &sources, findings);
    let name = root.get("name").and_then(|entry| match &entry.value.tree {
        Tree::Scalar(scalar) => Some(scalar.text.clone()),
        _ => None,
    });
    let (layers, mistakes) = overrides.layers(name.as_deref(), &root);
    findings.extend(mistakes);
    places.layers = std::iter::once(root).chain(layers).collect();
    let document = merge(&places, findings)?;
    Some(Read {
        document,
        places,
        name,
    })
}

fn merge(places: &Places, findings: &mut Vec<Finding>) -> Option<Document> {
    let mut given = Figment::new();
    for layer in &places.layers {
        let (value, mistakes) = grammar::read(schema::pipeline(), layer);
        findings.extend(mistakes);
        given = given.merge(Serialized::defaults(value.unwrap_or_default()));
    }
    let all = Figment::from(Serialized::defaults(Document::default())).merge(&given);
    let (given, document) = match (given.extract::<Value>(), all.extract::<Document>()) {
        (Ok(given), Ok(document)) => (given, document),
        // Only a layer that fits by itself and not with the others comes here.
        (Err(errors), _) | (_, Err(errors)) => {
            findings.extend(errors.into_iter().map(|error| {
                let path = KeyPath::from_segments(error.path.clone());
                let remedy = "give the key the same form in every layer";
                places.error(Code::ValueType, &path, error.kind.to_string(), remedy)
            }));
            return None;
        }
    };
    let written = |path: &KeyPath| places.written(path);
    let mut report = |path: &KeyPath, what: String, remedy: String| {
        findings.push(places.error(Code::KeyMissing, path, what, remedy));
    };
    grammar::missing(
        schema::pipeline(),
        &given,
        &KeyPath::root(),
        &written,
        &mut report,
    );
    Some(document)
}
