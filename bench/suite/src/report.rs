//! What was measured, as tables, as pictures and as data.

mod plot;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::figures::Spread;
use crate::machine::Machine;
use crate::series::Series;
use crate::steady::Steady;

/// One question, and what came of it.
#[derive(Debug, Serialize)]
pub struct Chapter {
    /// As a file's name.
    pub name: &'static str,
    pub title: &'static str,
    /// What was done, in a sentence or two.
    pub method: String,
    pub tables: Vec<Table>,
    pub bars: Vec<Bars>,
    pub verdicts: Vec<Verdict>,
    /// All runs.
    pub series: Vec<Series>,
    pub steady: Vec<Series<Steady>>,
}

#[derive(Debug, Serialize)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<(String, Vec<Cell>)>,
}

#[derive(Debug, Clone, Serialize)]
pub enum Cell {
    Spread { spread: Option<Spread>, digits: usize },
    Text(String),
}

/// A picture: one bar for each label.
#[derive(Debug, Serialize)]
pub struct Bars {
    pub name: String,
    pub title: String,
    pub rows: Vec<(String, Spread)>,
}

/// A target, and whether it is met.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub target: char,
    pub what: String,
    pub measured: Spread,
    pub bound: Bound,
    pub unit: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Verdict {
    /// By the median.
    pub fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(bound) => self.measured.median <= bound,
            Bound::AtLeast(bound) => self.measured.median >= bound,
        }
    }
}

/// All chapters on one machine.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub chapters: Vec<Chapter>,
}

impl Report {
    /// `results.json`, `results.md` and one picture for each set of bars.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        fs::write(
            folder.join("results.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        fs::write(folder.join("results.md"), table::markdown(self))?;
        for bars in self.chapters.iter().flat_map(|chapter| &chapter.bars) {
            plot::bars(&folder.join(format!("{}.svg", bars.name)), bars)?;
        }
        Ok(())
    }

    pub fn text(&self) -> String {
        table::markdown(self)
    }
}
