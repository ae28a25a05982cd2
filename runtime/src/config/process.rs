//! Settings of the process: what is not about any one pipeline.
//!
//! They stand in an optional `strait.yaml`, in environment variables and in flags of
//! the same names, the later over the earlier. The list is closed: other `STRAIT_*`
//! variables are ignored, since a Kubernetes Service called strait injects some.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::finding::{Code, Finding, Findings};
use super::grammar;
use super::interpolate::{self, Sources};
use super::layers::Places;
use super::place::{KeyPath, Origin};
use super::yaml::{self, Entry, Node, Scalar, Tree};
use super::{PROCESS_FILE, schema};

/// How the process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Where /metrics, /healthz and /readyz are served.
    pub http: SocketAddr,
    /// Filter of log lines, in the syntax of `tracing`: `info`, `warn,strait=debug`.
    pub log: String,
    pub log_format: LogFormat,
    /// What must outlive the process: identities, local state.
    pub data_dir: PathBuf,
    /// What may be lost: compiled modules.
    pub cache_dir: PathBuf,
    /// The middle of transactional ids; unless told, the lowest free slot.
    pub instance: Option<String>,
    /// File with the token that the control API asks for.
    pub token_file: Option<PathBuf>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Flags of the process settings, for every verb that runs pipelines.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProcessArgs {
    /// Address of /metrics, /healthz and /readyz [default: 127.0.0.1:9600]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Log filter, such as `info` or `warn,strait=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Form of log lines: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Folder of what must outlive the process
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Folder of what may be lost, such as compiled modules
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<String>,
    /// Name of this process among those that run the same pipelines [default: the lowest free slot]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// File with the token that the control API asks for
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
}

/// The file as its author writes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Strait process settings")]
struct Document {
    #[schemars(extend("x-strait" = "address", "examples" = ["127.0.0.1:9600"]))]
    http: Option<String>,
    #[schemars(extend("x-strait" = "log-filter", "examples" = ["info"]))]
    log: Option<String>,
    log_format: LogFormat,
    #[schemars(length(min = 1))]
    data_dir: Option<String>,
    #[schemars(length(min = 1))]
    cache_dir: Option<String>,
    #[schemars(extend("x-strait" = "output"))]
    instance: Option<String>,
    #[schemars(length(min = 1))]
    token_file: Option<String>,
}

impl ProcessArgs {
    fn given(&self) -> Vec<(&'static str, &str)> {
        let Self {
            http,
            log,
            log_format,
            data_dir,
            cache_dir,
            instance,
            token_file,
        } = self;
        let flags = [
            ("http", http),
            ("log", log),
            ("log_format", log_format),
            ("data_dir", data_dir),
            ("cache_dir", cache_dir),
            ("instance", instance),
            ("token_file", token_file),
        ];
        flags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)))
            .collect()
    }
}

impl ProcessSettings {
    /// From `strait.yaml` in the current folder if there is one, the environment of
    /// this process, and flags.
    pub fn load(args: &ProcessArgs) -> Result<Self, Findings> {
        let text = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::read(Path::new(PROCESS_FILE), &text.collect(), args)
    }

    /// As [`ProcessSettings::load`], from what is handed over. `file` need not exist.
    pub fn read(
        file: &Path,
        environment: &BTreeMap<String, String>,
        args: &ProcessArgs,
    ) -> Result<Self, Findings> {
        let schema = schema::of::<Document>();
        let keys: Vec<&str> = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        let mut findings = Vec::new();
        let from_file = from_file(file, environment, &mut findings);
        let variables = keys.iter().filter_map(|key| {
            let variable = format!("STRAIT_{}", key.to_ascii_uppercase());
            let value = environment.get(&variable)?;
            Some((*key, value.as_str(), Origin::Variable(variable.into())))
        });
        let flags = args.given().into_iter().map(|(key, value)| {
            let flag = Origin::Flag(format!("--{}", key.replace('_', "-")).into());
            (key, value, flag)
        });
        let mut given = Figment::from(Serialized::defaults(Document::default()));
        let layers = [from_file, layer(file, variables), layer(file, flags)];
        for layer in &layers {
            let (value, mistakes) = grammar::read(&schema, layer);
            findings.extend(mistakes);
            given = given.merge(Serialized::defaults(value.unwrap_or_default()));
        }
        let document = match given.extract::<Document>() {
            Ok(document) => document,
            Err(error) => {
                let what = error.to_string();
                findings.push(Places::new(file).error(
                    Code::ValueType,
                    &KeyPath::root(),
                    what,
                    "correct the settings",
                ));
                Document::default()
            }
        };
        let mut findings: Findings = findings.into_iter().collect();
        findings.sort();
        if findings.has_errors() {
            Err(findings)
        } else {
            Ok(document.settle(environment))
        }
    }
}

