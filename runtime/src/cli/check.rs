//! `strait check`: validate pipeline files, and say everything that is wrong at once.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::config::finding::colour;
use crate::config::{self, Checked, Finding, OverrideArgs, Overrides, Report, kafka};

/// Exit code of an invalid configuration.
pub const INVALID: u8 = 2;

/// Validate pipelines, then look at the cluster
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Pipeline files, and folders of them
    #[arg(required_unless_present = "refused", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Look at the files alone, not at the cluster
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// List the librdkafka settings that are refused, with the reasons
    #[arg(long)]
    pub refused: bool,
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// `further` looks at each pipeline whose file is fine: at its modules, and unless
/// `--offline` at its cluster.
pub fn run(
    args: &Args,
    further: &mut dyn FnMut(&Checked) -> anyhow::Result<Vec<Finding>>,
) -> anyhow::Result<ExitCode> {
    let stdout = std::io::stdout();
    let tint = colour(&stdout);
    write(args, further, tint, &mut stdout.lock())
}

fn write(
    args: &Args,
    further: &mut dyn FnMut(&Checked) -> anyhow::Result<Vec<Finding>>,
    tint: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if args.refused {
        refused(args.json, out)?;
        if args.paths.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let Report {
        pipelines,
        mut findings,
    } = config::report(&args.paths, &Overrides::from(args.overrides.clone()));
    for checked in &pipelines {
        findings.extend(further(checked)?);
    }
    findings.sort();
    let valid = !findings.has_errors();
    let names: Vec<&str> = pipelines
        .iter()
        .map(|checked| checked.pipeline.name.as_str())
        .collect();
    if args.json {
        let report = json!({ "valid": valid, "pipelines": names, "findings": findings.to_json() });
        writeln!(out, "{report:#}")?;
    } else {
        out.write_all(findings.render(tint).as_bytes())?;
        if valid {
            writeln!(out, "valid: {}", names.join(", "))?;
        }
    }
    Ok(if valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INVALID)
    })
}

fn refused(as_json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let pairs = kafka::REFUSED
        .iter()
        .flat_map(|(keys, reason)| keys.iter().map(move |key| (*key, *reason)));
    if as_json {
        let list: Vec<_> = pairs
            .map(|(key, reason)| json!({ "key": key, "reason": reason }))
            .collect();
        return writeln!(out, "{:#}", json!({ "refused": list }));
    }
    for (key, reason) in pairs {
        writeln!(out, "{key}: {reason}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, json: bool, refused: bool) -> (ExitCode, String) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.wasm"), b"\0asm\x01\0\0\0").unwrap();
        std::fs::write(folder.path().join("p.yaml"), text).unwrap();
        let paths = if text.is_empty() {
            Vec::new()
        } else {
            vec![folder.path().to_owned()]
        };
        let args = Args {
            paths,
            offline: true,
            json,
            refused,
            overrides: OverrideArgs::default(),
        };
        let mut out = Vec::new();
        let further = &mut |checked: &Checked| {
            let path = config::KeyPath::of("stages.0.wasm.module");
            let name = checked.pipeline.name.as_str();
            let refused = |code| {
                checked
                    .places
                    .error(code, &path, "it imports env.f", "remove the import")
            };
            Ok((name == "strange")
                .then(|| refused(config::Code::ModuleRefused))
                .into_iter()
                .collect())
        };
        let code = write(&args, further, false, &mut out).unwrap();
        (
            code,
            String::from_utf8(out)
                .unwrap()
                .replace(&format!("{}/", folder.path().display()), ""),
        )
    }

    const LEAST: &str = "name: orders\nkafka: { bootstrap: \"b:1\" }\ninput: { topics: [a] }\n\
                         stages:\n  - wasm:\n      module: m.wasm\noutputs: { default: b }\n";

    #[test]
    fn a_valid_pipeline_is_named_and_an_invalid_one_ends_with_two() {
        let (code, out) = check(LEAST, false, false);
        assert_eq!((code, out.as_str()), (ExitCode::SUCCESS, "valid: orders\n"));
        let (code, out) = check("name: orders\nlane: 3\n", false, false);
        assert_eq!(code, ExitCode::from(2));
        assert!(
            out.contains("p.yaml:2:1: lane: the key `lane` is not known here; did you mean `lanes`?\n"),
            "{out}"
        );
    }

    #[test]
    fn what_further_checks_find_stands_at_its_place() {
        let (code, out) = check(&LEAST.replace("name: orders", "name: strange"), false, false);
        assert_eq!(code, ExitCode::from(2));
        assert_eq!(
            out,
            "p.yaml:6:15: stages.0.wasm.module: it imports env.f; remove the import\n"
        );
    }

    #[test]
    fn json_holds_what_the_text_holds() {
        let (_, out) = check("name: orders\nlane: 3\n", true, false);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["valid"], false);
        let unknown = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["code"] == "key.unknown")
            .unwrap();
        assert_eq!(unknown["line"], 2);
        assert_eq!(unknown["column"], 1);
        assert_eq!(unknown["pointer"], "/lane");
        assert_eq!(unknown["severity"], "error");
        assert_eq!(unknown["remedy"], "did you mean `lanes`?");
    }

    #[test]
    fn every_refused_setting_is_listed_with_its_reason() {
        let (code, out) = check("", false, true);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(
            out.lines()
                .any(|line| line.starts_with("enable.auto.commit: offsets are committed inside")),
            "{out}"
        );
        assert_eq!(
            out.lines().count(),
            kafka::REFUSED.iter().map(|(keys, _)| keys.len()).sum::<usize>()
        );
    }
}
