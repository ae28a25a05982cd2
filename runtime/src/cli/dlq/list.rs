//! `strait dlq list`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use crate::cli::bar::Bar;
use crate::dlq::desk::{Desk, Read};
use crate::dlq::letter::Letter;
use crate::dlq::marks::Mark;
use crate::dlq::selection::State;

use super::told::{Told, line, state, time};
use super::{Filters, Of};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub of: Of,
    #[command(flatten)]
    filters: Filters,
    /// Only those in this state
    #[arg(long, value_enum, default_value_t)]
    state: State,
    /// List no more than this; the summary counts all
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Print one JSON object for each, and no summary
    #[arg(long)]
    json: bool,
}

/// What the summary tells.
#[derive(Debug, Default)]
struct Counts {
    kinds: BTreeMap<&'static str, u64>,
    listed: u64,
    /// Those that are meant, in another state than asked for.
    passed_over: BTreeMap<&'static str, u64>,
    others: u64,
    no_letters: u64,
}

pub fn run(args: &Args, desk: &Desk) -> anyhow::Result<ExitCode> {
    let selection = args.filters.selection(&[], args.state);
    let marks = desk.marks()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let columns = columns();
    let mut counts = Counts::default();
    let mut failed = None;
    let bar = Bar::new("reading");
    desk.letters(&selection, &mut |passed| bar.show(passed), &mut |_, read| {
        let letter = match read {
            Read::Ours(letter) if selection.means(&letter) => letter,
            Read::Ours(_) => return Ok(ControlFlow::Continue(())),
            Read::Others(_) => {
                counts.others += 1;
                return Ok(ControlFlow::Continue(()));
            }
            Read::NoLetter(_) => {
                counts.no_letters += 1;
                return Ok(ControlFlow::Continue(()));
            }
        };
        let mark = marks.of(letter.place);
        if !selection.takes(mark) {
            *counts.passed_over.entry(state(mark)).or_default() += 1;
            return Ok(ControlFlow::Continue(()));
        }
        *counts.kinds.entry(kind(&letter)).or_default() += 1;
        if args.limit.is_none_or(|limit| counts.listed < limit) {
            counts.listed += 1;
            let printed = print(&mut out, &letter, mark, args, columns);
            if let Err(error) = printed {
                failed = Some(error);
                return Ok(ControlFlow::Break(()));
            }
        } else if args.json {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    drop(bar);
    if let Some(error) = failed {
        return Err(error);
    }
    if !args.json {
        writeln!(out, "{}", counts.summary(args.state))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Of the terminal, if it is one.
fn columns() -> Option<usize> {
    let out = std::io::stdout();
    let size = out
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(&out).ok())??;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

fn print(
    out: &mut impl Write,
    letter: &Letter,
    mark: Option<Mark>,
    args: &Args,
    columns: Option<usize>,
) -> anyhow::Result<()> {
    if args.json {
        serde_json::to_writer(&mut *out, &Told::new(letter, mark)).map_err(std::io::Error::from)?;
    } else {
        let row = row(letter, mark, args.state);
        let cut = columns.and_then(|columns| row.char_indices().nth(columns));
        let end = cut.map_or(row.len(), |(end, _)| end);
        out.write_all(row.as_bytes().get(..end).unwrap_or_default())?;
    }
    Ok(writeln!(out)?)
}

fn row(letter: &Letter, mark: Option<Mark>, asked: State) -> String {
    let (place, time) = (letter.place.to_string(), time(letter.timestamp_ms));
    let stage = line(letter.told.stage.as_deref().unwrap_or("-"));
    let mut row = format!("{place:<10} {time:<20} {:<10} {stage:<8}", kind(letter));
    if asked == State::All {
        // Writing to a String cannot fail.
        write!(row, " {:<8}", state(mark)).ok();
    }
    let (origin, reason) = (line(&letter.origin()), line(&letter.told.reason));
    write!(row, " {origin:<20} {reason}").ok();
    row
}

/// `?` for one that this version does not know.
fn kind(letter: &Letter) -> &'static str {
    letter.told.kind.map_or("?", crate::stage::FailureKind::as_str)
}

impl Counts {
    fn summary(&self, asked: State) -> String {
        let list = |counts: &BTreeMap<&'static str, u64>| {
            let each = counts.iter().map(|(name, count)| format!("{count} {name}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let total: u64 = self.kinds.values().sum();
        let what = match asked {
            State::Waiting => "waiting",
            State::Replayed => "replayed",
            State::Purged => "purged",
            State::All => "in all",
        };
        let mut parts = vec![format!("{total} {what}")];
        if total > 0 {
            parts = vec![format!("{total} {what}: {}", list(&self.kinds))];
        }
        if self.listed < total {
            parts.push(format!("the first {} are listed", self.listed));
        }
        if !self.passed_over.is_empty() {
            parts.push(format!("not listed: {}", list(&self.passed_over)));
        }
        if self.others > 0 {
            parts.push(format!("{} of other pipelines", self.others));
        }
        if self.no_letters > 0 {
            parts.push(format!("{} that are no dead letters", self.no_letters));
        }
        parts.join("; ")
    }
}