impl Document {
    fn settle(self, environment: &BTreeMap<String, String>) -> ProcessSettings {
        let default_http = SocketAddr::from((Ipv4Addr::LOCALHOST, 9600));
        let folder = |told: Option<String>, variable, home, system| {
            told.map_or_else(
                || default_folder(environment, variable, home, system),
                PathBuf::from,
            )
        };
        ProcessSettings {
            http: self.http.as_deref().and_then(address).unwrap_or(default_http),
            log: self.log.unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format,
            data_dir: folder(self.data_dir, "XDG_DATA_HOME", ".local/share", "/var/lib"),
            cache_dir: folder(self.cache_dir, "XDG_CACHE_HOME", ".cache", "/var/cache"),
            instance: self.instance,
            token_file: self.token_file.map(PathBuf::from),
        }
    }
}

/// `IP:PORT`, and `localhost:PORT`, which needs nobody to resolve it.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    text.parse()
        .ok()
        .or_else(|| local.map(|port: u16| (Ipv4Addr::LOCALHOST, port).into()))
}

/// By the XDG conventions; a process without a home is a service.
fn default_folder(
    environment: &BTreeMap<String, String>,
    variable: &str,
    home: &str,
    system: &str,
) -> PathBuf {
    let absolute = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute(variable).or_else(|| absolute("HOME").map(|folder| folder.join(home)));
    base.unwrap_or_else(|| system.into()).join("strait")
}

fn from_file(file: &Path, environment: &BTreeMap<String, String>, findings: &mut Vec<Finding>) -> Node {
    let empty = layer(file, std::iter::empty());
    if !file.exists() {
        return empty;
    }
    let Some(text) = super::text(file, findings) else {
        return empty;
    };
    let (root, mistakes) = yaml::parse(&text, &file.into());
    findings.extend(mistakes);
    let Some(mut root) = root.filter(|root| !root.is_null()) else {
        return empty;
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    interpolate::apply(
        &mut root,
        &KeyPath::root(),
        &Sources { environment, folder },
        findings,
    );
    for key in ["data_dir", "cache_dir", "token_file"] {
        absolute(&mut root, key, folder);
    }
    root
}

/// Paths in the file are relative to it.
fn absolute(root: &mut Node, key: &str, folder: &Path) {
    let Tree::Map(entries) = &mut root.tree else {
        return;
    };
    let entry = entries.iter_mut().find(|entry| entry.key == key);
    if let Some(Entry {
        value: Node {
            tree: Tree::Scalar(scalar),
            ..
        },
        ..
    }) = entry
        && !scalar.is_null()
        && !scalar.text.is_empty()
    {
        scalar.text = folder.join(&scalar.text).to_string_lossy().into_owned();
    }
}

fn layer<'a>(file: &Path, values: impl Iterator<Item = (&'a str, &'a str, Origin)>) -> Node {
    let entry = |(key, value, origin): (&str, &str, Origin)| {
        let scalar = Scalar {
            text: value.to_owned(),
            quoted: false,
            loose: true,
        };
        let value = Node {
            origin: origin.clone(),
            tree: Tree::Scalar(scalar),
        };
        Entry {
            key: key.to_owned(),
            origin,
            value,
        }
    };
    Node {
        origin: Origin::start(&file.into()),
        tree: Tree::Map(values.map(entry).collect()),
    }
}

#[cfg(test)]
mod tests;
