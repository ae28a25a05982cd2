//! Measures Strait beside a loop written by hand and Kafka Streams: the same topics, the same broker, the
//! same work, in turn. `cargo xtask bench` builds what it needs and calls it.

mod chapter;
mod contender;
mod figures;
mod lab;
mod machine;
mod process;
mod report;
mod run;
mod series;
mod steady;
mod stream;
mod topics;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use chapter::{CHAPTERS, Scope};
use contender::Programs;
use lab::Lab;
use machine::Machine;
use report::Report;
use steady::Span;

#[derive(Parser)]
#[command(about = "Measures Strait beside a loop written by hand and Kafka Streams")]
struct Cli {
    /// Chapters to measure; all of them unless named
    chapters: Vec<String>,
    /// A tenth of the records, and one round: whether it works, not how fast it is
    #[arg(long)]
    quick: bool,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where tables, pictures and data go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    #[arg(long)]
    strait: PathBuf,
    #[arg(long)]
    native: PathBuf,
    /// Class path of the peer
    #[arg(long)]
    streams: String,
    /// Folder of the transforms
    #[arg(long)]
    modules: PathBuf,
    /// Another revision of Strait, as NAME=PATH
    #[arg(long)]
    other: Option<String>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let chapters = chapters(&cli.chapters)?;
    let other = match &cli.other {
        Some(other) => {
            let (name, path) = other.split_once('=').context("--other is NAME=PATH")?;
            Some((name.to_owned(), path.into()))
        }
        None => None,
    };
    let programs = Programs {
        strait: cli.strait,
        native: cli.native,
        streams: cli.streams,
        // A pipeline's file takes it for relative to itself.
        modules: std::path::absolute(cli.modules)?,
        other,
    };
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut scope = Scope {
        lab: Lab::open(programs, &mut |line| bar.set_message(line.to_owned()))?,
        rounds: if cli.quick { 1 } else { cli.rounds.max(1) },
        share: if cli.quick { 0.1 } else { 1.0 },
        span: if cli.quick { Span::QUICK } else { Span::WHOLE },
        progress: Box::new({
            let bar = bar.clone();
            move |line| {
                bar.suspend(|| say(line));
                bar.set_message(line.to_owned());
            }
        }),
    };
    scope.warm_up()?;
    let mut report = Report {
        machine: Machine::look(),
        rounds: scope.rounds,
        chapters: Vec::new(),
    };
    for (name, measure) in chapters {
        (scope.progress)(&format!("== {name}"));
        let chapter = measure(&mut scope).with_context(|| format!("chapter {name}"))?;
        report.chapters.push(chapter);
        // What is measured stays if a later one fails.
        report.write(&cli.out)?;
    }
    bar.finish_and_clear();
    print(&report.text(), &cli.out);
    Ok(())
}

type Named = (&'static str, chapter::Measure);

fn chapters(names: &[String]) -> Result<Vec<Named>> {
    let known = || CHAPTERS.map(|(name, _)| name).join(", ");
    if names.is_empty() {
        return Ok(CHAPTERS.to_vec());
    }
    let mut chosen = Vec::new();
    for name in names {
        match CHAPTERS.iter().find(|(known, _)| known == name) {
            Some(chapter) => chosen.push(*chapter),
            None => bail!("there is no chapter {name:?}; there are {}", known()),
        }
    }
    Ok(chosen)
}

#[expect(clippy::print_stderr, reason = "progress")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str, out: &std::path::Path) {
    println!("{text}\nPictures and data: {}", out.display());
}
