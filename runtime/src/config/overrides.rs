//! Environment variables and flags that override keys of a pipeline file.
//!
//! Each becomes a layer of its own: a tree that holds one key and remembers which
//! variable or flag it came from, so that a mistake in it is reported by that name.
//! Lists are replaced whole by the merge; a key inside a list item therefore becomes
//! a layer that holds the list as it stood, with that item changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::finding::{Code, Finding};
use super::place::{KeyPath, Origin};
use super::schema;
use super::yaml::{self, Entry, Node, Scalar, Tree};

/// What the command line and the environment say about pipelines.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// All of it: `${env:NAME}` reads it too.
    pub environment: BTreeMap<String, String>,
    /// `--set key=value`, in their order.
    pub set: Vec<String>,
    /// `--bootstrap`.
    pub bootstrap: Option<String>,
}

/// The flags that override keys of the pipeline files, for every verb that loads them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OverrideArgs {
    /// Override a key of the pipeline files, such as `--set commit.interval=50ms`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Override `kafka.bootstrap`
    #[arg(long, value_name = "HOST:PORT,...")]
    pub bootstrap: Option<String>,
}

impl From<OverrideArgs> for Overrides {
    /// With the environment of this process. Variables that are not text are left out.
    fn from(args: OverrideArgs) -> Self {
        let text = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            environment: text.collect(),
            set: args.set,
            bootstrap: args.bootstrap,
        }
    }
}

const PREFIX: &str = "STRAIT_PIPELINE_";

/// A name as it stands in a variable: capitals, with `-` and `.` as `_`.
fn capitals(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

/// One override, before anybody asked whether its key exists.
struct Change<'a> {
    origin: Origin,
    segments: Vec<String>,
    value: &'a str,
    /// Variables know neither case nor dots.
    folded: bool,
}

impl Overrides {
    /// The layers that these overrides put on the file of the pipeline `name`, the
    /// lowest first: variables, then flags.
    pub fn layers(&self, name: Option<&str>, file: &Node) -> (Vec<Node>, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut changes = name.map(|name| self.variables(name)).unwrap_or_default();
        changes.extend(self.flags(&mut findings));
        let mut layers: Vec<Node> = Vec::new();
        for change in changes {
            let below = Below {
                file,
                layers: &layers,
            };
            match layer(&change, &below) {
                Ok(layer) => layers.push(layer),
                Err(finding) => findings.push(*finding),
            }
        }
        (layers, findings)
    }

    fn variables(&self, name: &str) -> Vec<Change<'_>> {
        let prefix = format!("{PREFIX}{}__", capitals(name));
        let named = self.environment.iter().filter_map(|(variable, value)| {
            let key = variable.strip_prefix(&prefix)?;
            let segments = key.split("__").map(str::to_owned).collect();
            Some(Change {
                origin: Origin::Variable(variable.as_str().into()),
                segments,
                value,
                folded: true,
            })
        });
        named.collect()
    }

    fn flags(&self, findings: &mut Vec<Finding>) -> Vec<Change<'_>> {
        let mut changes = Vec::new();
        for flag in &self.set {
            let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
            // The value stays out of messages: it may be a secret.
            let origin = Origin::Flag(format!("--set {key}").into());
            match split(key) {
                Some(segments) if flag.contains('=') => {
                    changes.push(Change {
                        origin,
                        segments,
                        value,
                        folded: false,
                    });
                }
                _ => {
                    let remedy = "write `--set key=value`, such as `--set commit.interval=50ms`";
                    let what = "the flag names no key and value";
                    findings.push(Finding::error(
                        Code::OverrideSyntax,
                        &origin,
                        &KeyPath::root(),
                        what,
                        remedy,
                    ));
                }
            }
        }
        if let Some(bootstrap) = &self.bootstrap {
            let (origin, segments) = (Origin::Flag("--bootstrap".into()), KeyPath::of("kafka.bootstrap"));
            let segments = segments.segments().to_vec();
            changes.push(Change {
                origin,
                segments,
                value: bootstrap,
                folded: false,
            });
        }
        changes
    }

    /// Warns of variables that look as if they named a pipeline, and name none.
    pub fn unused(&self, names: &[String]) -> Vec<Finding> {
        let prefixes: Vec<String> = names
            .iter()
            .map(|name| format!("{PREFIX}{}__", capitals(name)))
            .collect();
        let candidates = self
            .environment
            .keys()
            .filter(|variable| variable.starts_with(PREFIX) && variable.contains("__"));
        let unused =
            candidates.filter(|variable| !prefixes.iter().any(|prefix| variable.starts_with(prefix)));
        let warn = |variable: &String| {
            let origin = Origin::Variable(variable.as_str().into());
            let what = "no pipeline that was loaded has this name, so the variable has no effect";
            let remedy =
                format!("write {PREFIX}<NAME>__KEY with the name in capitals, and `-` and `.` as `_`");
            Finding::error(Code::OverrideUnused, &origin, &KeyPath::root(), what, remedy).warning()
        };
        unused.map(warn).collect()
    }
}

