//! YAML text to a tree in which every key and value knows its line and column.
//!
//! The dialect is YAML 1.2 without what makes a configuration hard to read or
//! dangerous to expand: anchors, aliases, tags, merge keys and several documents in
//! a file are refused, each with a finding. Nothing recurses, and depth and size
//! have limits, so no text can exhaust memory or the stack.

use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::finding::{Code, Finding};
use super::place::{KeyPath, Origin};

/// No pipeline file comes near it.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub origin: Origin,
    pub tree: Tree,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A finding says why there is no value; nobody need complain again.
    Broken,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub origin: Origin,
    pub value: Node,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    pub text: String,
    /// Quoted and block scalars are text, whatever they look like.
    pub quoted: bool,
    /// Read as whatever its key asks for, text that looks like a number or a number
    /// in quotes: it came from a variable or a flag, which cannot say more.
    pub loose: bool,
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The node at `path`.
    pub fn find(&self, path: &KeyPath) -> Option<&Node> {
        path.segments()
            .iter()
            .try_fold(self, |node, segment| node.child(segment))
    }

    /// The value of a key, or the item at a position.
    pub fn child(&self, segment: &str) -> Option<&Node> {
        match &self.tree {
            Tree::List(items) => items.get(segment.parse::<usize>().ok()?),
            _ => self.get(segment).map(|entry| &entry.value),
        }
    }

    /// Where to look for what is at `path`: a map or a list is found by its key, which
    /// may stand lines above its first item.
    pub fn place(&self, path: &KeyPath) -> Option<&Origin> {
        let node = self.find(path)?;
        let (Tree::Map(_) | Tree::List(_), Some(parent), Some(key)) =
            (&node.tree, path.parent(), path.segments().last())
        else {
            return Some(&node.origin);
        };
        Some(
            self.find(&parent)?
                .get(key)
                .map_or(&node.origin, |entry| &entry.origin),
        )
    }

    /// Whether there is nothing to read: `key:`, `key: ~` and `key: null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.tree, Tree::Scalar(scalar) if scalar.is_null())
    }
}

impl Scalar {
    /// What it looks like is what it is.
    pub fn is_plain(&self) -> bool {
        !self.quoted && !self.loose
    }

    fn may_be_number(&self) -> bool {
        !self.quoted || self.loose
    }

    pub fn is_null(&self) -> bool {
        self.is_plain() && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.may_be_number() => Some(true),
            "false" | "False" | "FALSE" if self.may_be_number() => Some(false),
            _ => None,
        }
    }

    pub fn as_integer(&self) -> Option<i64> {
        if !self.may_be_number() {
            return None;
        }
        let radix = |prefix, radix| {
            let digits = self.text.strip_prefix(prefix)?;
            digits
                .starts_with(|c: char| c.is_ascii_hexdigit())
                .then(|| i64::from_str_radix(digits, radix).ok())?
        };
        self.text
            .parse()
            .ok()
            .or_else(|| radix("0x", 16))
            .or_else(|| radix("0o", 8))
    }

    /// Any number, whole ones included; the infinities and NaN are not numbers here.
    pub fn as_number(&self) -> Option<f64> {
        let digit_or = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E');
        let number = self.may_be_number() && self.text.contains(|c: char| c.is_ascii_digit());
        (number && self.text.chars().all(digit_or))
            .then(|| self.text.parse().ok().filter(|n: &f64| n.is_finite()))?
    }
}

/// Parses the text of a file. What could be read is returned beside the findings,
/// so that later checks can add theirs.
pub fn parse(text: &str, file: &Arc<Path>) -> (Option<Node>, Vec<Finding>) {
    let mut builder = Builder::new(file);
    let text = text.trim_start_matches('\u{feff}');
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("the file has {} bytes, more than {TEXT_BYTES_MAX}", text.len());
        builder.report(
            Code::FileTooLarge,
            &Origin::start(file),
            what,
            "write one pipeline to a file",
        );
        return (None, builder.findings);
    }
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                if !builder.take(event, span) {
                    break;
                }
            }
            Err(error) => {
                builder.syntax(text, &error);
                break;
            }
        }
    }
    (builder.root, builder.findings)
}

struct Builder<'a> {
    file: &'a Arc<Path>,
    open: Vec<Open>,
    documents: usize,
    root: Option<Node>,
    findings: Vec<Finding>,
}

enum Open {
    List {
        origin: Origin,
        items: Vec<Node>,
    },
    Map {
        origin: Origin,
        entries: Vec<Entry>,
        key: Option<(Option<String>, Origin)>,
    },
}

impl<'a> Builder<'a> {
    fn new(file: &'a Arc<Path>) -> Self {
        Self {
            file,
            open: Vec::new(),
            documents: 0,
            root: None,
            findings: Vec::new(),
        }
    }

    fn origin(&self, span: Span) -> Origin {
        let (line, column) = (span.start.line().max(1), span.start.col() + 1);
        Origin::File {
            file: Arc::clone(self.file),
            line,
            column,
        }
    }

    fn report(&mut self, code: Code, origin: &Origin, what: impl Into<String>, remedy: &str) {
        let key = self.path();
        self.findings
            .push(Finding::error(code, origin, &key, what, remedy));
    }

