//! Chores of this repository, from a fresh clone: `cargo xtask test` and `cargo xtask demo`.
//!
//! It depends on next to nothing, so that it is there in seconds and can install what
//! the rest needs.

use std::process::ExitCode;

use anyhow::{Result, bail};

mod bench;
mod chaos;
mod demo;
mod run;
mod test;
mod tools;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [ARGS]   install what is missing, then format check, lints and every test, those with a
                real Kafka included; ARGS go to `cargo test`
  demo [ARGS]   install what is missing, then run pipelines/orders.yaml on generated orders with a
                real Kafka, until Ctrl-C; ARGS go to `strait dev`
  chaos [NAME] [--seed N] [--minutes M]
                every scenario that tries to break exactly-once, or those whose name contains NAME; again
                with other seeds until M minutes have passed; ends with a table
  bench [CHAPTER...] [--quick] [--rounds N] [--out DIR] [--compare REVISION]
                Strait beside a loop written by hand and Kafka Streams, in turn: figures, tables, pictures
  tools         only install what is missing
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    match command.as_deref() {
        Some("test") => test::all(&rest),
        Some("demo") => demo::run(&rest),
        Some("bench") => bench::run(&rest),
        Some("chaos") => chaos::run(&rest),
        Some("tools") => tools::ensure(),
        Some("help" | "--help" | "-h") => {
            run::say(USAGE.trim_end());
            Ok(())
        }
        Some(other) => bail!("there is no command {other:?}\n\n{USAGE}"),
        None => bail!("which command?\n\n{USAGE}"),
    }
}
