//! `${env:NAME}` and `${file:PATH}` in values.
//!
//! Replacement happens in the tree, after the text was parsed and before types are
//! asked for: what a variable or a file holds can change a value, never the shape of
//! the document. `$${` stands for `${`.

use std::collections::BTreeMap;
use std::path::Path;

use super::finding::{Code, Finding};
use super::place::KeyPath;
use super::yaml::{Node, Scalar, TEXT_BYTES_MAX, Tree};

/// Where replacements come from.
pub struct Sources<'a> {
    pub environment: &'a BTreeMap<String, String>,
    /// What relative paths are relative to.
    pub folder: &'a Path,
}

/// Replaces in every value of the tree. A value that cannot be replaced is broken,
/// and a finding says why.
pub fn apply(node: &mut Node, path: &KeyPath, sources: &Sources<'_>, findings: &mut Vec<Finding>) {
    match &mut node.tree {
        Tree::Broken => {}
        Tree::Map(entries) => {
            for entry in entries {
                apply(&mut entry.value, &path.join(&entry.key), sources, findings);
            }
        }
        Tree::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                apply(item, &path.join(index), sources, findings);
            }
        }
        Tree::Scalar(scalar) => {
            if !scalar.text.contains("${") {
                return;
            }
            match replace(&scalar.text, sources) {
                Ok(Replaced { text, foreign }) => {
                    *scalar = Scalar {
                        text,
                        quoted: scalar.quoted || !foreign,
                        loose: foreign,
                    };
                }
                Err(problems) => {
                    for Problem { code, what, remedy } in problems {
                        findings.push(Finding::error(code, &node.origin, path, what, remedy));
                    }
                    node.tree = Tree::Broken;
                }
            }
        }
    }
}

struct Replaced {
    text: String,
    /// Whether anything came from outside; an escape alone does not.
    foreign: bool,
}

struct Problem {
    code: Code,
    what: String,
    remedy: String,
}

fn replace(text: &str, sources: &Sources<'_>) -> Result<Replaced, Vec<Problem>> {
    let (mut out, mut rest, mut foreign) = (String::with_capacity(text.len()), text, false);
    let mut problems = Vec::new();
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out += before;
            out += "${";
            rest = from.strip_prefix("${").unwrap_or_default();
            continue;
        }
        out += before;
        let Some((inside, after)) = from.strip_prefix("${").and_then(|from| from.split_once('}')) else {
            let (what, remedy) = (
                "`${` is not closed".to_owned(),
                "write `}`, or `$${` for a literal `${`".to_owned(),
            );
            problems.push(Problem {
                code: Code::InterpolationSyntax,
                what,
                remedy,
            });
            rest = "";
            break;
        };
        match resolve(inside, sources) {
            Ok(value) => out += &value,
            Err(problem) => problems.push(problem),
        }
        foreign = true;
        rest = after;
    }
    out += rest;
    if problems.is_empty() {
        Ok(Replaced { text: out, foreign })
    } else {
        Err(problems)
    }
}

fn resolve(inside: &str, sources: &Sources<'_>) -> Result<String, Problem> {
    let missing = |what: String, remedy: String| Problem {
        code: Code::InterpolationMissing,
        what,
        remedy,
    };
    match inside.split_once(':') {
        Some(("env", name)) if !name.is_empty() => sources.environment.get(name).cloned().ok_or_else(|| {
            missing(
                format!("the environment variable {name} is not set"),
                format!("set {name}, or write the value"),
            )
        }),
        Some(("file", path)) if !path.is_empty() => {
            let path = sources.folder.join(path);
            read(&path).map_err(|reason| {
                let what = format!("the file {} cannot be read: {reason}", path.display());
                missing(
                    what,
                    "create it, or correct the path, which is relative to the pipeline file".to_owned(),
                )
            })
        }
        _ => Err(Problem {
            code: Code::InterpolationSyntax,
            what: format!("`${{{inside}}}` names neither a variable nor a file"),
            remedy: "write `${env:NAME}` or `${file:PATH}`, or `$${` for a literal `${`".to_owned(),
        }),
    }
}

/// The text of a file, without the line break at its end.
fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !size.is_file() || size.len() > TEXT_BYTES_MAX as u64 {
        return Err(format!("it is not a file of at most {TEXT_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