    /// The key that is being read.
    fn path(&self) -> KeyPath {
        self.open.iter().fold(KeyPath::root(), |path, open| match open {
            Open::List { items, .. } => path.join(items.len()),
            Open::Map {
                key: Some((Some(key), _)),
                ..
            } => path.join(key),
            Open::Map { .. } => path,
        })
    }

    /// Returns whether to go on.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let origin = self.origin(span);
        match event {
            Event::DocumentStart(_) => return self.document(&origin),
            Event::Alias(_) => {
                let what = "aliases (`*name`) are not supported";
                self.report(Code::YamlAlias, &origin, what, "write the value out");
                self.value(Node {
                    origin,
                    tree: Tree::Broken,
                });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.decoration(&origin, anchor, tag.as_deref());
                let quoted = !matches!(style, ScalarStyle::Plain);
                let scalar = Scalar {
                    text: text.into_owned(),
                    quoted,
                    loose: false,
                };
                self.value(Node {
                    origin,
                    tree: Tree::Scalar(scalar),
                });
            }
            Event::SequenceStart(anchor, tag) => {
                self.decoration(&origin, anchor, tag.as_deref());
                return self.open(Open::List {
                    origin,
                    items: Vec::new(),
                });
            }
            Event::MappingStart(anchor, tag) => {
                self.decoration(&origin, anchor, tag.as_deref());
                return self.open(Open::Map {
                    origin,
                    entries: Vec::new(),
                    key: None,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn document(&mut self, origin: &Origin) -> bool {
        self.documents += 1;
        let first = self.documents == 1;
        if !first {
            let what = "a second document begins here, and a file holds one";
            self.report(
                Code::YamlDocuments,
                origin,
                what,
                "move it to a file of its own, or remove the `---`",
            );
        }
        first
    }

    fn decoration(&mut self, origin: &Origin, anchor: usize, tag: Option<&Tag>) {
        if anchor != 0 {
            let what = "anchors (`&name`) are not supported";
            self.report(Code::YamlAlias, origin, what, "remove the anchor");
        }
        if let Some(tag) = tag {
            let tag = if tag.is_yaml_core_schema() {
                format!("!!{}", tag.suffix)
            } else {
                tag.to_string()
            };
            let what = format!("tags (`{tag}`) are not supported");
            self.report(
                Code::YamlTag,
                origin,
                what,
                "remove the tag; put text that looks like a number in quotes",
            );
        }
    }

    fn open(&mut self, open: Open) -> bool {
        if self.open.len() == DEPTH_MAX {
            let (Open::List { origin, .. } | Open::Map { origin, .. }) = open;
            let what = format!("values are nested more than {DEPTH_MAX} deep");
            self.report(Code::YamlDepth, &origin, what, "nest less deeply");
            return false;
        }
        self.open.push(open);
        true
    }

    fn close(&mut self) {
        let node = match self.open.pop() {
            Some(Open::List { origin, items }) => Node {
                origin,
                tree: Tree::List(items),
            },
            Some(Open::Map { origin, entries, .. }) => Node {
                origin,
                tree: Tree::Map(entries),
            },
            None => return,
        };
        self.value(node);
    }

    /// A finished node: a key, a value of the map or list that is open, or the root.
    fn value(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { key: key @ None, .. }) => {
                let name = match &node.tree {
                    Tree::Scalar(scalar) if scalar.quoted || scalar.text != "<<" => Some(scalar.text.clone()),
                    _ => None,
                };
                let legal = name.is_some();
                *key = Some((name, node.origin.clone()));
                if !legal {
                    let what = "a key must be a plain word; maps, lists and merge keys (`<<`) cannot be keys";
                    self.report(Code::YamlKey, &node.origin, what, "write `name: value`");
                }
            }
            Some(Open::Map { entries, key, .. }) => {
                let Some((Some(key), origin)) = key.take() else {
                    return;
                };
                if entries.iter().any(|entry| entry.key == key) {
                    let path = self.path().join(&key);
                    let what = "the key stands here a second time";
                    let finding =
                        Finding::error(Code::YamlDuplicate, &origin, &path, what, "keep one of the two");
                    self.findings.push(finding);
                } else {
                    entries.push(Entry {
                        key,
                        origin,
                        value: node,
                    });
                }
            }
        }
    }

    fn syntax(&mut self, text: &str, error: &ScanError) {
        let (line, column) = (error.marker().line().max(1), error.marker().col() + 1);
        let origin = Origin::File {
            file: Arc::clone(self.file),
            line,
            column,
        };
        let tab = text
            .lines()
            .nth(line - 1)
            .is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'));
        let remedy = if tab {
            "indent with spaces: YAML does not allow tabs"
        } else {
            "mend it here or just above: indent the keys of one map alike, close every quote and bracket, and \
             quote text that holds `: ` or ` #`"
        };
        self.root = None;
        self.open.clear();
        self.report(
            Code::YamlSyntax,
            &origin,
            format!("this is not YAML: {}", error.info()),
            remedy,
        );
    }
}