/// Splits a key at its dots; a part in double quotes may hold dots itself.
fn split(key: &str) -> Option<Vec<String>> {
    let (mut segments, mut segment, mut quoted) = (Vec::new(), String::new(), false);
    for c in key.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => segments.push(std::mem::take(&mut segment)),
            other => segment.push(other),
        }
    }
    segments.push(segment);
    (!quoted && segments.iter().all(|segment| !segment.is_empty())).then_some(segments)
}

/// What stands below the layer that is being made.
struct Below<'a> {
    file: &'a Node,
    layers: &'a [Node],
}

impl Below<'_> {
    fn find(&self, path: &KeyPath) -> Option<&Node> {
        self.layers
            .iter()
            .rev()
            .find_map(|layer| layer.find(path))
            .or_else(|| self.file.find(path))
    }

    /// Keys that the map at `path` has in any layer.
    fn keys(&self, path: &KeyPath) -> Vec<&str> {
        let maps = self
            .layers
            .iter()
            .chain([self.file])
            .filter_map(|layer| layer.find(path));
        let entries = maps.filter_map(|node| match &node.tree {
            Tree::Map(entries) => Some(entries),
            _ => None,
        });
        entries.flatten().map(|entry| entry.key.as_str()).collect()
    }
}

fn layer(change: &Change<'_>, below: &Below<'_>) -> Result<Node, Box<Finding>> {
    let path = resolve(change, below)?;
    let value = parse(change, &path)?;
    build(change, &path, below, value)
}

/// The path that the override means.
fn resolve(change: &Change<'_>, below: &Below<'_>) -> Result<KeyPath, Box<Finding>> {
    let (mut path, mut schema) = (KeyPath::root(), Some(schema::pipeline()));
    let mut segments = change.segments.iter();
    while let Some(segment) = segments.next() {
        let properties = schema.and_then(|schema| schema.get("additionalProperties"));
        if properties.and_then(schema::kind) == Some("property") {
            // librdkafka's keys have dots, which are no steps down.
            let rest: Vec<&str> = std::iter::once(segment)
                .chain(segments)
                .map(String::as_str)
                .collect();
            let joined = rest.join(if change.folded { "_" } else { "." });
            let folded = || joined.to_ascii_lowercase().replace('_', ".");
            return Ok(path.join(if change.folded { folded() } else { joined }));
        }
        if segment.is_empty() {
            let (what, remedy) = (
                "the name of the key has an empty part",
                "write KEY__KEY, with two underscores between keys",
            );
            return Err(Box::new(Finding::error(
                Code::OverrideKey,
                &change.origin,
                &path,
                what,
                remedy,
            )));
        }
        let known = below.keys(&path);
        let mut name = segment.clone();
        if change.folded {
            let existing = known.into_iter().find(|key| capitals(key) == *segment);
            name = existing.map_or_else(|| segment.to_ascii_lowercase(), str::to_owned);
        }
        schema = schema.and_then(|schema| schema::child(schema, &name));
        path = path.join(name);
    }
    Ok(path)
}

/// A YAML scalar, or a list or map in flow style.
fn parse(change: &Change<'_>, path: &KeyPath) -> Result<Node, Box<Finding>> {
    let (text, origin) = (change.value, &change.origin);
    if !text.trim_start().starts_with(['{', '[', '"', '\'']) {
        let scalar = Scalar {
            text: text.to_owned(),
            quoted: false,
            loose: true,
        };
        return Ok(Node {
            origin: origin.clone(),
            tree: Tree::Scalar(scalar),
        });
    }
    let nowhere: Arc<Path> = Path::new("").into();
    let (node, findings) = yaml::parse(text, &nowhere);
    if let Some(finding) = findings.into_iter().next() {
        let remedy = "write a YAML value, such as 5s, [a, b] or {key: value}";
        return Err(Box::new(Finding::error(
            Code::OverrideSyntax,
            origin,
            path,
            finding.what,
            remedy,
        )));
    }
    let empty = || Node {
        origin: origin.clone(),
        tree: Tree::Broken,
    };
    Ok(at(node.unwrap_or_else(empty), origin))
}

/// The same tree, all of it from one variable or flag.
fn at(node: Node, origin: &Origin) -> Node {
    let tree = match node.tree {
        Tree::List(items) => Tree::List(items.into_iter().map(|item| at(item, origin)).collect()),
        Tree::Map(entries) => Tree::Map(
            entries
                .into_iter()
                .map(|entry| Entry {
                    origin: origin.clone(),
                    value: at(entry.value, origin),
                    ..entry
                })
                .collect(),
        ),
        tree => tree,
    };
    Node {
        origin: origin.clone(),
        tree,
    }
}

/// A tree with `value` at `path`, and below the first list everything that stood there.
fn build(change: &Change<'_>, path: &KeyPath, below: &Below<'_>, value: Node) -> Result<Node, Box<Finding>> {
    let mut base = Node {
        origin: change.origin.clone(),
        tree: Tree::Map(Vec::new()),
    };
    let mut above = KeyPath::root();
    for segment in path.segments() {
        above = above.join(segment);
        if let Some(list) = below
            .find(&above)
            .filter(|node| matches!(node.tree, Tree::List(_)) && above != *path)
        {
            put(&mut base, above.segments(), list.clone(), change)?;
            break;
        }
    }
    put(&mut base, path.segments(), value, change)?;
    Ok(base)
}

fn put(node: &mut Node, path: &[String], value: Node, change: &Change<'_>) -> Result<(), Box<Finding>> {
    let Some((first, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    let origin = &change.origin;
    if let Tree::List(items) = &mut node.tree {
        let index = first.parse::<usize>().ok().filter(|index| *index <= items.len());
        let Some(index) = index else {
            let what = format!(
                "the list has {} items, and `{first}` is none of them",
                items.len()
            );
            let key = KeyPath::from_segments(change.segments.clone());
            let remedy = "count items from 0; the number behind the last one adds one";
            return Err(Box::new(Finding::error(
                Code::OverrideKey,
                origin,
                &key,
                what,
                remedy,
            )));
        };
        if index == items.len() {
            items.push(Node {
                origin: origin.clone(),
                tree: Tree::Map(Vec::new()),
            });
        }
        return items
            .get_mut(index)
            .map_or(Ok(()), |item| put(item, rest, value, change));
    }
    if !matches!(node.tree, Tree::Map(_)) {
        *node = Node {
            origin: origin.clone(),
            tree: Tree::Map(Vec::new()),
        };
    }
    if let Tree::Map(entries) = &mut node.tree {
        if !entries.iter().any(|entry| entry.key == *first) {
            let value = Node {
                origin: origin.clone(),
                tree: Tree::Map(Vec::new()),
            };
            entries.push(Entry {
                key: first.clone(),
                origin: origin.clone(),
                value,
            });
        }
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *first) {
            return put(&mut entry.value, rest, value, change);
        }
    }
    Ok(())
}
